//! Secrets from servers of their own and from watched files, as connections see them.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tokio::net::UnixListener;
use weft_proxy::app::{Config, Proxy, Running, Source};
use weft_tests::ads::AdsServer;
use weft_tests::bootstrap;
use weft_tests::eventually;
use weft_tests::pki::Pki;
use weft_tests::secrets::{certificate, first_certificate, roots, shown_at};
use weft_tests::upstream::Upstream;
use weft_xds_proto::pb::google::protobuf::Any;
use weft_xds_proto::type_url;

const TYPES: &str = "type.googleapis.com/envoy.extensions";

/// Where a cluster leads.
fn at(address: SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } })
}

fn pipe(path: &str) -> Value {
    json!({ "pipe": { "path": path } })
}

fn cluster(name: &str, address: &Value) -> Value {
    json!({
        "name": name, "type": "STATIC", "connect_timeout": "1s",
        "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address } }] }] },
    })
}

/// A source of secrets: the cluster `agent`.
fn from_agent(api_type: &str) -> Value {
    json!({ "resource_api_version": "V3", "api_config_source": {
        "api_type": api_type, "transport_api_version": "V3",
        "grpc_services": [{ "envoy_grpc": { "cluster_name": "agent" } }],
    } })
}

/// A listener of TLS with this certificate, which leads to the cluster `app`.
fn listener(name: &str, secret: &str, source: &Value) -> Value {
    json!({
        "name": name,
        "address": { "socket_address": { "address": "127.0.0.1", "port_value": 0 } },
        "filter_chains": [{
            "filters": [{ "name": "tcp", "typed_config": {
                "@type": format!("{TYPES}.filters.network.tcp_proxy.v3.TcpProxy"), "stat_prefix": "t", "cluster": "app",
            } }],
            "transport_socket": { "name": "tls", "typed_config": {
                "@type": format!("{TYPES}.transport_sockets.tls.v3.DownstreamTlsContext"),
                "common_tls_context": { "tls_certificate_sds_secret_configs": [{ "name": secret, "sds_config": source }] },
            } },
        }],
    })
}

async fn start(listeners: &[Value], agent: &Value, app: SocketAddr) -> anyhow::Result<Running> {
    let text = json!({
        "node": { "id": "n", "cluster": "c" },
        "static_resources": {
            "listeners": listeners,
            "clusters": [cluster("agent", agent), cluster("app", &at(app))],
        },
    });
    let bootstrap = bootstrap::parse(&text.to_string())?;
    let mut config = Config::new(Source::Bootstrap(Box::new(bootstrap)));
    config.admin = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    config.drain.grace = Duration::ZERO;
    config.drain.total = Duration::from_secs(1);
    Ok(tokio::task::spawn_blocking(move || Proxy::start(config)).await??)
}

/// A folder with certificates, and an authority that signs more.
fn pki() -> anyhow::Result<(tempfile::TempDir, Pki)> {
    let folder = tempfile::tempdir()?;
    let pki = Pki::new(folder.path())?;
    pki.issue_for_host("a", "a.test")?;
    pki.issue_for_host("b", "b.test")?;
    Ok((folder, pki))
}

/// Returns once the certificate `name` of the folder is shown at `listener`.
async fn shows(proxy: &Running, listener: &str, folder: &Path, name: &str) -> anyhow::Result<()> {
    let wanted = first_certificate(&folder.join(format!("{name}.pem")))?;
    let address = proxy.address_of(listener).await.context("not bound")?;
    eventually("the certificate is shown", || async {
        ensure!(shown_at(address).await? == wanted, "another certificate");
        Ok(())
    })
    .await;
    Ok(())
}

