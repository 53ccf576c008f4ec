//! What callers ask for of time-outs and retries.

use tokio::sync::mpsc;

use super::wires::in_each_pairing;
use super::*;

const FAILED: &str = "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n";

/// A request with these fields.
fn with(fields: &str) -> String {
    GET.replace("\r\n\r\n", &format!("\r\n{fields}\r\n\r\n"))
}

/// An origin that fails the first requests, after `pause`, and tells the head of each.
async fn failing(
    failures: usize,
    pause: Duration,
) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let (tell, told) = mpsc::unbounded_channel();
    let to = origin(move |count, mut peer| {
        let tell = tell.clone();
        async move {
            tell.send(peer.head().await).unwrap();
            tokio::time::sleep_until(Instant::now() + pause).await;
            peer.send(if count < failures { FAILED } else { OK }).await;
        }
    })
    .await;
    (to, told)
}

/// A listener for what our workload asks.
fn outbound(to: SocketAddr) -> Setup {
    let mut setup = Setup::to([to]);
    setup.outbound = true;
    setup.forward.include_attempt_count_in_response = true;
    setup
}

const RETRIES: &str = "X-Envoy-Retry-On: retriable-status-codes\r\nX-Envoy-Retriable-Status-Codes: 503\r\n\
                       X-Envoy-Max-Retries: 3";

#[test]
fn our_workload_says_what_is_retried_and_how_often_and_upstreams_do_not_see_it() {
    in_each_pairing(async || {
        for (failures, status, attempts) in [(3, "200", "4"), (9, "503", "4")] {
            let (to, mut told) = failing(failures, Duration::ZERO).await;
            let rig = outbound(to).start().await;
            let answer = rig.ask(&with(RETRIES)).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{answer}"
            );
            assert_eq!(
                field(&answer, "x-envoy-attempt-count"),
                attempts,
                "{answer}"
            );
            let head = told.recv().await.unwrap().to_lowercase();
            assert!(!head.contains("x-envoy-"), "{head}");
            // The next request of this connection is another.
            let answer = rig.ask(GET).await;
            assert_eq!(field(&answer, "x-envoy-attempt-count"), "1", "{answer}");
        }
    });
}

#[test]
fn callers_of_our_workload_do_not_say_and_it_does_not_see_that_they_tried() {
    in_each_pairing(async || {
        let (to, mut told) = failing(1, Duration::ZERO).await;
        let mut setup = outbound(to);
        setup.outbound = false;
        let answer = setup.start().await.ask(&with(RETRIES)).await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        let head = told.recv().await.unwrap().to_lowercase();
        assert!(!head.contains("x-envoy-"), "{head}");
    });
}

#[test]
fn a_caller_bounds_the_request_and_each_attempt_and_may_lift_the_routes_bound() {
    const WHOLE: &str = "X-Envoy-Upstream-Rq-Timeout-Ms";
    const TRY: &str = "X-Envoy-Upstream-Rq-Per-Try-Timeout-Ms";
    local(async {
        for (fields, bound, status) in [
            (format!("{WHOLE}: 50"), 10_000, "504"),
            (format!("{TRY}: 50"), 10_000, "504"),
            (format!("{WHOLE}: 0"), 50, "200"),
            (format!("{WHOLE}: 10000"), 50, "200"),
            (format!("{WHOLE}: soon"), 50, "504"),
        ] {
            let (to, _told) = failing(0, Duration::from_millis(400)).await;
            let mut setup = outbound(to);
            setup.forward.timeout = Some(Duration::from_millis(bound));
            let answer = setup.start().await.ask(&with(&fields)).await;
            let line = format!("HTTP/1.1 {status} ");
            assert!(answer.starts_with(&line), "{fields}: {answer}");
        }
    });
}
