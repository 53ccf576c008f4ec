//! Every kind of resource changes again and again under open connections: none is closed, and each follows.
//!
//! `WEFT_CONNECTIONS` (of each of three kinds) and `WEFT_CHANGES` give the size.
#![expect(clippy::indexing_slicing, reason = "helpers of a test fail the test")]

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::{SinkExt, StreamExt, TryStreamExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use weft_proxy::app::{Config, Proxy, Running, Source};
use weft_tests::ads::AdsServer;
use weft_tests::bootstrap;
use weft_tests::client::{Http1, served_by};
use weft_tests::eventually::eventually_within;
use weft_tests::upstream::Upstream;
use weft_xds_proto::pb::envoy::config::cluster::v3::Cluster;
use weft_xds_proto::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use weft_xds_proto::pb::envoy::config::listener::v3::Listener;
use weft_xds_proto::pb::envoy::config::route::v3::RouteConfiguration;
use weft_xds_proto::type_url;

/// A change is in force after this at the latest.
const IN_FORCE: Duration = Duration::from_secs(1);
/// Bound of one exchange.
const EXCHANGE: Duration = Duration::from_secs(10);
/// Exchanges at the same time.
const AT_ONCE: usize = 64;
/// Changes between two looks at all connections; odd, so that each kind comes last in a batch.
const BATCH: usize = 7;
/// Changes from which on memory is judged.
const FULL_SIZE: usize = 500;
/// A cluster that nothing leads to; it comes and goes.
const SPARE: &str = "spare";
const CLUSTERS: [&str; 4] = ["a", "b", "tcp", "ws"];

#[tokio::test(flavor = "multi_thread")]
async fn a_change_closes_nothing() -> anyhow::Result<()> {
    let (count, changes) = (size("WEFT_CONNECTIONS", 50)?, size("WEFT_CHANGES", 100)?);
    raise_descriptors()?;
    for api_type in ["DELTA_GRPC", "GRPC"] {
        run(api_type, count, changes).await.context(api_type)?;
    }
    Ok(())
}

async fn run(api_type: &str, count: usize, changes: usize) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut scene = Scene::start(api_type, folder.path()).await?;
    let mut open = Open::connect(&scene, count).await?;
    open.exchange(&scene).await.context("before any change")?;

    let (started, mut rss_early, mut slowest) = (Instant::now(), None, Duration::ZERO);
    for done in (0..changes).step_by(BATCH) {
        let upto = (done + BATCH).min(changes);
        for change in done..upto {
            scene.change(change)?;
        }
        let at = format!("after {upto} changes");
        slowest = slowest.max(scene.in_force(&at).await);
        open.exchange(&scene).await.context(at)?;
        if upto >= changes / 10 && rss_early.is_none() {
            rss_early = Some(rss_kib()?);
        }
    }
    let (early, late) = (rss_early.unwrap_or_default(), rss_kib()?);
    println!(
        "{api_type}: {count} WebSockets, {count} HTTP/1.1 and {count} TCP connections, {changes} changes in {:.1} s: none closed; \
         slowest batch in force after {} ms; resident after a tenth {early} KiB, at the end {late} KiB",
        started.elapsed().as_secs_f64(),
        slowest.as_millis()
    );
    for url in [
        type_url::LISTENER,
        type_url::ROUTE,
        type_url::CLUSTER,
        type_url::ENDPOINT,
    ] {
        assert_eq!(scene.ads.last_nack(url), None);
        assert!(scene.ads.acks(url) > 1, "{url} never changed");
    }
    if changes >= FULL_SIZE {
        assert!(
            late < early + early / 4,
            "memory grows: {early} KiB, then {late} KiB"
        );
    }
    drop(open);
    scene.proxy.shutdown().await;
    Ok(())
}

/// The proxy, what it is told, and who is behind it.
struct Scene {
    ads: AdsServer,
    proxy: Running,
    told: Told,
    /// Two of each of [`CLUSTERS`].
    upstreams: Vec<[Upstream; 2]>,
    web: SocketAddr,
    tcp: SocketAddr,
    probe: Http1,
    access_log: String,
}

/// What the resources say that may change.
#[derive(Default)]
struct Told {
    prefix: usize,
    tcp: usize,
    headers_kib: usize,
    logs: bool,
    refuses: bool,
    to_b: bool,
    table: usize,
    connect_ms: usize,
    breakers: usize,
    balancer: usize,
    weight: usize,
    endpoints: usize,
}

