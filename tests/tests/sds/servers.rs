//! Servers of secrets: on any socket, late, away and back.

use anyhow::{Context, ensure};
use serde_json::json;
use tokio::net::{TcpListener, UnixListener};
use weft_tests::ads::AdsServer;
use weft_tests::eventually;
use weft_tests::secrets::{certificate, shown_at};
use weft_tests::secured::Secured;
use weft_tests::upstream::Upstream;
use weft_xds_proto::type_url;

use crate::scene::{
    TYPES, abstract_socket, at, cluster, from_agent, listener, pipe, pki, shows, start, start_with,
};

#[tokio::test]
async fn a_static_listener_listens_and_all_is_ready_once_its_secret_is_told() -> anyhow::Result<()>
{
    let app = Upstream::tcp("app").await;
    let (folder, _pki) = pki()?;
    let file = folder.path().join("agent.sock");
    let file = file.to_str().context("a path")?;
    let name = format!("weft-test-{}", std::process::id());
    let tcp = AdsServer::start().await?;
    let tcp_at = at(tcp.address());
    for (server, address, api_type) in [
        (tcp, tcp_at, "GRPC"),
        (
            AdsServer::on_unix(UnixListener::bind(file)?),
            pipe(file),
            "DELTA_GRPC",
        ),
        (
            AdsServer::on_unix(abstract_socket(&name)?),
            pipe(&format!("@{name}")),
            "GRPC",
        ),
    ] {
        let listener = listener("web", "own", &from_agent(api_type));
        let proxy = start(&[listener], &address, app.address()).await?;
        eventually("it asks", || async {
            ensure!(!server.asked().is_empty(), "nobody asked");
            Ok(())
        })
        .await;
        let asked = &server.asked()[0];
        assert_eq!(
            (&*asked.names, asked.node.as_deref()),
            (&["own".to_owned()][..], Some("n"))
        );
        assert!(!proxy.status().is_ready());
        assert!(proxy.addresses().is_empty(), "{:?}", proxy.addresses());
        server.put("own", &certificate("own", folder.path(), "a")?);
        proxy.ready().await;
        shows(&proxy, "web", folder.path(), "a").await?;
        assert_eq!(server.last_nack(type_url::SECRET), None);
        proxy.shutdown().await;
    }
    Ok(())
}

#[tokio::test]
async fn a_listener_whose_secret_does_not_come_in_time_listens_and_shakes_no_hand()
-> anyhow::Result<()> {
    let app = Upstream::tcp("app").await;
    let (folder, _pki) = pki()?;
    let server = AdsServer::start().await?;
    let silent = TcpListener::bind("127.0.0.1:0").await?;
    let mut source = from_agent("GRPC");
    source["initial_fetch_timeout"] = json!("0.2s");
    for agent in [server.address(), silent.local_addr()?] {
        let listener = listener("web", "own", &source);
        let proxy = start(&[listener], &at(agent), app.address()).await?;
        proxy.ready().await;
        let address = proxy.address_of("web").await.context("not bound")?;
        assert!(shown_at(address).await.is_err());
        if agent == server.address() {
            server.put("own", &certificate("own", folder.path(), "a")?);
            shows(&proxy, "web", folder.path(), "a").await?;
        }
        proxy.shutdown().await;
    }
    Ok(())
}

#[tokio::test]
async fn a_server_is_spoken_to_over_tls_where_its_cluster_says_so() -> anyhow::Result<()> {
    let app = Upstream::tcp("app").await;
    let (folder, pki) = pki()?;
    pki.issue_for_host("agent", "agent.test")?;
    let server = AdsServer::start().await?;
    server.put("own", &certificate("own", folder.path(), "a")?);
    let secured = Secured::start(&pki, "agent", "h2", server.address()).await?;
    let tls = json!({ "name": "tls", "typed_config": {
        "@type": format!("{TYPES}.transport_sockets.tls.v3.UpstreamTlsContext"),
        "sni": "agent.test", "auto_sni_san_validation": true,
        "common_tls_context": {
            "alpn_protocols": ["h2"],
            "validation_context": { "trusted_ca": { "filename": folder.path().join("ca.pem") } },
        },
    } });
    let mut agent = cluster("agent", &at(secured.address));
    agent["transport_socket"] = tls;
    let listener = listener("web", "own", &from_agent("DELTA_GRPC"));
    let proxy = start_with(&[listener], agent, app.address()).await?;
    shows(&proxy, "web", folder.path(), "a").await?;
    proxy.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_server_that_was_away_is_asked_again_and_what_it_told_serves_meanwhile()
-> anyhow::Result<()> {
    let app = Upstream::tcp("app").await;
    let (folder, _pki) = pki()?;
    let file = folder.path().join("agent.sock");
    let path = file.to_str().context("a path")?;
    let server = AdsServer::on_unix(UnixListener::bind(&file)?);
    server.put("own", &certificate("own", folder.path(), "a")?);
    let listener = listener("web", "own", &from_agent("GRPC"));
    let proxy = start(&[listener], &pipe(path), app.address()).await?;
    shows(&proxy, "web", folder.path(), "a").await?;
    assert!(proxy.status().report().streams[0].connected);
    drop(server);
    std::fs::remove_file(&file)?;
    eventually("the loss is noticed", || async {
        let report = proxy.status().report();
        ensure!(report.streams[0].last_error.is_some(), "{report:?}");
        Ok(())
    })
    .await;
    shows(&proxy, "web", folder.path(), "a").await?;
    let server = AdsServer::on_unix(UnixListener::bind(&file)?);
    server.put("own", &certificate("own", folder.path(), "b")?);
    shows(&proxy, "web", folder.path(), "b").await?;
    proxy.shutdown().await;
    Ok(())
}
