//! The configuration of a run.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use weft_config::cluster::{CircuitBreakers, Cluster, Discovery, UpstreamProtocol};
use weft_config::http2::{Http2Keepalive, Http2Options};
use weft_config::listener::Listener;
use weft_config::policy::{RetryOn, RetryPolicy};
use weft_config::route::{Forward, GrpcTimeout, RouteTimeout};

use super::calls::UNAVAILABLE;
use crate::http::pump::tests::Setup;

/// What is in force during a run.
pub(super) struct Terms {
    /// Some requests ask for tunnels.
    pub(super) tunnels: bool,
    /// Nothing fails, so that every answer is to be whole.
    pub(super) clean: bool,
    pub(super) retries: bool,
    /// Some requests are gRPC calls, and their deadlines are obeyed.
    pub(super) calls: bool,
    pub(super) obeys: bool,
    /// What may be under way on an HTTP/2 connection, downstream and upstream.
    pub(super) windows: (i64, i64),
    /// The same of a stream, which has the least of them before settings are acknowledged.
    pub(super) stream_windows: (i64, i64),
    /// Bytes of an exchange that may be held, per direction.
    pub(super) stash_max: usize,
    /// The clusters of a run are like this one.
    pub(super) cluster: Cluster,
    /// One whose requests go to each of [`CLUSTERS`].
    pub(super) listeners: [Arc<Listener>; 2],
    /// Whether others may take the place of endpoints, and a cluster may go and come again.
    pub(super) replaces: bool,
}

impl Terms {
    pub(super) fn draw(rng: &mut Rng, clean: bool) -> Self {
        // Where connections are few, requests to one endpoint find that another has them all.
        let endpoints = 1 + usize::from(!clean && rng.bool());
        let addresses = ["10.0.0.1:80", "10.0.0.2:80"].map(|address| address.parse().unwrap());
        let mut setup = Setup::to(addresses.into_iter().take(endpoints));
        setup.limits.buffer_bytes_max = *rng.choice(&[1, 1000, 65_536, 3_000_000]).unwrap();
        setup.limits.requests_per_connection_max = *rng.choice(&[0, 0, 2]).unwrap();
        setup.forward.timeout = (!clean && rng.bool()).then_some(Duration::from_secs(10));
        let tunnels = !clean || rng.bool();
        setup.limits.http2 = draw_http2(rng);
        setup.upgrades = vec!["websocket".into()];
        setup.forward.terminate_connect = true;
        setup.connect = true;
        let (calls, obeys) = (rng.u8(..3) > 0, rng.bool());
        setup.forward.grpc_timeout = obeys.then_some(GrpcTimeout {
            max: None,
            offset: Duration::ZERO,
            timeout: RouteTimeout::Holds,
        });
        let retries = !clean && rng.bool();
        let body_limit_bytes = *rng.choice(&[0, 1000, 65_536]).unwrap();
        setup.forward.retry = retries.then(|| Arc::new(retry_policy(rng, body_limit_bytes)));
        // Without a policy of its own a request has the default one.
        let kept_max = if retries { body_limit_bytes } else { 65_536 };
        let stash_max = setup.limits.buffer_bytes_max + kept_max;
        let mut cluster = setup.cluster();
        cluster.protocol = *rng.choice(&PROTOCOLS).unwrap();
        cluster.http2 = draw_http2(rng);
        cluster.circuit_breakers = CircuitBreakers {
            connections_max: match cluster.protocol {
                // What is open to an endpoint over one protocol leaves none for the other, and a tunnel none at all.
                _ if clean && tunnels => 1024,
                UpstreamProtocol::Downstream if clean => 1024,
                _ => *rng.choice(&[1, 2, 1024]).unwrap(),
            },
            pending_max: if clean { 1024 } else { rng.u32(1..10) },
            requests_max: if clean { 1024 } else { rng.u32(1..10) },
            ..CircuitBreakers::default()
        };
        cluster.requests_per_connection_max = *rng.choice(&[0, 0, 1, 3]).unwrap();
        Self {
            tunnels,
            clean,
            retries,
            calls,
            obeys,
            stream_windows: (
                setup.limits.http2.stream_window_bytes.max(65_535).into(),
                cluster.http2.stream_window_bytes.max(65_535).into(),
            ),
            windows: (
                setup.limits.http2.connection_window_bytes.into(),
                cluster.http2.connection_window_bytes.into(),
            ),
            stash_max,
            // Where connections are few, those to an endpoint that is gone leave none for what takes its place.
            replaces: !clean || cluster.circuit_breakers.connections_max == 1024,
            cluster,
            listeners: CLUSTERS.map(|name| Arc::new(listener_to(name, &setup))),
        }
    }
}

/// The clusters that there are in a run, not always all of them.
pub(super) const CLUSTERS: [&str; 2] = ["c", "d"];

/// Endpoints like these and no others, as a cluster has them.
pub(super) fn discovery(endpoints: &[&str]) -> Discovery {
    let addresses = endpoints.iter().map(|address| address.parse().unwrap());
    Setup::to(addresses).cluster().discovery
}

fn listener_to(cluster: &str, setup: &Setup) -> Listener {
    let mut forward = setup.forward.clone();
    forward.clusters = Forward::to(cluster.into()).clusters;
    let other = Setup {
        forward,
        limits: setup.limits,
        upgrades: setup.upgrades.clone(),
        connect: setup.connect,
        ..Setup::to([])
    };
    other.listener()
}

const PROTOCOLS: [UpstreamProtocol; 3] = [
    UpstreamProtocol::Http1,
    UpstreamProtocol::Http2,
    UpstreamProtocol::Downstream,
];

fn draw_http2(rng: &mut Rng) -> Http2Options {
    let keepalive = Http2Keepalive {
        interval: Duration::from_secs(20),
        timeout: Duration::from_secs(5),
        jitter_percent: 15.0,
    };
    Http2Options {
        streams_max: *rng.choice(&[1, 2, 5, 1024]).unwrap(),
        stream_window_bytes: *rng.choice(&[100, 5000, 65_535, 1_000_000]).unwrap(),
        connection_window_bytes: *rng.choice(&[65_535, 1_000_000]).unwrap(),
        keepalive: (rng.u8(..4) == 0).then_some(keepalive),
        allow_connect: true,
        ..Http2Options::default()
    }
}

fn retry_policy(rng: &mut Rng, body_limit_bytes: usize) -> RetryPolicy {
    RetryPolicy {
        on: RetryOn {
            any_5xx: true,
            reset: rng.bool(),
            connect_failure: rng.bool(),
            grpc_codes: if rng.bool() {
                vec![UNAVAILABLE]
            } else {
                vec![]
            },
            ..RetryOn::default()
        },
        retries_max: 2,
        per_try_timeout: rng.bool().then_some(Duration::from_secs(2)),
        backoff_base: Duration::from_millis(rng.u64(..2) * 20),
        backoff_max: Duration::from_millis(100),
        body_limit_bytes,
    }
}
