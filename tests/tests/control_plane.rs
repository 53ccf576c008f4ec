//! The control plane and sidecars together: what users see of routes, weights, and a control plane that goes away.

use std::time::Duration;

use anyhow::ensure;
use weft_control_plane::app::Config;
use weft_tests::client::{SteadyLoad, get, served_by};
use weft_tests::eventually;
use weft_tests::eventually::eventually_within;
use weft_tests::upstream::Upstream;
use weft_tests::weave::{Mesh, Sidecar, static_service, weighted_route, workload_service};

#[tokio::test(flavor = "multi_thread")]
async fn weights_move_traffic_and_lose_no_request() -> anyhow::Result<()> {
    let (v1, v2) = (Upstream::http("v1").await, Upstream::http("v2").await);
    let mesh = Mesh::start().await?;
    let services = static_service("reviews", 9080, "http", &[v1.address(), v2.address()])
        + &static_service("reviews-v1", 9080, "http", &[v1.address()])
        + &static_service("reviews-v2", 9080, "http", &[v2.address()]);
    mesh.apply(&services).await?;
    mesh.apply(&weighted_route(
        "reviews",
        9080,
        &[("reviews-v1", 1), ("reviews-v2", 0)],
    ))
    .await?;
    let caller = mesh.sidecar("caller", "v1", None).await?;

    eventually("v1 answers", || {
        expect_server(&caller, "reviews:9080", "v1")
    })
    .await;
    let load = SteadyLoad::start(caller.outbound(), "reviews:9080", "/", 300, 4);
    for weight in [10, 25, 50, 75, 100] {
        let backends = [("reviews-v1", 100 - weight), ("reviews-v2", weight)];
        mesh.apply(&weighted_route("reviews", 9080, &backends))
            .await?;
    }
    for _ in 0..20 {
        expect_server(&caller, "reviews:9080", "v2").await?; // acknowledged means in force for the very next request
    }
    let report = load.stop().await;
    assert_eq!(report.failures, 0, "{:?}", report.first_failures);
    caller.stop().await;
    mesh.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registered_workload_is_found_and_forgotten() -> anyhow::Result<()> {
    let app = Upstream::http("web").await;
    let mesh = Mesh::start().await?;
    mesh.apply(&workload_service("web", 80, "app: web")).await?;
    let caller = mesh.sidecar("caller", "v1", None).await?;
    let web = mesh.sidecar("web", "v1", Some(app.address())).await?;

    eventually("the workload answers through both sidecars", || {
        expect_server(&caller, "web", "web")
    })
    .await;
    web.stop().await;
    eventually_within(
        Duration::from_secs(20),
        "the workload is forgotten after its grace period",
        || async {
            let status = get(caller.outbound(), "web", "/").await?.status();
            let endpoints: Vec<serde_json::Value> = mesh.client().get("/v1/endpoints").await?;
            ensure!(
                status == 503 && endpoints.is_empty(),
                "{status}, {endpoints:?}"
            );
            Ok::<_, anyhow::Error>(())
        },
    )
    .await;
    caller.stop().await;
    mesh.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_has_called_nobody_yet_is_known() -> anyhow::Result<()> {
    let mesh = Mesh::start().await?;
    let caller = mesh.sidecar("caller", "v1", None).await?;
    eventually("it is listed", || async {
        let proxies: Vec<serde_json::Value> = mesh.client().get("/v1/proxies").await?;
        ensure!(proxies.len() == 1, "{proxies:?}");
        Ok(())
    })
    .await;
    let endpoints: Vec<serde_json::Value> = mesh.client().get("/v1/endpoints").await?;
    assert!(endpoints.is_empty(), "nobody can call it: {endpoints:?}");
    caller.stop().await;
    mesh.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_comes_back_takes_nothing_away() -> anyhow::Result<()> {
    let app = Upstream::http("web").await;
    let folder = tempfile::tempdir()?;
    let manifests = folder.path().join("manifests");
    std::fs::create_dir(&manifests)?;
    std::fs::write(
        manifests.join("web.yaml"),
        workload_service("web", 80, "app: web"),
    )?;
    let config = Config {
        store: Some(folder.path().join("store.redb")),
        config_dir: Some(manifests.clone()),
        ..Config::for_demo()
    };
    let mesh = Mesh::start_with(config.clone()).await?;
    let xds_listen = Some(mesh.xds_address());
    let web = mesh.sidecar("web", "v1", Some(app.address())).await?;
    let caller = mesh.sidecar("caller", "v1", None).await?;
    eventually("the workload answers", || {
        expect_server(&caller, "web", "web")
    })
    .await;

    let load = SteadyLoad::start(caller.outbound(), "web", "/", 200, 4);
    mesh.stop().await;
    let again = Config {
        xds_listen,
        ..config
    };
    let mesh = Mesh::start_with(again).await?;
    let endpoints: Vec<serde_json::Value> = mesh.client().get("/v1/endpoints").await?;
    assert_eq!(
        endpoints.len(),
        1,
        "known before its sidecar has come back: {endpoints:?}"
    );
    eventually("both sidecars are back", || async {
        let proxies: Vec<serde_json::Value> = mesh.client().get("/v1/proxies").await?;
        ensure!(proxies.len() == 2, "{proxies:?}");
        // They came with what is in force: nothing had to be sent.
        let has = |it: &serde_json::Value| it["intended"] == 1 && it["acknowledged"] == 1;
        ensure!(proxies.iter().all(has), "{proxies:?}");
        Ok(())
    })
    .await;
    mesh.apply(&static_service("later", 80, "http", &[app.address()]))
        .await?;
    expect_server(&caller, "later", "web").await?;
    let report = load.stop().await;
    assert_eq!(report.failures, 0, "{:?}", report.first_failures);
    caller.stop().await;
    web.stop().await;
    mesh.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_control_plane_nothing_fails_and_a_restart_serves_from_disk() -> anyhow::Result<()>
{
    let app = Upstream::http("app").await;
    let mesh = Mesh::start().await?;
    mesh.apply(&static_service("web", 80, "http", &[app.address()]))
        .await?;
    let state = tempfile::tempdir()?;
    let mut config = mesh.sidecar_config("caller", "v1", None);
    config.state_dir = Some(state.path().to_owned());
    let caller = Sidecar::start(config.clone()).await?;
    eventually("the service answers", || {
        expect_server(&caller, "web", "app")
    })
    .await;

    let load = SteadyLoad::start(caller.outbound(), "web", "/", 200, 4);
    mesh.stop().await;
    for _ in 0..50 {
        expect_server(&caller, "web", "app").await?;
    }
    let report = load.stop().await;
    assert_eq!(report.failures, 0, "{:?}", report.first_failures);

    caller.stop().await;
    let again = Sidecar::start(config).await?; // ready although nobody answers at the control plane's address
    expect_server(&again, "web", "app").await?;
    again.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_service_says_why() -> anyhow::Result<()> {
    let mesh = Mesh::start().await?;
    let caller = mesh.sidecar("caller", "v1", None).await?;
    let answer = get(caller.outbound(), "nobody:1234", "/").await?;
    assert_eq!(answer.status(), 404);
    let body = String::from_utf8_lossy(answer.body()).into_owned();
    assert!(body.contains("nobody:1234"), "{body}");
    caller.stop().await;
    mesh.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_returns_when_all_have_the_change_in_force() -> anyhow::Result<()> {
    let (a, b) = (Upstream::http("a").await, Upstream::http("b").await);
    let mesh = Mesh::start().await?;
    mesh.apply(&static_service("web", 80, "http", &[a.address()]))
        .await?;
    let mut callers = Vec::new();
    for index in 0..8 {
        let caller = mesh.sidecar(&format!("caller-{index}"), "v1", None).await?;
        eventually("the service answers", || expect_server(&caller, "web", "a")).await;
        callers.push(caller);
    }
    mesh.apply(&static_service("web", 80, "http", &[b.address()]))
        .await?;
    for caller in &callers {
        expect_server(caller, "web", "b").await?;
    }
    for caller in callers {
        caller.stop().await;
    }
    mesh.stop().await;
    Ok(())
}

async fn expect_server(caller: &Sidecar, host: &str, name: &str) -> anyhow::Result<()> {
    let answer = get(caller.outbound(), host, "/").await?;
    let server = served_by(&answer)?;
    ensure!(server == name, "{server} answered, not {name}");
    Ok(())
}
