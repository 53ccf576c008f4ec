use std::future::pending;
use std::io::ErrorKind;
use std::net::Shutdown;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::timeout;

use super::*;
use crate::drain::{Drain, DrainTimes};

mod silence;

/// A connected pair: what a client or server holds, and what the tunnel holds.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (near, far) = tokio::join!(
        TcpStream::connect(listener.local_addr().unwrap()),
        listener.accept()
    );
    (near.unwrap(), far.unwrap().0)
}

struct Rig {
    client: TcpStream,
    server: TcpStream,
    tunnel: JoinHandle<Ends>,
    pools: Pools,
    /// A drain that is gone counts as over.
    _drain: Drain,
}

async fn rig(limits: TunnelLimits, idle_timeout: Duration, drain: &Drain, preread: Preread) -> Rig {
    let pools = Pools::new(limits);
    let (client, down) = pair().await;
    let (server, up) = pair().await;
    let options = TunnelOptions {
        preread,
        idle_timeout,
        drain: drain.watch(),
    };
    let shared = pools.clone();
    let tunnel = spawn_local(async move { run(&shared, down, up, options, pending()).await });
    Rig {
        client,
        server,
        tunnel,
        pools,
        _drain: drain.clone(),
    }
}

async fn plain_rig() -> Rig {
    rig(
        TunnelLimits::default(),
        Duration::ZERO,
        &Drain::new(DrainTimes::default()),
        Preread::default(),
    )
    .await
}

/// Runs `test` as a worker would, within 20 s.
async fn on_worker<T>(test: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), LocalSet::new().run_until(test))
        .await
        .expect("within 20 s")
}

fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| rng.u8(..)).take(len).collect()
}

#[tokio::test]
async fn half_close_is_passed_on_each_way_and_the_other_way_lives_on() {
    on_worker(async {
        for client_first in [true, false] {
            let Rig {
                client,
                server,
                tunnel,
                _drain,
                ..
            } = plain_rig().await;
            let (mut first, mut second) = if client_first {
                (client, server)
            } else {
                (server, client)
            };
            first.write_all(b"question").await.unwrap();
            first.shutdown().await.unwrap();
            let mut heard = Vec::new();
            second.read_to_end(&mut heard).await.unwrap();
            assert_eq!(heard, b"question");
            second.write_all(b"a longer answer").await.unwrap();
            second.shutdown().await.unwrap();
            heard.clear();
            first.read_to_end(&mut heard).await.unwrap();
            assert_eq!(heard, b"a longer answer");
            let ends = tunnel.await.unwrap();
            let (to_upstream, to_downstream) = if client_first { (8, 15) } else { (15, 8) };
            assert_eq!(
                ends,
                Ends {
                    to_upstream,
                    to_downstream,
                    close: Close::Orderly
                }
            );
        }
    })
    .await;
}

/// Both ways at once, one reader slow; every byte arrives in order and no pipe stays behind.
async fn both_ways(limits: TunnelLimits) {
    const LEN: usize = 8 << 20;
    let Rig {
        client,
        server,
        tunnel,
        pools,
        _drain,
    } = rig(
        limits,
        Duration::ZERO,
        &Drain::new(DrainTimes::default()),
        Preread::default(),
    )
    .await;
    let send = |mut half: tokio::net::tcp::OwnedWriteHalf, seed| async move {
        half.write_all(&pattern(LEN, seed)).await.unwrap();
        half.shutdown().await.unwrap();
    };
    let receive = |mut half: tokio::net::tcp::OwnedReadHalf, chunk: usize| async move {
        let mut all = Vec::new();
        let mut buffer = vec![0; chunk];
        loop {
            match half.read(&mut buffer).await.unwrap() {
                0 => return all,
                n => all.extend_from_slice(&buffer[..n]),
            }
            tokio::task::yield_now().await;
        }
    };
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let ((), (), at_client, at_server) = tokio::join!(
        send(client_write, 1),
        send(server_write, 2),
        receive(client_read, 3000),
        receive(server_read, 1 << 20),
    );
    assert!(at_server == pattern(LEN, 1), "client to server");
    assert!(at_client == pattern(LEN, 2), "server to client");
    let ends = tunnel.await.unwrap();
    assert_eq!(
        (ends.to_upstream, ends.to_downstream, ends.close),
        (LEN as u64, LEN as u64, Close::Orderly)
    );
    assert_eq!(pools.pipes_in_use(), 0);
}

#[tokio::test]
async fn bytes_arrive_in_order_both_ways_at_once_by_splice() {
    on_worker(both_ways(TunnelLimits::default())).await;
}

