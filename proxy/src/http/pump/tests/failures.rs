use super::*;

#[test]
fn a_refused_connection_is_tried_at_another_endpoint() {
    local(async {
        let to = origin(|_, mut peer| async move {
            peer.head().await;
            peer.send(OK).await;
        })
        .await;
        let rig = Setup::to([nobody().await, to]).start().await;
        for _ in 0..4 {
            let answer = rig.ask(GET).await;
            assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
        }
    });
}

#[test]
fn no_connection_is_a_503_that_says_so() {
    local(async {
        let rig = Setup::to([nobody().await]).start().await;
        let answer = rig.ask(GET).await;
        assert!(
            answer.starts_with("HTTP/1.1 503") && flag(&answer) == "UF",
            "{answer}"
        );
        assert!(
            answer.contains("server: weft\r\n") && answer.contains("refused"),
            "{answer}"
        );
    });
}

#[test]
fn no_endpoint_is_a_503_that_says_so() {
    local(async {
        let rig = Setup::to([]).start().await;
        let answer = rig.ask(GET).await;
        assert!(
            answer.starts_with("HTTP/1.1 503") && flag(&answer) == "UH",
            "{answer}"
        );
    });
}

#[test]
fn a_request_that_matches_no_route_is_a_404() {
    local(async {
        let mut setup = Setup::to([nobody().await]);
        setup.path = PathMatch::Exact("/only".into());
        let answer = setup.start().await.ask(GET).await;
        assert!(
            answer.starts_with("HTTP/1.1 404") && flag(&answer) == "NR",
            "{answer}"
        );
    });
}

#[test]
fn a_broken_answer_is_a_502() {
    local(async {
        let to = origin(|_, mut peer| async move {
            peer.head().await;
            peer.send("what?\r\n\r\n").await;
        })
        .await;
        let answer = Setup::to([to]).start().await.ask(GET).await;
        assert!(
            answer.starts_with("HTTP/1.1 502") && flag(&answer) == "UPE",
            "{answer}"
        );
    });
}

#[test]
fn a_malformed_request_is_answered_and_the_connection_closed() {
    local(async {
        let rig = Setup::to([nobody().await]).start().await;
        let mut client = rig.connect().await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        let answer = client.rest().await;
        assert!(
            answer.starts_with("HTTP/1.1 400") && flag(&answer) == "DPE",
            "{answer}"
        );
        assert!(
            answer.to_lowercase().contains("connection: close"),
            "{answer}"
        );
    });
}

#[test]
fn an_origin_that_does_not_answer_in_time_is_a_504() {
    local(async {
        let to = origin(|_, mut peer| async move {
            peer.head().await;
            peer.rest().await;
        })
        .await;
        let mut setup = Setup::to([to]);
        setup.forward.timeout = Some(Duration::from_millis(50));
        let rig = setup.start().await;
        let answer = rig.ask(GET).await;
        assert!(
            answer.starts_with("HTTP/1.1 504") && flag(&answer) == "UT",
            "{answer}"
        );
        rig.settles().await;
    });
}

#[test]
fn a_head_that_does_not_come_in_time_is_a_408() {
    local(async {
        let mut setup = Setup::to([nobody().await]);
        setup.limits.request_headers_timeout = Duration::from_millis(50);
        let rig = setup.start().await;
        let mut client = rig.connect().await;
        client.send("GET / HT").await;
        let answer = client.rest().await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        assert_eq!(rig.metrics.limits.get(Limit::HeaderTime), 1);
    });
}

#[test]
fn a_head_beyond_its_bounds_is_a_431_and_counted_by_bound() {
    local(async {
        let mut setup = Setup::to([nobody().await]);
        setup.limits.header_count_max = 3;
        setup.limits.header_bytes_max = 200;
        let rig = setup.start().await;
        let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "a: b\r\n".repeat(3));
        let large = format!(
            "GET / HTTP/1.1\r\nHost: a\r\na: {}\r\n\r\n",
            "b".repeat(200)
        );
        for request in [many, large] {
            let answer = rig.ask(&request).await;
            assert!(
                answer.starts_with("HTTP/1.1 431") && flag(&answer) == "DPE",
                "{answer}"
            );
        }
        let met = |limit| rig.metrics.limits.get(limit);
        assert_eq!((met(Limit::HeaderCount), met(Limit::HeaderBytes)), (1, 1));
    });
}

#[test]
fn a_connection_at_rest_is_closed_when_its_time_is_over() {
    local(async {
        let mut setup = Setup::to([nobody().await]);
        setup.limits.idle_timeout = Duration::from_millis(50);
        let rig = setup.start().await;
        assert_eq!(rig.connect().await.rest().await, "");
        assert_eq!(rig.worker.population(), (0, 0));
        assert_eq!(rig.metrics.limits.get(Limit::IdleTime), 1);
    });
}

