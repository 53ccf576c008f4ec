//! What is bound, who is let in, where connections live.

use super::*;

#[tokio::test]
async fn a_connection_lives_through_a_change_a_rename_and_the_end_of_its_listener() {
    let mut proxy = Proxy::start(2, 1000);
    let cluster = proxy.cluster(&[echo(b"").await]);
    let port = nobody().await.port();
    let address = format!("127.0.0.1:{port}");
    assert!(
        proxy
            .apply(&[(listener("a", &address, tcp()), Some(cluster.clone()))])
            .is_empty()
    );
    let mut old = proxy.connect("a").await;
    says(&mut old, b"one").await;

    let mut changed = listener("b", &address, tcp());
    changed.connections_max = Some(7);
    assert!(proxy.apply(&[(changed, Some(cluster))]).is_empty());
    says(&mut old, b"two").await;
    let mut new = proxy.connect("b").await;
    says(&mut new, b"three").await;
    let stats = proxy.metrics.listener(&"b".into(), Direction::Inbound);
    assert_eq!(
        stats.connections.get(),
        1,
        "the new connection is counted under the new name"
    );

    assert!(proxy.apply(&[]).is_empty());
    let bound: SocketAddr = address.parse().unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(bound).await.is_ok() {
        assert!(Instant::now() < until, "still listening");
    }
    says(&mut old, b"four").await;
    says(&mut new, b"five").await;
}

#[tokio::test]
async fn an_address_that_is_taken_is_told_and_the_others_are_bound() {
    let mut proxy = Proxy::start(2, 1000);
    let cluster = proxy.cluster(&[echo(b"").await]);
    let foreign = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    // Even one that would share the port.
    foreign.set_reuse_port(true).unwrap();
    foreign
        .bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into())
        .unwrap();
    foreign.listen(1).unwrap();
    let taken = foreign
        .local_addr()
        .unwrap()
        .as_socket()
        .unwrap()
        .to_string();
    let listeners = [
        (listener("taken", &taken, tcp()), None),
        (listener("elsewhere", "192.0.2.1:80", tcp()), None),
        (listener("good", "127.0.0.1:0", tcp()), Some(cluster)),
    ];
    let errors = proxy.apply(&listeners);
    assert!(
        matches!(
            &errors[..],
            [BindError::Taken { .. }, BindError::Other { .. }]
        ),
        "{errors:?}"
    );
    assert_eq!(&**errors[0].listener(), "taken");
    says(&mut proxy.connect("good").await, b"hello").await;
    assert!(matches!(
        proxy.set.reserve(&listeners[0].0),
        Err(BindError::Taken { .. })
    ));
}

#[tokio::test]
async fn two_listeners_cannot_have_one_address() {
    let mut proxy = Proxy::start(1, 1000);
    let address = nobody().await.to_string();
    let errors = proxy.apply(&[
        (listener("a", &address, tcp()), None),
        (listener("b", &address, tcp()), None),
    ]);
    let [BindError::TakenByListener { listener, by, .. }] = &errors[..] else {
        panic!("{errors:?}");
    };
    assert_eq!((&**listener, &**by), ("b", "a"));
}

#[tokio::test]
async fn what_was_reserved_accepts_when_applied_and_is_given_back_when_not() {
    let mut proxy = Proxy::start(2, 1000);
    let cluster = proxy.cluster(&[echo(b"").await]);
    let (one, other) = (nobody().await, nobody().await);
    let (published, dropped) = (
        listener("published", &one.to_string(), tcp()),
        listener("dropped", &other.to_string(), tcp()),
    );
    proxy.set.reserve(&published).unwrap();
    proxy.set.reserve(&dropped).unwrap();
    assert!(
        TcpStream::connect(one).await.is_err(),
        "reserved, not listening"
    );
    assert!(proxy.apply(&[(published, Some(cluster))]).is_empty());
    says(&mut proxy.connect("published").await, b"hello").await;
    assert!(std::net::TcpListener::bind(other).is_ok());
}

#[tokio::test]
async fn an_ipv6_wildcard_takes_ipv4_too() {
    let mut proxy = Proxy::start(1, 1000);
    let cluster = proxy.cluster(&[echo(b"").await]);
    assert!(
        proxy
            .apply(&[(listener("a", "[::]:0", tcp()), Some(cluster))])
            .is_empty()
    );
    let port = proxy.address("a").port();
    for ip in ["127.0.0.1", "::1"] {
        let address = SocketAddr::new(ip.parse().unwrap(), port);
        says(&mut TcpStream::connect(address).await.unwrap(), b"hello").await;
    }
}

