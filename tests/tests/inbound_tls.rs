//! The TLS of an inbound port where it is demanded, as scanners and strangers see it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use http_body_util::Full;
use rcgen::{BasicConstraints, CertificateParams, IsCa, SanType};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;
use weft_config::listener::{AccessLog, AccessLogFormat};
use weft_control_plane::app::Config as ControlPlaneConfig;
use weft_proxy::app::Source;
use weft_tests::ca_folder::CaFolder;
use weft_tests::client::Http1;
use weft_tests::eventually::{eventually, eventually_within};
use weft_tests::peers::{Peer, find};
use weft_tests::pki::Pki;
use weft_tests::upstream::Upstream;
use weft_tests::weave::{Mesh, Sidecar, mtls, workload_service};
use weft_tests::workload::key_exchange_with;

const SOON: Duration = Duration::from_secs(15);

/// A sidecar that takes TLS of its mesh alone, whose authority is at hand.
struct Scene {
    folder: tempfile::TempDir,
    /// Signs as the mesh does.
    pki: Pki,
    inbound: SocketAddr,
    web: Sidecar,
    mesh: Mesh,
    _app: Upstream,
}

impl Scene {
    async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let pki = Pki::called(folder.path(), "mesh root")?;
        let authority = CaFolder::create(folder.path().join("ca"), &pki)?;
        let mesh = Mesh::start_with(ControlPlaneConfig {
            ca_dir: Some(authority.path().to_owned()),
            ..ControlPlaneConfig::for_demo()
        })
        .await?;
        let app = Upstream::http("web").await;
        mesh.apply(&(workload_service("web", 80, "app: web") + &mtls("STRICT")))
            .await?;
        let mut config = mesh.member_config("web", "v1", Some(app.address())).await?;
        config.metrics = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        if let Source::Mesh(mesh) = &mut config.source {
            mesh.access_log = Some(AccessLog {
                path: folder.path().join("access.log").to_string_lossy().into(),
                format: AccessLogFormat::Json,
            });
        }
        let web = Sidecar::start(config).await?;
        let name = format!("inbound/default/web/{}", app.address().port());
        let inbound = web.proxy().address_of(&name).await.context("no inbound")?;
        Ok(Self {
            folder,
            pki,
            inbound,
            web,
            mesh,
            _app: app,
        })
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    async fn ended(&self, result: &str) -> anyhow::Result<f64> {
        let name = "weft_listener_tls_handshakes_total";
        self.web
            .metric_with(name, &format!("result=\"{result}\""))
            .await
    }

    fn log(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(
            self.folder.path().join("access.log"),
        )?)
    }

    /// What `openssl s_client` says, which sends a request and shows the certificate called `own`, if any.
    async fn openssl(&self, own: Option<&str>, more: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new("openssl");
        command
            .args([
                "s_client",
                "-ign_eof",
                "-connect",
                &self.inbound.to_string(),
            ])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(own) = own {
            command.args(["-cert", &self.file(&format!("{own}.pem"))]);
            command.args(["-key", &self.file(&format!("{own}.key"))]);
        }
        let mut child = command.spawn()?;
        let mut stdin = child.stdin.take().context("no stdin")?;
        let request = b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n";
        // Whoever is refused reads nothing.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stdin, request).await;
        let output = timeout(SOON, child.wait_with_output()).await??;
        let all = [output.stdout, output.stderr].concat();
        Ok(String::from_utf8_lossy(&all).into_owned())
    }

    /// A stranger with the certificate called `own` stays out, and it is told why.
    async fn expect_refused(&self, own: Option<&str>, reason: &str) -> anyhow::Result<()> {
        let before = self.ended(reason).await?;
        let said = self.openssl(own, &[]).await?;
        ensure!(!said.contains("200 OK"), "{own:?}: {said}");
        eventually_within(SOON, reason, || async {
            let now = self.ended(reason).await?;
            ensure!(now > before, "{own:?} is not counted as {reason}");
            let log = self.log()?;
            ensure!(log.contains(&format!("tls {reason}")), "{log}");
            Ok(())
        })
        .await;
        Ok(())
    }

    async fn stop(self) {
        self.web.stop().await;
        self.mesh.stop().await;
    }
}

const ID: &str = "spiffe://cluster.local/ns/default/sa/caller";

fn named(params: &mut CertificateParams, uri: &str) -> anyhow::Result<()> {
    params.subject_alt_names = vec![SanType::URI(uri.try_into()?)];
    Ok(())
}

