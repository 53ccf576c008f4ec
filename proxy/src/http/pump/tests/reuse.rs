use super::*;

#[test]
fn a_connection_serves_many_requests_over_one_upstream_connection() {
    local(async {
        let to = origin(|count, mut peer| async move {
            assert_eq!(count, 0, "a second upstream connection");
            for _ in 0..50 {
                let head = peer.head().await;
                assert!(
                    head.starts_with("GET /x HTTP/1.1\r\nHost: a.example\r\n"),
                    "{head}"
                );
                assert!(head.contains("x-forwarded-for: 127.0.0.1\r\n"), "{head}");
                peer.send(OK).await;
            }
        })
        .await;
        let rig = Setup::to([to]).start().await;
        let mut client = rig.connect().await;
        for _ in 0..50 {
            client.send(GET).await;
            let answer = client.message().await;
            assert!(
                answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok"),
                "{answer}"
            );
        }
        rig.settles().await;
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    local(async {
        let to = origin(|_, mut peer| async move {
            loop {
                let head = peer.head().await;
                let path = head.split(' ').nth(1).unwrap().to_owned();
                peer.send(format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}",
                    path.len()
                ))
                .await;
                if path == "/9" {
                    return;
                }
            }
        })
        .await;
        let rig = Setup::to([to]).start().await;
        let mut client = rig.connect().await;
        let all: String = (0..10)
            .map(|n| format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .collect();
        client.send(all).await;
        for n in 0..10 {
            assert!(client.message().await.ends_with(&format!("\r\n\r\n/{n}")));
        }
        rig.settles().await;
    });
}

#[test]
fn a_pooled_connection_found_dead_is_replaced_for_an_idempotent_request() {
    local(async {
        let to = origin(|count, mut peer| async move {
            peer.head().await;
            peer.send(OK).await;
            if count == 0 {
                // Dies with the second request read and not answered.
                peer.head().await;
            }
        })
        .await;
        let rig = Setup::to([to]).start().await;
        let mut client = rig.connect().await;
        for _ in 0..2 {
            client.send(GET).await;
            let answer = client.message().await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
    });
}

const POISON: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";

/// How many connections were closed because the origin said too much.
fn unsolicited(rig: &Rig) -> u64 {
    rig.metrics.cluster(&"c".into()).unsolicited.get()
}

/// Each way to say more in one read than was asked: a request, its answer, and what stands behind that.
const TOO_MUCH: &[(&str, &str, &str)] = &[
    ("GET", "Content-Length: 2\r\n\r\nok", POISON),
    ("GET", "Content-Length: 2\r\n\r\nok", "x"),
    ("GET", "Content-Length: 2\r\n\r\nok", "\r\n"),
    ("GET", "Content-Length: 0\r\n\r\n", POISON),
    ("HEAD", "Content-Length: 2\r\n\r\n", "ok"),
    (
        "GET",
        "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        POISON,
    ),
];

#[test]
fn bytes_in_the_same_read_as_the_end_of_an_answer_are_nobodys_answer() {
    for (method, answer, more) in TOO_MUCH {
        local(async {
            let to = origin(move |count, mut peer| async move {
                peer.head().await;
                if count == 0 {
                    peer.send(format!("HTTP/1.1 200 OK\r\n{answer}{more}"))
                        .await;
                    let rest = peer.rest().await;
                    assert_eq!(rest, "", "asked behind {more:?}");
                } else {
                    peer.send(ok("second")).await;
                    peer.head().await;
                }
            })
            .await;
            let rig = Setup::to([to]).start().await;
            let mut client = rig.connect().await;
            client
                .send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"))
                .await;
            let first = match *method {
                "HEAD" => client.head().await,
                _ => client.message().await,
            };
            assert!(first.starts_with("HTTP/1.1 200 OK\r\n"), "{first}");
            client.send(GET).await;
            let second = client.message().await;
            assert!(
                second.ends_with("second"),
                "{method} {answer:?} {more:?}: {second}"
            );
            assert_eq!(unsolicited(&rig), 1, "{method} {answer:?} {more:?}");
        });
    }
}

#[test]
fn bytes_on_a_connection_at_rest_are_nobodys_answer() {
    for more in [POISON, "x"] {
        local(async {
            let (go, gone) = tokio::sync::oneshot::channel::<()>();
            let mut gone = Some(gone);
            let to = origin(move |count, mut peer| {
                let gone = gone.take();
                async move {
                    peer.head().await;
                    peer.send(ok(if count == 0 { "first" } else { "second" }))
                        .await;
                    if let Some(gone) = gone {
                        gone.await.unwrap();
                        peer.send(more).await;
                    }
                    let rest = peer.rest().await;
                    assert_eq!(rest, "", "asked behind {more:?}");
                }
            })
            .await;
            let rig = Setup::to([to]).start().await;
            let mut client = rig.connect().await;
            client.send(GET).await;
            assert!(client.message().await.ends_with("first"));
            rig.settles().await;
            go.send(()).unwrap();
            while unsolicited(&rig) == 0 {
                tokio::task::yield_now().await;
            }
            client.send(GET).await;
            assert!(client.message().await.ends_with("second"));
            assert_eq!(unsolicited(&rig), 1);
        });
    }
}

#[test]
fn a_post_that_may_have_been_read_is_not_sent_again() {
    local(async {
        let to = origin(|count, mut peer| async move {
            assert_eq!(count, 0, "sent again");
            peer.head().await;
            peer.send(OK).await;
            peer.head().await;
        })
        .await;
        let rig = Setup::to([to]).start().await;
        let mut client = rig.connect().await;
        client.send(GET).await;
        client.message().await;
        client
            .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
            .await;
        let answer = client.message().await;
        assert!(
            answer.starts_with("HTTP/1.1 503") && answer.contains("x-weft-response-flag: UC"),
            "{answer}"
        );
    });
}

#[test]
fn a_drain_closes_idle_connections_and_lets_running_requests_finish() {
    local(async {
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        let mut gone = Some(gone);
        let to = origin(move |_, mut peer| {
            let gone = gone.take();
            async move {
                peer.head().await;
                gone.unwrap().await.unwrap();
                peer.send(OK).await;
            }
        })
        .await;
        let rig = Setup::to([to]).start().await;
        let mut idle = rig.connect().await;
        let mut busy = rig.connect().await;
        busy.send(GET).await;
        while rig.worker.population().1 == 0 {
            tokio::task::yield_now().await;
        }
        rig.drain.quit();
        assert_eq!(idle.rest().await, "");
        go.send(()).unwrap();
        let answer = busy.rest().await.to_ascii_lowercase();
        assert!(
            answer.contains("connection: close") && answer.ends_with("ok"),
            "{answer}"
        );
    });
}

#[test]
fn http_1_0_is_answered_and_closed() {
    local(async {
        let to = origin(|_, mut peer| async move {
            assert!(peer.head().await.starts_with("GET / HTTP/1.1\r\n"));
            peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
                .await;
        })
        .await;
        let rig = Setup::to([to]).start().await;
        let mut client = rig.connect().await;
        client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n").await;
        let answer = client.rest().await;
        assert!(
            answer.ends_with("\r\n\r\nok") && !answer.to_lowercase().contains("chunked"),
            "{answer}"
        );
    });
}

#[test]
fn a_client_that_said_it_has_no_more_to_send_is_still_answered() {
    local(async {
        let to = origin(|_, mut peer| async move {
            peer.head().await;
            tokio::task::yield_now().await;
            peer.send(OK).await;
        })
        .await;
        let rig = Setup::to([to]).start().await;
        let mut client = rig.connect().await;
        client.send(GET).await;
        client.0.shutdown().await.unwrap();
        assert!(client.rest().await.ends_with("\r\n\r\nok"));
        rig.settles().await;
    });
}

#[test]
fn who_a_stranger_says_he_has_proved_to_be_reaches_nobody() {
    local(async {
        let to = origin(|_, mut peer| async move {
            let head = peer.head().await;
            assert!(!head.to_ascii_lowercase().contains("client-cert"), "{head}");
            peer.send(OK).await;
        })
        .await;
        let rig = Setup::to([to]).start().await;
        let mut client = rig.connect().await;
        client
            .send("GET /x HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-Client-Cert: URI=spiffe://td/admin\r\n\r\n")
            .await;
        let answer = client.message().await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    });
}
