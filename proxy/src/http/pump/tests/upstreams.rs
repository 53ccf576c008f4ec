use std::collections::HashMap;

use tokio::net::UnixListener;
use tokio::sync::Notify;
use weft_config::cluster::RetryBudget;

use super::*;

/// Has the cluster's one endpoint be the socket at `path`.
fn at_path(setup: &mut Setup, path: &std::path::Path) {
    let path: Arc<str> = path.to_str().unwrap().into();
    setup.endpoints = vec!["127.0.0.1:1".parse().unwrap()];
    setup.cluster = Box::new(move |cluster| {
        if let Discovery::Static(set) = &mut cluster.discovery {
            set.localities[0].endpoints[0].address = Address::Pipe(path.clone());
        }
    });
}

#[test]
fn an_endpoint_may_be_a_unix_socket() {
    local(async {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            for _ in 0..3 {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
        });
        let mut setup = Setup::to([]);
        at_path(&mut setup, &path);
        let rig = setup.start().await;
        for _ in 0..3 {
            let answer = rig.ask(GET).await;
            assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
        }
    });
}

#[test]
fn an_upgrade_over_a_unix_socket_passes_bytes_and_ends_when_it_is_silent() {
    local(async {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let said = "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhi";
            stream.write_all(said.as_bytes()).await.unwrap();
            let mut echoed = [0; 4];
            stream.read_exact(&mut echoed).await.unwrap();
            stream.write_all(&echoed).await.unwrap();
            std::future::pending::<()>().await;
        });
        let mut setup = Setup::to([]);
        setup.upgrades = vec!["websocket".into()];
        setup.forward.idle_timeout = Some(Duration::from_millis(500));
        at_path(&mut setup, &path);
        let rig = setup.start().await;
        let mut client = rig.connect().await;
        client
            .send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
            .await;
        assert!(client.head().await.starts_with("HTTP/1.1 101"));
        client.send("ping").await;
        assert_eq!(client.rest().await, "hiping");
    });
}

/// An origin that answers once and then tells when the proxy has closed.
async fn watched() -> (SocketAddr, Arc<Notify>) {
    let closed = Arc::new(Notify::new());
    let tell = closed.clone();
    let to = origin(move |_, mut peer| {
        let tell = tell.clone();
        async move {
            peer.head().await;
            peer.send(OK).await;
            assert_eq!(peer.rest().await, "");
            tell.notify_one();
        }
    })
    .await;
    (to, closed)
}

#[test]
fn an_upstream_connection_at_rest_is_closed_when_its_time_is_over() {
    local(async {
        let (to, closed) = watched().await;
        let mut setup = Setup::to([to]);
        setup.idle_timeout = Duration::from_millis(50);
        let rig = setup.start().await;
        let mut client = rig.connect().await;
        client.send(GET).await;
        client.message().await;
        closed.notified().await;
        assert_eq!(rig.worker.population(), (1, 0));
    });
}

#[test]
fn connections_at_rest_are_closed_when_their_cluster_is_gone() {
    local(async {
        let (to, closed) = watched().await;
        let mut rig = Setup::to([to]).start().await;
        rig.ask(GET).await;
        rig.builder.remove_cluster(&"c".into(), Instant::now());
        // Without waiting for routes to let go of it.
        rig.builder.commit_unready(Instant::now());
        closed.notified().await;
        let answer = rig.ask(GET).await;
        assert_eq!(flag(&answer), "NC", "{answer}");
    });
}

#[test]
fn requests_that_would_wait_beyond_the_circuit_breaker_are_refused() {
    local(async {
        let (go, gone) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (goes, came) = (go.clone(), gone.clone());
        let to = origin(move |_, mut peer| {
            let (goes, came) = (goes.clone(), came.clone());
            async move {
                peer.head().await;
                came.notify_one();
                goes.notified().await;
                peer.send(OK).await;
                peer.head().await;
                peer.send(OK).await;
            }
        })
        .await;
        let mut setup = Setup::to([to]);
        setup.cluster = Box::new(|cluster| {
            cluster.circuit_breakers.connections_max = 1;
            cluster.circuit_breakers.pending_max = 1;
        });
        let rig = setup.start().await;
        let (mut running, mut waiting) = (rig.connect().await, rig.connect().await);
        running.send(GET).await;
        gone.notified().await;
        waiting.send(GET).await;
        while rig.worker.population().1 < 2 {
            tokio::task::yield_now().await;
        }
        let answer = rig.ask(GET).await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert_eq!(flag(&answer), "UO");
        go.notify_one();
        for client in [&mut running, &mut waiting] {
            assert!(client.message().await.ends_with("\r\n\r\nok"));
        }
        let stats = rig.metrics.cluster(&"c".into());
        assert_eq!(stats.overflowed(crate::telemetry::Resource::Pending), 1);
    });
}