#[tokio::test]
async fn connections_beyond_the_listeners_bound_are_refused_until_one_closes() {
    let mut proxy = Proxy::start(2, 1000);
    let cluster = proxy.cluster(&[echo(b"").await]);
    let mut bounded = listener("a", "127.0.0.1:0", tcp());
    bounded.connections_max = Some(1);
    assert!(proxy.apply(&[(bounded, Some(cluster))]).is_empty());
    let mut first = proxy.connect("a").await;
    says(&mut first, b"one").await;
    let mut second = proxy.connect("a").await;
    assert_eq!(second.read(&mut [0]).await.unwrap_or(0), 0);
    assert_eq!(proxy.metrics.limits.get(Limit::Connections), 1);
    drop(first);
    eventually("the first is gone", || proxy.drain.open() == 0).await;
    says(&mut proxy.connect("a").await, b"three").await;
}

#[tokio::test]
async fn connections_beyond_the_processs_bound_wait_until_one_closes() {
    let mut proxy = Proxy::start(1, 1);
    let cluster = proxy.cluster(&[echo(b"").await]);
    assert!(
        proxy
            .apply(&[(listener("a", "127.0.0.1:0", tcp()), Some(cluster))])
            .is_empty()
    );
    let mut first = proxy.connect("a").await;
    says(&mut first, b"one").await;
    let mut second = proxy.connect("a").await;
    second.write_all(b"two").await.unwrap();
    eventually("the bound is met", || {
        proxy.metrics.limits.get(Limit::Connections) == 1
    })
    .await;
    says(&mut first, b"more").await;
    drop(first);
    hears(&mut second, b"two").await;
}

#[tokio::test]
async fn a_worker_that_accepts_everything_hands_over_to_the_idle_one() {
    let mut proxy = Proxy::start(2, 1000);
    let cluster = proxy.cluster(&[echo(b"").await]);
    let config = listener("a", "127.0.0.1:0", tcp());
    // A first address only so that the snapshot has the listener; then one socket, for worker 0 alone.
    assert!(
        proxy
            .apply(&[(config.clone(), Some(cluster.clone()))])
            .is_empty()
    );
    let sockets = bind(
        "127.0.0.1:0".parse().unwrap(),
        1,
        Sharing::Exclusive,
        Takes::Own,
    )
    .unwrap();
    let address = super::super::bind::local(&sockets[0]).unwrap();
    let bound = Arc::new(Bound::new(
        u64::MAX,
        address,
        Settings::of(&config, &proxy.metrics),
    ));
    let workers = proxy.set.workers();
    for socket in sockets {
        workers.tell(
            0,
            Command::Listen(bound.clone(), super::super::bind::listen(socket).unwrap()),
        );
    }
    let mut kept = Vec::new();
    for _ in 0..60 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        says(&mut stream, b"hello").await;
        kept.push(stream);
    }
    let loads = proxy.set.workers().loads();
    assert_eq!(loads.iter().sum::<usize>(), 60);
    assert!(loads[0] - loads[1] <= 20 && loads[1] >= 18, "{loads:?}");
    let stats = proxy.metrics.listener(&"a".into(), Direction::Inbound);
    assert_eq!(stats.handovers.get(), loads[1] as u64);
    for stream in &mut kept {
        says(stream, b"still here").await;
    }
}

#[tokio::test]
async fn an_endpoint_that_refuses_is_passed_over_for_another() {
    let mut proxy = Proxy::start(1, 1000);
    let cluster = proxy.cluster(&[nobody().await, echo(b"").await]);
    assert!(
        proxy
            .apply(&[(listener("a", "127.0.0.1:0", tcp()), Some(cluster.clone()))])
            .is_empty()
    );
    for _ in 0..4 {
        says(&mut proxy.connect("a").await, b"hello").await;
    }
    assert!(
        cluster.stats.connect_failures.get() >= 1,
        "both endpoints were tried"
    );
}

#[tokio::test]
async fn a_connection_that_cannot_go_on_is_reset() {
    let mut proxy = Proxy::start(1, 1000);
    let refusing = proxy.cluster(&[nobody().await]);
    assert!(
        proxy
            .apply(&[
                (listener("refused", "127.0.0.1:0", tcp()), Some(refusing)),
                (listener("unknown", "127.0.0.1:0", tcp()), None),
            ])
            .is_empty()
    );
    for name in ["refused", "unknown"] {
        // The reset may be faster than the client's own look at its connection.
        let read = async {
            TcpStream::connect(proxy.address(name))
                .await?
                .read(&mut [0])
                .await
        };
        let error = read.await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{name}");
    }
}

