//! Subscriptions to everything.

use super::*;

fn names_in(push: &Push) -> Vec<&str> {
    push.resources().iter().map(|it| &*it.name).collect()
}

#[test]
fn a_first_sotw_request_without_names_means_everything() {
    let mut session = new_sotw();
    send_sotw(&mut session, sotw(ResourceType::Cluster, &[]));
    let first = next_sotw(&mut session, &snapshot(1, &["a", "b"], "1"));
    assert_eq!(names_in(&Push::Sotw(first.clone())), [A, B]);
    let again = SotwRequest {
        nonce: first.nonce,
        version: first.version,
        ..sotw(ResourceType::Cluster, &[])
    };
    send_sotw(&mut session, again);
    let fewer = next_sotw(&mut session, &snapshot(2, &["b"], "1"));
    assert_eq!(
        names_in(&Push::Sotw(fewer)),
        [B],
        "a is gone, for it is missing"
    );
}

#[test]
fn no_names_after_some_mean_nothing() {
    let mut session = new_sotw();
    send_sotw(&mut session, sotw(ResourceType::Cluster, &[A]));
    let first = next_sotw(&mut session, &snapshot(1, &["a", "b"], "1"));
    let none = SotwRequest {
        nonce: first.nonce,
        version: first.version,
        ..sotw(ResourceType::Cluster, &[])
    };
    send_sotw(&mut session, none);
    let told = next(&mut session, &snapshot(2, &["a", "b"], "2"));
    assert!(told.is_none_or(|push| push.resources().is_empty()));
}

#[test]
fn an_empty_mesh_is_answered_too() {
    let mut session = new_sotw();
    send_sotw(&mut session, sotw(ResourceType::Cluster, &[]));
    let push = next_sotw(&mut session, &snapshot(1, &[], "1"));
    assert!(push.resources.is_empty());
}

#[test]
fn a_delta_wildcard_follows_what_comes_and_goes() {
    for subscribed in [&[][..], &["*"]] {
        let mut session = new_delta();
        send_delta(&mut session, delta(ResourceType::Cluster, subscribed));
        let first = next_delta(&mut session, &snapshot(1, &["a"], "1"));
        assert_eq!(names_in(&Push::Delta(first.clone())), [A]);
        let ack = |nonce: &str| DeltaRequest {
            nonce: nonce.to_owned(),
            ..delta(ResourceType::Cluster, &[])
        };
        send_delta(&mut session, ack(&first.nonce));
        let second = next_delta(&mut session, &snapshot(2, &["a", "b"], "1"));
        assert_eq!(
            names_in(&Push::Delta(second.clone())),
            [B],
            "a is known already"
        );
        send_delta(&mut session, ack(&second.nonce));
        let third = next_delta(&mut session, &snapshot(3, &["b"], "1"));
        assert_eq!(third.removed, [A.into()]);
    }
}

#[test]
fn a_name_beside_the_wildcard_stays_when_the_wildcard_goes() {
    let mut session = new_delta();
    send_delta(&mut session, delta(ResourceType::Cluster, &["*", A]));
    let first = next_delta(&mut session, &snapshot(1, &["a", "b"], "1"));
    assert_eq!(first.resources.len(), 2);
    let without = DeltaRequest {
        nonce: first.nonce,
        unsubscribe: names(&["*"]),
        ..delta(ResourceType::Cluster, &[])
    };
    send_delta(&mut session, without);
    let second = next_delta(&mut session, &snapshot(2, &["a", "b"], "2"));
    assert_eq!(names_in(&Push::Delta(second)), [A]);
}

#[test]
fn the_wildcard_listener_is_the_one_that_takes_everything() {
    let mut session = new_delta();
    send_delta(&mut session, delta(ResourceType::Listener, &[]));
    let push = next_delta(&mut session, &snapshot(1, &["a"], "1"));
    assert_eq!(names_in(&Push::Delta(push)), ["outbound"]);
    send_delta(&mut session, delta(ResourceType::Route, &["outbound"]));
    let routes = next(&mut session, &snapshot(1, &["a"], "1"));
    assert_eq!(routes.as_ref().map(names_in), Some(vec!["outbound"]));
}

#[test]
fn routes_and_endpoints_have_no_wildcard() {
    for kind in [ResourceType::Route, ResourceType::Endpoint] {
        let mut session = new_delta();
        send_delta(&mut session, delta(kind, &["*"]));
        let push = next_delta(&mut session, &snapshot(1, &["a"], "1"));
        assert!(push.resources.is_empty());
        assert_eq!(push.removed, ["*".into()], "a name that does not exist");
    }
}