/// Certificates that will not do: how each is called, which is why, and what is told of it.
fn make_bad_ones(pki: &Pki, folder: &Path) -> anyhow::Result<[(&'static str, &'static str); 6]> {
    let uri = || SanType::URI(ID.try_into().unwrap_or_else(|_| unreachable!("plain text")));
    pki.issue("foreign", "spiffe://other.test/ns/default/sa/caller")?;
    pki.issue_with("expired", |it| {
        it.subject_alt_names = vec![uri()];
        it.not_after = rcgen::date_time_ymd(2020, 1, 1);
    })?;
    pki.issue_with("early", |it| {
        it.subject_alt_names = vec![uri()];
        it.not_before = rcgen::date_time_ymd(2090, 1, 1);
    })?;
    pki.issue_for_host("nameless", "caller.test")?;
    pki.issue_with("authority", |it| {
        it.subject_alt_names = vec![uri()];
        it.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    })?;
    let mut own = CertificateParams::default();
    named(&mut own, ID)?;
    let key = rcgen::KeyPair::generate()?;
    std::fs::write(folder.join("own.pem"), own.self_signed(&key)?.pem())?;
    std::fs::write(folder.join("own.key"), key.serialize_pem())?;
    Ok([
        ("foreign", "certificate_wrong_trust_domain"),
        ("expired", "certificate_expired"),
        ("early", "certificate_not_yet_valid"),
        ("nameless", "certificate_wrong_trust_domain"),
        ("authority", "certificate_of_an_authority"),
        ("own", "certificate_self_signed"),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_stay_out_and_each_is_told_apart() -> anyhow::Result<()> {
    let scene = Scene::start().await?;
    scene.pki.issue("caller", ID)?;
    let said = scene.openssl(Some("caller"), &[]).await?;
    assert!(said.contains("200 OK"), "one of the mesh gets in: {said}");
    assert!(said.contains("TLSv1.3"), "{said}");

    let bad = make_bad_ones(&scene.pki, scene.folder.path())?;
    for (own, reason) in bad {
        scene.expect_refused(Some(own), reason).await?;
    }
    scene.expect_refused(None, "no_certificate").await?;
    let mut plain = Http1::connect(scene.inbound).await?;
    let said = plain
        .send(
            http::Request::get("/")
                .header("host", "web")
                .body(Full::default())?,
        )
        .await;
    assert!(said.is_err(), "{said:?}");
    eventually("the log tells of plain text", || async {
        let log = scene.log()?;
        let told = "filter_chain_not_found: nothing takes plain text on port";
        ensure!(log.contains(told), "{log}");
        Ok(())
    })
    .await;
    let said = scene.openssl(Some("caller"), &["-tls1_2"]).await?;
    assert!(!said.contains("200 OK"), "{said}");
    assert!(said.contains("protocol version"), "{said}");
    scene.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_agreed_on_by_the_hybrid_group() -> anyhow::Result<()> {
    let scene = Scene::start().await?;
    let group = key_exchange_with(scene.inbound).await?;
    assert_eq!(group, "X25519MLKEM768");
    scene.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sslyze_finds_tls_1_3_alone_and_nothing_old() -> anyhow::Result<()> {
    let Some(sslyze) = find(Peer::Sslyze) else {
        return Ok(());
    };
    let scene = Scene::start().await?;
    let report = scene.file("sslyze.json");
    let scan = Command::new(sslyze)
        .args([
            "--sslv2",
            "--sslv3",
            "--tlsv1",
            "--tlsv1_1",
            "--tlsv1_2",
            "--tlsv1_3",
        ])
        .args(["--elliptic_curves", "--json_out", &report])
        .arg(scene.inbound.to_string())
        .kill_on_drop(true)
        .output();
    let scan = timeout(4 * SOON, scan).await??;
    let report = std::fs::read(&report).with_context(|| format!("{scan:?}"))?;
    let report: Value = serde_json::from_slice(&report)?;
    let result = &report["server_scan_results"][0]["scan_result"];
    let accepted = |version: &str| {
        let suites = &result[format!("{version}_cipher_suites")];
        assert_eq!(suites["status"], "COMPLETED", "{suites}");
        suites["result"]["accepted_cipher_suites"]
            .as_array()
            .map_or(0, Vec::len)
    };
    for old in ["ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1", "tls_1_2"] {
        assert_eq!(accepted(old), 0, "{old}");
    }
    assert!(accepted("tls_1_3") > 0, "{result}");
    scene.stop().await;
    Ok(())
}
