//! Requests through `weft-proxy` at rest and while HTTP/2 clients, or an origin, flood it.
//!
//! `h2-flood PATH/TO/weft-proxy [SECONDS [ROUNDS [NAME]]]`. The proxy is a process of its own with one worker on the first
//! core; the load and the origins share the others. Run with real-time priority (`chrt -r 10 taskset -c 1 h2-flood …`) it measures the
//! proxy alone: whoever floods is an ordinary process all the same. Rest and flood take turns, so that a machine with others on it
//! disturbs both alike.
#![expect(
    clippy::disallowed_methods,
    reason = "a load runs for as long as it is asked to"
)]

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use weft_tests::bootstrap::{StaticCluster, one_listener};
use weft_tests::client::{LoadReport, SteadyLoad};
use weft_tests::flood::{End, Flood, HostileOrigin, Side};
use weft_tests::http2::Http2;
use weft_tests::process::Talker;
use weft_tests::proxy::ProxyProcess;
use weft_tests::upstream::Upstream;

/// Connections that flood at once.
const FLOODING: usize = 4;
/// How long one is held that nobody ends.
const HELD: Duration = Duration::from_millis(200);
/// Requests a second.
const RATE: u32 = 500;
const CONNECTIONS: u32 = 8;

/// To a hostile origin; to one that serves floods, in their process, so that it takes no time from the load; to the load's.
const ROUTES: &str = "{match: {prefix: /evil}, route: {cluster: evil, timeout: 1s}}, {match: {prefix: /h2}, route: {cluster: \
                      h2, timeout: 0s}}, {match: {prefix: /}, route: {cluster: honest}}";

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match words[..] {
            ["attack", side, name] => attack(side, name).await,
            [proxy] => compare(proxy, 2, 5, None).await,
            [proxy, seconds] => compare(proxy, seconds.parse()?, 5, None).await,
            [proxy, seconds, rounds] => {
                compare(proxy, seconds.parse()?, rounds.parse()?, None).await
            }
            [proxy, seconds, rounds, name] => {
                compare(proxy, seconds.parse()?, rounds.parse()?, Some(name)).await
            }
            _ => bail!("usage: h2-flood PATH/TO/weft-proxy [SECONDS [ROUNDS [NAME]]]"),
        }
    })
}

fn floods_of(side: Side) -> Vec<Flood> {
    match side {
        Side::Client => Flood::of_clients(),
        Side::Origin => Flood::of_origins(),
    }
}

fn word_of(side: Side) -> &'static str {
    match side {
        Side::Client => "client",
        Side::Origin => "origin",
    }
}

/// Whoever floods: tells the addresses of a hostile origin and of one for floods from clients, and floods the proxy at the address for the milliseconds that a line says.
async fn attack(side: &str, name: &str) -> anyhow::Result<()> {
    let side = match side {
        "client" => Side::Client,
        _ => Side::Origin,
    };
    let flood = floods_of(side).into_iter().find(|it| it.name == name);
    let flood = flood.with_context(|| format!("no flood is called {name}"))?;
    let (origin, served) = (
        HostileOrigin::start(flood).await?,
        Upstream::http2("h2").await,
    );
    println!("{} {}", origin.address(), served.address());
    loop {
        let line = tokio::task::spawn_blocking(|| std::io::stdin().lines().next());
        let Some(line) = line.await? else {
            return Ok(());
        };
        let line = line?;
        let (web, millis) = line.split_once(' ').context("an address and a time")?;
        let (web, until) = (web.parse()?, Instant::now() + millis_of(millis)?);
        let mut clients = JoinSet::new();
        for _ in 0..FLOODING {
            clients.spawn(async move {
                match side {
                    Side::Client => flood_as_client(flood, web, until).await,
                    Side::Origin => ask_origin(web, until).await,
                }
            });
        }
        println!("{} floods", clients.join_all().await.iter().sum::<u64>());
    }
}

fn millis_of(word: &str) -> anyhow::Result<Duration> {
    Ok(Duration::from_millis(word.parse()?))
}

