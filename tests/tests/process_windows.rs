//! Long content through small windows, and readers that sleep, through `weft-proxy`.
//!
//! `WEFT_MEGABYTES` and `WEFT_STREAMS` give the sizes.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout};
use weft_tests::bootstrap::{StaticCluster, one_listener};
use weft_tests::client::{Client, Http1};
use weft_tests::content::{self, Checker};
use weft_tests::http2::{Http2, options};
use weft_tests::proxy::ProxyProcess;
use weft_tests::upstream::Upstream;

/// Bound of what comes true by itself, on a machine that has much else to do.
const STEP: Duration = Duration::from_secs(120);

/// The window of each stream, at both ends.
const WINDOW: u32 = 4096;

/// What a stream that is not read holds: the window that its upstream was given.
const STREAM_KIB: u64 = 64;

/// What each of them is to read at last: more than all windows on the way.
const EACH: u64 = 200_000;

/// What the allocator, tables and everybody else may take besides.
const SLACK_KIB: u64 = 24 * 1024;

const ROUTES: &str = "{match: {prefix: /h2}, route: {cluster: h2, timeout: 0s}}, {match: {prefix: /}, route: {cluster: h1, \
                      timeout: 0s}}";

/// A proxy before an upstream of each protocol.
struct Scene {
    proxy: ProxyProcess,
    web: SocketAddr,
    _upstreams: [Upstream; 2],
}

impl Scene {
    async fn start() -> anyhow::Result<Self> {
        let upstreams = [
            Upstream::http("h1").await,
            Upstream::http2_with_window("h2", WINDOW).await,
        ];
        let clusters = [("h1", false), ("h2", true)];
        let clusters: Vec<_> = clusters
            .into_iter()
            .zip(&upstreams)
            .map(|((name, http2), upstream)| StaticCluster {
                name,
                address: upstream.address(),
                http2,
            })
            .collect();
        let bootstrap = one_listener("", ROUTES, &clusters);
        let proxy = ProxyProcess::start(&bootstrap, &["--concurrency", "1"]).await?;
        let web = proxy.address_of("web").await;
        Ok(Self {
            proxy,
            web,
            _upstreams: upstreams,
        })
    }

    /// A client of HTTP/2 whose streams have small windows.
    async fn http2(&self) -> anyhow::Result<Http2> {
        let mut options = options();
        options.initial_stream_window_size(WINDOW);
        options.initial_connection_window_size(64 * 1024 * 1024);
        Http2::connect_as(self.web, &options).await
    }

    async fn client(&self, protocol: &str) -> anyhow::Result<Client> {
        Ok(match protocol {
            "h1" => Client::Http1(Http1::connect(self.web).await?),
            _ => Client::Http2(self.http2().await?),
        })
    }
}

/// Reads an answer that is so much of the known content.
async fn expect_content(answer: Response<Incoming>, bytes: u64) -> anyhow::Result<()> {
    ensure!(answer.status() == 200, "{answer:?}");
    let (mut body, mut checker) = (answer.into_body(), Checker::default());
    while let Some(frame) = timeout(STEP, body.frame()).await? {
        if let Ok(data) = frame?.into_data() {
            checker.take(&data)?;
        }
    }
    let taken = checker.taken();
    ensure!(taken == bytes, "{taken} bytes instead of {bytes}");
    Ok(())
}

fn size(variable: &str, default: u64) -> anyhow::Result<u64> {
    match std::env::var(variable) {
        Ok(given) => given.parse().with_context(|| format!("{variable}={given}")),
        Err(_) => Ok(default),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_content_goes_through_small_windows_byte_for_byte() -> anyhow::Result<()> {
    let bytes = size("WEFT_MEGABYTES", 50)? * 1_000_000;
    let scene = Scene::start().await?;
    let mut at_rest = None;
    for (protocol, upstream) in [("h2", "h2"), ("h1", "h2"), ("h2", "h1")] {
        let mut client = scene.client(protocol).await?;
        let began = Instant::now();
        let get = format!("/{upstream}/bytes/{bytes}");
        let get = Request::get(client.target(&get)).header("host", "web");
        let answer = client.begin(get.body(content::whole(""))?).await?;
        expect_content(answer, bytes).await?;
        let down = began.elapsed();
        let post = format!("/{upstream}/check");
        let post = Request::post(client.target(&post)).header("host", "web");
        let answer = client.begin(post.body(content::known(bytes))?).await?;
        let told = timeout(STEP, answer.into_body().collect()).await??;
        let told = told.to_bytes();
        ensure!(told == bytes.to_string(), "{told:?}");
        let resident = scene.proxy.resident_kib()?;
        println!(
            "{protocol} to {upstream}: {bytes} bytes down in {down:?}, up in {:?}; {resident} KiB resident",
            began.elapsed() - down
        );
        let at_rest = *at_rest.get_or_insert(resident);
        ensure!(
            resident < at_rest + SLACK_KIB,
            "{resident} KiB are resident, and were {at_rest}"
        );
    }
    Ok(())
}

/// The median of the times that requests take one behind the other.
async fn pace(client: &Http2, requests: usize) -> anyhow::Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..requests {
        let began = Instant::now();
        let answer = client.get("web", "/h2/fast").await?;
        ensure!(answer.status() == 200, "{answer:?}");
        times.push(began.elapsed());
    }
    times.sort_unstable();
    times.get(requests / 2).copied().context("no request")
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_sleep_hold_their_windows_and_nobody_else() -> anyhow::Result<()> {
    let streams = size("WEFT_STREAMS", 1000)?;
    let scene = Scene::start().await?;
    let (shared, other) = (scene.http2().await?, scene.http2().await?);
    let calm = (pace(&shared, 100).await?, pace(&other, 100).await?);
    let before = scene.proxy.resident_kib()?;
    let mut sleeping = Vec::new();
    for _ in 0..streams {
        let request =
            Request::get(format!("http://web/h2/bytes/{EACH}")).body(content::whole(""))?;
        sleeping.push(shared.begin(request).await?);
    }
    let mut peak = 0;
    let mut busy = (Duration::ZERO, Duration::ZERO);
    for _ in 0..3 {
        busy = (pace(&shared, 100).await?, pace(&other, 100).await?);
        peak = peak.max(scene.proxy.resident_kib()?);
    }
    let most = before + streams * STREAM_KIB + SLACK_KIB;
    println!(
        "{streams} readers asleep: {before} KiB resident before, {peak} of {most} meanwhile; a request takes {busy:?} on the \
         same and on another connection, {calm:?} before"
    );
    ensure!(peak <= most, "{peak} KiB are resident, not {most}");
    // Each goes on where it was once it is read.
    for answer in sleeping {
        expect_content(answer, EACH).await?;
    }
    Ok(())
}
