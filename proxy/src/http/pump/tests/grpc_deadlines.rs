use tokio::sync::mpsc;
use weft_config::cluster::OutlierDetection;
use weft_config::policy::{Fault, FaultDelay};
use weft_config::route::{GrpcTimeout, RouteTimeout};

use super::grpc::{CALL, answer, counted, trailers_only};
use super::wires::in_each_pairing;
use super::*;
use crate::policy::parse_grpc_timeout;

const OBEYED: Option<GrpcTimeout> = Some(GrpcTimeout {
    max: None,
    offset: Duration::ZERO,
    timeout: RouteTimeout::Holds,
});

/// A call with this deadline.
fn within(timeout: &str) -> String {
    CALL.replace(
        "Host: a\r\n",
        &format!("Host: a\r\nGrpc-Timeout: {timeout}\r\n"),
    )
}

/// An origin that tells what each request says of its deadline, and answers after `pause`: `UNAVAILABLE` first, then well.
async fn telling(pause: Duration) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let (tell, told) = mpsc::unbounded_channel();
    let to = origin(move |count, mut peer| {
        let tell = tell.clone();
        async move {
            let head = peer.head().await;
            peer.until("0\r\n\r\n").await;
            tell.send(field(&head, "grpc-timeout").to_owned()).unwrap();
            tokio::time::sleep_until(Instant::now() + pause).await;
            let said = if count == 0 {
                trailers_only(14)
            } else {
                answer(0)
            };
            // Closed, so that the next attempt is another connection.
            peer.send(said).await;
        }
    })
    .await;
    (to, told)
}

fn millis(timeout: &str) -> u128 {
    let read = parse_grpc_timeout(timeout.as_bytes());
    read.unwrap_or_else(|| panic!("{timeout:?}")).as_millis()
}

/// What the upstream is told of 5 s by a route like this.
async fn told_of_five_seconds(change: impl FnOnce(&mut Setup)) -> u128 {
    let (to, mut told) = telling(Duration::ZERO).await;
    let mut setup = Setup::to([to]);
    setup.forward.timeout = None;
    change(&mut setup);
    setup.start().await.ask(&within("5S")).await;
    millis(&told.recv().await.unwrap())
}

#[test]
fn the_upstream_is_told_what_is_left_of_the_callers_time_and_never_more() {
    in_each_pairing(async || {
        let left = told_of_five_seconds(|_| {}).await;
        assert!((4000..=5000).contains(&left), "{left}");
        let left =
            told_of_five_seconds(|setup| setup.forward.timeout = Some(Duration::from_secs(2)))
                .await;
        assert!(
            (1000..=2000).contains(&left),
            "the route's time-out: {left}"
        );
        let left = told_of_five_seconds(|setup| {
            setup.forward.max_stream_duration = Some(Duration::from_secs(3))
        })
        .await;
        assert!((2000..=3000).contains(&left), "the stream's bound: {left}");
        let left = told_of_five_seconds(|setup| {
            setup.filters = vec![HttpFilter::Fault(Arc::new(Fault {
                delay: Some(FaultDelay {
                    duration: Duration::from_millis(100),
                    per_million: 1_000_000,
                }),
                abort: None,
                active_max: None,
            }))];
        })
        .await;
        assert!((4000..=4900).contains(&left), "what passed: {left}");
    });
}

#[test]
fn each_attempt_is_told_less_than_the_one_before() {
    in_each_pairing(async || {
        let (to, mut told) = telling(Duration::from_millis(50)).await;
        let mut setup = Setup::to([to]);
        setup.forward.timeout = None;
        setup.forward.retry = Some(Arc::new(RetryPolicy {
            on: RetryOn {
                grpc_codes: vec![14],
                ..RetryOn::default()
            },
            retries_max: 1,
            per_try_timeout: Some(Duration::from_secs(1)),
            backoff_base: Duration::from_millis(1),
            backoff_max: Duration::from_millis(10),
            body_limit_bytes: 1024,
        }));
        let rig = setup.start().await;
        rig.ask(&within("4100m")).await;
        let (first, second) = (told.recv().await.unwrap(), told.recv().await.unwrap());
        let (first, second) = (millis(&first), millis(&second));
        assert!(first > 3000, "not the bound of an attempt: {first}");
        assert!(second <= 4050 && second > 3000, "{second}");
    });
}

