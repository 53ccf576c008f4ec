//! Leaf, intermediate and root are replaced under load, and nobody notices: no request fails, no connection ends.
//!
//! `WEFT_ROTATION_RPS` (200): requests a second of HTTP/1.1, and as many of HTTP/2.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use weft_control_plane::app::Config as ControlPlaneConfig;
use weft_control_plane::identity::Lifetimes;
use weft_tests::ca_folder::CaFolder;
use weft_tests::client::{SteadyLoad, get};
use weft_tests::eventually::eventually_within;
use weft_tests::http2::{Exchange, Http2};
use weft_tests::pki::Pki;
use weft_tests::upstream::Upstream;
use weft_tests::weave::{Mesh, Sidecar, mtls, workload_service};

/// A certificate lives so long, and is renewed at half of that.
const LIFETIME: Duration = Duration::from_secs(4);

/// Calls that last from the beginning to the end.
const CALLS: usize = 20;

/// Longest wait for one step of a rotation.
const SOON: Duration = Duration::from_secs(30);

async fn member(mesh: &Mesh, service: &str, app: Option<SocketAddr>) -> anyhow::Result<Sidecar> {
    let free = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let mut config = mesh.member_config(service, "v1", app).await?;
    (config.admin, config.metrics) = (free, free);
    Sidecar::start(config).await
}

/// Serial number and issuer of the certificate that a sidecar shows.
async fn own(sidecar: &Sidecar) -> anyhow::Result<[String; 2]> {
    let own = sidecar.own_certificate().await?;
    let text = |field: &str| {
        let text = own.get(field).and_then(Value::as_str);
        text.map(str::to_owned).context("no such field")
    };
    Ok([text("serial_number")?, text("issuer")?])
}

/// Requests over one HTTP/2 connection at a steady rate, until told to stop; how many there were.
fn steady_http2(
    client: Http2,
    rate: u32,
    stop: Arc<AtomicBool>,
) -> JoinHandle<anyhow::Result<u64>> {
    tokio::spawn(async move {
        let mut served = 0;
        let mut next = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            let answer = client.get("web", "/").await?;
            ensure!(answer.status() == 200, "{answer:?}");
            ensure!(!client.is_closed(), "the connection was closed");
            served += 1;
            next += Duration::from_secs(1) / rate;
            sleep_until(next).await;
        }
        Ok(served)
    })
}

async fn echo_all(calls: &mut [Exchange], what: &str) -> anyhow::Result<()> {
    for call in calls {
        call.echo(what).await.with_context(|| what.to_owned())?;
    }
    Ok(())
}

/// Waits until the certificates of all `sidecars` are as `holds` says, and checks that what is open still works.
async fn until(
    what: &str,
    sidecars: &[&Sidecar],
    calls: &mut [Exchange],
    holds: impl AsyncFn(&Sidecar) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let holds = &holds;
    for sidecar in sidecars {
        eventually_within(SOON, what, || async move {
            ensure!(holds(sidecar).await?, "{}", sidecar.certs().await?);
            Ok(())
        })
        .await;
    }
    echo_all(calls, what).await
}

/// Waits until `sidecar` has had so many certificates more.
async fn renewed(sidecar: &Sidecar, times: usize) -> anyhow::Result<()> {
    for _ in 0..times {
        let [before, _] = own(sidecar).await?;
        eventually_within(SOON, "the certificate is renewed", || async {
            let [serial, _] = own(sidecar).await?;
            ensure!(serial != before, "still {serial}");
            Ok(())
        })
        .await;
    }
    Ok(())
}

