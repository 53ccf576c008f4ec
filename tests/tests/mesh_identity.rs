//! Sidecars that are somebody: how they get their certificates and keep them.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;
use weft_control_plane::app::Config as ControlPlaneConfig;
use weft_control_plane::identity::Lifetimes;
use weft_tests::eventually;
use weft_tests::weave::{Mesh, Sidecar};

/// The certificate that a sidecar shows, by its `/certs` page.
async fn own_certificate(sidecar: &Sidecar) -> anyhow::Result<Value> {
    let admin = sidecar.proxy().admin_address().context("no admin page")?;
    let page = weft_tests::client::get(admin, "localhost", "/certs").await?;
    let page: Value = serde_json::from_slice(page.body())?;
    let all = page.get("certificates").and_then(Value::as_array);
    let all = all.context("no list")?;
    let own = all.iter().find_map(|it| it.get("cert_chain")?.get(0));
    own.cloned().context("none of its own")
}

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
    let first = own_certificate(&sidecar).await?;
    assert_eq!(
        first["subject_alt_names"][0]["uri"],
        "spiffe://cluster.local/ns/default/sa/reviews"
    );
    let first = first["serial_number"].clone();
    // The token was good for once: whatever comes now was proved by a certificate.
    eventually("the certificate is another", || async {
        let now = own_certificate(&sidecar).await?;
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
