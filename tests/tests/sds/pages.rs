//! What pages show of secrets and of those who tell them.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use serde_json::Value;
use weft_tests::ads::AdsServer;
use weft_tests::client::get;
use weft_tests::eventually;
use weft_tests::secrets::certificate;
use weft_tests::upstream::Upstream;

use crate::scene::{at, from_agent, listener, pki, shows, start};

/// `[redacted]` in base64.
const REDACTED: &str = "W3JlZGFjdGVkXQ==";
/// The beginning of `-----BEGIN PRIVATE KEY-----` in base64.
const PRIVATE: &str = "LS0tLS1CRUdJTiBQUklWQVRF";

async fn page(admin: SocketAddr, path: &str) -> anyhow::Result<String> {
    let answer = get(admin, "localhost", path).await?;
    Ok(String::from_utf8(answer.body().to_vec())?)
}

async fn list(admin: SocketAddr, name: &str) -> anyhow::Result<Vec<Value>> {
    let text = page(admin, &format!("/config_dump?resource={name}")).await?;
    let dump: Value = serde_json::from_str(&text).context(text)?;
    let configs = dump.get("configs").and_then(Value::as_array);
    Ok(configs.context("a list")?.clone())
}

#[tokio::test]
async fn pages_say_who_tells_a_secret_and_never_its_key() -> anyhow::Result<()> {
    let app = Upstream::tcp("app").await;
    let (folder, _pki) = pki()?;
    let server = AdsServer::start().await?;
    let listener = listener("web", "own", &from_agent("GRPC"));
    let proxy = start(&[listener], &at(server.address()), app.address()).await?;
    let admin = proxy.admin_address().context("an admin page")?;
    let waiting = page(admin, "/ready").await?;
    assert_eq!(
        waiting,
        "INITIALIZING: waiting for secret \"own\" from cluster \"agent\"\n"
    );
    let warming = list(admin, "dynamic_warming_secrets").await?;
    assert_eq!(
        (&warming[0]["name"], &warming[0]["source"]),
        (&"own".into(), &"cluster \"agent\"".into())
    );
    server.put("own", &certificate("own", folder.path(), "a")?);
    shows(&proxy, "web", folder.path(), "a").await?;
    assert!(list(admin, "dynamic_warming_secrets").await?.is_empty());
    let active = list(admin, "dynamic_active_secrets").await?;
    assert_eq!(
        (&active[0]["name"], &active[0]["source"]),
        (&"own".into(), &"cluster \"agent\"".into())
    );
    let streams = list(admin, "streams").await?;
    assert_eq!(
        (&streams[0]["name"], &streams[0]["connected"]),
        (&"own".into(), &true.into())
    );
    let certs = page(admin, "/certs").await?;
    assert!(
        certs.contains("secret \\\"own\\\" from cluster \\\"agent\\\""),
        "{certs}"
    );
    let metrics = page(admin, "/stats/prometheus").await?;
    for sample in [
        "weft_sds_connected{cluster=\"agent\"} 1.0\n",
        "weft_xds_resources{type=\"sds\"} 1.0\n",
    ] {
        assert!(metrics.contains(sample), "{metrics}");
    }
    let dump = page(admin, "/config_dump").await?;
    let key = std::fs::read_to_string(folder.path().join("a.key"))?;
    let middle = key.lines().nth(1).context("a line of the key")?;
    // It was told as bytes, which JSON writes in base64: so these stand for what is not shown.
    assert!(dump.contains(REDACTED));
    for page in [dump, certs, metrics] {
        assert!(!page.contains(middle));
        assert!(!page.contains("PRIVATE"));
        assert!(!page.contains(PRIVATE));
    }
    drop(server);
    eventually("the loss is shown", || async {
        let metrics = page(admin, "/stats/prometheus").await?;
        ensure!(
            metrics.contains("weft_sds_connected{cluster=\"agent\"} 0.0\n"),
            "{metrics}"
        );
        Ok(())
    })
    .await;
    proxy.shutdown().await;
    Ok(())
}
