//! Endpoints of many clusters change a thousand times a second under load.
//!
//! `WEFT_CLUSTERS` gives the number of clusters; 1,000 make a storm of ten seconds.

use std::time::Duration;

use anyhow::Context;
use tokio::time::Instant;
use weft_proxy::app::{Config, Proxy, Running, Source};
use weft_tests::ads::AdsServer;
use weft_tests::client::{LoadReport, SteadyLoad};
use weft_tests::eventually::eventually_within;
use weft_tests::upstream::Upstream;
use weft_tests::{bootstrap, clusters, eventually};
use weft_xds_proto::type_url;

/// Times that the endpoints of every cluster change.
const ROUNDS: usize = 10;
/// From one change to the next.
const PACE: Duration = Duration::from_millis(1);
const RATE: u32 = 300;
const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_endpoints_fails_no_request_and_publishes_no_snapshot() -> anyhow::Result<()> {
    let count = match std::env::var("WEFT_CLUSTERS") {
        Ok(given) => given.parse()?,
        Err(_) => 200,
    };
    let upstreams = [Upstream::http("a").await, Upstream::http("b").await];
    let ads = AdsServer::start().await?;
    let addresses = [upstreams[0].address(), upstreams[1].address()];
    clusters::tell(&ads, count, &addresses, 0)?;
    let yaml = bootstrap::ads("test", ads.address(), "DELTA_GRPC", "{}");
    let config = Config::new(Source::Bootstrap(Box::new(bootstrap::parse(&yaml)?)));
    let proxy = tokio::task::spawn_blocking(move || Proxy::start(config)).await??;
    let ready = async {
        proxy.ready().await;
        proxy.address_of("web").await
    };
    let address = tokio::time::timeout(DEADLINE, ready).await?;
    let address = address.context("the proxy ended")?;
    eventually("the service answers", || async {
        let answer = weft_tests::client::get(address, "web", "/").await?;
        weft_tests::client::served_by(&answer).map(drop)
    })
    .await;
    eventually_within(DEADLINE, "every cluster has its endpoints", || {
        expect_endpoints(&proxy, count, 0)
    })
    .await;

    let load = || SteadyLoad::start(address, "web", "/", RATE, 4);
    let rest = load();
    eventually("the load has run for a while at rest", || async {
        let served: u64 = upstreams.iter().map(Upstream::served).sum();
        (served >= 1_000).then_some(()).ok_or("too few requests")
    })
    .await;
    let rest = rest.stop().await;

    let revision = proxy.snapshots().current().revision;
    let storm = load();
    let started = Instant::now();
    let mut pace = tokio::time::interval(PACE);
    for round in 1..=ROUNDS {
        let mut next = clusters::endpoints(&addresses, round)?;
        for index in 0..count {
            next.cluster_name = clusters::name(index);
            ads.put(&next.cluster_name, &next);
            pace.tick().await;
        }
        let what = format!("round {round} is in force");
        eventually_within(DEADLINE, &what, || expect_endpoints(&proxy, count, round)).await;
    }
    let took = started.elapsed();
    let storm = storm.stop().await;
    println!(
        "{count} clusters, {} changes of endpoints in {:.1} s ({} responses); at rest {}; in the storm {}",
        count * ROUNDS,
        took.as_secs_f64(),
        ads.acks(type_url::ENDPOINT),
        summary(&rest),
        summary(&storm)
    );
    assert_eq!(rest.failures, 0, "{:?}", rest.first_failures);
    assert_eq!(storm.failures, 0, "{:?}", storm.first_failures);
    assert_eq!(storm.served_by.len(), 2, "{:?}", storm.served_by);
    assert_eq!(ads.last_nack(type_url::ENDPOINT), None);
    assert_eq!(proxy.snapshots().current().revision, revision);
    proxy.shutdown().await;
    Ok(())
}

/// Whether each cluster has as many endpoints as `round` gives: from one round to the next, the number changes.
async fn expect_endpoints(proxy: &Running, count: usize, round: usize) -> Result<(), String> {
    let snapshot = proxy.snapshots().current();
    let now = tokio::time::Instant::now();
    let as_told = (0..count).filter(|index| {
        let cluster = snapshot.cluster(&clusters::name(*index));
        cluster.is_some_and(|it| it.endpoints(now).len() == clusters::members(round).len())
    });
    match as_told.count() {
        all if all == count => Ok(()),
        some => Err(format!("{some} of {count} clusters have them")),
    }
}

fn summary(report: &LoadReport) -> String {
    format!(
        "{} requests, p50 {} us, p99 {} us",
        report.requests,
        report.latency_us(0.5),
        report.latency_us(0.99)
    )
}
