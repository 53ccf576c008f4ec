//! Peers that speak HTTP/2 and gRPC agree with each other: directly, through Envoy, through `weft-proxy`.
//!
//! `peers/through.py` has the table of what stands between, and runs every case of every pair.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use weft_tests::peers::{Peer, find, python};
use weft_tests::process::built;

/// All pairs of one proxy; each case has a bound of its own.
const TIMEOUT: Duration = Duration::from_secs(600);

#[tokio::test]
async fn peers_agree_directly() -> anyhow::Result<()> {
    agree("direct").await
}

#[tokio::test]
async fn peers_agree_through_envoy() -> anyhow::Result<()> {
    if find(Peer::Envoy).is_none() {
        return Ok(());
    }
    agree("envoy").await
}

#[tokio::test]
async fn peers_agree_through_weft() -> anyhow::Result<()> {
    agree("weft").await
}

/// Runs all pairs with this between them.
async fn agree(proxy: &str) -> anyhow::Result<()> {
    let (Some(mut through), Some(_), Some(_)) =
        (python("through.py"), find(Peer::Node), find(Peer::GrpcNode))
    else {
        return Ok(());
    };
    through
        .args(["--only", proxy, "--weft"])
        .arg(built("weft-proxy")?)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(TIMEOUT, through.output())
        .await
        .with_context(|| format!("not over after {TIMEOUT:?}"))??;
    let told = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "{told}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // A table without a row for this proxy would prove nothing.
    ensure!(told.contains("passed"), "nothing was run: {told}");
    Ok(())
}
