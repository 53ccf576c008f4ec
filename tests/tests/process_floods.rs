//! `weft-proxy` flooded by HTTP/2 clients and origins: each flood meets its bound, and everybody else is served.
//!
//! `WEFT_FLOODS` gives the connections that flood at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use http::Request;
use http_body_util::BodyExt;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{interval, timeout};
use weft_tests::bootstrap::{StaticCluster, one_listener};
use weft_tests::client::{LoadReport, SteadyLoad};
use weft_tests::content;
use weft_tests::eventually::eventually_within;
use weft_tests::flood::{End, Flood, HostileOrigin};
use weft_tests::http2::Http2;
use weft_tests::proxy::ProxyProcess;
use weft_tests::upstream::Upstream;

/// Bound of what comes true by itself, on a machine that has much else to do.
const STEP: Duration = Duration::from_secs(60);

/// What a connection that floods may have the proxy hold: what waits to be written to it, a frame, a field block, tables.
const HELD_KIB: u64 = 2 * 1024;

/// What each stream may have it hold that is not read: the window of its upstream.
const STREAM_KIB: u64 = 64;

/// Streams of a flood that downloads.
const STREAMS: u64 = 100;

/// What the allocator and everybody else may take besides.
const SLACK_KIB: u64 = 16 * 1024;

/// Connections to the origin that floods share with others.
const SHARED: &str = "weft_upstream_acquired_total{cluster=\"h2\",resource=\"connection\"}";

const ROUTES: &str = "{match: {prefix: /evil}, route: {cluster: evil, timeout: 2s}}, {match: {prefix: /h2}, route: {cluster: \
                      h2, timeout: 0s}}, {match: {prefix: /}, route: {cluster: h1}}";

/// A proxy, two honest origins and one that is not.
struct Scene {
    proxy: ProxyProcess,
    web: SocketAddr,
    _honest: [Upstream; 2],
}

impl Scene {
    async fn start(evil: SocketAddr) -> anyhow::Result<Self> {
        let honest = [Upstream::http("h1").await, Upstream::http2("h2").await];
        let [h1, h2] = &honest;
        let cluster = |name, address, http2| StaticCluster {
            name,
            address,
            http2,
        };
        let clusters = [
            cluster("h1", h1.address(), false),
            cluster("h2", h2.address(), true),
            cluster("evil", evil, true),
        ];
        let bootstrap = one_listener("request_headers_timeout: 1s,", ROUTES, &clusters);
        let proxy = ProxyProcess::start(&bootstrap, &["--concurrency", "1"]).await?;
        let web = proxy.address_of("web").await;
        Ok(Self {
            proxy,
            web,
            _honest: honest,
        })
    }
}

/// Requests of honest clients over both protocols, until they are asked how it went.
struct Honest {
    http1: SteadyLoad,
    http2: JoinHandle<anyhow::Result<u64>>,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
}

impl Honest {
    async fn start(web: SocketAddr) -> anyhow::Result<Self> {
        let (stop, done) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (stopped, counted) = (stop.clone(), done.clone());
        let client = Http2::connect(web).await?;
        let http2 = tokio::spawn(async move {
            let mut pace = interval(Duration::from_millis(5));
            while !stopped.load(Ordering::Relaxed) {
                pace.tick().await;
                let answer = client.get("web", "/h2").await?;
                ensure!(answer.status() == 200, "{answer:?}");
                counted.fetch_add(1, Ordering::Relaxed);
            }
            ensure!(!client.is_closed(), "the connection was closed");
            Ok(counted.load(Ordering::Relaxed))
        });
        Ok(Self {
            http1: SteadyLoad::start(web, "web", "/", 100, 2),
            http2,
            stop,
            done,
        })
    }

    /// Waits until so many more requests over HTTP/2 were answered.
    async fn served(&self, more: u64) -> anyhow::Result<()> {
        let enough = self.done.load(Ordering::Relaxed) + more;
        eventually_within(STEP, "honest requests", || async {
            let done = self.done.load(Ordering::Relaxed);
            ensure!(done >= enough || self.http2.is_finished(), "{done}");
            Ok(())
        })
        .await;
        Ok(())
    }