impl Scene {
    async fn start(api_type: &str, folder: &Path) -> anyhow::Result<Self> {
        let ads = AdsServer::start().await?;
        let mut upstreams = Vec::new();
        for name in CLUSTERS {
            upstreams.push(match name {
                "tcp" => [Upstream::tcp(name).await, Upstream::tcp(name).await],
                "ws" => [
                    Upstream::websocket(name).await,
                    Upstream::websocket(name).await,
                ],
                _ => [Upstream::http(name).await, Upstream::http(name).await],
            });
        }
        let access_log = folder.join("access.log").display().to_string();
        let told = Told::default();
        for name in CLUSTERS {
            ads.put(name, &bootstrap::message::<Cluster>(&told.cluster(name))?);
        }
        for (name, upstreams) in CLUSTERS.iter().zip(&upstreams) {
            let yaml = told.endpoints(name, upstreams);
            ads.put(name, &bootstrap::message::<ClusterLoadAssignment>(&yaml)?);
        }
        ads.put(
            "r",
            &bootstrap::message::<RouteConfiguration>(&told.routes())?,
        );
        ads.put(
            "web",
            &bootstrap::message::<Listener>(&told.web(&access_log))?,
        );
        ads.put("tcp", &bootstrap::message::<Listener>(&told.tcp())?);
        let yaml = bootstrap::ads("test", ads.address(), api_type, "{}");
        let mut config = Config::new(Source::Bootstrap(Box::new(bootstrap::parse(&yaml)?)));
        config.workers = 2;
        let proxy = tokio::task::spawn_blocking(move || Proxy::start(config)).await??;
        let bound = async {
            proxy.ready().await;
            Some((
                proxy.address_of("web").await?,
                proxy.address_of("tcp").await?,
            ))
        };
        let bound = timeout(EXCHANGE, bound).await.context("never ready")?;
        let (web, tcp) = bound.context("the proxy ended")?;
        let probe = Http1::connect(web).await?;
        Ok(Self {
            ads,
            proxy,
            told,
            upstreams,
            web,
            tcp,
            probe,
            access_log,
        })
    }

    /// The `number`th change. Each fourth tells again what is told already.
    fn change(&mut self, number: usize) -> anyhow::Result<()> {
        let told = &mut self.told;
        match number % 16 {
            0 => told.prefix = (told.prefix + 1) % 3,
            1 => told.to_b = !told.to_b,
            2 => told.connect_ms = (told.connect_ms + 1) % 7,
            3 => told.weight += 1,
            4 => told.headers_kib = (told.headers_kib + 1) % 5,
            5 => told.table += 1,
            6 => told.breakers = (told.breakers + 1) % 5,
            7 => told.endpoints += 1,
            8 => told.logs = !told.logs,
            10 => told.balancer = (told.balancer + 1) % 3,
            12 => told.refuses = !told.refuses,
            // Same content under a new version.
            _ => {}
        }
        if number % 16 == 14 {
            told.tcp += 1;
            self.ads
                .put("tcp", &bootstrap::message::<Listener>(&told.tcp())?);
            match told.tcp % 2 {
                0 => self.ads.remove(type_url::CLUSTER, SPARE),
                _ => self
                    .ads
                    .put(SPARE, &bootstrap::message::<Cluster>(&told.cluster(SPARE))?),
            }
        }
        let (ads, told) = (&self.ads, &self.told);
        match number % 4 {
            0 => ads.put(
                "web",
                &bootstrap::message::<Listener>(&told.web(&self.access_log))?,
            ),
            1 => ads.put(
                "r",
                &bootstrap::message::<RouteConfiguration>(&told.routes())?,
            ),
            2 => {
                for name in CLUSTERS {
                    ads.put(name, &bootstrap::message::<Cluster>(&told.cluster(name))?);
                }
            }
            _ => {
                for (name, upstreams) in CLUSTERS.iter().zip(&self.upstreams) {
                    let yaml = told.endpoints(name, upstreams);
                    ads.put(name, &bootstrap::message::<ClusterLoadAssignment>(&yaml)?);
                }
            }
        }
        Ok(())
    }

    /// Returns how long it took until all that is told is in force.
    async fn in_force(&mut self, at: &str) -> Duration {
        let told = Instant::now();
        let probe = Arc::new(tokio::sync::Mutex::new(&mut self.probe));
        let (proxy, facts) = (&self.proxy, &self.told);
        eventually_within(IN_FORCE, at, || async {
            facts.expect_clusters(proxy)?;
            let mut probe = probe.lock().await;
            facts.expect_answer(&mut probe).await
        })
        .await;
        told.elapsed()
    }
}

