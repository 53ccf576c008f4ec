//! Who may use the HTTP API, and what is said of it, with the real program on both sides.

use anyhow::{Context, ensure};
use weft_tests::eventually;
use weft_tests::weave::workload_service;
use weft_tests::weft::{Ended, Weft};

/// A token of the API with this role, made by whoever has `by`.
async fn token(weft: &Weft, by: &str, role: &str, further: &[&str]) -> anyhow::Result<String> {
    let arguments = [&["--token", by, "token", "create", "--role", role], further].concat();
    let made = weft.run(&arguments, "").await?;
    ensure!(made.code == Some(0), "{made:?}");
    Ok(made.out.trim().to_owned())
}

async fn run(weft: &Weft, token: &str, arguments: &[&str], input: &str) -> anyhow::Result<Ended> {
    weft.run(&[&["--token", token], arguments].concat(), input)
        .await
}

fn refused(ended: &Ended, why: &str) {
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.err.contains(why), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_decides_what_a_token_is_good_for() -> anyhow::Result<()> {
    let weft = Weft::serve(&["--token", "boss-of-all", "--log-level", "info"]).await?;
    let service = workload_service("web", 80, "app: web");
    let read = token(&weft, "boss-of-all", "read", &["--name", "watcher"]).await?;
    let write = token(&weft, "boss-of-all", "write", &["--name", "pipeline"]).await?;
    let admin = token(&weft, "boss-of-all", "admin", &[]).await?;

    refused(&weft.run(&["get", "services"], "").await?, "needs a token");
    refused(
        &run(&weft, "boss-of-al", &["get", "services"], "").await?,
        "no token of this API",
    );
    for token in [&read, &write, &admin] {
        let ended = run(&weft, token, &["get", "services"], "").await?;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let ended = run(&weft, token, &["diff", "-f", "-"], &service).await?;
        assert!(
            ended.out.contains("MeshService") && ended.code != Some(2),
            "{ended:?}"
        );
    }
    let ended = run(&weft, &read, &["apply", "-f", "-"], &service).await?;
    refused(&ended, "has the role read, and this is for the role write");
    refused(&run(&weft, &read, &["rollback"], "").await?, "role write");
    for _ in 0..2 {
        let ended = run(&weft, &write, &["apply", "-f", "-"], &service).await?;
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
    let history = run(&weft, &read, &["history", "-o", "json"], "").await?.out;
    let history: serde_json::Value = serde_json::from_str(&history)?;
    assert_eq!(history[0]["principal"], "pipeline", "{history}");
    for token in [&read, &write] {
        refused(
            &run(&weft, token, &["token", "list"], "").await?,
            "role admin",
        );
        let create = ["token", "create", "--service-account", "a/b"];
        refused(&run(&weft, token, &create, "").await?, "role admin");
    }
    let listed = run(&weft, &admin, &["token", "list", "-o", "json"], "")
        .await?
        .out;
    let listed: serde_json::Value = serde_json::from_str(&listed)?;
    let all = listed.as_array().context("a list")?;
    let watcher = all.iter().find(|it| it["name"] == "watcher");
    let id = watcher.context("the first")?["id"]
        .as_str()
        .context("an id")?;
    let ended = run(&weft, &admin, &["token", "revoke", id], "").await?;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    refused(
        &run(&weft, &read, &["get", "services"], "").await?,
        "was revoked",
    );
    let short = token(&weft, &admin, "read", &["--ttl", "1ms"]).await;
    assert!(short.is_err(), "whole seconds alone");
    let short = token(&weft, &admin, "read", &["--ttl", "1s"]).await?;
    eventually("it expires", || async {
        let ended = run(&weft, &short, &["get", "services"], "").await?;
        ensure!(ended.err.contains("has expired"), "{ended:?}");
        Ok(())
    })
    .await;

    eventually("the audit log says who has done what", || async {
        let log = weft.log();
        for line in [
            "desired state changed",
            "who=\"pipeline\"",
            "API request refused",
            // What the token is too small for, whoever looked at it.
            "path=\"/v1/apply\" reason=\"the token \\\"watcher\\\" has the role read",
            "path=\"/v1/rollback\" reason=\"the token \\\"watcher\\\" has the role read",
        ] {
            ensure!(log.contains(line), "{line}: {log}");
        }
        let changes = log.matches("desired state changed").count();
        ensure!(changes == 1, "what changes nothing is no change: {log}");
        for line in [
            "API token made",
            "API token revoked",
            "MeshService default/web",
        ] {
            ensure!(log.contains(line), "{line}: {log}");
        }
        Ok(())
    })
    .await;
    let store = std::fs::read(weft.folder().join("store.redb"))?;
    for secret in [&read, &write, &admin, &"boss-of-all".to_owned()] {
        let found = |bytes: &[u8]| {
            bytes
                .windows(secret.len())
                .any(|it| it == secret.as_bytes())
        };
        assert!(!found(weft.log().as_bytes()) && !found(&store));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn loopback_is_open_unless_a_token_is_required() -> anyhow::Result<()> {
    let open = Weft::serve(&[]).await?;
    assert_eq!(open.run(&["get", "services"], "").await?.code, Some(0));
    let made = open.run(&["token", "create", "--role", "read"], "").await?;
    let ended = run(&open, made.out.trim(), &["token", "list"], "").await?;
    refused(&ended, "role admin");
    let file = open.folder().join("token");
    let file = file.to_str().context("a path")?;
    let create = [
        "token",
        "create",
        "--service-account",
        "default/web",
        "--to",
        file,
    ];
    let ended = open.run(&create, "").await?;
    ensure!(ended.code == Some(0) && ended.out.is_empty(), "{ended:?}");
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(file)?) & 0o777;
    assert_eq!(mode, 0o600);
    assert!(std::fs::read_to_string(file)?.starts_with("weft-join-"));
    refused(
        &open.run(&create, "").await?,
        "there already: nothing was made",
    );
    let closed = Weft::serve(&["--require-token"]).await?;
    refused(
        &closed.run(&["get", "services"], "").await?,
        "needs a token",
    );
    Ok(())
}
