use super::*;

fn named(names: &[&str]) -> Subscription {
    Subscription {
        wildcard: false,
        names: names.iter().map(|it| (*it).into()).collect(),
    }
}

fn ack(nonce: &str) -> Reply {
    Reply {
        nonce: nonce.to_owned(),
        error: None,
    }
}

#[test]
fn the_first_request_of_a_wildcard_names_nothing_and_is_sent_once() {
    let mut delta = Delta::new(Kind::Listener, Subscription::wildcard());
    let first = delta.next_request().unwrap();
    assert_eq!(first.type_url, Kind::Listener.type_url());
    assert!(first.resource_names_subscribe.is_empty() && first.response_nonce.is_empty());
    assert_eq!(delta.next_request(), None);
}

#[test]
fn nothing_is_said_while_nothing_is_wanted_for_that_would_be_a_wildcard() {
    let mut delta = Delta::new(Kind::Listener, Subscription::default());
    assert_eq!(delta.next_request(), None);
    delta.wanted_mut().names.insert("a".into());
    assert_eq!(
        delta.next_request().unwrap().resource_names_subscribe,
        ["a"]
    );
}

#[test]
fn only_what_changed_is_told() {
    let mut delta = Delta::new(Kind::Endpoints, named(&["a", "b"]));
    assert_eq!(
        delta.next_request().unwrap().resource_names_subscribe,
        ["a", "b"]
    );
    *delta.wanted_mut() = named(&["b", "c"]);
    let change = delta.next_request().unwrap();
    assert_eq!(change.resource_names_subscribe, ["c"]);
    assert_eq!(change.resource_names_unsubscribe, ["a"]);
    assert_eq!(delta.next_request(), None);
    *delta.wanted_mut() = named(&[]);
    assert_eq!(
        delta.next_request().unwrap().resource_names_unsubscribe,
        ["b", "c"]
    );
}

#[test]
fn acknowledgements_go_out_in_order_and_a_refusal_carries_its_faults() {
    let mut delta = Delta::new(Kind::Cluster, Subscription::wildcard());
    delta.next_request();
    delta.reply(ack("n1"));
    delta.reply(Reply {
        nonce: "n2".to_owned(),
        error: Some("a: b: c".to_owned()),
    });
    let first = delta.next_request().unwrap();
    assert_eq!(
        (first.response_nonce.as_str(), first.error_detail),
        ("n1", None)
    );
    let second = delta.next_request().unwrap();
    assert_eq!(second.response_nonce, "n2");
    let error = second.error_detail.unwrap();
    assert_eq!((error.code, error.message.as_str()), (3, "a: b: c"));
    assert_eq!(delta.next_request(), None);
}

#[test]
fn a_new_stream_resumes_with_the_versions_held_and_asks_again_for_what_was_refused() {
    let mut delta = Delta::new(Kind::Cluster, named(&["good", "refused"]));
    delta.next_request();
    delta.holds("good".into(), "7".to_owned());
    delta.holds("unsubscribed".into(), "1".to_owned());
    delta.holds("gone".into(), "1".to_owned());
    delta.lost("gone");
    delta.reply(ack("of the old stream"));
    delta.stream_began();
    let first = delta.next_request().unwrap();
    assert_eq!(first.resource_names_subscribe, ["good", "refused"]);
    assert_eq!(first.response_nonce, "", "nonces are of one stream");
    let versions: Vec<_> = first.initial_resource_versions.into_iter().collect();
    assert_eq!(versions, [("good".to_owned(), "7".to_owned())]);
    assert_eq!(delta.next_request(), None);
}

#[test]
fn names_beside_a_wildcard_keep_the_wildcard() {
    let mut wanted = Subscription::wildcard();
    wanted.names.insert("a".into());
    let mut delta = Delta::new(Kind::Listener, wanted);
    assert_eq!(
        delta.next_request().unwrap().resource_names_subscribe,
        ["*", "a"]
    );
}
