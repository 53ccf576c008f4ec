//! Secrets over the ADS stream, and what of them is on disk.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use weft_proxy::app::{Config, Proxy, Source};
use weft_tests::ads::AdsServer;
use weft_tests::bootstrap;
use weft_tests::eventually;
use weft_tests::secrets::certificate;
use weft_xds_proto::pb::envoy::config::cluster::v3::Cluster;
use weft_xds_proto::pb::envoy::config::listener::v3::Listener;

use crate::scene::{at, cluster, listener, pki, shows};

#[tokio::test]
async fn secrets_of_ads_are_rotated_and_no_key_reaches_the_disk() -> anyhow::Result<()> {
    let (folder, pki) = pki()?;
    for api_type in ["GRPC", "DELTA_GRPC"] {
        let dir = tempfile::tempdir()?;
        let ads = AdsServer::start().await?;
        let listener = listener("web", "own", &json!({ "ads": {} }));
        let listener = bootstrap::message::<Listener>(&listener.to_string())?;
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
        let app = bootstrap::message::<Cluster>(&cluster("app", &at(nowhere)).to_string())?;
        ads.put("web", &listener);
        ads.put("app", &app);
        let text = bootstrap::ads("n", ads.address(), api_type, "{}");
        let mut config = Config::new(Source::Bootstrap(Box::new(bootstrap::parse(&text)?)));
        config.state_dir = Some(dir.path().to_owned());
        config.drain.grace = Duration::ZERO;
        config.drain.total = Duration::from_secs(1);
        let proxy = tokio::task::spawn_blocking(move || Proxy::start(config)).await??;
        for name in ["a", "b"] {
            pki.issue_for_host(name, "a.test")?;
            ads.put("own", &certificate("own", folder.path(), name)?);
            shows(&proxy, "web", folder.path(), name).await?;
        }
        proxy.shutdown().await;
        let saved = eventually("the tables are on disk", || async {
            std::fs::read(dir.path().join("tables"))
        })
        .await;
        let holds = |text: &str| saved.windows(text.len()).any(|it| it == text.as_bytes());
        assert!(
            holds("web") && holds("own"),
            "the listener that names the secret"
        );
        for name in ["a", "b"] {
            let key = std::fs::read_to_string(folder.path().join(format!("{name}.key")))?;
            assert!(!holds(key.lines().nth(1).context("a line of the key")?));
        }
        assert!(!holds("PRIVATE KEY"));
    }
    Ok(())
}
