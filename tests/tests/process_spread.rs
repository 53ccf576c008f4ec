//! Calls of one gRPC connection over many backends: each has its share, and one that comes, goes away or dies costs nothing.
//!
//! `WEFT_CALLS` gives the calls of each step.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet, yield_now};
use weft_tests::ads::AdsServer;
use weft_tests::bootstrap;
use weft_tests::content::whole;
use weft_tests::eventually::eventually;
use weft_tests::http2::{Http2, grpc_message};
use weft_tests::proxy::ProxyProcess;
use weft_xds_proto::pb::envoy::config::cluster::v3::Cluster;
use weft_xds_proto::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use weft_xds_proto::pb::envoy::config::listener::v3::Listener;

const BACKENDS: usize = 10;
/// Calls at the same time.
const AT_ONCE: usize = 20;

const LISTENER: &str = "{name: web, address: {socket_address: {address: 127.0.0.1, port_value: 0}}, filter_chains: [\
    {filters: [{name: hcm, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network.\
    http_connection_manager.v3.HttpConnectionManager, stat_prefix: web, route_config: {name: r, virtual_hosts: [{name: v, \
    domains: ['*'], routes: [{match: {prefix: /}, route: {cluster: calls}}]}]}, http_filters: [{name: router, typed_config: \
    {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]}}]}]}";

/// A gRPC server that counts the calls that it has begun.
struct Backend {
    address: SocketAddr,
    begun: Arc<AtomicU64>,
    going: watch::Sender<()>,
    task: JoinHandle<()>,
}