async fn start(authority: &CaFolder) -> anyhow::Result<Mesh> {
    Mesh::start_with(ControlPlaneConfig {
        ca_dir: Some(authority.path().to_owned()),
        lifetimes: Lifetimes {
            default: LIFETIME,
            ..Lifetimes::default()
        },
        ..ControlPlaneConfig::for_demo()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_every_level_are_replaced_and_nobody_notices() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    for name in ["a", "b"] {
        std::fs::create_dir(folder.path().join(name))?;
    }
    let old = Pki::called(&folder.path().join("a"), "root a")?;
    let new = Pki::called(&folder.path().join("b"), "root b")?;
    let authority = CaFolder::create(folder.path().join("ca"), &old)?;
    let mesh = start(&authority).await?;
    let app = Upstream::http("web").await;
    let service = workload_service("web", 80, "app: web");
    mesh.apply(&(service + &mtls("STRICT"))).await?;
    let web = member(&mesh, "web", Some(app.address())).await?;
    let caller = member(&mesh, "caller", None).await?;
    let outbound = caller.outbound();
    eventually_within(SOON, "the workload answers", || async {
        ensure!(get(outbound, "web", "/").await?.status() == 200);
        Ok(())
    })
    .await;

    let rate = std::env::var("WEFT_ROTATION_RPS");
    let rate: u32 = rate.map_or(Ok(200), |it| it.parse())?;
    let http1 = SteadyLoad::start(outbound, "web", "/", rate, 8);
    let stop = Arc::new(AtomicBool::new(false));
    let mut http2 = Vec::new();
    for _ in 0..4 {
        let client = Http2::connect(outbound).await?;
        http2.push(steady_http2(client, rate.div_ceil(4), stop.clone()));
    }
    let client = Http2::connect(outbound).await?;
    let mut lasting = Vec::new();
    for _ in 0..CALLS {
        let call = client.open("web", "/echo", Some("application/grpc"));
        lasting.push(call.await?);
    }
    let calls = &mut lasting[..];
    echo_all(calls, "began").await?;
    let shaken = "weft_listener_tls_handshakes_total{";
    let handshakes = web.metric(shaken).await?;

    let both = [&web, &caller];
    tokio::try_join!(renewed(&web, 3), renewed(&caller, 3))?;
    echo_all(calls, "leaves renewed").await?;

    let signed_by = |issuer: &'static str| {
        async move |sidecar: &Sidecar| Ok(own(sidecar).await?.contains(&format!("CN={issuer}")))
    };
    authority.sign_with(&old.intermediate("second")?)?;
    until("another intermediate", &both, calls, signed_by("second")).await?;
    let trusts = |roots: [bool; 2]| {
        async move |sidecar: &Sidecar| {
            let page = sidecar.certs().await?;
            Ok(roots == ["root a", "root b"].map(|it| page.contains(&format!("\"CN={it}\""))))
        }
    };
    authority.trust(&[&old, &new])?;
    until("both roots", &both, calls, trusts([true, true])).await?;
    authority.sign_with(&new.intermediate("third")?)?;
    until("of the new root", &both, calls, signed_by("third")).await?;
    authority.trust(&[&new])?;
    until("the new root alone", &both, calls, trusts([false, true])).await?;
    tokio::try_join!(renewed(&web, 1), renewed(&caller, 1))?;
    echo_all(calls, "renewed under the new root").await?;

    stop.store(true, Ordering::Relaxed);
    let report = http1.stop().await;
    let mut served = 0;
    for load in http2 {
        served += load.await??;
    }
    println!(
        "HTTP/1.1: {} requests, {} failed; HTTP/2: {served}, 0 failed; {CALLS} calls lasted",
        report.requests, report.failures
    );
    assert_eq!(report.failures, 0, "{:?}", report.first_failures);
    assert!(report.requests > 0 && served > 0);
    assert!(!client.is_closed());
    // Between the sidecars nothing was opened anew either: what was there has lived on.
    assert_eq!(web.metric(shaken).await?, handshakes);
    let fresh = get(outbound, "web", "/").await?;
    assert_eq!(fresh.status(), 200);
    drop((lasting, client)); // a sidecar that ends waits for them
    for sidecar in [caller, web] {
        sidecar.stop().await;
    }
    mesh.stop().await;
    Ok(())
}
