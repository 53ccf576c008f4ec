use weft_config::route::{GrpcTimeout, RouteTimeout};

use super::*;

/// An origin whose first `silent` connections read and say nothing.
async fn silent(silent: usize) -> SocketAddr {
    origin(move |count, mut peer| async move {
        peer.head().await;
        if count >= silent {
            peer.send(OK).await;
        }
        while peer.0.read(&mut [0; 64]).await.is_ok_and(|n| n > 0) {}
    })
    .await
}

fn tries(retries_max: u32) -> Arc<RetryPolicy> {
    Arc::new(RetryPolicy {
        on: RetryOn {
            any_5xx: true,
            ..RetryOn::default()
        },
        retries_max,
        // Long enough that on a busy machine the attempt that is answered is not the one that takes too long.
        per_try_timeout: Some(Duration::from_millis(300)),
        backoff_base: Duration::from_millis(1),
        backoff_max: Duration::from_millis(2),
        body_limit_bytes: 1024,
    })
}

#[test]
fn an_attempt_that_takes_too_long_makes_way_for_the_next() {
    local(async {
        let mut setup = Setup::to([silent(2).await]);
        setup.forward.retry = Some(tries(2));
        setup.forward.include_attempt_count_in_response = true;
        let rig = setup.start().await;
        let answer = rig.ask(GET).await;
        assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
        assert_eq!(field(&answer, "x-envoy-attempt-count"), "3", "{answer}");
        rig.settles().await;
    });
}

#[test]
fn the_last_attempt_that_takes_too_long_is_a_504() {
    local(async {
        let mut setup = Setup::to([silent(9).await]);
        setup.forward.retry = Some(tries(1));
        let rig = setup.start().await;
        let answer = rig.ask(GET).await;
        assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
        assert_eq!(flag(&answer), "UT");
        rig.settles().await;
    });
}

#[test]
fn a_request_that_is_not_complete_in_time_is_a_408() {
    local(async {
        let mut setup = Setup::to([silent(9).await]);
        setup.limits.request_timeout = Duration::from_millis(50);
        let rig = setup.start().await;
        let mut client = rig.connect().await;
        client
            .send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
            .await;
        let answer = client.rest().await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        assert_eq!(flag(&answer), "DT");
        rig.settles().await;
    });
}

#[test]
fn the_idle_timeout_of_a_route_takes_the_place_of_the_listeners() {
    local(async {
        let mut setup = Setup::to([silent(9).await]);
        setup.limits.stream_idle_timeout = Duration::from_secs(3600);
        setup.forward.idle_timeout = Some(Duration::from_millis(50));
        let rig = setup.start().await;
        let answer = rig.ask(GET).await;
        assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
        assert_eq!(flag(&answer), "SI");
    });
}

#[test]
fn a_stream_that_lives_too_long_is_ended_whatever_flows() {
    local(async {
        let to = origin(|_, mut peer| async move {
            peer.head().await;
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
                .await;
            while peer.0.write_all(b"x").await.is_ok() {
                tokio::time::sleep_until(Instant::now() + Duration::from_millis(5)).await;
            }
        })
        .await;
        let mut setup = Setup::to([to]);
        setup.forward.max_stream_duration = Some(Duration::from_millis(500));
        let rig = setup.start().await;
        let mut client = rig.connect().await;
        client.send(GET).await;
        let answer = client.rest().await;
        assert!(
            answer.ends_with("\r\n\r\nx") || answer.ends_with("xx"),
            "{answer}"
        );
        rig.settles().await;

        let mut setup = Setup::to([silent(9).await]);
        setup.forward.max_stream_duration = Some(Duration::from_millis(50));
        let answer = setup.start().await.ask(GET).await;
        assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
        assert_eq!(flag(&answer), "UMSDR");
    });
}

fn obeying(to: SocketAddr, max: Option<Duration>, offset: Duration) -> Setup {
    let mut setup = Setup::to([to]);
    setup.forward.grpc_timeout = Some(GrpcTimeout {
        max,
        offset,
        timeout: RouteTimeout::Holds,
    });
    setup
}

fn call(timeout: &str) -> String {
    format!(
        "POST /s/m HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\nGrpc-Timeout: {timeout}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
}

#[test]
fn a_call_ends_when_its_caller_gives_up_even_while_it_is_being_made() {
    local(async {
        for (timeout, max) in [("50m", None), ("1H", Some(Duration::from_millis(50)))] {
            let rig = obeying(silent(9).await, max, Duration::ZERO).start().await;
            let mut client = rig.connect().await;
            client.send(call(timeout)).await;
            let answer = client.head().await;
            assert_eq!(field(&answer, "grpc-status"), "4", "{answer}");
            assert_eq!(flag(&answer), "UMSDR");
            rig.settles().await;
        }
    });
}

#[test]
fn an_offset_leaves_short_calls_their_time() {
    local(async {
        let to = origin(|_, mut peer| async move {
            peer.until("0\r\n\r\n").await;
            tokio::time::sleep_until(Instant::now() + Duration::from_millis(30)).await;
            peer.send(OK).await;
        })
        .await;
        let rig = obeying(to, None, Duration::from_secs(10)).start().await;
        let answer = rig.ask(&format!("{}0\r\n\r\n", call("5S"))).await;
        assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    });
}
