//! Tunnels in which nothing moves.

use super::*;

#[tokio::test(start_paused = true)]
async fn silence_both_ways_ends_a_tunnel_and_bytes_put_it_off() {
    LocalSet::new()
        .run_until(async {
            let drain = Drain::new(DrainTimes::default());
            let limit = Duration::from_secs(60);
            let Rig {
                mut client,
                mut server,
                tunnel,
                ..
            } = rig(TunnelLimits::default(), limit, &drain, Preread::default()).await;
            let began = tokio::time::Instant::now();
            tokio::time::advance(Duration::from_secs(40)).await;
            server.write_all(b"x").await.unwrap();
            client.read_exact(&mut [0]).await.unwrap();
            assert_eq!(tunnel.await.unwrap().close, Close::Idle);
            assert!(
                began.elapsed() >= Duration::from_secs(100)
                    && began.elapsed() < Duration::from_secs(130)
            );
            assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn silence_ends_half_a_tunnel_sooner_than_a_whole_one_and_bytes_put_it_off() {
    for client_first in [true, false] {
        LocalSet::new()
            .run_until(async {
                let drain = Drain::new(DrainTimes::default());
                let Rig {
                    client,
                    server,
                    tunnel,
                    ..
                } = rig(
                    TunnelLimits::default(),
                    Duration::ZERO,
                    &drain,
                    Preread::default(),
                )
                .await;
                let (mut first, mut second) = match client_first {
                    true => (client, server),
                    false => (server, client),
                };
                // For as long as both are open, silence is no matter here.
                tokio::time::advance(Duration::from_secs(3600)).await;
                first.shutdown().await.unwrap();
                assert_eq!(second.read(&mut [0; 8]).await.unwrap(), 0);
                let began = tokio::time::Instant::now();
                tokio::time::advance(Duration::from_secs(40)).await;
                second.write_all(b"x").await.unwrap();
                first.read_exact(&mut [0]).await.unwrap();
                assert_eq!(tunnel.await.unwrap().close, Close::HalfClosed);
                let lived = began.elapsed().as_secs();
                assert!((100..130).contains(&lived), "{lived}");
                let error = first.read(&mut [0; 8]).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            })
            .await;
    }
}
