//! Requests through `weft-proxy` at rest and while endpoints change a thousand times a second.
//!
//! `endpoint-storm PATH/TO/weft-proxy [SECONDS [ROUNDS]]`. The proxy is a process of its own with one worker on the first
//! core; the load, the upstreams and the xDS server share the others, the server with the lowest priority. Rest and storm
//! take turns, so that a machine with others on it disturbs both alike.
#![expect(
    clippy::disallowed_methods,
    reason = "a load runs for as long as it is asked to"
)]

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::process::{Child, Command};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use weft_tests::ads::AdsServer;
use weft_tests::client::{LoadReport, SteadyLoad, get, served_by};
use weft_tests::process::Talker;
use weft_tests::upstream::Upstream;
use weft_tests::{bootstrap, clusters};

const CLUSTERS: usize = 1_000;
/// From one change to the next.
const PACE: Duration = Duration::from_millis(1);
/// Requests a second.
const RATE: u32 = 500;
const CONNECTIONS: u32 = 8;
/// Bound of the wait for the proxy.
const READY: Duration = Duration::from_secs(30);

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match words[..] {
            ["serve", listen, a, b] => serve(listen.parse()?, [a.parse()?, b.parse()?]).await,
            [proxy] => compare(proxy, 5, 6).await,
            [proxy, seconds] => compare(proxy, seconds.parse()?, 6).await,
            [proxy, seconds, rounds] => compare(proxy, seconds.parse()?, rounds.parse()?).await,
            _ => bail!("usage: endpoint-storm PATH/TO/weft-proxy [SECONDS [ROUNDS]]"),
        }
    })
}

/// The xDS server: tells its address, and storms for so many seconds as each line of its input says.
async fn serve(listen: SocketAddr, upstreams: [SocketAddr; 2]) -> anyhow::Result<()> {
    let ads = AdsServer::start().await?;
    clusters::tell(&ads, CLUSTERS, &upstreams, listen.port())?;
    println!("{}", ads.address());
    let sets = (0..4).map(|round| clusters::endpoints(&upstreams, round));
    let sets = sets.collect::<anyhow::Result<Vec<_>>>()?;
    let mut sets = sets.iter().cycle().skip(1);
    loop {
        let line = tokio::task::spawn_blocking(|| std::io::stdin().lines().next());
        let Some(line) = line.await? else {
            return Ok(());
        };
        let changes = line?.trim().parse::<usize>()? * 1_000;
        let answered = ads.acks(weft_xds_proto::type_url::ENDPOINT);
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let began = Instant::now();
        for _ in 0..changes / CLUSTERS {
            let mut next = sets.next().context("a cycle has no end")?.clone();
            for index in 0..CLUSTERS {
                next.cluster_name = clusters::name(index);
                ads.put(&next.cluster_name, &next);
                pace.tick().await;
            }
        }
        let rate = changes as f64 / began.elapsed().as_secs_f64();
        let responses = ads.acks(weft_xds_proto::type_url::ENDPOINT) - answered;
        println!("{rate:.0} changes a second in {responses} responses");
    }
}

async fn compare(proxy: &str, seconds: u64, rounds: u32) -> anyhow::Result<()> {
    let upstreams = [Upstream::http("a").await, Upstream::http("b").await];
    let [a, b] = &upstreams;
    let listen = free_address()?;
    let mut command = Command::new("nice");
    command.args(["-n", "19"]).arg(std::env::current_exe()?);
    command.args([
        "serve".to_owned(),
        listen.to_string(),
        a.address().to_string(),
        b.address().to_string(),
    ]);
    let mut server = Talker::start(command)?;
    let ads: SocketAddr = server.line().await?.parse()?;
    let folder = tempfile::tempdir()?;
    let _proxy = start(proxy, &folder.path().join("proxy.yaml"), ads)?;
    let began = Instant::now();
    while get(listen, "web", "/")
        .await
        .and_then(|answer| served_by(&answer).map(drop))
        .is_err()
    {
        anyhow::ensure!(began.elapsed() < READY, "the proxy does not answer");
        sleep(Duration::from_millis(100)).await;
    }
    let load = || SteadyLoad::start(listen, "web", "/", RATE, CONNECTIONS);
    let (mut rest, mut storm) = (LoadReport::default(), LoadReport::default());
    let mut ratios = Vec::new();
    for round in 1..=rounds {
        let running = load();
        sleep(Duration::from_secs(seconds)).await;
        let calm = running.stop().await;
        let running = load();
        let limit = Duration::from_secs(2 * seconds + 10);
        let said = server.ask_within(&seconds.to_string(), limit).await?;
        let rough = running.stop().await;
        let (before, after) = (calm.latency_us(0.99), rough.latency_us(0.99));
        println!("round {round}: p99 {before} us at rest, {after} us at {said}");
        ratios.push(after as f64 / before as f64);
        rest.add(calm);
        storm.add(rough);
    }
    ratios.sort_by(f64::total_cmp);
    let median = ratios.get(ratios.len() / 2).context("no round")?;
    println!("at rest       {}", summary(&rest));
    println!("in the storm  {}", summary(&storm));
    println!("p99 in the storm is {median:.2} × that at rest, the median of {rounds} rounds");
    anyhow::ensure!(
        rest.failures + storm.failures == 0,
        "failed: {:?} {:?}",
        rest.first_failures,
        storm.first_failures
    );
    Ok(())
}

fn start(proxy: &str, file: &std::path::Path, ads: SocketAddr) -> anyhow::Result<Child> {
    std::fs::write(file, bootstrap::ads("storm", ads, "DELTA_GRPC", "{}"))?;
    let mut command = Command::new("taskset");
    command.args(["-c", "0", proxy, "--concurrency", "1"]);
    command
        .args(["--metrics-listen", "127.0.0.1:0", "--bootstrap"])
        .arg(file);
    command.stderr(Stdio::null()).kill_on_drop(true);
    command.spawn().context("starting the proxy")
}

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn summary(report: &LoadReport) -> String {
    let us = |share| report.latency_us(share);
    format!(
        "{} requests, p50 {} us, p99 {} us, p99.9 {} us",
        report.requests,
        us(0.5),
        us(0.99),
        us(0.999)
    )
}