impl Backend {
    async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let begun: Arc<AtomicU64> = Arc::default();
        let going = watch::Sender::new(());
        let (calls, told) = (begun.clone(), going.clone());
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            // Closed before the connections are: a call that came over in between would die of a second one.
            let listener = listener;
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, calls.clone(), told.subscribe()));
            }
        });
        Ok(Self {
            address,
            begun,
            going,
            task,
        })
    }

    fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Ends all its connections in order: GOAWAY, and the calls that run are answered. New ones are taken.
    fn go_away(&self) {
        self.going.send_replace(());
    }

    /// Is gone from one moment to the next, with its connections.
    fn die(&self) {
        self.task.abort();
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(stream: TcpStream, begun: Arc<AtomicU64>, mut going: watch::Receiver<()>) {
    let service = service_fn(move |request| answer(begun.clone(), request));
    let connection =
        http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = &mut connection => return,
        _ = going.changed() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

async fn answer(
    begun: Arc<AtomicU64>,
    request: Request<Incoming>,
) -> Result<Response<UnsyncBoxBody<Bytes, Infallible>>, Infallible> {
    begun.fetch_add(1, Ordering::Relaxed);
    let message = request
        .into_body()
        .collect()
        .await
        .map_or_else(|_| Bytes::new(), |body| body.to_bytes());
    // Some are answered at once, others after those that came meanwhile.
    for _ in 0..message.len() % 7 {
        yield_now().await;
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(message).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(body.boxed_unsync());
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", kind);
    Ok(response)
}

/// A proxy that is told its backends by EDS, and one connection to it.
struct Scene {
    ads: AdsServer,
    _proxy: ProxyProcess,
    client: Arc<Http2>,
    backends: Vec<Backend>,
    calls: Arc<AtomicU64>,
}

/// Why calls of a step failed.
#[derive(Default)]
struct Failed {
    safe: Vec<String>,
    /// Those that may not be repeated.
    other: Vec<String>,
}

impl Scene {
    async fn start(balancer: &str) -> anyhow::Result<Self> {
        let ads = AdsServer::start().await?;
        let mut backends = Vec::new();
        for _ in 0..BACKENDS {
            backends.push(Backend::start().await?);
        }
        let cluster = format!(
            "{{name: calls, type: EDS, eds_cluster_config: {{eds_config: {{ads: {{}}}}}}, lb_policy: {balancer}, \
             typed_extension_protocol_options: {{envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {{'@type': \
             type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: \
             {{http2_protocol_options: {{}}}}}}}}}}"
        );
        ads.put("calls", &bootstrap::message::<Cluster>(&cluster)?);
        tell(&ads, &backends)?;
        ads.put("web", &bootstrap::message::<Listener>(LISTENER)?);
        let file = bootstrap::ads("spread", ads.address(), "DELTA_GRPC", "{}");
        let proxy = ProxyProcess::start(&file, &["--concurrency", "1"]).await?;
        let client = Http2::connect(proxy.address_of("web").await).await?;
        Ok(Self {
            ads,
            _proxy: proxy,
            client: Arc::new(client),
            backends,
            calls: Arc::default(),
        })
    }

    fn counts(&self) -> Vec<u64> {
        self.backends.iter().map(Backend::begun).collect()
    }

    /// So many calls of gRPC, as many at once as there are to be; with `safe`, every other is a GET.
    async fn load(&self, calls: u64, safe: bool) -> Failed {
        let upto = self.calls.load(Ordering::Relaxed) + calls;
        let mut clients = JoinSet::new();
        let failed: Arc<Mutex<Failed>> = Arc::default();
        for _ in 0..AT_ONCE {
            let (client, counter) = (self.client.clone(), self.calls.clone());
            let failed = failed.clone();
            clients.spawn(async move {
                loop {
                    let number = counter.fetch_add(1, Ordering::Relaxed);
                    if number >= upto {
                        return;
                    }
                    let is_safe = safe && number % 2 == 0;
                    let Err(error) = call(&client, number, is_safe).await else {
                        continue;
                    };
                    let mut failed = lock(&failed);
                    match is_safe {
                        true => failed.safe.push(format!("{error:#}")),
                        false => failed.other.push(format!("{error:#}")),
                    }
                }
            });
        }
        clients.join_all().await;
        self.calls.store(upto, Ordering::Relaxed);
        std::mem::take(&mut lock(&failed))
    }

    /// Every call succeeds, and each of the backends begins its share of them, give or take `tolerance` percent.
    async fn expect_even(&self, calls: u64, tolerance: Option<f64>) -> anyhow::Result<()> {
        let before = self.counts();
        let failed = self.load(calls, false).await;
        failed.expect_none()?;
        let after = self.counts();
        let shares: Vec<u64> = after.iter().zip(&before).map(|(a, b)| a - b).collect();
        let even = calls as f64 / shares.len() as f64;
        println!("{calls} calls: {shares:?}, {even} each would be even");
        let Some(tolerance) = tolerance else {
            return Ok(());
        };
        for share in &shares {
            let off = (*share as f64 / even - 1.0).abs() * 100.0;
            ensure!(off <= tolerance, "{off:.1} % off: {shares:?}");
        }
        Ok(())
    }
}

impl Failed {
    fn expect_none(&self) -> anyhow::Result<()> {
        let Self { safe, other } = self;
        ensure!(
            safe.is_empty() && other.is_empty(),
            "{} safe calls failed: {:?}, {} others: {:?}",
            safe.len(),
            safe.first(),
            other.len(),
            other.first()
        );
        Ok(())
    }
}

/// Tells the proxy who is there.
fn tell(ads: &AdsServer, backends: &[Backend]) -> anyhow::Result<()> {
    let list: Vec<String> = backends
        .iter()
        .map(|it| {
            let (ip, port) = (it.address.ip(), it.address.port());
            format!(
                "{{endpoint: {{address: {{socket_address: {{address: {ip}, port_value: {port}}}}}}}}}"
            )
        })
        .collect();
    let yaml = format!(
        "{{cluster_name: calls, endpoints: [{{lb_endpoints: [{}]}}]}}",
        list.join(", ")
    );
    ads.put(
        "calls",
        &bootstrap::message::<ClusterLoadAssignment>(&yaml)?,
    );
    Ok(())
}

/// One call and its whole answer.
async fn call(client: &Http2, number: u64, safe: bool) -> anyhow::Result<()> {
    let request = match safe {
        true => Request::get("http://calls/safe"),
        false => Request::post("http://calls/spread.Echo/One")
            .header("content-type", "application/grpc")
            .header("te", "trailers"),
    };
    let text = vec![b'x'; (number % 50) as usize];
    let message = match safe {
        true => Bytes::new(),
        false => grpc_message(&text),
    };
    let answer = client.begin(request.body(whole(message.clone()))?).await?;
    let status = answer.headers().get("grpc-status").cloned();
    let head = format!("{answer:?}");
    let good = answer.status() == 200 && status.is_none();
    let body = answer.into_body().collect().await?;
    if !good {
        bail!("{head}: {}", String::from_utf8_lossy(&body.to_bytes()));
    }
    let told = body
        .trailers()
        .and_then(|it| it.get("grpc-status"))
        .cloned();
    let told = told.context("no status")?;
    ensure!(told == "0" && body.to_bytes() == message, "{told:?}");
    Ok(())
}

fn calls() -> anyhow::Result<u64> {
    match std::env::var("WEFT_CALLS") {
        Ok(given) => given.parse().with_context(|| format!("WEFT_CALLS={given}")),
        Err(_) => Ok(2200),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_spread_evenly_and_newcomers_have_their_share() -> anyhow::Result<()> {
    let calls = calls()?;
    for (balancer, tolerance) in [("ROUND_ROBIN", Some(5.0)), ("LEAST_REQUEST", None)] {
        let mut scene = Scene::start(balancer).await?;
        scene.expect_even(calls, tolerance).await?;
        let new = Backend::start().await?;
        scene.backends.push(new);
        tell(&scene.ads, &scene.backends)?;
        eventually("the new backend is called", || async {
            scene.load(22, false).await.expect_none()?;
            ensure!(scene.backends[BACKENDS].begun() > 0, "not yet");
            Ok(())
        })
        .await;
        scene.expect_even(calls, tolerance).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn backends_that_go_away_in_order_cost_no_call() -> anyhow::Result<()> {
    let scene = Scene::start("ROUND_ROBIN").await?;
    let (calls, rounds) = (calls()?, 10);
    for round in 0..rounds {
        let load = scene.load(calls / rounds, true);
        let going = async {
            let goal = scene.calls.load(Ordering::Relaxed) + calls / rounds / 3;
            while scene.calls.load(Ordering::Relaxed) < goal {
                yield_now().await;
            }
            scene.backends[(round as usize) % BACKENDS].go_away();
        };
        let (failed, ()) = tokio::join!(load, going);
        failed.expect_none()?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_dies_costs_what_was_under_way_to_it_and_may_not_be_repeated()
-> anyhow::Result<()> {
    let mut scene = Scene::start("ROUND_ROBIN").await?;
    let (calls, mut lost) = (calls()?, 0);
    for _ in 0..5 {
        let dying = &scene.backends[0];
        let load = scene.load(calls / 5, true);
        let death = async {
            let goal = scene.calls.load(Ordering::Relaxed) + calls / 15;
            while scene.calls.load(Ordering::Relaxed) < goal {
                yield_now().await;
            }
            dying.die();
        };
        let (failed, ()) = tokio::join!(load, death);
        ensure!(
            failed.safe.is_empty(),
            "safe calls failed: {:?}",
            failed.safe
        );
        // What was under way to it when it died nobody can know to be not begun.
        let place = dying.address.to_string();
        for why in &failed.other {
            ensure!(why.contains(&place) && why.contains("UC"), "{why}");
        }
        ensure!(failed.other.len() <= AT_ONCE, "{:?}", failed.other);
        lost += failed.other.len();
        scene.backends.remove(0);
        tell(&scene.ads, &scene.backends)?;
        eventually("the dead one is known no more", || async {
            scene.load(20, false).await.expect_none()
        })
        .await;
    }
    println!("{lost} of {calls} calls were lost that were under way to a backend when it died");
    Ok(())
}
