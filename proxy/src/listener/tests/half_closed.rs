//! Plain TCP connections of which one side has closed.

use crate::telemetry::Resource;

use super::*;

/// An upstream that hears everything and never ends.
async fn silent() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            kept.push(stream);
        }
    });
    address
}

#[tokio::test]
async fn half_a_connection_that_is_silent_gives_its_place_in_the_cluster_back() {
    let tunnel = TunnelLimits {
        half_closed_timeout: Duration::from_millis(50),
        ..TunnelLimits::default()
    };
    let mut proxy = Proxy::start_from(1, 1000, Beyond::Wait, tunnel);
    let cluster = proxy.cluster(&[silent().await]);
    let faults = proxy.apply(&[(listener("a", "127.0.0.1:0", tcp()), Some(cluster.clone()))]);
    assert!(faults.is_empty(), "{faults:?}");
    let mut half = proxy.connect("a").await;
    let whole = proxy.connect("a").await;
    let held = || cluster.stats.active(Resource::Connection);
    eventually("both are passed on", || held() == 2).await;
    half.shutdown().await.unwrap();
    eventually("one is cut", || held() == 1).await;
    assert_eq!(proxy.metrics.limits.get(Limit::HalfClosedTime), 1);
    let mut rest = Vec::new();
    let end = timeout(Duration::from_secs(10), half.read_to_end(&mut rest)).await;
    assert!(matches!(end, Ok(Err(_))), "{end:?} {rest:?}");
    // Silence alone is no matter.
    assert_eq!(held(), 1);
    drop(whole);
    eventually("the other has gone", || held() == 0).await;
}
