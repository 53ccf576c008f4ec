//! The real Envoy takes a weighted route from `weft serve`, in delta and in state of the world.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use weft_control_plane::api::model::ProxyBody;
use weft_tests::bootstrap;
use weft_tests::client::{SteadyLoad, get, served_by};
use weft_tests::envoy::{Envoy, free_address};
use weft_tests::eventually::eventually_within;
use weft_tests::peers::{Peer, find};
use weft_tests::upstream::Upstream;
use weft_tests::weave::{Mesh, static_service, weighted_route};

/// Envoy takes some seconds to start on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn envoy_follows_weights_in_delta() -> anyhow::Result<()> {
    follows_weights("DELTA_GRPC").await
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_follows_weights_in_state_of_the_world() -> anyhow::Result<()> {
    follows_weights("GRPC").await
}

async fn follows_weights(api_type: &str) -> anyhow::Result<()> {
    let Some(program) = find(Peer::Envoy) else {
        return Ok(());
    };
    let (v1, v2) = (Upstream::http("v1").await, Upstream::http("v2").await);
    let mesh = Mesh::start().await?;
    let services = static_service("reviews", 9080, "http", &[v1.address()])
        + &static_service("reviews-v1", 9080, "http", &[v1.address()])
        + &static_service("reviews-v2", 9080, "http", &[v2.address()]);
    mesh.apply(&services).await?;
    mesh.apply(&weighted_route(
        "reviews",
        9080,
        &[("reviews-v1", 1), ("reviews-v2", 0)],
    ))
    .await?;

    let folder = tempfile::tempdir()?;
    let outbound = free_address()?;
    let _envoy = start(
        &program,
        folder.path(),
        api_type,
        mesh.xds_address(),
        outbound,
    )?;
    eventually_within(DEADLINE, "v1 answers through Envoy", || {
        expect_server(outbound, "v1")
    })
    .await;

    let load = SteadyLoad::start(outbound, "reviews:9080", "/", 100, 2);
    mesh.apply(&weighted_route(
        "reviews",
        9080,
        &[("reviews-v1", 50), ("reviews-v2", 50)],
    ))
    .await?;
    eventually_within(DEADLINE, "v2 answers through Envoy", || {
        expect_server(outbound, "v2")
    })
    .await;
    mesh.apply(&weighted_route(
        "reviews",
        9080,
        &[("reviews-v1", 0), ("reviews-v2", 1)],
    ))
    .await?;
    eventually_within(DEADLINE, "only v2 answers through Envoy", || async {
        for _ in 0..20 {
            expect_server(outbound, "v2").await?;
        }
        Ok::<_, anyhow::Error>(())
    })
    .await;
    let report = load.stop().await;
    assert_eq!(report.failures, 0, "{:?}", report.first_failures);

    let proxies: Vec<ProxyBody> = mesh.client().get("/v1/proxies").await?;
    let envoy = proxies
        .iter()
        .find(|p| p.name == "envoy-test")
        .context("Envoy is not connected")?;
    assert_eq!(envoy.refused, None);
    mesh.stop().await;
    Ok(())
}

async fn expect_server(outbound: SocketAddr, name: &str) -> anyhow::Result<()> {
    let answer = get(outbound, "reviews:9080", "/").await?;
    let server = served_by(&answer)?;
    ensure!(server == name, "{server} answered, not {name}");
    Ok(())
}

fn start(
    program: &Path,
    folder: &Path,
    api_type: &str,
    xds: SocketAddr,
    outbound: SocketAddr,
) -> anyhow::Result<Envoy> {
    let metadata = format!("{{weft: {{outbound_address: '{outbound}'}}}}");
    let bootstrap = bootstrap::ads("envoy-test", xds, api_type, &metadata);
    Envoy::start(program, folder, "envoy", &bootstrap)
}
