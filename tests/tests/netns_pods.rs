//! Pods in network namespaces on a bridge, whose applications (curl, redis-cli, psql, a gRPC client, others that speak first) know
//! nothing of their sidecars: what they call and what calls them is redirected.

use std::time::Duration;

use anyhow::Context;
use tokio::time::timeout;
use weft_tests::peers::{Peer, find, python_in_namespace};
use weft_tests::process::built;

const TIMEOUT: Duration = Duration::from_secs(240);

/// Everything that `tests/peers/pods.py` looks for is seen.
async fn all_is_seen(families: &str, mode: &str, backend: &str) -> anyhow::Result<()> {
    let programs = [
        Peer::Nft,
        Peer::IptablesNft,
        Peer::IptablesLegacy,
        Peer::Curl,
        Peer::RedisServer,
        Peer::RedisCli,
        Peer::Psql,
        Peer::Postgres,
    ];
    if programs.into_iter().any(|program| find(program).is_none()) {
        return Ok(());
    }
    let Some(mut pods) = python_in_namespace("pods.py").await else {
        return Ok(());
    };
    let pods = pods
        .arg(built("weft")?)
        .arg(built("weft-proxy")?)
        .args([families, mode, backend])
        .kill_on_drop(true)
        .output();
    let output = timeout(TIMEOUT, pods).await.context("it hangs")??;
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complained}");
    assert!(said.ends_with("all is as it should be\n"), "{said}");
    println!("{families} {mode} {backend}\n{said}");
    Ok(())
}

#[tokio::test]
async fn pods_over_ipv4_alone_are_redirected_by_translation() -> anyhow::Result<()> {
    all_is_seen("4", "redirect", "nft").await
}

#[tokio::test]
async fn pods_over_ipv6_alone_are_redirected_by_translation() -> anyhow::Result<()> {
    all_is_seen("6", "redirect", "iptables-nft").await
}

#[tokio::test]
async fn pods_over_both_are_redirected_by_translation() -> anyhow::Result<()> {
    all_is_seen("46", "redirect", "iptables-legacy").await
}

#[tokio::test]
async fn pods_over_both_see_their_clients_with_tproxy() -> anyhow::Result<()> {
    all_is_seen("46", "tproxy", "nft").await
}

#[tokio::test]
async fn pods_over_ipv6_alone_see_their_clients_with_tproxy() -> anyhow::Result<()> {
    all_is_seen("6", "tproxy", "iptables-legacy").await
}

#[tokio::test]
async fn pods_over_ipv4_alone_see_their_clients_with_tproxy() -> anyhow::Result<()> {
    all_is_seen("4", "tproxy", "iptables-nft").await
}