#[tokio::test]
async fn a_drain_closes_listeners_keeps_connections_and_ends_with_the_last() {
    let mut proxy = Proxy::start(2, 1000);
    let cluster = proxy.cluster(&[echo(b"").await]);
    assert!(
        proxy
            .apply(&[(listener("a", "127.0.0.1:0", tcp()), Some(cluster.clone()))])
            .is_empty()
    );
    let address = proxy.address("a");
    let mut old = proxy.connect("a").await;
    says(&mut old, b"one").await;
    let driver = tokio::spawn({
        let drain = proxy.drain.clone();
        async move { drain.run().await }
    });
    proxy.drain.quit();
    proxy.drain.watch().reached(Phase::Closed).await;
    let until = Instant::now() + Duration::from_secs(4);
    while TcpStream::connect(address).await.is_ok() {
        assert!(Instant::now() < until, "still listening");
    }
    says(&mut old, b"two").await;
    assert!(
        proxy
            .apply(&[(listener("late", "127.0.0.1:0", tcp()), Some(cluster))])
            .is_empty()
    );
    assert!(proxy.set.addresses().all(|(name, _)| &**name != "late"));
    drop(old);
    timeout(Duration::from_secs(10), driver)
        .await
        .expect("done with the last connection")
        .unwrap();
    for thread in proxy.set.take_threads() {
        tokio::task::spawn_blocking(|| thread.join().unwrap())
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn connections_beyond_the_processs_bound_are_closed_where_that_is_asked_for() {
    let mut proxy = Proxy::start_with(1, 1, Beyond::Refuse);
    let cluster = proxy.cluster(&[echo(b"").await]);
    assert!(
        proxy
            .apply(&[(listener("a", "127.0.0.1:0", tcp()), Some(cluster))])
            .is_empty()
    );
    let mut first = proxy.connect("a").await;
    says(&mut first, b"one").await;
    let mut second = proxy.connect("a").await;
    assert_eq!(second.read(&mut [0]).await.unwrap_or(0), 0);
    assert_eq!(proxy.metrics.limits.get(Limit::Connections), 1);
    says(&mut first, b"more").await;
}

#[tokio::test]
async fn while_load_is_shed_new_connections_are_closed_and_old_ones_go_on() {
    let mut proxy = Proxy::start(1, 2);
    let cluster = proxy.cluster(&[echo(b"").await]);
    assert!(
        proxy
            .apply(&[(listener("a", "127.0.0.1:0", tcp()), Some(cluster))])
            .is_empty()
    );
    let mut old = [proxy.connect("a").await, proxy.connect("a").await];
    for stream in &mut old {
        says(stream, b"one").await;
    }
    // There is no room, so it waits in the backlog; closing reaches it there.
    let mut waits = proxy.connect("a").await;
    eventually("the bound is met", || {
        proxy.metrics.limits.get(Limit::Connections) == 1
    })
    .await;
    let shed = |share| {
        proxy
            .overload
            .set(Action::RejectConnections, share, Resource::Memory);
    };
    shed(ALL);
    assert_eq!(waits.read(&mut [0]).await.unwrap_or(0), 0);
    let mut new = proxy.connect("a").await;
    assert_eq!(new.read(&mut [0]).await.unwrap_or(0), 0);
    assert_eq!(proxy.metrics.limits.get(Limit::ShedConnections), 2);
    says(&mut old[0], b"two").await;
    shed(0);
    drop(old);
    eventually("the old ones are gone", || proxy.drain.open() == 0).await;
    says(&mut proxy.connect("a").await, b"three").await;
}

#[tokio::test]
async fn while_accepting_is_stopped_connections_wait_in_the_backlog() {
    let mut proxy = Proxy::start(1, 1000);
    let cluster = proxy.cluster(&[echo(b"").await]);
    assert!(
        proxy
            .apply(&[(listener("a", "127.0.0.1:0", tcp()), Some(cluster))])
            .is_empty()
    );
    let hold = |share| {
        proxy
            .overload
            .set(Action::StopConnections, share, Resource::Connections);
    };
    says(&mut proxy.connect("a").await, b"one").await;
    hold(ALL);
    // The loop was waiting for this one already.
    says(&mut proxy.connect("a").await, b"two").await;
    eventually("accepting is stopped", || {
        proxy.metrics.limits.get(Limit::ShedConnections) == 1
    })
    .await;
    let mut waits = proxy.connect("a").await;
    waits.write_all(b"three").await.unwrap();
    let stats = proxy.metrics.listener(&"a".into(), Direction::Inbound);
    assert_eq!(stats.connections.get(), 2);
    hold(0);
    hears(&mut waits, b"three").await;
}