fn on_5xx() -> Option<Arc<RetryPolicy>> {
    Some(Arc::new(RetryPolicy {
        on: RetryOn {
            any_5xx: true,
            ..RetryOn::default()
        },
        retries_max: 3,
        per_try_timeout: None,
        backoff_base: Duration::from_millis(1),
        backoff_max: Duration::from_millis(2),
        body_limit_bytes: 1024,
    }))
}

#[test]
fn a_retry_holds_its_place_among_those_of_the_cluster_until_its_attempt_is_over() {
    local(async {
        let (go, again) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (goes, tells) = (go.clone(), again.clone());
        let counts = Rc::new(RefCell::new(HashMap::<String, usize>::new()));
        let to = origin(move |_, mut peer| {
            let (goes, tells, counts) = (goes.clone(), tells.clone(), counts.clone());
            async move {
                loop {
                    let head = peer.head().await;
                    let path = head.split(' ').nth(1).unwrap().to_owned();
                    let first = {
                        let mut counts = counts.borrow_mut();
                        let count = counts.entry(path).or_default();
                        *count += 1;
                        *count == 1
                    };
                    if !first {
                        tells.notify_one();
                        goes.notified().await;
                        peer.send(OK).await;
                        continue;
                    }
                    peer.send("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
                        .await;
                }
            }
        })
        .await;
        let mut setup = Setup::to([to]);
        setup.forward.retry = on_5xx();
        setup.cluster = Box::new(|cluster| {
            cluster.circuit_breakers.retries_max = 1;
            cluster.circuit_breakers.retry_budget = RetryBudget {
                percent: 0,
                per_second_min: 0,
            };
        });
        let rig = setup.start().await;
        let mut retrying = rig.connect().await;
        retrying.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
        again.notified().await;
        let refused = rig.ask("GET /b HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
        go.notify_one();
        assert!(retrying.message().await.ends_with("\r\n\r\nok"));
        let mut later = rig.connect().await;
        later.send("GET /c HTTP/1.1\r\nHost: a\r\n\r\n").await;
        again.notified().await;
        go.notify_one();
        assert!(later.message().await.ends_with("\r\n\r\nok"));
    });
}

#[test]
fn a_retry_that_no_answer_has_paid_for_is_not_made() {
    local(async {
        let to = origin(|_, mut peer| async move {
            peer.head().await;
            peer.send("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
                .await;
            assert_eq!(peer.rest().await, "", "tried again");
        })
        .await;
        let mut setup = Setup::to([to]);
        setup.forward.retry = on_5xx();
        setup.cluster = Box::new(|cluster| {
            cluster.circuit_breakers.retry_budget = RetryBudget {
                percent: 20,
                per_second_min: 0,
            };
        });
        let rig = setup.start().await;
        let answer = rig.ask(GET).await;
        assert!(answer.starts_with("HTTP/1.1 503 Busy"), "{answer}");
        let stats = rig.metrics.cluster(&"c".into());
        assert_eq!(stats.overflowed(crate::telemetry::Resource::Retry), 1);
    });
}

#[test]
fn a_short_answer_that_is_thrown_away_leaves_its_connection_to_the_next_attempt() {
    local(async {
        let to = origin(|count, mut peer| async move {
            assert_eq!(count, 0, "a second upstream connection");
            peer.until("hello").await;
            peer.send("HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nbusy")
                .await;
            peer.until("hello").await;
            peer.send(OK).await;
        })
        .await;
        let mut setup = Setup::to([to]);
        setup.forward.retry = on_5xx();
        let rig = setup.start().await;
        let answer = rig
            .ask("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
            .await;
        assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    });
}

#[test]
fn an_answer_that_is_thrown_away_before_it_is_whole_costs_its_connection() {
    local(async {
        let to = origin(|count, mut peer| async move {
            peer.head().await;
            if count > 0 {
                return peer.send(OK).await;
            }
            peer.send("HTTP/1.1 503 No\r\nContent-Length: 40\r\n\r\nbusy")
                .await;
            assert_eq!(peer.rest().await, "");
        })
        .await;
        let mut setup = Setup::to([to]);
        setup.forward.retry = on_5xx();
        let answer = setup.start().await.ask(GET).await;
        assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    });
}

#[test]
fn an_answer_says_whether_the_route_or_the_budget_ended_its_attempts() {
    for (percent, says) in [
        (100, "; retries are used up"),
        (0, "; the cluster's retry budget is spent"),
    ] {
        local(async move {
            let to = origin(|_, mut peer| async move {
                peer.head().await;
            })
            .await;
            let mut setup = Setup::to([to]);
            setup.forward.retry = on_5xx();
            setup.cluster = Box::new(move |cluster| {
                cluster.circuit_breakers.retries_max = 0;
                cluster.circuit_breakers.retry_budget = RetryBudget {
                    percent,
                    per_second_min: 0,
                };
            });
            let answer = setup.start().await.ask(GET).await;
            assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
            assert!(answer.contains("closed the connection"), "{answer}");
            assert!(answer.contains(says), "{answer}");
        });
    }
}
