//! Pools that share the greatest number of connections of their cluster.

use weft_config::cluster::UpstreamProtocol;

use super::http2_peers::{answer, frame};
use super::*;

const SETTINGS: u8 = 4;
const HEADERS: u8 = 1;

/// An origin that speaks whatever it is spoken to in.
async fn of_both() -> SocketAddr {
    origin(|_, mut peer| async move {
        let mut first = [0; 4];
        peer.0.peek(&mut first).await.unwrap();
        if &first != b"PRI " {
            loop {
                peer.head().await;
                peer.send(OK).await;
            }
        }
        peer.read_preface().await;
        peer.send(frame(SETTINGS, 0, 0, &[])).await;
        while let Some((stream, _)) = peer.frame_of(HEADERS).await {
            peer.send(answer(stream)).await;
        }
    })
    .await
}

fn one_connection(endpoints: Vec<SocketAddr>) -> Setup {
    Setup {
        cluster: Box::new(|cluster| {
            cluster.protocol = UpstreamProtocol::Downstream;
            cluster.circuit_breakers.connections_max = 1;
        }),
        ..Setup::to(endpoints)
    }
}

#[test]
fn a_connection_at_rest_makes_room_for_one_of_the_other_protocol() {
    local(async {
        let rig = one_connection(vec![of_both().await]).start().await;
        for _ in 0..3 {
            rig.protocol.set(None);
            let answer = rig.ask(GET).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            rig.protocol.set(Some(Protocol::Http2));
            let stream = TcpStream::connect(rig.address).await.unwrap();
            let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
            spawn_local(async move { drop(connection.await) });
            let request = http::Request::get("http://a.example/").body(()).unwrap();
            let (answer, _) = client.send_request(request, true).unwrap();
            assert_eq!(answer.await.unwrap().status(), 200);
        }
        rig.settles().await;
    });
}

#[test]
fn a_connection_at_rest_makes_room_for_one_to_another_endpoint() {
    local(async {
        let endpoints = vec![of_both().await, of_both().await, of_both().await];
        let rig = one_connection(endpoints).start().await;
        for _ in 0..12 {
            let answer = rig.ask(GET).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
        rig.settles().await;
    });
}

#[test]
fn a_connection_that_comes_to_rest_makes_room_for_whom_another_pool_keeps_waiting() {
    local(async {
        let (release, released) = tokio::sync::watch::channel(false);
        let to = origin(move |_, mut peer| {
            let mut released = released.clone();
            async move {
                let mut first = [0; 4];
                peer.0.peek(&mut first).await.unwrap();
                if &first != b"PRI " {
                    while !peer.head().await.contains("/held") {
                        peer.send(OK).await;
                    }
                    return std::future::pending().await;
                }
                peer.read_preface().await;
                peer.send(frame(SETTINGS, 0, 0, &[])).await;
                let (stream, _) = peer.frame_of(HEADERS).await.unwrap();
                released.wait_for(|it| *it).await.unwrap();
                peer.send(answer(stream)).await;
                peer.rest().await;
            }
        })
        .await;
        let mut setup = one_connection(vec![to]);
        setup.cluster = Box::new(|cluster| {
            cluster.protocol = UpstreamProtocol::Downstream;
            cluster.circuit_breakers.connections_max = 2;
        });
        let rig = setup.start().await;
        let mut held = rig.connect().await;
        held.send(GET.replace("/x", "/held")).await;
        rig.holds(2).await;
        rig.protocol.set(Some(Protocol::Http2));
        let stream = TcpStream::connect(rig.address).await.unwrap();
        let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
        spawn_local(async move { drop(connection.await) });
        let request = http::Request::get("http://a.example/").body(()).unwrap();
        let (shared, _) = client.send_request(request, true).unwrap();
        rig.holds(4).await;
        // Both places are taken, by a request that never ends and by the other protocol.
        rig.protocol.set(None);
        let mut waits = rig.connect().await;
        waits.send(GET).await;
        rig.holds(5).await;
        release.send(true).unwrap();
        assert_eq!(shared.await.unwrap().status(), 200);
        assert!(waits.message().await.starts_with("HTTP/1.1 200 "));
    });
}

impl Rig {
    /// Waits until so many connections are open, of both sides.
    async fn holds(&self, connections: usize) {
        for _ in 0..2000 {
            if self.worker.population().0 >= connections {
                return;
            }
            tokio::time::sleep_until(Instant::now() + Duration::from_millis(5)).await;
        }
        panic!("{:?} instead of {connections}", self.worker.population());
    }
}
