//! Who may: judged for each request by the rules in force, and again where the rules say so.

use weft_config::policy::access::{
    AccessAction, AccessFilter, AccessPolicy, AccessRules, Condition, OnRevoke,
};
use weft_config::route::StringMatch;

use super::*;

/// Keeps everybody out of what begins with `prefix`.
fn deny(prefix: &str, on_revoke: OnRevoke) -> HttpFilter {
    HttpFilter::Access(Arc::new(AccessFilter {
        name: "deny".into(),
        rules: Some(rules(prefix)),
        shadow: None,
        shadow_name: "".into(),
        on_revoke,
    }))
}

fn rules(prefix: &str) -> AccessRules {
    let policy = AccessPolicy {
        name: "no entry".into(),
        permissions: [Condition::Path(StringMatch::Prefix(prefix.into()))].into(),
        principals: [Condition::Any].into(),
    };
    AccessRules {
        action: AccessAction::Deny,
        policies: [policy].into(),
    }
}

impl Rig {
    /// Puts a listener with these filters in force.
    fn put(&mut self, filters: Vec<HttpFilter>, upgrades: &[&str]) {
        let mut setup = Setup::to([]);
        setup.filters = filters;
        setup.upgrades = upgrades.iter().map(|it| (*it).into()).collect();
        let now = Instant::now();
        self.builder.put_listener(Arc::new(setup.listener()), now);
        self.builder.commit(now);
    }

    fn outcomes(&self) -> [u64; 4] {
        let stats = self.metrics.access(&"deny".into());
        let of = [
            &stats.allowed,
            &stats.denied,
            &stats.shadow_allowed,
            &stats.shadow_denied,
        ];
        of.map(|counter| counter.get())
    }
}

#[test]
fn who_may_not_hears_so_and_not_why_and_is_counted() {
    local(async {
        let mut setup = Setup::to([says("ok").await]);
        setup.filters = vec![deny("/secret", OnRevoke::Keep)];
        let rig = setup.start().await;
        let answer = rig.ask("GET /secret HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
        assert!(answer.ends_with("\r\n\r\nRBAC: access denied"), "{answer}");
        assert_eq!(flag(&answer), "UAEX");
        assert!(!answer.contains("entry"), "{answer}");
        assert!(rig.ask(GET).await.starts_with("HTTP/1.1 200 "));
        assert_eq!(rig.outcomes(), [1, 1, 0, 0]);
        let call = "POST /secret.Service/Get HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n";
        let answer = rig.ask(call).await;
        assert_eq!(field(&answer, "grpc-status"), "7", "{answer}");
        assert_eq!(field(&answer, "grpc-message"), "RBAC: access denied");
    });
}

#[test]
fn the_next_request_of_an_old_connection_is_judged_by_the_new_rules() {
    local(async {
        let mut rig = Setup::to([says("ok").await]).start().await;
        let mut client = rig.connect().await;
        for (denied, wanted) in [(None, "200"), (Some("/x"), "403"), (Some("/y"), "200")] {
            let filters = denied.map(|prefix| deny(prefix, OnRevoke::Keep));
            rig.put(filters.into_iter().collect(), &[]);
            client.send(GET).await;
            let answer = client.message().await;
            assert_eq!(answer.split(' ').nth(1), Some(wanted), "{answer}");
        }
    });
}

#[test]
fn who_may_not_is_not_told_that_there_is_no_route() {
    local(async {
        let mut setup = Setup::to([says("ok").await]);
        setup.path = PathMatch::Exact("/x".into());
        setup.filters = vec![deny("/secret", OnRevoke::Keep)];
        let rig = setup.start().await;
        for (path, wanted) in [("/secret", "403"), ("/other", "404")] {
            let answer = rig
                .ask(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
                .await;
            assert_eq!(answer.split(' ').nth(1), Some(wanted), "{answer}");
        }
    });
}

#[test]
fn an_answer_under_way_is_cut_when_the_rules_say_so_and_not_else() {
    local(async {
        let origin = origin(|_, mut peer| async move {
            peer.head().await;
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun")
                .await;
            std::future::pending::<()>().await;
        });
        let mut rig = Setup::to([origin.await]).start().await;
        let mut client = rig.connect().await;
        client.send(GET).await;
        client.until("begun").await;
        rig.put(vec![deny("/x", OnRevoke::Keep)], &[]);
        // A request on another connection shows that the change is known to the worker.
        let answer = rig.ask(GET).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
        assert_eq!(rig.worker.population().1, 1);
        rig.put(vec![deny("/other", OnRevoke::Close)], &[]);
        assert!(rig.outcomes()[1] == 1);
        rig.put(vec![deny("/x", OnRevoke::Close)], &[]);
        rig.settles().await;
        let mut rest = Vec::new();
        let end = timeout(Duration::from_secs(10), client.0.read_to_end(&mut rest)).await;
        assert!(end.is_ok() && rest.is_empty(), "{end:?} {rest:?}");
    });
}

#[test]
fn a_tunnel_is_judged_again_by_the_request_that_opened_it() {
    local(async {
        let origin = origin(|_, mut peer| async move {
            peer.head().await;
            peer.send("HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhi")
                .await;
            std::future::pending::<()>().await;
        });
        let mut setup = Setup::to([origin.await]);
        setup.upgrades = vec!["websocket".into()];
        let mut rig = setup.start().await;
        let mut client = rig.connect().await;
        client
            .send("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
            .await;
        client.until("hi").await;
        rig.put(vec![deny("/chat", OnRevoke::Close)], &["websocket"]);
        let mut byte = [0];
        let end = timeout(Duration::from_secs(10), client.0.read(&mut byte)).await;
        assert!(!matches!(end, Ok(Ok(1)) | Err(_)), "{end:?}");
    });
}

#[test]
fn a_shadow_keeps_nobody_out() {
    local(async {
        let mut setup = Setup::to([says("ok").await]);
        setup.filters = vec![HttpFilter::Access(Arc::new(AccessFilter {
            name: "deny".into(),
            rules: None,
            shadow: Some(rules("/x")),
            shadow_name: "".into(),
            on_revoke: OnRevoke::Keep,
        }))];
        let rig = setup.start().await;
        assert!(rig.ask(GET).await.starts_with("HTTP/1.1 200 "));
        assert_eq!(rig.outcomes(), [0, 0, 0, 1]);
    });
}
