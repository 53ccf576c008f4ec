//! State of the world, type by type.

use super::*;
use crate::xds::tests::OF_SERVICES;

/// What of service `name` is asked for by a client of this type.
fn name_of(kind: ResourceType, name: &str) -> String {
    match kind {
        ResourceType::Listener => format!("{name}:80"),
        _ => format!("{name}.default.svc.cluster.local:80"),
    }
}

fn sent(push: &SotwPush) -> Vec<&str> {
    push.resources.iter().map(|it| &*it.name).collect()
}

fn answer(push: &SotwPush, kind: ResourceType, subscribed: &[&str]) -> SotwRequest {
    SotwRequest {
        version: push.version.clone(),
        nonce: push.nonce.clone(),
        ..sotw(kind, subscribed)
    }
}

#[test]
fn each_type_is_told_once_and_again_when_names_are_added() {
    let snapshot = snapshot(1, &["a", "b"], "1");
    for kind in OF_SERVICES {
        let (a, b) = (name_of(kind, "a"), name_of(kind, "b"));
        let mut session = new_sotw();
        send_sotw(&mut session, sotw(kind, &[&a]));
        let first = next_sotw(&mut session, &snapshot);
        assert_eq!(&*first.type_url, kind.type_url());
        assert_eq!(sent(&first), [&a]);
        send_sotw(&mut session, answer(&first, kind, &[&a]));
        assert_eq!(next(&mut session, &snapshot), None, "{kind:?}");
        assert!(session.is_settled(1), "{kind:?}");

        send_sotw(&mut session, answer(&first, kind, &[&a, &b]));
        let second = next_sotw(&mut session, &snapshot);
        // LDS and CDS always hold everything subscribed to, RDS and EDS what is new.
        match kind.is_full_state() {
            true => assert_eq!(sent(&second), [&a, &b], "{kind:?}"),
            false => assert_eq!(sent(&second), [&b], "{kind:?}"),
        }
        assert_ne!(first.version, second.version, "{kind:?}");
    }
}

#[test]
fn what_is_not_there_is_missing_from_a_full_state_and_passed_over_in_silence_elsewhere() {
    let empty = snapshot(1, &[], "1");
    for kind in OF_SERVICES {
        let mut session = new_sotw();
        send_sotw(&mut session, sotw(kind, &[&name_of(kind, "a")]));
        match next(&mut session, &empty) {
            Some(Push::Sotw(push)) => {
                assert!(
                    kind.is_full_state() && push.resources.is_empty(),
                    "{kind:?}"
                );
            }
            other => assert!(
                other.is_none() && !kind.is_full_state(),
                "{kind:?}: {other:?}"
            ),
        }
    }
}

#[test]
fn a_name_that_is_given_up_is_not_told_of_any_more() {
    for kind in OF_SERVICES {
        let (a, b) = (name_of(kind, "a"), name_of(kind, "b"));
        let mut session = new_sotw();
        send_sotw(&mut session, sotw(kind, &[&a, &b]));
        let first = next_sotw(&mut session, &snapshot(1, &["a", "b"], "1"));
        send_sotw(&mut session, answer(&first, kind, &[&b]));
        let told = next(&mut session, &snapshot(2, &["a", "b"], "2"));
        let names: Vec<_> = told
            .iter()
            .flat_map(Push::resources)
            .map(|it| &*it.name)
            .collect();
        assert!(!names.contains(&a.as_str()), "{kind:?}: {names:?}");
    }
}

#[test]
fn a_separate_service_serves_its_type_alone() {
    for kind in OF_SERVICES {
        let mut session = Session::sotw(Some(kind), SessionLimits::default());
        let request = SotwRequest {
            type_url: String::new(),
            ..sotw(kind, &[&name_of(kind, "a")])
        };
        send_sotw(&mut session, request);
        let push = next_sotw(&mut session, &snapshot(1, &["a"], "1"));
        assert_eq!(&*push.type_url, kind.type_url());
        let other = ResourceType::ALL.into_iter().find(|it| *it != kind);
        let request = sotw(other.expect("there are four"), &["x"]);
        let refused = session.on_sotw(request, Timestamp::UNIX_EPOCH);
        assert!(matches!(refused, Err(Refusal::WrongService { .. })));
    }
}
