//! One session, one message at a time.

mod types;
mod wildcard;

use jiff::Timestamp;
use weft_xds_proto::pb::envoy::config::core::v3::Node;

use super::snapshot;
use crate::snapshot::{ResourceType, Snapshot};
use crate::xds::{
    DeltaPush, DeltaRequest, Push, Refusal, Session, SessionLimits, SotwPush, SotwRequest,
};

const A: &str = "a.default.svc.cluster.local:80";
const B: &str = "b.default.svc.cluster.local:80";

fn node() -> Option<Node> {
    Some(Node {
        id: "node".to_owned(),
        ..Node::default()
    })
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn sotw(kind: ResourceType, subscribed: &[&str]) -> SotwRequest {
    SotwRequest {
        node: node(),
        type_url: kind.type_url().to_owned(),
        names: names(subscribed),
        ..SotwRequest::default()
    }
}

fn delta(kind: ResourceType, subscribe: &[&str]) -> DeltaRequest {
    DeltaRequest {
        node: node(),
        type_url: kind.type_url().to_owned(),
        subscribe: names(subscribe),
        ..DeltaRequest::default()
    }
}

fn next(session: &mut Session, snapshot: &Snapshot) -> Option<Push> {
    session.next_push(snapshot, Timestamp::UNIX_EPOCH)
}

fn next_sotw(session: &mut Session, snapshot: &Snapshot) -> SotwPush {
    match next(session, snapshot) {
        Some(Push::Sotw(push)) => push,
        other => panic!("{other:?}"),
    }
}

fn next_delta(session: &mut Session, snapshot: &Snapshot) -> DeltaPush {
    match next(session, snapshot) {
        Some(Push::Delta(push)) => push,
        other => panic!("{other:?}"),
    }
}

fn send_sotw(session: &mut Session, request: SotwRequest) {
    session
        .on_sotw(request, Timestamp::UNIX_EPOCH)
        .expect("taken");
}

fn send_delta(session: &mut Session, request: DeltaRequest) {
    session
        .on_delta(request, Timestamp::UNIX_EPOCH)
        .expect("taken");
}

fn new_sotw() -> Session {
    Session::sotw(None, SessionLimits::default())
}

fn new_delta() -> Session {
    Session::delta(None, SessionLimits::default())
}

#[test]
fn an_unchanged_snapshot_is_sent_once() {
    let first = snapshot(1, &["a"], "1");
    let mut session = new_delta();
    send_delta(&mut session, delta(ResourceType::Cluster, &[A]));
    let push = next_delta(&mut session, &first);
    assert_eq!(push.resources.len(), 1);
    assert_eq!(next(&mut session, &first), None);
    assert!(!session.is_settled(1));
    send_delta(
        &mut session,
        DeltaRequest {
            nonce: push.nonce,
            ..delta(ResourceType::Cluster, &[])
        },
    );
    assert_eq!(next(&mut session, &snapshot(2, &["a"], "1")), None);
    assert!(session.is_settled(2));
}

#[test]
fn a_name_that_does_not_exist_is_answered_and_appears_later() {
    let mut session = new_delta();
    send_delta(&mut session, delta(ResourceType::Listener, &["a:80"]));
    let push = next_delta(&mut session, &snapshot(1, &[], "1"));
    assert_eq!(push.removed, ["a:80".into()]);
    send_delta(
        &mut session,
        DeltaRequest {
            nonce: push.nonce,
            ..delta(ResourceType::Listener, &[])
        },
    );
    let push = next_delta(&mut session, &snapshot(2, &["a"], "1"));
    assert_eq!(&*push.resources[0].name, "a:80");
}

#[test]
fn sotw_says_absence_of_a_listener_by_what_is_missing() {
    let mut session = new_sotw();
    send_sotw(&mut session, sotw(ResourceType::Listener, &["a", "nobody"]));
    let push = next_sotw(&mut session, &snapshot(1, &["a"], "1"));
    let sent: Vec<_> = push.resources.iter().map(|it| &*it.name).collect();
    assert_eq!(sent, ["a"]);
}

#[test]
fn a_stale_nonce_is_ignored() {
    let first = snapshot(1, &["a", "b"], "1");
    let mut session = new_sotw();
    send_sotw(&mut session, sotw(ResourceType::Cluster, &[A]));
    let old = next_sotw(&mut session, &first);
    send_sotw(
        &mut session,
        SotwRequest {
            nonce: old.nonce.clone(),
            ..sotw(ResourceType::Cluster, &[A])
        },
    );
    let new = next_sotw(&mut session, &snapshot(2, &["a", "b"], "2"));
    for nonce in [old.nonce, "nonsense".to_owned()] {
        send_sotw(
            &mut session,
            SotwRequest {
                nonce,
                ..sotw(ResourceType::Cluster, &[A, B])
            },
        );
        assert_eq!(next(&mut session, &snapshot(2, &["a", "b"], "2")), None);
    }
    send_sotw(
        &mut session,
        SotwRequest {
            nonce: new.nonce,
            ..sotw(ResourceType::Cluster, &[A, B])
        },
    );
    assert_eq!(
        next_sotw(&mut session, &snapshot(2, &["a", "b"], "2"))
            .resources
            .len(),
        2
    );
}

#[test]
fn a_refused_version_is_reported_and_not_sent_again() {
    let first = snapshot(1, &["a"], "1");
    let mut session = new_delta();
    send_delta(&mut session, delta(ResourceType::Cluster, &[A]));
    let push = next_delta(&mut session, &first);
    let refusal = Some("bad cluster".to_owned());
    send_delta(
        &mut session,
        DeltaRequest {
            nonce: push.nonce,
            refusal,
            ..delta(ResourceType::Cluster, &[])
        },
    );
    assert_eq!(next(&mut session, &first), None);
    let [_, clusters, ..] = session.reports();
    assert_eq!(&*clusters.nacked.expect("refused").reason, "bad cluster");
    assert_eq!(
        next_delta(&mut session, &snapshot(2, &["a"], "2"))
            .resources
            .len(),
        1
    );
}

#[test]
fn while_a_response_is_unanswered_changes_merge_and_wait() {
    let mut session = new_delta();
    send_delta(&mut session, delta(ResourceType::Cluster, &[A]));
    let push = next_delta(&mut session, &snapshot(1, &["a"], "1"));
    assert_eq!(next(&mut session, &snapshot(2, &["a"], "2")), None);
    assert_eq!(next(&mut session, &snapshot(3, &["a"], "3")), None);
    send_delta(
        &mut session,
        DeltaRequest {
            nonce: push.nonce,
            ..delta(ResourceType::Cluster, &[])
        },
    );
    let last = snapshot(3, &["a"], "3");
    assert_eq!(next_delta(&mut session, &last).resources.len(), 1);
    assert_eq!(next(&mut session, &last), None);
}

#[test]
fn a_cluster_is_removed_only_after_everything_new_was_answered() {
    let mut session = new_delta();
    for kind in [ResourceType::Cluster, ResourceType::Listener] {
        send_delta(&mut session, delta(kind, &[]));
        let kind_names: &[&str] = if kind == ResourceType::Listener {
            &["b"]
        } else {
            &[A, B]
        };
        send_delta(
            &mut session,
            DeltaRequest {
                node: None,
                ..delta(kind, kind_names)
            },
        );
    }
    let mut now = snapshot(1, &["a"], "1");
    while let Some(Push::Delta(push)) = next(&mut session, &now) {
        let request = DeltaRequest {
            type_url: push.type_url.to_string(),
            nonce: push.nonce,
            ..DeltaRequest::default()
        };
        send_delta(&mut session, request);
    }
    now = snapshot(2, &["b"], "1");
    let mut order = Vec::new();
    while let Some(Push::Delta(push)) = next(&mut session, &now) {
        order.push((push.resources.len(), push.removed.len()));
        let request = DeltaRequest {
            type_url: push.type_url.to_string(),
            nonce: push.nonce,
            ..DeltaRequest::default()
        };
        send_delta(&mut session, request);
    }
    let removal = order
        .iter()
        .position(|(_, removed)| *removed > 0)
        .expect("removed");
    assert_eq!(removal, order.len() - 1, "{order:?}");
    assert!(order.len() > 1, "{order:?}");
}

#[test]
fn a_resumed_delta_stream_sends_only_what_differs() {
    let now = snapshot(1, &["a", "b"], "1");
    let mut session = new_delta();
    send_delta(&mut session, delta(ResourceType::Cluster, &[A, B]));
    let push = next_delta(&mut session, &now);
    let initial_versions = [
        (A.to_owned(), push.resources[0].version.to_string()),
        (B.to_owned(), "another".to_owned()),
    ];
    let mut resumed = new_delta();
    let request = DeltaRequest {
        initial_versions: initial_versions.into_iter().collect(),
        ..delta(ResourceType::Cluster, &[A, B])
    };
    send_delta(&mut resumed, request);
    let push = next_delta(&mut resumed, &now);
    assert_eq!(push.resources.len(), 1);
    assert_eq!(&*push.resources[0].name, B);
}

#[test]
fn a_resumed_sotw_stream_of_the_same_version_is_sent_nothing() {
    let now = snapshot(1, &["a"], "1");
    let mut session = new_sotw();
    send_sotw(&mut session, sotw(ResourceType::Cluster, &[A]));
    let version = next_sotw(&mut session, &now).version;
    let mut resumed = new_sotw();
    send_sotw(
        &mut resumed,
        SotwRequest {
            version,
            ..sotw(ResourceType::Cluster, &[A])
        },
    );
    assert_eq!(next(&mut resumed, &now), None);
    assert!(resumed.is_settled(1));
}

#[test]
fn a_changed_cluster_brings_its_endpoints_again() {
    let mut session = new_delta();
    send_delta(&mut session, delta(ResourceType::Cluster, &[A]));
    send_delta(&mut session, delta(ResourceType::Endpoint, &[A]));
    let first = snapshot(1, &["a"], "1");
    while let Some(Push::Delta(push)) = next(&mut session, &first) {
        let request = DeltaRequest {
            type_url: push.type_url.to_string(),
            nonce: push.nonce,
            ..DeltaRequest::default()
        };
        send_delta(&mut session, request);
    }
    let second = snapshot(2, &["a"], "2");
    assert_eq!(
        &*next_delta(&mut session, &second).type_url,
        ResourceType::Cluster.type_url()
    );
    assert_eq!(
        &*next_delta(&mut session, &second).type_url,
        ResourceType::Endpoint.type_url()
    );
}

#[test]
fn hostile_requests_end_the_stream() {
    let limits = SessionLimits {
        names_max: 2,
        name_bytes_max: 8,
    };
    let mut session = Session::delta(None, limits);
    let now = Timestamp::UNIX_EPOCH;
    let nobody = DeltaRequest {
        node: None,
        ..delta(ResourceType::Cluster, &[])
    };
    assert_eq!(session.on_delta(nobody, now), Err(Refusal::NoNode));
    let talkative = DeltaRequest {
        node: Some(Node {
            id: "n".to_owned(),
            client_features: vec!["x".repeat(1024); 256],
            ..Node::default()
        }),
        ..delta(ResourceType::Cluster, &[])
    };
    let large = session.on_delta(talkative, now);
    assert!(matches!(large, Err(Refusal::LargeNode { .. })), "{large:?}");
    let many = session.on_delta(delta(ResourceType::Cluster, &["a", "b", "c"]), now);
    assert_eq!(many, Err(Refusal::TooManyNames { limit: 2 }));
    let long = session.on_delta(delta(ResourceType::Cluster, &["a-long-name"]), now);
    assert_eq!(long, Err(Refusal::LongName { limit: 8, got: 11 }));
}