impl Told {
    fn web(&self, access_log: &str) -> String {
        let mut more = String::new();
        if self.logs {
            let _ = write!(
                more,
                "access_log: [{{name: file, typed_config: {{'@type': type.googleapis.com/envoy.extensions.access_loggers.\
                 file.v3.FileAccessLog, path: '{access_log}'}}}}], "
            );
        }
        let mut filters = String::new();
        if self.refuses {
            filters.push_str(
                "{name: fault, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.fault.v3.\
                 HTTPFault, abort: {http_status: 418, percentage: {numerator: 100}}}}, ",
            );
        }
        let (prefix, kib) = (self.prefix, 60 + self.headers_kib);
        format!(
            "{{name: web, address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}, filter_chains: [{{filters: [\
             {{name: hcm, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.network.\
             http_connection_manager.v3.HttpConnectionManager, stat_prefix: web{prefix}, max_request_headers_kb: {kib}, \
             upgrade_configs: [{{upgrade_type: websocket}}], {more}rds: {{route_config_name: r, config_source: {{ads: {{}}}}\
             }}, http_filters: [{filters}{{name: router, typed_config: {{'@type': type.googleapis.com/envoy.extensions.\
             filters.http.router.v3.Router}}}}]}}}}]}}]}}"
        )
    }

    fn tcp(&self) -> String {
        format!(
            "{{name: tcp, address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}, filter_chains: [{{filters: [\
             {{name: tcp, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.\
             TcpProxy, stat_prefix: tcp{}, cluster: {}, idle_timeout: {}s}}}}]}}]}}",
            self.tcp % 3,
            ["tcp", "a"][self.tcp % 2],
            3600 - self.tcp
        )
    }

    fn routes(&self) -> String {
        // The route that the WebSockets took is there only at times.
        let ws = ["{match: {path: /ws}, route: {cluster: ws}}, ", ""][self.table % 2];
        format!(
            "{{name: r, virtual_hosts: [{{name: v, domains: ['*'], routes: [{ws}{{match: {{prefix: /}}, route: {{cluster: \
             {}}}, response_headers_to_add: [{{header: {{key: x-table, value: '{}'}}}}]}}]}}]}}",
            self.target(),
            self.table
        )
    }

    fn cluster(&self, name: &str) -> String {
        let breakers = 10_000 + self.breakers;
        format!(
            "{{name: {name}, type: EDS, eds_cluster_config: {{eds_config: {{ads: {{}}}}}}, connect_timeout: {:.3}s, lb_policy: \
             {}, circuit_breakers: {{thresholds: [{{max_connections: {breakers}, max_requests: {breakers}, \
             max_pending_requests: {breakers}}}]}}}}",
            self.connect_timeout().as_secs_f64(),
            ["ROUND_ROBIN", "RANDOM", "LEAST_REQUEST"][self.balancer]
        )
    }

    fn connect_timeout(&self) -> Duration {
        Duration::from_millis(5_000 + self.connect_ms as u64)
    }

    /// The first, both, both the other way round, the second: every connection loses its endpoint at times.
    fn members(&self) -> &'static [usize] {
        [&[0][..], &[0, 1], &[1, 0], &[1]][self.endpoints % 4]
    }

    fn endpoints(&self, name: &str, upstreams: &[Upstream; 2]) -> String {
        let mut list = String::new();
        for index in self.members() {
            let (address, weight) = (upstreams[*index].address(), 1 + (self.weight + index) % 3);
            let _ = write!(
                list,
                "{{endpoint: {{address: {{socket_address: {{address: {}, port_value: {}}}}}}}, load_balancing_weight: \
                 {weight}}}, ",
                address.ip(),
                address.port()
            );
        }
        format!("{{cluster_name: {name}, endpoints: [{{lb_endpoints: [{list}]}}]}}")
    }

    fn target(&self) -> &'static str {
        if self.to_b { "b" } else { "a" }
    }

    /// Whether the next request is treated as told.
    async fn expect_answer(&self, connection: &mut Http1) -> anyhow::Result<()> {
        let answer = connection.get("web", "/").await?;
        if self.refuses {
            ensure!(answer.status() == 418, "{} instead of 418", answer.status());
            return Ok(());
        }
        let (server, target) = (served_by(&answer)?, self.target());
        ensure!(server == target, "{server} answered instead of {target}");
        let table = answer.headers().get("x-table").context("no x-table")?;
        let told = self.table.to_string();
        ensure!(table == told.as_str(), "table {table:?} instead of {told}");
        Ok(())
    }

    /// Whether clusters and endpoints are as told.
    fn expect_clusters(&self, proxy: &Running) -> anyhow::Result<()> {
        let snapshot = proxy.snapshots().current();
        for name in CLUSTERS {
            let cluster = snapshot.cluster(name).context("a cluster is missing")?;
            let (config, endpoints) = (
                cluster.config(),
                cluster.endpoints(tokio::time::Instant::now()).len(),
            );
            let timeout = config.connect_timeout;
            ensure!(
                timeout == self.connect_timeout(),
                "{name} connects within {timeout:?}"
            );
            let breakers = config.circuit_breakers.connections_max as usize;
            ensure!(
                breakers == 10_000 + self.breakers,
                "{name} breaks at {breakers}"
            );
            ensure!(
                endpoints == self.members().len(),
                "{name} has {endpoints} endpoints"
            );
        }
        Ok(())
    }
}

