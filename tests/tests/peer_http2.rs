//! Peers that speak HTTP/2 and gRPC agree with each other: directly, through Envoy, through `weft-proxy`, through rows of
//! proxies. And `weft-proxy` keeps the rules that h2spec tests.
//!
//! `peers/through.py` has the table of what stands between, and runs every case of every pair; `peers/h2spec.py` names the
//! cases that RFC 9113 has changed.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::process::Command;
use weft_tests::peers::{Peer, find, python};
use weft_tests::process::built;

/// One script. Longer than each gives itself, for a script ends what it started and this does not.
const TIMEOUT: Duration = Duration::from_secs(660);

/// One row with each other proxy, before and behind, over HTTP/2 and with HTTP/1.1 between. `--only rows` has them all.
const ROWS: &str =
    "envoy+weft-h2-h2-h2,weft+haproxy-h2-h2-h2,haproxy+weft-h2-h1-h2,weft+nginx-h1-h1-h1";

#[tokio::test]
async fn peers_agree_directly() -> anyhow::Result<()> {
    agree(&["--only", "direct"]).await
}

#[tokio::test]
async fn peers_agree_through_envoy() -> anyhow::Result<()> {
    if find(Peer::Envoy).is_none() {
        return Ok(());
    }
    agree(&["--only", "envoy"]).await
}

#[tokio::test]
async fn peers_agree_through_weft() -> anyhow::Result<()> {
    agree(&["--only", "weft"]).await
}

#[tokio::test]
async fn peers_agree_through_weft_and_others_in_a_row() -> anyhow::Result<()> {
    let others = [Peer::Envoy, Peer::Haproxy, Peer::Nginx];
    if others.into_iter().any(|peer| find(peer).is_none()) {
        return Ok(());
    }
    agree(&["--only", ROWS, "--brief", "--seconds", "0"]).await
}

#[tokio::test]
async fn h2spec_fails_only_where_the_rules_have_changed() -> anyhow::Result<()> {
    let (Some(h2spec), Some(_), Some(_)) =
        (python("h2spec.py"), find(Peer::H2spec), find(Peer::Nghttpd))
    else {
        return Ok(());
    };
    passes(h2spec, &[]).await
}

#[tokio::test]
async fn tools_agree_before_and_behind_weft() -> anyhow::Result<()> {
    let others = [
        Peer::Node,
        Peer::Curl,
        Peer::Nghttp,
        Peer::Nghttpd,
        Peer::H2load,
        Peer::Nginx,
    ];
    let (Some(tools), true) = (
        python("tools.py"),
        others.into_iter().all(|peer| find(peer).is_some()),
    ) else {
        return Ok(());
    };
    passes(tools, &[]).await
}

/// Runs pairs with what the words say between them.
async fn agree(words: &[&str]) -> anyhow::Result<()> {
    let (Some(through), Some(_), Some(_)) =
        (python("through.py"), find(Peer::Node), find(Peer::GrpcNode))
    else {
        return Ok(());
    };
    passes(through, words).await
}

/// Runs a script against `weft-proxy`.
async fn passes(mut script: Command, words: &[&str]) -> anyhow::Result<()> {
    script
        .args(words)
        .arg("--weft")
        .arg(built("weft-proxy")?)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(TIMEOUT, script.output())
        .await
        .with_context(|| format!("not over after {TIMEOUT:?}"))??;
    let told = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "{told}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // A table without a row for this would prove nothing.
    ensure!(told.contains("passed"), "nothing was run: {told}");
    Ok(())
}
