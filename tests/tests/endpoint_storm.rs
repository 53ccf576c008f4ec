//! Endpoints of many clusters change without pause under load.
//!
//! `WEFT_CLUSTERS` gives the number of clusters.

use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::Context;
use weft_proxy::app::{Config, Proxy, Running, Source};
use weft_tests::ads::AdsServer;
use weft_tests::client::{LoadReport, SteadyLoad};
use weft_tests::eventually::eventually_within;
use weft_tests::upstream::Upstream;
use weft_tests::{bootstrap, eventually};
use weft_xds_proto::pb::envoy::config::cluster::v3::Cluster;
use weft_xds_proto::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use weft_xds_proto::pb::envoy::config::listener::v3::Listener;
use weft_xds_proto::pb::envoy::config::route::v3::RouteConfiguration;
use weft_xds_proto::type_url;

/// Times that the endpoints of every cluster change.
const ROUNDS: usize = 30;
const RATE: u32 = 300;
const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_endpoints_fails_no_request_and_publishes_no_snapshot() -> anyhow::Result<()> {
    let clusters = match std::env::var("WEFT_CLUSTERS") {
        Ok(given) => given.parse()?,
        Err(_) => 200,
    };
    let upstreams = [Upstream::http("a").await, Upstream::http("b").await];
    let ads = AdsServer::start().await?;
    let last = format!("c{}", clusters - 1);
    let cluster: Cluster =
        bootstrap::message("{name: c, type: EDS, eds_cluster_config: {eds_config: {ads: {}}}}")?;
    let first = endpoints(&upstreams, 0)?;
    for index in 0..clusters {
        let name = format!("c{index}");
        let (mut cluster, mut first) = (cluster.clone(), first.clone());
        cluster.name.clone_from(&name);
        first.cluster_name.clone_from(&name);
        ads.put(&name, &cluster);
        ads.put(&name, &first);
    }
    ads.put(
        "r",
        &bootstrap::message::<RouteConfiguration>(&routes(&last))?,
    );
    ads.put("web", &bootstrap::message::<Listener>(LISTENER)?);
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
        expect_endpoints(&proxy, clusters, 0)
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
    for round in 1..=ROUNDS {
        let mut next = endpoints(&upstreams, round)?;
        for index in 0..clusters {
            next.cluster_name = format!("c{index}");
            ads.put(&next.cluster_name, &next);
            tokio::task::yield_now().await; // so that they are told in many responses, not in one
        }
        let what = format!("round {round} is in force");
        eventually_within(DEADLINE, &what, || {
            expect_endpoints(&proxy, clusters, round)
        })
        .await;
    }
    let took = started.elapsed();
    let storm = storm.stop().await;
    println!(
        "{clusters} clusters, {} changes of endpoints in {:.1} s ({} responses); at rest {}; in the storm {}",
        clusters * ROUNDS,
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

const LISTENER: &str = "{name: web, address: {socket_address: {address: 127.0.0.1, port_value: 0}}, filter_chains: [\
    {filters: [{name: hcm, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network.\
    http_connection_manager.v3.HttpConnectionManager, stat_prefix: web, rds: {route_config_name: r, config_source: \
    {ads: {}}}, http_filters: [{name: router, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.\
    http.router.v3.Router}}]}}]}]}";

fn routes(cluster: &str) -> String {
    format!(
        "{{name: r, virtual_hosts: [{{name: v, domains: ['*'], routes: [{{match: {{prefix: /}}, route: {{cluster: \
         {cluster}}}}}]}}]}}"
    )
}

/// One of the two, both, or both the other way round.
fn members(round: usize) -> &'static [usize] {
    [&[0][..], &[0, 1], &[1], &[1, 0]][round % 4]
}

fn endpoints(upstreams: &[Upstream; 2], round: usize) -> anyhow::Result<ClusterLoadAssignment> {
    let mut list = String::new();
    for index in members(round) {
        let address = upstreams[*index].address();
        let _ = write!(
            list,
            "{{endpoint: {{address: {{socket_address: {{address: {}, port_value: {}}}}}}}}}, ",
            address.ip(),
            address.port()
        );
    }
    bootstrap::message(&format!(
        "{{cluster_name: c, endpoints: [{{lb_endpoints: [{list}]}}]}}"
    ))
}

/// Whether each cluster has as many endpoints as `round` gives: from one round to the next, the number changes.
async fn expect_endpoints(proxy: &Running, clusters: usize, round: usize) -> Result<(), String> {
    let snapshot = proxy.snapshots().current();
    let now = tokio::time::Instant::now();
    let as_told = (0..clusters).filter(|index| {
        let cluster = snapshot.cluster(&format!("c{index}"));
        cluster.is_some_and(|it| it.endpoints(now).len() == members(round).len())
    });
    match as_told.count() {
        count if count == clusters => Ok(()),
        count => Err(format!("{count} of {clusters} clusters have them")),
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
