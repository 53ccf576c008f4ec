//! What callers hear of the proxy itself: always a status, and why.

use weft_config::grpc::GrpcStatus;
use weft_config::policy::{LocalRateLimit, TokenBucket};
use weft_config::route::{GrpcTimeout, RouteTimeout};

use super::grpc::{CALL, HEAD, answers, call, counted, cut};
use super::wires::in_each_pairing;
use super::*;

/// What a caller hears of a worker like this: status, flag and message.
async fn hears(change: impl FnOnce(&mut Setup)) -> (String, String, String) {
    let mut setup = Setup::to([answers(vec![cut()]).await]);
    change(&mut setup);
    let heard = call(&setup.start().await).await;
    assert!(heard.starts_with("HTTP/1.1 200"), "{heard}");
    let told = |name| field(&heard, name).to_owned();
    (
        told("grpc-status"),
        told("x-weft-response-flag"),
        told("grpc-message"),
    )
}

/// A limit that one request passes; the calls behind it hear `grpc_status`.
fn one(grpc_status: GrpcStatus) -> HttpFilter {
    HttpFilter::LocalRateLimit(Arc::new(LocalRateLimit {
        name: "l".into(),
        bucket: Some(TokenBucket {
            max: 1,
            fill: 1,
            interval: Duration::from_secs(60),
        }),
        descriptors: Vec::new(),
        status: 429,
        grpc_status,
        enforced_per_million: 1_000_000,
        keys_max: 100,
    }))
}

#[test]
fn each_refusal_is_a_status_with_its_reason() {
    in_each_pairing(async || {
        let (status, why, message) =
            hears(|setup| setup.path = PathMatch::Exact("/x".into())).await;
        assert_eq!((&*status, &*why), ("12", "NR"), "{message}");
        let (status, why, message) = hears(|setup| setup.endpoints.clear()).await;
        assert_eq!((&*status, &*why), ("14", "UH"), "{message}");
        assert!(message.contains("no endpoints"), "{message}");
        let (status, why, message) = hears(|setup| setup.requests_max = 0).await;
        assert_eq!((&*status, &*why), ("14", "UO"), "{message}");
        for (grpc_status, wanted) in [
            (GrpcStatus::RESOURCE_EXHAUSTED, "8"),
            (GrpcStatus::UNAVAILABLE, "14"),
        ] {
            let mut setup = Setup::to([answers(vec![cut()]).await]);
            setup.filters = vec![one(grpc_status)];
            let rig = setup.start().await;
            call(&rig).await;
            let heard = call(&rig).await;
            assert_eq!(field(&heard, "grpc-status"), wanted, "{heard}");
            assert_eq!(flag(&heard), "RL", "{heard}");
        }
        let (status, _, message) = hears(|setup| {
            setup.route = Box::new(|route| {
                route.action = RouteAction::Direct {
                    status: 503,
                    body: "closed for today, 100 %".into(),
                };
            });
        })
        .await;
        assert_eq!((&*status, &*message), ("14", "closed for today, 100 %25"));
    });
}

#[test]
fn time_that_is_over_is_no_unavailable_server() {
    in_each_pairing(async || {
        let silent = origin(|_, mut peer| async move {
            peer.until("0\r\n\r\n").await;
            peer.rest().await;
        })
        .await;
        let (status, why, message) = hears(|setup| {
            setup.endpoints = vec![silent];
            setup.forward.timeout = Some(Duration::from_millis(50));
        })
        .await;
        assert_eq!((&*status, &*why), ("4", "UT"), "{message}");
        let (status, why, message) = hears(|setup| {
            setup.endpoints = vec![silent];
            setup.forward.idle_timeout = Some(Duration::from_millis(50));
        })
        .await;
        assert_eq!((&*status, &*why), ("4", "SI"), "{message}");
    });
}

#[test]
fn an_answer_that_breaks_off_ends_with_a_status_that_says_why() {
    in_each_pairing(async || {
        let rig = Setup::to([answers(vec![cut()]).await]).start().await;
        let heard = call(&rig).await;
        assert!(heard.contains("ok\r\n0\r\n"), "{heard}");
        assert_eq!(field(&heard, "grpc-status"), "14", "{heard}");
        let why = field(&heard, "grpc-message");
        let whys = ["closed the connection", "reset the request"];
        assert!(whys.iter().any(|it| why.contains(it)), "{heard}");
        assert_eq!(
            counted(&rig).await,
            (vec![("UNAVAILABLE".to_owned(), 1)], 1)
        );
    });
}

#[test]
fn a_call_whose_head_has_told_its_status_is_told_no_other() {
    in_each_pairing(async || {
        let said = cut().replacen("\r\n\r\n", "\r\nGrpc-Status: 5\r\n\r\n", 1);
        let rig = Setup::to([answers(vec![said]).await]).start().await;
        let heard = call(&rig).await.to_lowercase();
        assert_eq!(heard.matches("grpc-status: ").count(), 1, "{heard}");
        assert_eq!(field(&heard, "grpc-status"), "5", "{heard}");
        assert!(heard.ends_with("ok\r\n"), "{heard}");
        assert_eq!(counted(&rig).await, (vec![("NOT_FOUND".to_owned(), 1)], 1));
    });
}

#[test]
fn a_stream_whose_time_is_over_ends_with_that_status() {
    in_each_pairing(async || {
        let endless = origin(|_, mut peer| async move {
            peer.until("0\r\n\r\n").await;
            peer.send(HEAD).await;
            while peer.0.write_all(b"2\r\nok\r\n").await.is_ok() {
                tokio::time::sleep_until(Instant::now() + Duration::from_millis(5)).await;
            }
        })
        .await;
        let mut setup = Setup::to([endless]);
        setup.forward.timeout = None;
        setup.forward.grpc_timeout = Some(GrpcTimeout {
            max: None,
            offset: Duration::ZERO,
            timeout: RouteTimeout::Holds,
        });
        let rig = setup.start().await;
        let mut client = rig.connect().await;
        client
            .send(CALL.replace("Host: a\r\n", "Host: a\r\nGrpc-Timeout: 300m\r\n"))
            .await;
        let heard = client.until("\r\n\r\n").await + &client.until("\r\n\r\n").await;
        assert_eq!(field(&heard, "grpc-status"), "4", "{heard}");
        assert_eq!(
            counted(&rig).await,
            (vec![("DEADLINE_EXCEEDED".to_owned(), 1)], 1)
        );
    });
}

#[test]
fn an_answer_that_is_no_grpc_is_not_made_to_look_whole() {
    in_each_pairing(async || {
        let page = cut().replace("application/grpc", "text/html");
        let to = origin(move |_, mut peer| {
            let page = page.clone();
            async move {
                peer.until("0\r\n\r\n").await;
                peer.send(page).await;
            }
        })
        .await;
        let heard = call(&Setup::to([to]).start().await).await;
        assert!(heard.ends_with("ok\r\n"), "{heard}");
    });
}
