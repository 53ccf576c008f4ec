//! Sidecars that are somebody: how they get their certificates and keep them.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use weft_control_plane::app::Config as ControlPlaneConfig;
use weft_control_plane::identity::Lifetimes;
use weft_tests::client::{get, served_by};
use weft_tests::eventually;
use weft_tests::pki::Pki;
use weft_tests::upstream::Upstream;
use weft_tests::weave::{Mesh, Sidecar, mtls, workload_service};

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_joins_by_its_token_and_renews_by_its_certificate() -> anyhow::Result<()> {
    let mesh = Mesh::start_with(ControlPlaneConfig {
        lifetimes: Lifetimes {
            default: Duration::from_secs(4),
            ..Lifetimes::default()
        },
        ..ControlPlaneConfig::for_demo()
    })
    .await?;
    let mut config = mesh.member_config("reviews", "v1", None).await?;
    config.admin = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let sidecar = Sidecar::start(config).await?;
    let first = sidecar.own_certificate().await?;
    assert_eq!(
        first["subject_alt_names"][0]["uri"],
        "spiffe://cluster.local/ns/default/sa/reviews"
    );
    let first = first["serial_number"].clone();
    // The token was good for once: whatever comes now was proved by a certificate.
    eventually("the certificate is another", || async {
        let now = sidecar.own_certificate().await?;
        ensure!(now["serial_number"] != first, "{now}");
        Ok(())
    })
    .await;
    let issued: Value = mesh.client().get("/v1/certificates").await?;
    let proofs: Vec<_> = issued.as_array().context("a list")?.iter().collect();
    let joined = proofs.iter().filter(|it| {
        it["proof"]
            .as_str()
            .is_some_and(|proof| proof.starts_with("join token"))
    });
    assert_eq!(joined.count(), 1, "{issued}");
    sidecar.stop().await;
    mesh.stop().await;
    Ok(())
}

async fn member(mesh: &Mesh, service: &str, app: Option<SocketAddr>) -> anyhow::Result<Sidecar> {
    let mut config = mesh.member_config(service, "v1", app).await?;
    config.metrics = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    Sidecar::start(config).await
}

