use weft_config::policy::{HeaderAction, HeaderEdit};
use weft_config::route::{HostRewrite, PathRewrite, Redirect, WeightedCluster, WeightedClusters};

use super::*;

fn add(name: &str, value: &str, action: HeaderAction) -> HeaderEdit {
    HeaderEdit {
        name: name.into(),
        value: value.into(),
        action,
    }
}

fn edits() -> HeaderEdits {
    HeaderEdits {
        remove: vec!["x-gone".into()],
        add: vec![
            add("x-more", "new", HeaderAction::Append),
            add("x-there", "new", HeaderAction::AddIfAbsent),
            add("x-absent", "new", HeaderAction::AddIfAbsent),
            add("x-set", "new", HeaderAction::Set),
            add("x-there-too", "new", HeaderAction::Replace),
            add("x-never", "new", HeaderAction::Replace),
        ],
    }
}

const FIELDS: &str = "X-Gone: 1\r\nX-More: old\r\nX-There: old\r\nX-Set: old\r\nX-Set: older\r\nX-There-Too: old\r\n";

/// [`FIELDS`] after [`edits`].
fn assert_edited(head: &str) {
    let values = |name: &str| -> Vec<&str> {
        let fields = head.split("\r\n").filter_map(|line| line.split_once(": "));
        let named = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value).collect()
    };
    assert_eq!(values("x-gone"), [""; 0], "{head}");
    assert_eq!(values("x-more"), ["old", "new"], "{head}");
    assert_eq!(values("x-there"), ["old"], "{head}");
    assert_eq!(values("x-absent"), ["new"], "{head}");
    assert_eq!(values("x-set"), ["new"], "{head}");
    assert_eq!(values("x-there-too"), ["new"], "{head}");
    assert_eq!(values("x-never"), [""; 0], "{head}");
}

#[test]
fn the_fields_of_requests_and_answers_are_edited() {
    local(async {
        let to = origin(|_, mut peer| async move {
            assert_edited(&peer.head().await);
            peer.send(format!(
                "HTTP/1.1 200 OK\r\n{FIELDS}Content-Length: 2\r\n\r\nok"
            ))
            .await;
        })
        .await;
        let mut setup = Setup::to([to]);
        setup.route = Box::new(|route| {
            route.request_headers = edits();
            route.response_headers = edits();
        });
        let rig = setup.start().await;
        let answer = rig
            .ask(&format!("GET / HTTP/1.1\r\nHost: a\r\n{FIELDS}\r\n"))
            .await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_edited(&answer);
    });
}

/// What arrives of `request` under `path` at an origin behind a route that `change` has changed.
async fn rewritten(
    path: PathMatch,
    request: &str,
    change: impl FnOnce(&mut Forward) + 'static,
) -> String {
    let mut setup = Setup::to([echo().await]);
    setup.path = path;
    change(&mut setup.forward);
    setup.start().await.ask(request).await
}

#[test]
fn a_prefix_a_whole_path_and_the_host_are_rewritten() {
    local(async {
        let ask = "GET /api/x?q=1 HTTP/1.1\r\nHost: a.example\r\nX-Host: b.example\r\n\r\n";
        let api = || PathMatch::Prefix("/api".into());
        let seen = rewritten(api(), ask, |to| {
            to.path_rewrite = PathRewrite::Prefix("/v2".into())
        });
        assert!(seen.await.contains("GET /v2/x?q=1 HTTP/1.1\r\n"));
        let seen = rewritten(api(), ask, |to| {
            to.path_rewrite = PathRewrite::Full("/y".into())
        });
        assert!(seen.await.contains("GET /y?q=1 HTTP/1.1\r\n"));
        let literal = HostRewrite::Literal("c.example".into());
        let seen = rewritten(api(), ask, |to| to.host_rewrite = literal).await;
        assert_eq!(field(&seen, "host"), "c.example", "{seen}");
        let header = HostRewrite::Header("x-host".into());
        let seen = rewritten(api(), ask, |to| to.host_rewrite = header).await;
        assert_eq!(field(&seen, "host"), "b.example", "{seen}");
    });
}

