//! gRPC C-core's xDS client takes a weighted route from `weft serve` and spreads its calls by it.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use serde_json::Value;
use weft_control_plane::api::model::ProxyBody;
use weft_tests::peers::python;
use weft_tests::process::Talker;
use weft_tests::weave::{Mesh, static_service, weighted_route};

/// Calls over which the spread is judged: 25 % of them is 100, and 40 is 4.6 standard deviations.
const CALLS: u64 = 400;

#[tokio::test(flavor = "multi_thread")]
async fn grpc_spreads_calls_by_weight() -> anyhow::Result<()> {
    let (Some(mut v1), Some(mut v2), Some(mut client)) = (
        python("grpc_server.py"),
        python("grpc_server.py"),
        python("grpc_xds_client.py"),
    ) else {
        return Ok(());
    };
    v1.arg("v1");
    v2.arg("v2");
    let (mut v1, mut v2) = (Talker::start(v1)?, Talker::start(v2)?);
    let (v1_address, v2_address) = (address_of(&mut v1).await?, address_of(&mut v2).await?);

    let mesh = Mesh::start().await?;
    let services = static_service("reviews", 9080, "grpc", &[v1_address])
        + &static_service("reviews-v1", 9080, "grpc", &[v1_address])
        + &static_service("reviews-v2", 9080, "grpc", &[v2_address]);
    mesh.apply(&services).await?;
    mesh.apply(&weighted_route(
        "reviews",
        9080,
        &[("reviews-v1", 1), ("reviews-v2", 0)],
    ))
    .await?;

    let folder = tempfile::tempdir()?;
    let bootstrap = serde_json::json!({
        "xds_servers": [{
            "server_uri": mesh.xds_address().to_string(),
            "channel_creds": [{"type": "insecure"}],
            "server_features": ["xds_v3"],
        }],
        "node": {"id": "grpc-test"},
    });
    let file = folder.path().join("bootstrap.json");
    std::fs::write(&file, bootstrap.to_string())?;
    client
        .args(["xds:///reviews:9080", "/test.Echo/Call"])
        .env("GRPC_XDS_BOOTSTRAP", &file);
    let mut client = Talker::start(client)?;

    assert_eq!(calls(&mut client, 20).await?, (20, 0), "all calls go to v1");
    mesh.apply(&weighted_route(
        "reviews",
        9080,
        &[("reviews-v1", 75), ("reviews-v2", 25)],
    ))
    .await?;
    let mut seen = (0, 0);
    for _ in 0..100 {
        // gRPC acknowledges before its channel uses the new route: look until it spreads, then count.
        let (first, second) = calls(&mut client, 20).await?;
        if seen.1 > 0 || second > 0 {
            seen = (seen.0 + first, seen.1 + second);
        }
        if seen.0 + seen.1 >= CALLS {
            break;
        }
    }
    assert!(
        (60..=140).contains(&seen.1),
        "25 % of {CALLS} calls go to v2, got {seen:?}"
    );

    let proxies: Vec<ProxyBody> = mesh.client().get("/v1/proxies").await?;
    let grpc = proxies
        .iter()
        .find(|p| p.name == "grpc-test")
        .context("gRPC is not connected")?;
    assert_eq!(grpc.refused, None);
    mesh.stop().await;
    Ok(())
}

async fn address_of(server: &mut Talker) -> anyhow::Result<SocketAddr> {
    let line = server.line().await?;
    let port: u16 = line
        .strip_prefix("listening ")
        .context("its first line")?
        .parse()?;
    Ok(([127, 0, 0, 1], port).into())
}

/// Makes calls and says how many v1 and v2 answered.
async fn calls(client: &mut Talker, count: u64) -> anyhow::Result<(u64, u64)> {
    let report: Value = serde_json::from_str(&client.ask(&format!("calls {count}")).await?)?;
    ensure!(
        report
            .pointer("/failures")
            .and_then(Value::as_object)
            .is_some_and(|f| f.is_empty()),
        "{report}"
    );
    let of = |name: &str| {
        report
            .pointer(&format!("/answers/{name}"))
            .and_then(Value::as_u64)
            .unwrap_or(0)
    };
    Ok((of("v1"), of("v2")))
}
