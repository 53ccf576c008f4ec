//! A foreign ADS server (go-control-plane) drives `weft-proxy`.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::process::Command;
use weft_proxy::app::{Config, Proxy, Source};
use weft_tests::bootstrap;
use weft_tests::client::{get, served_by};
use weft_tests::eventually;
use weft_tests::peers::{Peer, find};
use weft_tests::process::Talker;
use weft_tests::upstream::Upstream;

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_server_drives_the_proxy_in_delta() -> anyhow::Result<()> {
    driven("DELTA_GRPC").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_server_drives_the_proxy_in_state_of_the_world() -> anyhow::Result<()> {
    driven("GRPC").await
}

async fn driven(api_type: &str) -> anyhow::Result<()> {
    let Some(program) = find(Peer::GoControlPlane) else {
        return Ok(());
    };
    let (a, b) = (Upstream::http("a").await, Upstream::http("b").await);
    let mut command = Command::new(program);
    command.args([
        "-proxy-listen",
        "127.0.0.1:0",
        "-a",
        &a.address().to_string(),
        "-b",
        &b.address().to_string(),
    ]);
    let mut server = Talker::start(command)?;
    let line = server.line().await?;
    let address: SocketAddr = line
        .strip_prefix("listening ")
        .context("its first line")?
        .parse()?;

    let bootstrap = bootstrap::parse(&bootstrap::ads("test", address, api_type, "{}"))?;
    let config = Config::new(Source::Bootstrap(Box::new(bootstrap)));
    let proxy = tokio::task::spawn_blocking(move || Proxy::start(config)).await??;
    server.ask("weights 1 0").await?;
    let listen = tokio::time::timeout(Duration::from_secs(10), proxy.address_of("http"))
        .await
        .context("the listener is not bound after 10 s")?
        .context("the proxy ended")?;
    eventually("a answers", || expect_server(listen, "a")).await;
    server.ask("weights 0 1").await?;
    eventually("b answers", || expect_server(listen, "b")).await;
    server.ask("break").await?; // cluster a is refused: its last good form stays, and everything else goes on
    server.ask("weights 1 0").await?;
    eventually("a answers again", || expect_server(listen, "a")).await;
    proxy.shutdown().await;
    Ok(())
}

async fn expect_server(listen: SocketAddr, name: &str) -> anyhow::Result<()> {
    let answer = get(listen, "any", "/").await?;
    let server = served_by(&answer)?;
    ensure!(server == name, "{server} answered, not {name}");
    Ok(())
}
