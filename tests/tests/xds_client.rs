//! The proxy as a client of an xDS server that is scripted: good and bad resources, restarts, names on demand.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use weft_config::diag::Diagnostics;
use weft_config::document::Document;
use weft_proxy::app::{Config, MeshConfig, OUTBOUND, Proxy, Running, Source};
use weft_tests::ads::AdsServer;
use weft_tests::eventually;
use weft_tests::upstream::Upstream;
use weft_xds_proto::pb::envoy::config::cluster::v3::Cluster;
use weft_xds_proto::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use weft_xds_proto::pb::envoy::config::listener::v3::Listener;
use weft_xds_proto::pb::envoy::config::route::v3::RouteConfiguration;
use weft_xds_proto::type_url;

fn message<M: prost::Name + Default>(yaml: &str) -> anyhow::Result<M> {
    let mut diag = Diagnostics::new();
    let document = Document::<M>::parse(yaml, "test", &mut diag);
    Ok(document
        .with_context(|| format!("{yaml}: {:?}", diag.findings()))?
        .message)
}

/// The resources behind a name that clients ask for, leading to `upstream`.
fn put_service(ads: &AdsServer, name: &str, upstream: SocketAddr) -> anyhow::Result<()> {
    let (ip, port) = (upstream.ip(), upstream.port());
    ads.put(
        "c",
        &message::<Cluster>("{name: c, type: EDS, eds_cluster_config: {eds_config: {ads: {}}}}")?,
    );
    ads.put(
        "c",
        &message::<ClusterLoadAssignment>(&format!(
            "{{cluster_name: c, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: \
             {{address: {ip}, port_value: {port}}}}}}}}}]}}]}}"
        ))?,
    );
    ads.put(
        "r",
        &message::<RouteConfiguration>(
            "{name: r, virtual_hosts: [{name: v, domains: ['*'], routes: [{match: {prefix: /}, \
             route: {cluster: c}}]}]}",
        )?,
    );
    ads.put(
        name,
        &message::<Listener>(&format!(
            "{{name: '{name}', api_listener: {{api_listener: {{'@type': type.googleapis.com/envoy.extensions.filters.\
             network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: s, rds: {{route_config_name: r, \
             config_source: {{ads: {{}}}}}}, http_filters: [{{name: router, typed_config: {{'@type': \
             type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}]}}}}}}"
        ))?,
    );
    Ok(())
}

async fn sidecar(control_plane: SocketAddr, state_dir: Option<&Path>) -> anyhow::Result<Running> {
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let mesh = MeshConfig {
        control_plane_host: control_plane.ip().to_string(),
        control_plane_port: control_plane.port(),
        service: "client".to_owned(),
        namespace: "default".to_owned(),
        labels: Default::default(),
        app_ports: Vec::new(),
        outbound_listen: loopback,
        inbound_listen: loopback,
        address: None,
    };
    let mut config = Config::new(Source::Mesh(Box::new(mesh)));
    config.state_dir = state_dir.map(Path::to_owned);
    config.drain.grace = Duration::ZERO;
    config.drain.total = Duration::from_secs(1);
    Ok(tokio::task::spawn_blocking(move || Proxy::start(config)).await??)
}

/// The answer to a request through the outbound listener.
async fn get(proxy: &Running, host: &str) -> anyhow::Result<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let address = proxy
        .address_of(OUTBOUND)
        .await
        .context("outbound is not bound")?;
    let exchange = async {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        anyhow::Ok(answer)
    };
    tokio::time::timeout(Duration::from_secs(10), exchange).await?
}

#[tokio::test]
async fn a_name_is_learned_from_the_first_request_and_one_that_nobody_knows_is_refused()
-> anyhow::Result<()> {
    let upstream = Upstream::http("a").await;
    let ads = AdsServer::start().await?;
    put_service(&ads, "reviews:80", upstream.address())?;
    let proxy = sidecar(ads.address(), None).await?;
    proxy.ready().await;
    let known = proxy.snapshots().current().api_listeners.len();
    assert_eq!(known, 0, "nothing is known before it is asked for");
    let answer = get(&proxy, "Reviews").await?;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("x-served-by: a"),
        "{answer}"
    );
    let answer = get(&proxy, "nobody").await?;
    assert!(
        answer.starts_with("HTTP/1.1 404") || answer.starts_with("HTTP/1.1 503"),
        "{answer}"
    );
    proxy.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_restarted_proxy_serves_from_disk_while_its_server_is_away() -> anyhow::Result<()> {
    let upstream = Upstream::http("a").await;
    let dir = tempfile::tempdir()?;
    let ads = AdsServer::start().await?;
    put_service(&ads, "reviews:80", upstream.address())?;
    let address = ads.address();
    let proxy = sidecar(address, Some(dir.path())).await?;
    proxy.ready().await;
    get(&proxy, "reviews").await?;
    proxy.shutdown().await;
    drop(ads);

    let started = tokio::time::Instant::now();
    let proxy = sidecar(address, Some(dir.path())).await?;
    proxy.ready().await;
    let took = started.elapsed();
    assert!(took < Duration::from_secs(2), "ready after {took:?}");
    let answer = get(&proxy, "reviews").await?;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(proxy.status().report().restored_from.is_some());
    proxy.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_bad_resource_is_refused_by_name_while_the_last_good_one_serves() -> anyhow::Result<()> {
    let upstream = Upstream::http("a").await;
    let ads = AdsServer::start().await?;
    put_service(&ads, "reviews:80", upstream.address())?;
    let proxy = sidecar(ads.address(), None).await?;
    proxy.ready().await;
    get(&proxy, "reviews").await?;
    let bad = message::<Cluster>("{name: c, type: STATIC, connect_timeout: -1s}")?;
    ads.put("c", &bad);
    let error = eventually("the cluster is refused", || async {
        ads.last_nack(type_url::CLUSTER).ok_or("no refusal")
    })
    .await;
    assert!(error.contains("c: connect_timeout"), "{error}");
    let answer = get(&proxy, "reviews").await?;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    proxy.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_broken_stream_is_resumed_with_the_versions_held() -> anyhow::Result<()> {
    let upstream = Upstream::http("a").await;
    let ads = AdsServer::start().await?;
    put_service(&ads, "reviews:80", upstream.address())?;
    let proxy = sidecar(ads.address(), None).await?;
    proxy.ready().await;
    get(&proxy, "reviews").await?;
    ads.break_streams();
    let resumed = eventually("the client comes back", || async {
        let mut asked = ads.asked().into_iter();
        let again = asked.find(|it| it.stream == 2 && it.type_url == type_url::LISTENER);
        again.ok_or("no second stream")
    })
    .await;
    assert_eq!(resumed.held.keys().collect::<Vec<_>>(), ["reviews:80"]);
    let answer = get(&proxy, "reviews").await?;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    proxy.shutdown().await;
    Ok(())
}
