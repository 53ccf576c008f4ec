//! The proxy as a client of an xDS server that is scripted: good and bad resources, restarts, names on demand.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use weft_proxy::app::{
    Config, MeshConfig, OUTBOUND, OutboundPolicy, Proxy, Redirection, Running, Source,
};
use weft_tests::ads::AdsServer;
use weft_tests::bootstrap;
use weft_tests::eventually;
use weft_tests::upstream::Upstream;
use weft_xds_proto::pb::envoy::config::cluster::v3::Cluster;
use weft_xds_proto::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use weft_xds_proto::pb::envoy::config::listener::v3::Listener;
use weft_xds_proto::pb::envoy::config::route::v3::RouteConfiguration;
use weft_xds_proto::type_url;

/// The resources behind a name that clients ask for, leading to `upstream`.
fn put_service(ads: &AdsServer, name: &str, upstream: SocketAddr) -> anyhow::Result<()> {
    let (ip, port) = (upstream.ip(), upstream.port());
    ads.put(
        "c",
        &bootstrap::message::<Cluster>(
            "{name: c, type: EDS, eds_cluster_config: {eds_config: {ads: {}}}}",
        )?,
    );
    ads.put(
        "c",
        &bootstrap::message::<ClusterLoadAssignment>(&format!(
            "{{cluster_name: c, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: \
             {{address: {ip}, port_value: {port}}}}}}}}}]}}]}}"
        ))?,
    );
    ads.put(
        "r",
        &bootstrap::message::<RouteConfiguration>(
            "{name: r, virtual_hosts: [{name: v, domains: ['*'], routes: [{match: {prefix: /}, \
             route: {cluster: c}}]}]}",
        )?,
    );
    ads.put(
        name,
        &bootstrap::message::<Listener>(&format!(
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
        control_plane_tls: false,
        identity: None,
        service: "client".to_owned(),
        namespace: "default".to_owned(),
        labels: Default::default(),
        app_ports: Vec::new(),
        outbound_listen: loopback,
        inbound_listen: loopback,
        address: None,
        limits: Default::default(),
        access_log: None,
        redirection: Redirection::None,
        outbound_policy: OutboundPolicy::default(),
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
    let bad = bootstrap::message::<Cluster>("{name: c, type: STATIC, connect_timeout: -1s}")?;
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
async fn of_a_response_the_good_is_served_and_the_bad_named_also_after_a_restart()
-> anyhow::Result<()> {
    let upstream = Upstream::http("a").await;
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let ads = AdsServer::start().await?;
    put_service(&ads, "api", upstream.address())?;
    ads.remove(type_url::LISTENER, "api");
    for (name, port) in [("good", 0), ("taken", taken.local_addr()?.port())] {
        let listener = format!(
            "{{name: {name}, address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}, filter_chains: \
             [{{filters: [{{name: t, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.network.\
             tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: c}}}}]}}]}}"
        );
        ads.put(name, &bootstrap::message::<Listener>(&listener)?);
    }
    let bad = "{name: bad, type: STATIC, connect_timeout: -1s}";
    ads.put("bad", &bootstrap::message::<Cluster>(bad)?);
    let state = tempfile::tempdir()?;
    for api_type in ["DELTA_GRPC", "GRPC"] {
        let yaml = bootstrap::ads("test", ads.address(), api_type, "{}");
        let source = Source::Bootstrap(Box::new(bootstrap::parse(&yaml)?));
        let mut config = Config::new(source);
        config.state_dir = Some(state.path().to_owned());
        let proxy = tokio::task::spawn_blocking(move || Proxy::start(config)).await??;
        proxy.ready().await;
        let good = proxy.address_of("good").await.context("not bound")?;
        let answer = weft_tests::client::get(good, "web", "/").await?;
        assert_eq!(weft_tests::client::served_by(&answer)?, "a");
        for (kind, fault) in [
            (type_url::LISTENER, "taken: address"),
            (type_url::CLUSTER, "bad: connect_timeout"),
        ] {
            let error = eventually("the refusal arrives", || async {
                ads.last_nack(kind).ok_or("no refusal")
            })
            .await;
            assert!(error.contains(fault), "{error}");
            assert!(!error.contains("good"), "{error}");
        }
        proxy.shutdown().await;
    }
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