/// Connections that were opened before all changes.
struct Open {
    http: Vec<Http1>,
    tcp: Vec<TcpStream>,
    websockets: Vec<WebSocketStream<TcpStream>>,
    turn: u64,
}

impl Open {
    async fn connect(scene: &Scene, count: usize) -> anyhow::Result<Self> {
        let all = || stream::iter(0..count);
        Ok(Self {
            http: all()
                .map(|_| Http1::connect(scene.web))
                .buffer_unordered(AT_ONCE)
                .try_collect()
                .await?,
            tcp: all()
                .map(|_| tcp(scene.tcp))
                .buffer_unordered(AT_ONCE)
                .try_collect()
                .await?,
            websockets: all()
                .map(|_| websocket(scene.web))
                .buffer_unordered(AT_ONCE)
                .try_collect()
                .await?,
            turn: 0,
        })
    }

    /// One exchange on each connection; the first answer is to be as told.
    async fn exchange(&mut self, scene: &Scene) -> anyhow::Result<()> {
        self.turn += 1;
        let text = format!("turn {}", self.turn);
        stream::iter(self.http.iter_mut().map(anyhow::Ok))
            .try_for_each_concurrent(AT_ONCE, |it| async move {
                ensure!(!it.is_closed(), "an HTTP connection was closed");
                scene.told.expect_answer(it).await?;
                ensure!(!it.is_closed(), "an HTTP connection was closed");
                Ok(())
            })
            .await
            .context("HTTP/1.1")?;
        stream::iter(self.tcp.iter_mut().map(anyhow::Ok))
            .try_for_each_concurrent(AT_ONCE, |it| echo_tcp(it, &text))
            .await
            .context("TCP")?;
        stream::iter(self.websockets.iter_mut().map(anyhow::Ok))
            .try_for_each_concurrent(AT_ONCE, |it| echo_websocket(it, &text))
            .await
            .context("WebSocket")
    }
}

async fn tcp(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    let mut greeting = [0; 4];
    timeout(EXCHANGE, stream.read_exact(&mut greeting)).await??;
    ensure!(&greeting == b"tcp\n", "{greeting:?}");
    Ok(stream)
}

async fn echo_tcp(stream: &mut TcpStream, text: &str) -> anyhow::Result<()> {
    stream.write_all(text.as_bytes()).await?;
    let mut echo = vec![0; text.len()];
    timeout(EXCHANGE, stream.read_exact(&mut echo)).await??;
    ensure!(echo == text.as_bytes(), "{text:?} came back as {echo:?}");
    Ok(())
}

async fn websocket(address: SocketAddr) -> anyhow::Result<WebSocketStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let handshake = tokio_tungstenite::client_async("ws://web/ws", stream);
    Ok(timeout(EXCHANGE, handshake).await??.0)
}

async fn echo_websocket(socket: &mut WebSocketStream<TcpStream>, text: &str) -> anyhow::Result<()> {
    socket.send(Message::text(text)).await?;
    let answer = timeout(EXCHANGE, socket.next()).await?;
    let answer = answer.context("closed")??;
    ensure!(
        answer == Message::text(format!("ws {text}")),
        "{text:?} came back as {answer:?}"
    );
    Ok(())
}

fn size(variable: &str, default: usize) -> anyhow::Result<usize> {
    match std::env::var(variable) {
        Ok(given) => given.parse().with_context(|| format!("{variable}={given}")),
        Err(_) => Ok(default),
    }
}

/// Each connection through the proxy takes four descriptors, for all its ends are in this process.
fn raise_descriptors() -> anyhow::Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}

fn rss_kib() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"));
    let kib = line.and_then(|it| it.split_whitespace().next());
    Ok(kib.context("no VmRSS")?.parse()?)
}
