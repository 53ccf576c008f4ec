//! `BackendTLSPolicy`: a sidecar begins TLS with servers outside of the mesh, and never speaks to them in plain.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::process::{Child, Command};
use weft_tests::client::{get, served_by};
use weft_tests::envoy::free_address;
use weft_tests::eventually::eventually_within;
use weft_tests::http2::Http2;
use weft_tests::pki::Pki;
use weft_tests::secured::Secured;
use weft_tests::upstream::Upstream;
use weft_tests::weave::{Mesh, Sidecar, static_service};

const SOON: Duration = Duration::from_secs(10);

fn policy(validation: &str) -> String {
    format!(
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {{name: api}}
spec:
  targetRefs: [{{group: mesh.weft.dev, kind: MeshService, name: api}}]
  validation: {{{validation}}}
"
    )
}

const ROOTS: &str = "caCertificateRefs: [{group: '', kind: ConfigMap, name: roots}]";

fn roots(pki: &Pki) -> anyhow::Result<String> {
    let pem = std::fs::read_to_string(pki.folder().join("ca.pem"))?;
    let pem: String = pem.lines().map(|line| format!("    {line}\n")).collect();
    Ok(format!(
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: roots}}\ndata:\n  ca.crt: |\n{pem}"
    ))
}

async fn caller(mesh: &Mesh) -> anyhow::Result<Sidecar> {
    let mut config = mesh.sidecar_config("caller", "v1", None);
    config.metrics = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    Sidecar::start(config).await
}

/// Handshakes of `caller` that ended so.
async fn ended(caller: &Sidecar, result: &str) -> anyhow::Result<f64> {
    let line = format!(
        "weft_upstream_tls_handshakes_total{{cluster=\"api.default.svc.cluster.local:80\",result=\"{result}\"}}"
    );
    caller.metric(&line).await
}

async fn expect_served(caller: &Sidecar) -> anyhow::Result<()> {
    let answer = get(caller.outbound(), "api", "/").await?;
    ensure!(answer.status() == 200, "{answer:?}");
    ensure!(served_by(&answer)? == "api", "{answer:?}");
    Ok(())
}

/// Applies `validation` and waits until calls fail for this reason.
async fn expect_refused(
    mesh: &Mesh,
    caller: &Sidecar,
    validation: &str,
    reason: &str,
) -> anyhow::Result<()> {
    let before = ended(caller, reason).await?;
    mesh.apply(&policy(validation)).await?;
    eventually_within(SOON, reason, || async {
        let answer = get(caller.outbound(), "api", "/").await?;
        ensure!(answer.status() == 503, "{answer:?}");
        let now = ended(caller, reason).await?;
        ensure!(now > before, "not counted as {reason}");
        Ok(())
    })
    .await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_spoken_to_over_tls_once_its_certificate_will_do() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let pki = Pki::new(folder.path())?;
    pki.issue_for_host("api", "*.example.test")?;
    let app = Upstream::http("api").await;
    let api = Secured::start(&pki, "api", "http/1.1", app.address()).await?;
    let mesh = Mesh::start().await?;
    let service = static_service("api", 80, "http", &[api.address]);
    let hostname = format!("hostname: api.example.test, {ROOTS}");
    mesh.apply(&(service + &roots(&pki)? + &policy(&hostname)))
        .await?;
    let caller = caller(&mesh).await?;
    eventually_within(SOON, "the server answers", || expect_served(&caller)).await;
    assert!(ended(&caller, "ok").await? >= 1.0);

    let refused = [
        (
            format!("hostname: api.other.test, {ROOTS}"),
            "certificate_wrong_name",
        ),
        (
            format!("{hostname}, subjectAltNames: [{{type: URI, uri: 'spiffe://td/api'}}]"),
            "certificate_wrong_name",
        ),
        (
            "hostname: api.example.test, wellKnownCACertificates: System".to_owned(),
            "certificate_unknown_issuer",
        ),
        (
            hostname.replace("name: roots", "name: nowhere"),
            "certificate_unknown_issuer",
        ),
    ];
    for (validation, reason) in &refused {
        expect_refused(&mesh, &caller, validation, reason).await?;
    }
    let named = "subjectAltNames: [{type: URI, uri: 'spiffe://td/api'}, {type: Hostname, hostname: a.example.test}]";
    mesh.apply(&policy(&format!("{hostname}, {named}"))).await?;
    eventually_within(SOON, "one of the names will do", || expect_served(&caller)).await;
    caller.stop().await;
    mesh.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_is_offered_where_the_port_says_so() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let pki = Pki::new(folder.path())?;
    pki.issue_for_host("api", "api.example.test")?;
    let app = Upstream::http2("api").await;
    let api = Secured::start(&pki, "api", "h2", app.address()).await?;
    let mesh = Mesh::start().await?;
    let service = static_service("api", 80, "http2", &[api.address]);
    let hostname = format!("hostname: api.example.test, {ROOTS}");
    mesh.apply(&(service + &roots(&pki)? + &policy(&hostname)))
        .await?;
    let caller = caller(&mesh).await?;
    let client = Http2::connect(caller.outbound()).await?;
    eventually_within(SOON, "the server answers", || async {
        let answer = client.get("api", "/").await?;
        ensure!(served_by(&answer)? == "api", "{answer:?}");
        Ok(())
    })
    .await;
    caller.stop().await;
    mesh.stop().await;
    Ok(())
}

/// `openssl s_server`, which answers with a page about the connection.
fn openssl(pki: &Pki, at: SocketAddr) -> anyhow::Result<Child> {
    let file = |name: &str| pki.folder().join(name);
    let arguments: [&Path; 7] = [
        Path::new("s_server"),
        Path::new("-www"),
        Path::new("-cert"),
        &file("api.pem"),
        Path::new("-key"),
        &file("api.key"),
        Path::new("-servername"),
    ];
    Command::new("openssl")
        .args(arguments)
        .args(["api.example.test", "-cert2"])
        .arg(file("api.pem"))
        .arg("-key2")
        .arg(file("api.key"))
        .args(["-servername_fatal", "-accept", &at.to_string()])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("starting openssl")
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_is_asked_for_the_name_and_hears_tls_1_3() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let pki = Pki::new(folder.path())?;
    pki.issue_for_host("api", "api.example.test")?;
    let at = free_address()?;
    let _server = openssl(&pki, at)?;
    let mesh = Mesh::start().await?;
    let service = static_service("api", 80, "http", &[at]);
    let hostname = format!("hostname: api.example.test, {ROOTS}");
    mesh.apply(&(service + &roots(&pki)? + &policy(&hostname)))
        .await?;
    let caller = caller(&mesh).await?;
    eventually_within(SOON, "openssl answers", || async {
        let answer = get(caller.outbound(), "api", "/").await?;
        let page = String::from_utf8_lossy(answer.body()).into_owned();
        ensure!(answer.status() == 200 && page.contains("TLSv1.3"), "{page}");
        Ok(())
    })
    .await;
    caller.stop().await;
    mesh.stop().await;
    Ok(())
}
