//! Tunnels of which one side has closed and the other never ends.

use http::Response;

use super::http2::{UPGRADE, endpoint, with_upgrades};
use super::*;

const SWITCHES: &str = "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";

/// A cluster that takes one request at a time, of which half a tunnel may be silent for a moment.
fn one_at_a_time(mut setup: Setup) -> Setup {
    setup.requests_max = 1;
    setup.tunnel.half_closed_timeout = Duration::from_millis(50);
    setup.upgrades = vec!["websocket".into()];
    setup
}

impl Rig {
    /// A client that has become one side of a tunnel.
    async fn tunnel(&self) -> Peer {
        let mut client = self.connect().await;
        client.send(UPGRADE).await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        client
    }

    /// What the tunnel held is free: another finds room.
    async fn has_room(&self) {
        let mut answer = String::new();
        for _ in 0..2000 {
            let mut client = self.connect().await;
            client.send(UPGRADE).await;
            answer = client.head().await;
            if answer.starts_with("HTTP/1.1 101 ") {
                return;
            }
            tokio::time::sleep_until(Instant::now() + Duration::from_millis(5)).await;
        }
        panic!("{answer}");
    }

    fn half_closed(&self) -> u64 {
        self.metrics.limits.get(Limit::HalfClosedTime)
    }
}

/// Reads until the proxy cuts the tunnel.
async fn is_cut(mut peer: Peer) {
    let mut rest = Vec::new();
    let end = timeout(Duration::from_secs(10), peer.0.read_to_end(&mut rest)).await;
    assert!(matches!(end, Ok(Err(_))), "{end:?} {rest:?}");
}

#[test]
fn a_tunnel_whose_client_has_closed_ends_though_its_endpoint_never_does() {
    local(async {
        let to = origin(|_, mut peer| async move {
            peer.head().await;
            peer.send(SWITCHES).await;
            std::future::pending::<()>().await;
        })
        .await;
        let rig = one_at_a_time(Setup::to([to])).start().await;
        let mut client = rig.tunnel().await;
        client.0.shutdown().await.unwrap();
        is_cut(client).await;
        assert_eq!(rig.half_closed(), 1);
        rig.has_room().await;
    });
}

#[test]
fn a_tunnel_whose_endpoint_has_closed_ends_though_its_client_never_does() {
    local(async {
        let to = origin(|_, mut peer| async move {
            peer.head().await;
            peer.send(SWITCHES).await;
            peer.0.shutdown().await.unwrap();
            std::future::pending::<()>().await;
        })
        .await;
        let rig = one_at_a_time(Setup::to([to])).start().await;
        let mut client = rig.tunnel().await;
        assert_eq!(client.rest().await, "");
        rig.has_room().await;
        assert!(rig.half_closed() >= 1);
    });
}

#[test]
fn a_stream_that_is_half_a_tunnel_ends_likewise() {
    local(async {
        let to = endpoint(
            |builder| {
                builder.enable_connect_protocol();
            },
            |_, mut respond| async move {
                let _open = respond.send_response(Response::new(()), false).unwrap();
                std::future::pending::<()>().await;
            },
        )
        .await;
        let rig = one_at_a_time(with_upgrades(to)).start().await;
        let mut client = rig.tunnel().await;
        client.0.shutdown().await.unwrap();
        is_cut(client).await;
        assert_eq!(rig.half_closed(), 1);
        rig.settles().await;
        rig.has_room().await;
    });
}

#[test]
fn half_a_tunnel_lives_for_as_long_as_bytes_pass() {
    local(async {
        let to = origin(|_, mut peer| async move {
            peer.head().await;
            peer.send(SWITCHES).await;
            assert_eq!(peer.rest().await, "the last word");
            for word in ["long ", "after ", "it"] {
                peer.send(word).await;
                tokio::task::yield_now().await;
            }
        })
        .await;
        let mut setup = one_at_a_time(Setup::to([to]));
        setup.tunnel.half_closed_timeout = Duration::from_secs(60);
        let rig = setup.start().await;
        let mut client = rig.tunnel().await;
        client.send("the last word").await;
        client.0.shutdown().await.unwrap();
        assert_eq!(client.rest().await, "long after it");
        assert_eq!(rig.half_closed(), 0);
    });
}
