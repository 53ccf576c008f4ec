//! Every kind of resource changes again and again under open connections: none is closed, and each follows.
//!
//! `WEFT_CONNECTIONS` and `WEFT_CHANGES` give the size: so many connections of each of three kinds, and exchanges over HTTP/2,
//! twenty to a connection, with a fifth as many calls of gRPC.
#![expect(clippy::indexing_slicing, reason = "helpers of a test fail the test")]

mod open;
mod scene;
mod shared;
mod told;

use std::time::Duration;

use anyhow::Context;
use tokio::time::Instant;
use weft_xds_proto::type_url;

use self::open::Open;
use self::scene::Scene;
use self::shared::{CALLS, EXCHANGES};

/// Bound of one exchange.
const EXCHANGE: Duration = Duration::from_secs(10);
/// Changes between two looks at all connections; odd, so that each kind comes last in a batch.
const BATCH: usize = 7;
/// Changes from which on memory is judged.
const FULL_SIZE: usize = 500;

#[tokio::test(flavor = "multi_thread")]
async fn a_change_closes_nothing() -> anyhow::Result<()> {
    let (count, changes) = (size("WEFT_CONNECTIONS", 50)?, size("WEFT_CHANGES", 100)?);
    raise_descriptors()?;
    for api_type in ["DELTA_GRPC", "GRPC"] {
        run(api_type, count, changes).await.context(api_type)?;
    }
    Ok(())
}

async fn run(api_type: &str, count: usize, changes: usize) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut scene = Scene::start(api_type, folder.path()).await?;
    let mut open = Open::connect(&scene, count).await?;
    open.exchange(&scene).await.context("before any change")?;

    let (started, mut rss_early, mut slowest) = (Instant::now(), None, Duration::ZERO);
    for done in (0..changes).step_by(BATCH) {
        let upto = (done + BATCH).min(changes);
        for change in done..upto {
            scene.change(change)?;
        }
        let at = format!("after {upto} changes");
        slowest = slowest.max(scene.in_force(&at).await);
        open.exchange(&scene).await.context(at)?;
        if upto >= changes / 10 && rss_early.is_none() {
            rss_early = Some(rss_kib()?);
        }
    }
    let shared = count.div_ceil(EXCHANGES);
    let (early, late) = (rss_early.unwrap_or_default(), rss_kib()?);
    println!(
        "{api_type}: {count} WebSockets, {count} HTTP/1.1 and {count} TCP connections, {shared} of HTTP/2 with {} exchanges and \
         {} calls, {changes} changes in {:.1} s: none closed; \
         slowest batch in force after {} ms; resident after a tenth {early} KiB, at the end {late} KiB",
        shared * EXCHANGES,
        shared * CALLS,
        started.elapsed().as_secs_f64(),
        slowest.as_millis()
    );
    for url in [
        type_url::LISTENER,
        type_url::ROUTE,
        type_url::CLUSTER,
        type_url::ENDPOINT,
    ] {
        assert_eq!(scene.ads.last_nack(url), None);
        assert!(scene.ads.acks(url) > 1, "{url} never changed");
    }
    if changes >= FULL_SIZE {
        assert!(
            late < early + early / 4,
            "memory grows: {early} KiB, then {late} KiB"
        );
    }
    open.end().await?;
    scene.proxy.shutdown().await;
    Ok(())
}

fn size(variable: &str, default: usize) -> anyhow::Result<usize> {
    match std::env::var(variable) {
        Ok(given) => given.parse().with_context(|| format!("{variable}={given}")),
        Err(_) => Ok(default),
    }
}

/// Each connection through the proxy takes four descriptors, for all its ends are in this process.
fn raise_descriptors() -> anyhow::Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}

fn rss_kib() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"));
    let kib = line.and_then(|it| it.split_whitespace().next());
    Ok(kib.context("no VmRSS")?.parse()?)
}