#[test]
fn a_body_that_stalls_is_a_408_and_a_silent_origin_a_504() {
    local(async {
        let to = origin(|_, mut peer| async move {
            peer.head().await;
            peer.rest().await;
        })
        .await;
        let mut setup = Setup::to([to]);
        setup.limits.stream_idle_timeout = Duration::from_millis(60);
        let rig = setup.start().await;
        let stalled = rig
            .ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
            .await;
        assert!(
            stalled.starts_with("HTTP/1.1 408") && flag(&stalled) == "SI",
            "{stalled}"
        );
        let silent = rig.ask(GET).await;
        assert!(
            silent.starts_with("HTTP/1.1 504") && flag(&silent) == "SI",
            "{silent}"
        );
    });
}

#[test]
fn a_503_is_tried_again_where_the_route_says_so_with_its_body() {
    local(async {
        let to = origin(|count, mut peer| async move {
            peer.until("hello").await;
            if count == 0 {
                peer.send("HTTP/1.1 503 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    .await;
            } else {
                peer.send(OK).await;
            }
        })
        .await;
        let mut setup = Setup::to([to]);
        setup.forward.retry = Some(Arc::new(RetryPolicy {
            on: RetryOn {
                any_5xx: true,
                ..RetryOn::default()
            },
            retries_max: 2,
            per_try_timeout: None,
            backoff_base: Duration::from_millis(1),
            backoff_max: Duration::from_millis(10),
            body_limit_bytes: 1024,
        }));
        let rig = setup.start().await;
        let answer = rig
            .ask("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
            .await;
        assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
        rig.settles().await;
    });
}

#[test]
fn an_answer_cut_short_is_not_taken_for_a_whole_one() {
    local(async {
        let to = origin(|_, mut peer| async move {
            peer.head().await;
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
                .await;
        })
        .await;
        let rig = Setup::to([to]).start().await;
        let mut client = rig.connect().await;
        client.send(GET).await;
        assert!(client.rest().await.ends_with("abc"));
        rig.settles().await;
    });
}

#[test]
fn a_downstream_that_goes_away_ends_its_upstream_request() {
    local(async {
        let (tell, told) = tokio::sync::oneshot::channel();
        let mut tell = Some(tell);
        let to = origin(move |_, mut peer| {
            let tell = tell.take();
            async move {
                peer.until("abc").await;
                // Its end or a reset: nothing more came.
                let came = peer.0.read(&mut [0]).await.unwrap_or(0);
                tell.expect("one connection").send(came).unwrap();
            }
        })
        .await;
        let rig = Setup::to([to]).start().await;
        let mut client = rig.connect().await;
        client
            .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
            .await;
        while rig.worker.population().0 < 2 {
            tokio::task::yield_now().await;
        }
        drop(client);
        assert_eq!(told.await, Ok(0));
        rig.settles().await;
    });
}

#[test]
fn requests_beyond_the_circuit_breaker_are_refused_and_counted() {
    local(async {
        let mut setup = Setup::to([nobody().await]);
        setup.requests_max = 0;
        let rig = setup.start().await;
        let answer = rig.ask(GET).await;
        assert!(
            answer.starts_with("HTTP/1.1 503") && flag(&answer) == "UO",
            "{answer}"
        );
        let stats = rig.metrics.cluster(&"c".into());
        assert_eq!(stats.overflowed(crate::telemetry::Resource::Request), 1);
    });
}

#[test]
fn the_body_that_an_answer_to_head_does_not_have_is_not_counted() {
    local(async {
        let rig = Setup::to([nobody().await]).start().await;
        let mut client = rig.connect().await;
        client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        rig.settles().await;
        let scraped = rig.metrics.scrape();
        let sent = scraped.lines().find(|line| {
            line.starts_with("weft_http_sent_bytes_total{") && line.contains(r#"cluster="c""#)
        });
        assert!(sent.is_none_or(|line| line.ends_with(" 0")), "{sent:?}");
    });
}

#[test]
fn an_answer_with_too_large_a_head_is_told_with_its_bound() {
    local(async {
        let to = origin(|_, mut peer| async move {
            peer.head().await;
            let large = "v".repeat(70_000);
            peer.send(OK.replace("\r\n\r\n", &format!("\r\nx: {large}\r\n\r\n")))
                .await;
        })
        .await;
        let answer = Setup::to([to]).start().await.ask(GET).await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
        assert!(
            answer.contains("sent a head of more than the 61440 bytes"),
            "{answer}"
        );
    });
}

#[test]
fn a_connect_that_nothing_carries_is_told_so() {
    local(async {
        let rig = Setup::to([nobody().await]).start().await;
        let answer = rig
            .ask("CONNECT db:5432 HTTP/1.1\r\nHost: db:5432\r\n\r\n")
            .await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        assert!(
            answer.contains("CONNECT \"db:5432\" is not carried"),
            "{answer}"
        );
    });
}
