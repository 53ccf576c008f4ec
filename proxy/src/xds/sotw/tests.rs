use super::*;

fn ack(nonce: &str) -> Reply {
    Reply {
        nonce: nonce.to_owned(),
        error: None,
    }
}

fn nack(nonce: &str, error: &str) -> Reply {
    Reply {
        nonce: nonce.to_owned(),
        error: Some(error.to_owned()),
    }
}

#[test]
fn an_acknowledgement_says_the_new_version_and_a_refusal_the_last_good_one() {
    let mut sotw = Sotw::new(Kind::Cluster, Subscription::wildcard());
    let first = sotw.next_request().unwrap();
    assert_eq!(
        (first.version_info.as_str(), first.response_nonce.as_str()),
        ("", "")
    );
    sotw.received();
    sotw.reply(ack("n1"), "1".to_owned());
    let acked = sotw.next_request().unwrap();
    assert_eq!(
        (acked.version_info.as_str(), acked.response_nonce.as_str()),
        ("1", "n1")
    );
    sotw.received();
    sotw.reply(nack("n2", "a: b"), "2".to_owned());
    let nacked = sotw.next_request().unwrap();
    assert_eq!(
        (nacked.version_info.as_str(), nacked.response_nonce.as_str()),
        ("1", "n2")
    );
    assert_eq!(nacked.error_detail.unwrap().message, "a: b");
    assert_eq!(sotw.next_request(), None);
}

#[test]
fn a_change_of_names_repeats_version_and_nonce_and_lists_all_names() {
    let mut sotw = Sotw::new(Kind::Endpoints, Subscription::default());
    assert_eq!(sotw.next_request(), None);
    sotw.wanted_mut().names.insert("a".into());
    assert_eq!(sotw.next_request().unwrap().resource_names, ["a"]);
    sotw.received();
    sotw.reply(ack("n1"), "1".to_owned());
    sotw.next_request();
    sotw.wanted_mut().names.insert("b".into());
    let change = sotw.next_request().unwrap();
    assert_eq!(change.resource_names, ["a", "b"]);
    assert_eq!(
        (change.version_info.as_str(), change.response_nonce.as_str()),
        ("1", "n1")
    );
    assert_eq!(change.error_detail, None);
}

#[test]
fn names_that_change_under_an_unanswered_response_go_out_with_its_reply() {
    let mut sotw = Sotw::new(Kind::Route, Subscription::default());
    sotw.wanted_mut().names.insert("a".into());
    sotw.next_request();
    sotw.received();
    sotw.wanted_mut().names.insert("b".into());
    assert_eq!(sotw.next_request(), None, "its nonce would be stale");
    sotw.reply(ack("n1"), "1".to_owned());
    let reply = sotw.next_request().unwrap();
    assert_eq!(
        (reply.response_nonce.as_str(), reply.resource_names.len()),
        ("n1", 2)
    );
    assert_eq!(sotw.next_request(), None);
}

#[test]
fn a_new_stream_is_told_no_version_so_that_it_answers_in_full() {
    let mut sotw = Sotw::new(Kind::Cluster, Subscription::wildcard());
    sotw.next_request();
    sotw.received();
    sotw.reply(ack("n1"), "1".to_owned());
    sotw.next_request();
    sotw.stream_began();
    let first = sotw.next_request().unwrap();
    assert_eq!(
        (first.version_info.as_str(), first.response_nonce.as_str()),
        ("", "")
    );
}