fn abstract_socket(name: &str) -> anyhow::Result<UnixListener> {
    use std::os::linux::net::SocketAddrExt;
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    let listener = std::os::unix::net::UnixListener::bind_addr(&address)?;
    listener.set_nonblocking(true)?;
    Ok(UnixListener::from_std(listener)?)
}

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
    let mut source = from_agent("GRPC");
    source["initial_fetch_timeout"] = json!("0.2s");
    let listener = listener("web", "own", &source);
    let proxy = start(&[listener], &at(server.address()), app.address()).await?;
    proxy.ready().await;
    let address = proxy.address_of("web").await.context("not bound")?;
    assert!(shown_at(address).await.is_err());
    server.put("own", &certificate("own", folder.path(), "a")?);
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
    assert!(proxy.status().report().servers[0].connected);
    drop(server);
    std::fs::remove_file(&file)?;
    eventually("the loss is noticed", || async {
        let report = proxy.status().report();
        ensure!(report.servers[0].last_error.is_some(), "{report:?}");
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

/// Resources that a server should not send, under the name of a secret that is in use.
fn hostile(folder: &Path) -> anyhow::Result<Vec<(&'static str, Any)>> {
    let fits_not = {
        let mut chain = certificate("own", folder, "a")?;
        let other = certificate("own", folder, "b")?;
        use weft_xds_proto::pb::envoy::extensions::transport_sockets::tls::v3::secret::Type;
        let (Some(Type::TlsCertificate(into)), Some(Type::TlsCertificate(from))) =
            (&mut chain.r#type, other.r#type)
        else {
            anyhow::bail!("no certificates");
        };
        into.private_key = from.private_key;
        chain
    };
    let any = |secret| weft_xds_proto::any::pack(&secret);
    let garbage = Any {
        type_url: type_url::SECRET.to_owned(),
        value: vec![0xff; 100_000],
    };
    Ok(vec![
        (
            "the private key is not that of the certificate",
            any(fits_not),
        ),
        ("must hold a tls_certificate", any(roots("own", folder)?)),
        (
            "own: name: must be \"own\"",
            any(certificate("other", folder, "a")?),
        ),
        ("", garbage),
    ])
}

#[tokio::test]
async fn whatever_a_server_tells_the_last_good_secret_and_all_others_stay() -> anyhow::Result<()> {
    let app = Upstream::tcp("app").await;
    let (folder, pki) = pki()?;
    let server = AdsServer::start().await?;
    server.put("own", &certificate("own", folder.path(), "a")?);
    server.put("other", &certificate("other", folder.path(), "b")?);
    let source = from_agent("DELTA_GRPC");
    let listeners = [
        listener("web", "own", &source),
        listener("more", "other", &source),
    ];
    let proxy = start(&listeners, &at(server.address()), app.address()).await?;
    proxy.ready().await;
    for (why, told) in hostile(folder.path())? {
        let nacks = || {
            server
                .asked()
                .iter()
                .filter(|it| it.error.is_some())
                .count()
        };
        let before = nacks();
        server.put_any("own", told);
        eventually("it is refused", || async {
            ensure!(nacks() > before, "no refusal");
            Ok(())
        })
        .await;
        let nack = server.last_nack(type_url::SECRET).context("a refusal")?;
        assert!(nack.contains(why) && !nack.contains("PRIVATE"), "{nack}");
        shows(&proxy, "web", folder.path(), "a").await?;
        shows(&proxy, "more", folder.path(), "b").await?;
    }
    // More than is read at all.
    let streams = || server.asked().iter().map(|it| it.stream).max();
    let before = streams();
    let huge = Any {
        type_url: type_url::SECRET.to_owned(),
        value: vec![0; 8 << 20],
    };
    server.put_any("own", huge);
    eventually("the stream is left and opened again", || async {
        ensure!(streams() > before, "the same stream");
        Ok(())
    })
    .await;
    shows(&proxy, "web", folder.path(), "a").await?;
    pki.issue_for_host("a", "a.test")?;
    server.put("own", &certificate("own", folder.path(), "a")?);
    shows(&proxy, "web", folder.path(), "a").await?;
    proxy.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_flood_of_rotations_ends_with_the_last_and_holds_up_nobody() -> anyhow::Result<()> {
    let app = Upstream::tcp("app").await;
    let (folder, pki) = pki()?;
    let server = AdsServer::start().await?;
    server.put("own", &certificate("own", folder.path(), "a")?);
    server.put("other", &certificate("other", folder.path(), "b")?);
    let source = from_agent("DELTA_GRPC");
    let listeners = [
        listener("web", "own", &source),
        listener("more", "other", &source),
    ];
    let proxy = start(&listeners, &at(server.address()), app.address()).await?;
    proxy.ready().await;
    pki.issue_for_host("c", "c.test")?;
    let forms = [
        certificate("own", folder.path(), "a")?,
        certificate("own", folder.path(), "c")?,
    ];
    for turn in 0..3_000 {
        server.put("own", &forms[turn % 2]);
        if turn % 100 == 0 {
            shows(&proxy, "more", folder.path(), "b").await?;
        }
    }
    shows(&proxy, "web", folder.path(), "c").await?;
    assert_eq!(server.last_nack(type_url::SECRET), None);
    proxy.shutdown().await;
    Ok(())
}

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
