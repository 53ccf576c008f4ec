//! Watched files with secrets.

use std::path::Path;

use serde_json::json;
use weft_tests::upstream::Upstream;

use crate::scene::{TYPES, listener, pipe, pki, shows, start};

/// A file with a response that holds this certificate.
fn write(folder: &Path, of: &str) -> anyhow::Result<()> {
    let read = |name: String| std::fs::read_to_string(folder.join(name));
    let response = json!({ "resources": [{
        "@type": format!("{TYPES}.transport_sockets.tls.v3.Secret"),
        "name": "own",
        "tls_certificate": {
            "certificate_chain": { "inline_string": read(format!("{of}.pem"))? },
            "private_key": { "inline_string": read(format!("{of}.key"))? },
        },
    }] });
    swap(folder, &response.to_string())
}

/// Replaces the file by a rename.
fn swap(folder: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(folder.join("secrets.next"), text)?;
    Ok(std::fs::rename(
        folder.join("secrets.next"),
        folder.join("secrets.json"),
    )?)
}

#[tokio::test]
async fn a_file_of_secrets_is_followed_and_what_is_none_changes_nothing() -> anyhow::Result<()> {
    let app = Upstream::tcp("app").await;
    let (folder, _pki) = pki()?;
    let path = folder.path().join("secrets.json");
    let source = json!({ "path_config_source": { "path": path } });
    write(folder.path(), "a")?;
    let listener = listener("web", "own", &source);
    let proxy = start(&[listener], &pipe("/nowhere"), app.address()).await?;
    assert_eq!(proxy.addresses().len(), 1, "it listens from the start");
    shows(&proxy, "web", folder.path(), "a").await?;
    swap(folder.path(), "{resources: [{")?;
    shows(&proxy, "web", folder.path(), "a").await?;
    write(folder.path(), "b")?;
    shows(&proxy, "web", folder.path(), "b").await?;
    std::fs::remove_file(&path)?;
    shows(&proxy, "web", folder.path(), "b").await?;
    proxy.shutdown().await;
    Ok(())
}