async fn expect_served(from: &Sidecar, host: &str, by: &str) -> anyhow::Result<()> {
    let answer = get(from.outbound(), host, "/").await?;
    ensure!(
        answer.status() == 200 && served_by(&answer)? == by,
        "{answer:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sidecars_speak_tls_to_one_another_and_plain_text_is_still_taken() -> anyhow::Result<()> {
    let app = Upstream::http("web").await;
    let mesh = Mesh::start().await?;
    mesh.apply(&workload_service("web", 80, "app: web")).await?;
    let web = member(&mesh, "web", Some(app.address())).await?;
    let caller = member(&mesh, "caller", None).await?;
    eventually("the workload answers", || {
        expect_served(&caller, "web", "web")
    })
    .await;
    let shaken = "weft_listener_tls_handshakes_total{";
    let ok = web.metric(shaken).await?;
    assert!(ok >= 1.0, "no TLS between the sidecars");
    // HTTP/2 between sidecars: however many requests there are, they share a connection.
    for _ in 0..20 {
        expect_served(&caller, "web", "web").await?;
    }
    assert_eq!(web.metric(shaken).await?, ok);

    let nobody = mesh.sidecar("nobody", "v1", None).await?;
    eventually("who is nobody is served in plain", || {
        expect_served(&nobody, "web", "web")
    })
    .await;
    assert_eq!(web.metric(shaken).await?, ok);
    for sidecar in [nobody, caller, web] {
        sidecar.stop().await;
    }
    mesh.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_says_whether_who_is_nobody_gets_in() -> anyhow::Result<()> {
    let app = Upstream::http("web").await;
    let mesh = Mesh::start().await?;
    let services = workload_service("web", 80, "app: web") + &mtls("STRICT");
    mesh.apply(&services).await?;
    let web = member(&mesh, "web", Some(app.address())).await?;
    let caller = member(&mesh, "caller", None).await?;
    let nobody = mesh.sidecar("nobody", "v1", None).await?;
    eventually("who is somebody gets in", || {
        expect_served(&caller, "web", "web")
    })
    .await;
    let answer = get(nobody.outbound(), "web", "/").await?;
    assert_eq!(answer.status(), 503, "{answer:?}");

    mesh.apply(&mtls("DISABLE")).await?;
    eventually("without TLS everybody gets in", || {
        expect_served(&nobody, "web", "web")
    })
    .await;
    expect_served(&caller, "web", "web").await?;
    for sidecar in [nobody, caller, web] {
        sidecar.stop().await;
    }
    mesh.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_root_is_trusted_beside_the_old_one() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let ca_dir = folder.path().join("ca");
    let mesh = Mesh::start_with(ControlPlaneConfig {
        ca_dir: Some(ca_dir.clone()),
        ..ControlPlaneConfig::for_demo()
    })
    .await?;
    let app = Upstream::http("web").await;
    let services = workload_service("web", 80, "app: web") + &mtls("STRICT");
    mesh.apply(&services).await?;
    let web = member(&mesh, "web", Some(app.address())).await?;
    let mut config = mesh.member_config("caller", "v1", None).await?;
    config.admin = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let caller = Sidecar::start(config).await?;
    eventually("the workload answers", || {
        expect_served(&caller, "web", "web")
    })
    .await;

    let roots = ca_dir.join("root-cert.pem");
    Pki::new(folder.path())?;
    let another = std::fs::read_to_string(folder.path().join("ca.pem"))?;
    let both = std::fs::read_to_string(&roots)? + &another;
    std::fs::write(ca_dir.join("next"), both)?;
    std::fs::rename(ca_dir.join("next"), &roots)?;
    eventually("both roots are trusted", || async {
        let page = caller.certs().await?;
        ensure!(page.contains("CN=test root"), "{page}");
        Ok(())
    })
    .await;
    expect_served(&caller, "web", "web").await?;
    for sidecar in [caller, web] {
        sidecar.stop().await;
    }
    mesh.stop().await;
    Ok(())
}

/// An application that answers with the heads of its requests as they came; it ends with its handle.
async fn mirror() -> anyhow::Result<(SocketAddr, AbortOnDrop)> {
    let socket = TcpListener::bind("127.0.0.1:0").await?;
    let address = socket.local_addr()?;
    let serve = async move {
        while let Ok((mut stream, _)) = socket.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.unwrap_or(0) > 0
            {
            }
            let length = head.len();
            let answer =
                format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
            // Whoever is gone misses nothing.
            let _ = stream.write_all(&[answer.as_bytes(), &head].concat()).await;
        }
    };
    Ok((address, AbortOnDrop(tokio::spawn(serve))))
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What the application at the end is sent of a request that says for itself who its caller is.
async fn forged(address: SocketAddr) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = "GET / HTTP/1.1\r\nHost: web\r\nX-Forwarded-Client-Cert: URI=spiffe://forged\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (_, mirrored) = answer
        .split_once("\r\n\r\n")
        .with_context(|| answer.clone())?;
    ensure!(mirrored.starts_with("GET / HTTP/1.1"), "{answer}");
    Ok(mirrored.to_ascii_lowercase())
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_of_http_1_keep_case_and_order_between_sidecars() -> anyhow::Result<()> {
    let (app, _app) = mirror().await?;
    let mesh = Mesh::start().await?;
    mesh.apply(&workload_service("web", 80, "app: web")).await?;
    let web = member(&mesh, "web", Some(app)).await?;
    let caller = member(&mesh, "caller", None).await?;
    let sent = "X-First: 1\r\nHOST: web\r\nuser-AGENT: a\r\nETag: b\r\nx-last: c\r\n";
    eventually("the workload hears what was sent", || async {
        let mut stream = TcpStream::connect(caller.outbound()).await?;
        let request = format!("GET / HTTP/1.1\r\n{sent}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        ensure!(
            answer.contains(&format!("GET / HTTP/1.1\r\n{sent}")),
            "{answer}"
        );
        ensure!(!answer.contains("spelling"), "{answer}");
        Ok(())
    })
    .await;
    // It was HTTP/2 all the same: one connection, however many requests.
    assert_eq!(
        web.metric("weft_listener_tls_handshakes_total{").await?,
        1.0
    );
    for sidecar in [caller, web] {
        sidecar.stop().await;
    }
    mesh.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_application_hears_who_calls_and_nobody_can_say_it_for_himself() -> anyhow::Result<()> {
    let (app, _app) = mirror().await?;
    let mesh = Mesh::start().await?;
    mesh.apply(&workload_service("web", 80, "app: web")).await?;
    let web = member(&mesh, "web", Some(app)).await?;
    let caller = member(&mesh, "caller", None).await?;
    let heard = eventually("the workload answers", || forged(caller.outbound())).await;
    for says in [
        "x-forwarded-client-cert: by=spiffe://cluster.local/ns/default/sa/web;hash=",
        ";uri=spiffe://cluster.local/ns/default/sa/caller\r\n",
    ] {
        assert!(heard.contains(says) && !heard.contains("forged"), "{heard}");
    }
    let nobody = mesh.sidecar("nobody", "v1", None).await?;
    let heard = eventually("who is nobody is served", || forged(nobody.outbound())).await;
    assert!(!heard.contains("x-forwarded-client-cert"), "{heard}");
    for sidecar in [nobody, caller, web] {
        sidecar.stop().await;
    }
    mesh.stop().await;
    Ok(())
}