    async fn stop(self) -> anyhow::Result<(LoadReport, u64)> {
        self.stop.store(true, Ordering::Relaxed);
        let http1 = self.http1.stop().await;
        let http2 = self.http2.await?.context("HTTP/2")?;
        ensure!(http1.failures == 0, "{:?}", http1.first_failures);
        ensure!(http1.requests > 0 && http2 > 0, "nothing was asked");
        Ok((http1, http2))
    }
}

fn connections() -> anyhow::Result<u64> {
    match std::env::var("WEFT_FLOODS") {
        Ok(given) => given
            .parse()
            .with_context(|| format!("WEFT_FLOODS={given}")),
        Err(_) => Ok(4),
    }
}

/// One flood from some clients at once, all followed to their end while honest ones are served.
async fn clients_flood(scene: &Scene, flood: Flood, count: u64) -> anyhow::Result<()> {
    let (before, hits) = (
        scene.proxy.resident_kib()?,
        scene.proxy.limit_hits(flood.limit).await?,
    );
    let honest = Honest::start(scene.web).await?;
    honest.served(5).await?;
    let shared = scene.proxy.sample(SHARED).await?;
    let mut attacks = JoinSet::new();
    for _ in 0..count {
        let web = scene.web;
        attacks.spawn(async move { flood.attack(web).await });
    }
    let held = attacks.join_all().await;
    honest.served(20).await?;
    let during = scene.proxy.resident_kib()?;
    let streams = if flood.end == End::Held { STREAMS } else { 0 };
    let most = before + count * (HELD_KIB + streams * STREAM_KIB) + SLACK_KIB;
    println!("{}: {before} KiB, then {during} of {most}", flood.name);
    ensure!(during <= most, "{during} KiB are resident, not {most}");
    for client in held {
        flood.follow(client?).await?;
    }
    honest.served(5).await?;
    honest.stop().await?;
    if flood.end == End::Calm {
        // The origin counts resets too, and ends connections for them that honest requests share.
        let now = scene.proxy.sample(SHARED).await?;
        ensure!(now == shared, "{now} upstream connections, after {shared}");
    }
    let met = scene.proxy.limit_hits(flood.limit).await? - hits;
    ensure!(
        flood.limit.is_empty() || met >= count,
        "{} was met {met} times",
        flood.limit
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_client_harms_others() -> anyhow::Result<()> {
    let scene = Scene::start(SocketAddr::from(([127, 0, 0, 1], 1))).await?;
    for flood in Flood::of_clients() {
        let done = clients_flood(&scene, flood, connections()?).await;
        done.with_context(|| flood.name)?;
    }
    Ok(())
}

/// One flood from an origin at the requests of some clients, while others are served by honest origins.
async fn origin_floods(flood: Flood, count: u64) -> anyhow::Result<()> {
    let origin = HostileOrigin::start(flood).await?;
    let scene = Scene::start(origin.address()).await?;
    let honest = Honest::start(scene.web).await?;
    honest.served(5).await?;
    let before = scene.proxy.resident_kib()?;
    let client = Http2::connect(scene.web).await?;
    for _ in 0..count {
        let request = Request::get("http://web/evil").body(content::whole(""))?;
        let (head, body) = client.begin(request).await?.into_parts();
        let status = head.status.as_u16();
        ensure!([200, 502, 504].contains(&status), "{head:?}");
        // What was cut in its midst is seen to be.
        let whole = timeout(STEP, body.collect()).await?.map(|it| it.to_bytes());
        println!("{}: {status}, {whole:?}", flood.name);
        ensure!(!client.is_closed(), "the connection was closed");
    }
    let (during, most) = (
        scene.proxy.resident_kib()?,
        before + count * HELD_KIB + SLACK_KIB,
    );
    ensure!(during <= most, "{during} KiB are resident, not {most}");
    honest.served(5).await?;
    honest.stop().await?;
    if flood.end == End::Calm {
        eventually_within(STEP, "the origin is told to calm down", || async {
            ensure!(origin.is_calmed(), "{:?}", origin.told());
            Ok(())
        })
        .await;
    }
    let met = scene.proxy.limit_hits(flood.limit).await?;
    ensure!(
        flood.limit.is_empty() || met > 0,
        "{} was never met",
        flood.limit
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_origin_harms_others() -> anyhow::Result<()> {
    for flood in Flood::of_origins() {
        let done = origin_floods(flood, 2).await;
        done.with_context(|| flood.name)?;
    }
    Ok(())
}