#[test]
fn what_is_no_deadline_of_a_call_passes_as_it_is_and_ends_nothing() {
    in_each_pairing(async || {
        let odd = within("5s").replace("\r\nGrpc-Timeout", "\r\nX-A: b\r\nGrpc-Timeout");
        let web = within("1m").replace("application/grpc", "application/grpc-web");
        for (request, passed) in [(odd, "5s"), (web, "1m")] {
            let (to, mut told) = telling(Duration::from_millis(20)).await;
            let mut setup = Setup::to([to]);
            setup.forward.grpc_timeout = OBEYED;
            let heard = setup.start().await.ask(&request).await;
            assert_eq!(field(&heard, "grpc-status"), "14", "{heard}");
            assert_eq!(told.recv().await.unwrap(), passed);
        }
    });
}

#[test]
fn a_call_whose_time_is_over_is_answered_so_and_its_upstream_hears_that_it_is() {
    in_each_pairing(async || {
        let (tell, mut told) = mpsc::unbounded_channel();
        let to = origin(move |_, mut peer| {
            let tell = tell.clone();
            async move {
                peer.until("0\r\n\r\n").await;
                tell.send(peer.rest().await).unwrap();
            }
        })
        .await;
        let mut setup = Setup::to([to]);
        setup.forward.grpc_timeout = OBEYED;
        setup.cluster = Box::new(|cluster| {
            cluster.outlier_detection = Some(OutlierDetection {
                consecutive_5xx: 2,
                ..OutlierDetection::default()
            });
        });
        let rig = setup.start().await;
        for _ in 0..2 {
            let heard = rig.ask(&within("50m")).await;
            assert_eq!((field(&heard, "grpc-status"), flag(&heard)), ("4", "UMSDR"));
            assert!(
                field(&heard, "grpc-message").contains("grpc-timeout"),
                "{heard}"
            );
            assert_eq!(told.recv().await.unwrap(), "");
        }
        assert_eq!(
            counted(&rig).await,
            (vec![("DEADLINE_EXCEEDED".to_owned(), 2)], 2)
        );
        assert_eq!(rig.metrics.cluster(&"c".into()).ejections.get(), 1);
    });
}

#[test]
fn a_call_that_comes_too_late_reaches_nobody() {
    in_each_pairing(async || {
        let (to, mut told) = telling(Duration::ZERO).await;
        let mut setup = Setup::to([to]);
        setup.forward.grpc_timeout = OBEYED;
        let rig = setup.start().await;
        let heard = rig.ask(&within("0n")).await;
        assert_eq!(field(&heard, "grpc-status"), "4", "{heard}");
        rig.settles().await;
        assert!(told.try_recv().is_err());
    });
}

#[test]
fn the_routes_own_time_out_holds_beside_the_callers_unless_it_is_replaced() {
    in_each_pairing(async || {
        for (timeout, status) in [(RouteTimeout::Holds, "4"), (RouteTimeout::Replaced, "14")] {
            let (to, _told) = telling(Duration::from_millis(300)).await;
            let mut setup = Setup::to([to]);
            setup.forward.timeout = Some(Duration::from_millis(50));
            setup.forward.grpc_timeout = OBEYED.map(|rule| GrpcTimeout { timeout, ..rule });
            let heard = setup.start().await.ask(&within("5S")).await;
            assert_eq!(field(&heard, "grpc-status"), status, "{heard}");
        }
    });
}

#[test]
fn an_answer_that_does_not_end_in_time_is_not_said_not_to_have_come() {
    local(async {
        let to = origin(|_, mut peer| async move {
            peer.head().await;
            peer.send("HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n")
                .await;
            peer.send("5\r\n\0\0\0\0\0\r\n").await;
            peer.rest().await;
        })
        .await;
        let mut setup = Setup::to([to]);
        setup.forward.timeout = Some(Duration::from_millis(100));
        let rig = setup.start().await;
        let mut client = rig.connect().await;
        client.send(within("5S")).await;
        let heard = client.until("within the route's time-out\r\n").await;
        assert!(heard.contains("did not finish its answer"), "{heard}");
    });
}