/// Floods one connection after the other; how many.
async fn flood_as_client(flood: Flood, web: SocketAddr, until: Instant) -> u64 {
    let mut done = 0;
    while Instant::now() < until {
        let once = async {
            let client = flood.attack(web).await?;
            match flood.end {
                End::Held => sleep(HELD).await,
                _ => flood.follow(client).await?,
            }
            anyhow::Ok(())
        };
        if matches!(timeout_at(until, once).await, Ok(Err(_))) {
            sleep(HELD).await;
        }
        done += 1;
    }
    done
}

/// Asks the hostile origin again and again; how often.
async fn ask_origin(web: SocketAddr, until: Instant) -> u64 {
    let mut done = 0;
    let Ok(client) = Http2::connect(web).await else {
        return 0;
    };
    while Instant::now() < until {
        drop(timeout_at(until, client.get("web", "/evil")).await);
        done += 1;
    }
    done
}

async fn compare(proxy: &str, seconds: u64, rounds: u32, only: Option<&str>) -> anyhow::Result<()> {
    ensure!(rounds > 0, "rounds: must be above 0, got 0");
    let honest = Upstream::http2("honest").await;
    let mut failed = 0;
    for side in [Side::Client, Side::Origin] {
        for flood in floods_of(side) {
            if only.is_none_or(|name| name == flood.name) {
                failed += one_flood(proxy, side, flood, &honest, (seconds, rounds)).await?;
            }
        }
    }
    ensure!(failed == 0, "{failed} requests of others failed");
    Ok(())
}

/// Some rounds of rest and of one flood, through a proxy that sees no other. How many requests failed.
async fn one_flood(
    proxy: &str,
    side: Side,
    flood: Flood,
    honest: &Upstream,
    (seconds, rounds): (u64, u32),
) -> anyhow::Result<u64> {
    let mut command = Command::new("chrt");
    command.args(["--other", "0"]).arg(std::env::current_exe()?);
    command.args(["attack", word_of(side), flood.name]);
    let mut attacker = Talker::start(command)?;
    let line = attacker.line().await?;
    let (evil, h2) = line.split_once(' ').context("two addresses")?;
    let process = start(proxy, [evil.parse()?, h2.parse()?, honest.address()]).await?;
    let web = process.address_of("web").await;
    let (mut rest, mut rough) = (LoadReport::default(), LoadReport::default());
    let (mut ratios, mut said) = (Vec::new(), String::new());
    for _ in 0..rounds {
        let running = SteadyLoad::start(web, "web", "/", RATE, CONNECTIONS);
        sleep(Duration::from_secs(seconds)).await;
        let calm = running.stop().await;
        let running = SteadyLoad::start(web, "web", "/", RATE, CONNECTIONS);
        let order = format!("{web} {}", seconds * 1000);
        let limit = Duration::from_secs(seconds + 60);
        said = attacker.ask_within(&order, limit).await?;
        let storm = running.stop().await;
        ratios.push(storm.latency_us(0.99) as f64 / calm.latency_us(0.99) as f64);
        rest.add(calm);
        rough.add(storm);
    }
    ratios.sort_by(f64::total_cmp);
    let median = ratios.get(ratios.len() / 2).context("no round")?;
    let failures = rest.failures + rough.failures;
    println!(
        "{} {}: p99 {median:.2} × that at rest (p50 {} us at rest, {} us; p99 {} us at rest, {} us), {said} in the last round, \
         {} KiB resident, {} of {} requests failed {:?}",
        word_of(side),
        flood.name,
        rest.latency_us(0.5),
        rough.latency_us(0.5),
        rest.latency_us(0.99),
        rough.latency_us(0.99),
        process.resident_kib()?,
        failures,
        rest.requests + rough.requests,
        rough.first_failures
    );
    Ok(failures)
}

async fn start(proxy: &str, [evil, h2, honest]: [SocketAddr; 3]) -> anyhow::Result<ProxyProcess> {
    let clusters =
        [("evil", evil), ("h2", h2), ("honest", honest)].map(|(name, address)| StaticCluster {
            name,
            address,
            http2: true,
        });
    let bootstrap = one_listener("request_headers_timeout: 1s,", ROUTES, &clusters);
    let arguments = ["--concurrency", "1"];
    ProxyProcess::start_at(
        Path::new(proxy),
        &["taskset", "-c", "0"],
        &bootstrap,
        &arguments,
    )
    .await
}
