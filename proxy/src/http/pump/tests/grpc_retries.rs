use tokio::sync::Notify;

use super::grpc::{CALL, HEAD, answer, answers, call, counted, trailers, trailers_only};
use super::wires::in_each_pairing;
use super::*;

fn unavailable(retries_max: u32) -> Arc<RetryPolicy> {
    Arc::new(RetryPolicy {
        on: RetryOn {
            grpc_codes: vec![14],
            ..RetryOn::default()
        },
        retries_max,
        per_try_timeout: None,
        backoff_base: Duration::from_millis(1),
        backoff_max: Duration::from_millis(10),
        body_limit_bytes: 1024,
    })
}

/// A worker whose origin gives these answers, and whose route retries one that is `UNAVAILABLE`.
async fn retrying(said: Vec<String>) -> Rig {
    let mut setup = Setup::to([answers(said).await]);
    setup.forward.retry = Some(unavailable(1));
    setup.forward.include_attempt_count_in_response = true;
    setup.start().await
}

/// An answer of a head and trailers, without a message.
fn empty(status: u32) -> String {
    format!("{HEAD}{}", trailers(status))
}

fn attempts(answer: &str) -> &str {
    field(answer, "x-envoy-attempt-count")
}

#[test]
fn a_call_that_fails_before_its_first_message_is_made_again() {
    for failure in [trailers_only(14), empty(14)] {
        in_each_pairing(async || {
            let rig = retrying(vec![failure.clone(), answer(0)]).await;
            let heard = call(&rig).await;
            assert_eq!(heard.matches("HTTP/1.1").count(), 1, "{heard}");
            let lower = heard.to_lowercase();
            assert!(
                lower.ends_with("ok\r\n0\r\ngrpc-status: 0\r\n\r\n"),
                "{heard}"
            );
            assert_eq!(attempts(&heard), "2", "{heard}");
            assert_eq!(counted(&rig).await, (vec![("OK".to_owned(), 1)], 0));
            let cluster = rig.metrics.cluster(&"c".into());
            assert_eq!(cluster.retries_succeeded.get(), 1);
        });
    }
}

#[test]
fn a_call_is_not_made_again_behind_its_first_message_nor_for_another_status() {
    for (said, status) in [
        (answer(14), "14"),
        (empty(13), "13"),
        (trailers_only(13), "13"),
    ] {
        in_each_pairing(async || {
            let rig = retrying(vec![said.clone(), answer(0)]).await;
            let heard = call(&rig).await;
            assert_eq!(field(&heard, "grpc-status"), status, "{heard}");
            assert_eq!(attempts(&heard), "1", "{heard}");
        });
    }
}

#[test]
fn the_last_failure_passes_with_its_trailers_and_says_that_retries_are_used_up() {
    in_each_pairing(async || {
        let rig = retrying(vec![empty(14)]).await;
        let heard = call(&rig).await;
        assert_eq!(field(&heard, "grpc-status"), "14", "{heard}");
        assert_eq!(attempts(&heard), "2", "{heard}");
        rig.settles().await;
        let cluster = rig.metrics.cluster(&"c".into());
        let totals = cluster.http_totals(Direction::Inbound).unwrap();
        assert_eq!(totals.flags[ResponseFlag::URX.index()], 1);
        assert_eq!(cluster.retries_succeeded.get(), 0);
    });
}

/// An origin that answers with a head, and goes on with `rest` once its caller has read that.
async fn head_first(rest: String) -> (SocketAddr, Rc<Notify>) {
    let read = Rc::new(Notify::new());
    let told = read.clone();
    let to = origin(move |_, mut peer| {
        let (told, rest) = (told.clone(), rest.clone());
        async move {
            peer.until("0\r\n\r\n").await;
            peer.send(HEAD).await;
            told.notified().await;
            peer.send(rest).await;
        }
    })
    .await;
    (to, read)
}

#[test]
fn a_head_that_stays_alone_is_passed_on_and_then_there_is_no_way_back() {
    let message = format!("2\r\nok\r\n{}", trailers(0));
    for (rest, status) in [(message, "0"), (trailers(14), "14")] {
        in_each_pairing(async || {
            let (to, read) = head_first(rest.clone()).await;
            let mut setup = Setup::to([to]);
            setup.forward.retry = Some(unavailable(1));
            let rig = setup.start().await;
            let mut client = rig.connect().await;
            client.send(CALL).await;
            client.head().await;
            read.notify_one();
            let rest = client.until("\r\n\r\n").await;
            assert_eq!(field(&rest, "grpc-status"), status, "{rest}");
            rig.settles().await;
        });
    }
}

#[test]
fn a_server_can_ask_for_a_pause_or_for_no_retry_at_all() {
    for (pushback, wanted) in [("3", "2"), ("-1", "1"), ("soon", "1"), ("60000", "1")] {
        in_each_pairing(async || {
            let asks =
                format!("{HEAD}0\r\nGrpc-Status: 14\r\nGrpc-Retry-Pushback-Ms: {pushback}\r\n\r\n");
            let rig = retrying(vec![asks, answer(0)]).await;
            assert_eq!(attempts(&call(&rig).await), wanted, "{pushback}");
        });
    }
}

#[test]
fn a_call_whose_body_is_too_large_to_keep_is_made_once() {
    in_each_pairing(async || {
        let to = origin(|_, mut peer| async move {
            peer.until("0\r\n\r\n").await;
            peer.send(empty(14)).await;
        })
        .await;
        let mut setup = Setup::to([to]);
        setup.forward.retry = Some(unavailable(9));
        setup.forward.include_attempt_count_in_response = true;
        let rig = setup.start().await;
        let mut client = rig.connect().await;
        let body = "x".repeat(2000);
        client
            .send(CALL.replace("2\r\nhi", &format!("7d0\r\n{body}")))
            .await;
        let heard = client.answer().await;
        assert_eq!(
            (field(&heard, "grpc-status"), attempts(&heard)),
            ("14", "1")
        );
    });
}
