//! A proxy whose secrets others tell.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tokio::net::UnixListener;
use weft_proxy::app::{Config, Proxy, Running, Source};
use weft_tests::bootstrap;
use weft_tests::eventually;
use weft_tests::pki::Pki;
use weft_tests::secrets::{first_certificate, shown_at};

pub(crate) const TYPES: &str = "type.googleapis.com/envoy.extensions";

/// Where a cluster leads.
pub(crate) fn at(address: SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } })
}

pub(crate) fn pipe(path: &str) -> Value {
    json!({ "pipe": { "path": path } })
}

pub(crate) fn cluster(name: &str, address: &Value) -> Value {
    json!({
        "name": name, "type": "STATIC", "connect_timeout": "1s",
        "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address } }] }] },
    })
}

/// A source of secrets: the cluster `agent`.
pub(crate) fn from_agent(api_type: &str) -> Value {
    json!({ "resource_api_version": "V3", "api_config_source": {
        "api_type": api_type, "transport_api_version": "V3",
        "grpc_services": [{ "envoy_grpc": { "cluster_name": "agent" } }],
    } })
}

/// A listener of TLS with this certificate, which leads to the cluster `app`.
pub(crate) fn listener(name: &str, secret: &str, source: &Value) -> Value {
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

pub(crate) async fn start(
    listeners: &[Value],
    agent: &Value,
    app: SocketAddr,
) -> anyhow::Result<Running> {
    start_with(listeners, cluster("agent", agent), app).await
}

/// The same with the whole cluster `agent`.
pub(crate) async fn start_with(
    listeners: &[Value],
    agent: Value,
    app: SocketAddr,
) -> anyhow::Result<Running> {
    let text = bootstrap_of(listeners, &agent, app);
    let bootstrap = bootstrap::parse(&text.to_string())?;
    let mut config = Config::new(Source::Bootstrap(Box::new(bootstrap)));
    config.admin = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    config.drain.grace = Duration::ZERO;
    config.drain.total = Duration::from_secs(1);
    Ok(tokio::task::spawn_blocking(move || Proxy::start(config)).await??)
}

/// The bootstrap of such a proxy.
pub(crate) fn bootstrap_of(listeners: &[Value], agent: &Value, app: SocketAddr) -> Value {
    json!({
        "node": { "id": "n", "cluster": "c" },
        "static_resources": {
            "listeners": listeners,
            "clusters": [agent, cluster("app", &at(app))],
        },
    })
}

/// A folder with certificates, and an authority that signs more.
pub(crate) fn pki() -> anyhow::Result<(tempfile::TempDir, Pki)> {
    let folder = tempfile::tempdir()?;
    let pki = Pki::new(folder.path())?;
    pki.issue_for_host("a", "a.test")?;
    pki.issue_for_host("b", "b.test")?;
    Ok((folder, pki))
}

/// Returns once the certificate `name` of the folder is shown at `listener`.
pub(crate) async fn shows(
    proxy: &Running,
    listener: &str,
    folder: &Path,
    name: &str,
) -> anyhow::Result<()> {
    let wanted = first_certificate(&folder.join(format!("{name}.pem")))?;
    let address = proxy.address_of(listener).await.context("not bound")?;
    eventually("the certificate is shown", || async {
        ensure!(shown_at(address).await? == wanted, "another certificate");
        Ok(())
    })
    .await;
    Ok(())
}

pub(crate) fn abstract_socket(name: &str) -> anyhow::Result<UnixListener> {
    use std::os::linux::net::SocketAddrExt;
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    let listener = std::os::unix::net::UnixListener::bind_addr(&address)?;
    listener.set_nonblocking(true)?;
    Ok(UnixListener::from_std(listener)?)
}