#[tokio::test]
async fn bytes_arrive_in_order_both_ways_at_once_without_pipes() {
    on_worker(both_ways(TunnelLimits {
        pipes_max: 0,
        ..TunnelLimits::default()
    }))
    .await;
}

#[tokio::test]
async fn bytes_arrive_in_order_when_every_read_is_spliced() {
    on_worker(both_ways(TunnelLimits {
        scratch_bytes: 1,
        ..TunnelLimits::default()
    }))
    .await;
}

#[tokio::test]
async fn a_connection_at_rest_after_a_transfer_owns_no_pipe() {
    on_worker(async {
        let mut rig = plain_rig().await;
        let sent = pattern(1 << 20, 3);
        let mut heard = vec![0; sent.len()];
        let (wrote, read) = tokio::join!(
            rig.client.write_all(&sent),
            rig.server.read_exact(&mut heard)
        );
        wrote.unwrap();
        read.unwrap();
        assert!(heard == sent);
        rig.client.write_all(b"x").await.unwrap();
        rig.server.read_exact(&mut heard[..1]).await.unwrap();
        tokio::task::yield_now().await;
        assert_eq!(rig.pools.pipes_in_use(), 0);
    })
    .await;
}

#[tokio::test]
async fn bytes_read_before_come_first() {
    on_worker(async {
        let preread = Preread {
            from_downstream: b"abc".to_vec(),
            from_upstream: b"xyz".to_vec(),
        };
        let drain = Drain::new(DrainTimes::default());
        let Rig {
            mut client,
            mut server,
            tunnel,
            ..
        } = rig(TunnelLimits::default(), Duration::ZERO, &drain, preread).await;
        client.write_all(b"def").await.unwrap();
        client.shutdown().await.unwrap();
        server.shutdown().await.unwrap();
        let (mut at_server, mut at_client) = (Vec::new(), Vec::new());
        server.read_to_end(&mut at_server).await.unwrap();
        client.read_to_end(&mut at_client).await.unwrap();
        assert_eq!(
            (at_server.as_slice(), at_client.as_slice()),
            (&b"abcdef"[..], &b"xyz"[..])
        );
        assert_eq!(
            tunnel.await.unwrap(),
            Ends {
                to_upstream: 6,
                to_downstream: 3,
                close: Close::Orderly
            }
        );
    })
    .await;
}

#[tokio::test]
async fn a_reset_is_passed_on_each_way() {
    on_worker(async {
        for client_resets in [true, false] {
            let Rig {
                client,
                server,
                tunnel,
                _drain,
                ..
            } = plain_rig().await;
            let (one, mut other) = if client_resets {
                (client, server)
            } else {
                (server, client)
            };
            SockRef::from(&one)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
            drop(one);
            assert_eq!(
                other.read(&mut [0; 8]).await.unwrap_err().kind(),
                ErrorKind::ConnectionReset
            );
            let expected = if client_resets {
                Close::DownstreamReset
            } else {
                Close::UpstreamReset
            };
            assert_eq!(tunnel.await.unwrap().close, expected);
        }
    })
    .await;
}

#[tokio::test]
async fn what_a_server_said_before_it_reset_is_delivered() {
    on_worker(async {
        let Rig {
            mut client,
            server,
            tunnel,
            _drain,
            ..
        } = plain_rig().await;
        client.write_all(b"unread").await.unwrap();
        server.readable().await.unwrap();
        server.try_write(b"go away").unwrap();
        // Closing with bytes unread sends a RST after the answer.
        drop(server);
        let mut heard = [0; 7];
        client.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"go away");
        assert_eq!(
            client.read(&mut [0; 8]).await.unwrap_err().kind(),
            ErrorKind::ConnectionReset
        );
        assert_eq!(tunnel.await.unwrap().close, Close::UpstreamReset);
    })
    .await;
}

#[tokio::test]
async fn a_tunnel_is_cut_when_the_drain_is_over_and_not_before() {
    on_worker(async {
        let drain = Drain::new(DrainTimes {
            grace: Duration::ZERO,
            total: Duration::from_millis(50),
        });
        let Rig {
            mut client,
            mut server,
            tunnel,
            ..
        } = rig(
            TunnelLimits::default(),
            Duration::ZERO,
            &drain,
            Preread::default(),
        )
        .await;
        let _open = drain.connection();
        drain.quit();
        client.write_all(b"still").await.unwrap();
        server.read_exact(&mut [0; 5]).await.unwrap();
        drain.run().await;
        assert_eq!(tunnel.await.unwrap().close, Close::Drained);
        let _ = SockRef::from(&server).shutdown(Shutdown::Both);
    })
    .await;
}