#[test]
fn the_host_may_come_from_a_field_that_the_route_adds() {
    local(async {
        let mut setup = Setup::to([echo().await]);
        setup.forward.host_rewrite = HostRewrite::Header("x-host".into());
        setup.route = Box::new(|route| {
            route.request_headers.add = vec![add("x-host", "b.example", HeaderAction::Set)];
        });
        let seen = setup.start().await.ask(GET).await;
        assert_eq!(field(&seen, "host"), "b.example", "{seen}");
    });
}

#[test]
fn a_redirect_names_the_other_place_and_no_endpoint_is_asked() {
    local(async {
        let mut setup = Setup::to([nobody().await]);
        setup.path = PathMatch::Prefix("/old".into());
        setup.route = Box::new(|route| {
            route.action = RouteAction::Redirect(Redirect {
                scheme: Some("https".into()),
                host: None,
                port: None,
                path: PathRewrite::Prefix("/new".into()),
                strip_query: false,
                status: 308,
            });
        });
        let rig = setup.start().await;
        let answer = rig
            .ask("GET /old/x?q=1 HTTP/1.1\r\nHost: a.example\r\n\r\n")
            .await;
        assert!(answer.starts_with("HTTP/1.1 308"), "{answer}");
        assert_eq!(field(&answer, "location"), "https://a.example/new/x?q=1");
        assert!(!answer.contains("x-weft-response-flag"), "{answer}");
    });
}

#[test]
fn a_direct_response_says_what_the_route_says_and_its_fields_are_edited() {
    local(async {
        let mut setup = Setup::to([nobody().await]);
        setup.route = Box::new(|route| {
            let body = "gone fishing".into();
            route.action = RouteAction::Direct { status: 410, body };
            route.response_headers.add = vec![add("x-why", "holiday", HeaderAction::Append)];
        });
        let answer = setup.start().await.ask(GET).await;
        assert!(answer.starts_with("HTTP/1.1 410"), "{answer}");
        assert!(answer.ends_with("\r\n\r\ngone fishing"), "{answer}");
        assert_eq!(field(&answer, "x-why"), "holiday", "{answer}");
    });
}

#[test]
fn clusters_get_requests_by_their_weights() {
    local(async {
        let mut setup = Setup::to([says("first").await]);
        setup.other = Some(("d", says("other").await));
        let of = |name: &str, weight| WeightedCluster {
            weight,
            ..WeightedCluster {
                name: name.into(),
                ..Forward::to("c".into()).clusters.clusters.remove(0)
            }
        };
        setup.forward.clusters = WeightedClusters {
            clusters: vec![of("c", 1), of("d", 3)],
            total: 4,
        };
        let rig = setup.start().await;
        let mut client = rig.connect().await;
        let mut first = 0;
        for _ in 0..200 {
            client.send(GET).await;
            let answer = client.message().await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            first += usize::from(answer.ends_with("first"));
        }
        assert!(
            (25..=75).contains(&first),
            "{first} of 200 went to a quarter"
        );
    });
}

#[test]
fn the_servers_name_is_ours_theirs_or_whichever_is_there() {
    local(async {
        let nameless = || {
            origin(|_, mut peer| async move {
                peer.head().await;
                peer.send(OK).await;
            })
        };
        for (server_header, named, not) in [
            (ServerHeader::Overwrite, "weft", "weft"),
            (ServerHeader::AppendIfAbsent, "theirs", "weft"),
            (ServerHeader::PassThrough, "theirs", "none"),
        ] {
            for (to, wanted) in [(says("ok").await, named), (nameless().await, not)] {
                let mut setup = Setup::to([to]);
                setup.server_header = server_header;
                let answer = setup.start().await.ask(GET).await;
                assert_eq!(
                    field(&answer, "server"),
                    wanted,
                    "{server_header:?}: {answer}"
                );
            }
        }
    });
}
