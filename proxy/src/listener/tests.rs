use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use weft_config::bootstrap::overload::{ALL, Action, Beyond, Resource};
use weft_config::cluster::{self, Discovery};
use weft_config::endpoint::{Address, Endpoint, EndpointSet, Health, LocalityEndpoints};
use weft_config::listener::{
    ChainAction, Detection, Direction, DownstreamCodec, FilterChain, FilterChainMatch,
    HttpConnectionManager, HttpLimits, Listener, RouteSource, ServerHeader, TcpProxy,
};

use super::bind::{Takes, bind};
use super::bound::{Bound, Settings};
use super::*;
use crate::balance::Cluster;
use crate::detect::Protocol;
use crate::drain::{Drain, DrainTimes, Phase};
use crate::overload::Overload;
use crate::snapshot::{
    ChainKind, ChainView, HttpView, ListenerView, Snapshot, SnapshotStore, TcpView,
};
use crate::telemetry::{Limit, Metrics, Scope};
use crate::tls::Secrets;
use crate::tunnel::TunnelLimits;
use crate::worker::{Command, HttpConnection, ServeHttp, WorkerParts, Workers};

mod detection;
mod half_closed;
mod sockets;

/// Keeps HTTP connections open and tells of them.
struct Recorder {
    told: mpsc::UnboundedSender<(Option<Protocol>, Vec<u8>)>,
    kept: RefCell<Vec<HttpConnection>>,
}

impl ServeHttp for Recorder {
    fn serve(&self, connection: HttpConnection) {
        let told = (connection.facts.protocol, connection.first_bytes.clone());
        self.told.send(told).unwrap();
        self.kept.borrow_mut().push(connection);
    }
}

/// Workers, the set of listeners, and what HTTP was given.
struct Proxy {
    set: ListenerSet,
    store: Arc<SnapshotStore>,
    metrics: Arc<Metrics>,
    drain: Drain,
    overload: Arc<Overload>,
    http: mpsc::UnboundedReceiver<(Option<Protocol>, Vec<u8>)>,
}

impl Proxy {
    fn start(workers: usize, connections_max: usize) -> Self {
        Self::start_with(workers, connections_max, Beyond::Wait)
    }

    fn start_with(workers: usize, connections_max: usize, beyond: Beyond) -> Self {
        Self::start_from(workers, connections_max, beyond, TunnelLimits::default())
    }

    fn start_from(
        workers: usize,
        connections_max: usize,
        beyond: Beyond,
        tunnel: TunnelLimits,
    ) -> Self {
        let (told, http) = mpsc::unbounded_channel();
        let metrics = Metrics::new();
        let overload = Overload::new(&metrics);
        let parts = WorkerParts {
            snapshot: SnapshotStore::new(),
            metrics,
            drain: Drain::new(DrainTimes {
                grace: Duration::ZERO,
                total: Duration::from_secs(5),
            }),
            connections_max,
            beyond,
            overload: overload.clone(),
            tunnel,
            http: Arc::new(move |_| {
                Rc::new(Recorder {
                    told: told.clone(),
                    kept: RefCell::default(),
                })
            }),
        };
        let workers = Workers::start(workers, &parts).unwrap();
        let set = ListenerSet::new(
            workers,
            parts.metrics.clone(),
            parts.drain.clone(),
            Sharing::Exclusive,
        );
        Self {
            set,
            store: parts.snapshot,
            metrics: parts.metrics,
            drain: parts.drain,
            overload,
            http,
        }
    }

    /// Publishes these listeners and binds them.
    fn apply(&mut self, listeners: &[(Listener, Option<Arc<Cluster>>)]) -> Vec<BindError> {
        let mut snapshot = Snapshot {
            revision: self.store.current().revision + 1,
            ..Snapshot::default()
        };
        let views = Arc::make_mut(&mut snapshot.listeners);
        for (listener, cluster) in listeners {
            let view = self.view(listener, cluster.as_ref());
            views.insert(listener.name.clone(), Arc::new(view));
        }
        let configs: Vec<_> = listeners
            .iter()
            .map(|(listener, _)| Arc::new(listener.clone()))
            .collect();
        self.store.publish(snapshot);
        self.set.apply(&configs)
    }

    fn view(&self, listener: &Listener, cluster: Option<&Arc<Cluster>>) -> ListenerView {
        let scope = Scope::build(&self.metrics, &listener.name, listener.direction, &[]).unwrap();
        let chain = |chain: &FilterChain| ChainView {
            name: chain.name.clone(),
            tls: None,
            access: Vec::new(),
            kind: match &chain.action {
                ChainAction::Http(hcm) => ChainKind::Http(Arc::new(HttpView {
                    hcm: hcm.clone(),
                    table: None,
                    filters: Vec::new(),
                    scope: scope.clone(),
                })),
                ChainAction::Tcp(proxy) => ChainKind::Tcp(Arc::new(TcpView {
                    proxy: proxy.clone(),
                    clusters: vec![(cluster.cloned(), 1)],
                    scope: scope.clone(),
                })),
            },
        };
        ListenerView {
            config: Arc::new(listener.clone()),
            chains: listener.filter_chains.iter().map(chain).collect(),
            default_chain: listener.default_filter_chain.as_ref().map(chain),
            on_demand: None,
            last_use: Arc::default(),
        }
    }

    fn cluster(&self, endpoints: &[SocketAddr]) -> Arc<Cluster> {
        let endpoints = endpoints
            .iter()
            .map(|address| Endpoint {
                address: Address::Socket(*address),
                weight: 1,
                health: Health::Healthy,
                hostname: "".into(),
                metadata: Default::default(),
                socket_labels: Default::default(),
            })
            .collect();
        let config = cluster::Cluster {
            name: "upstream".into(),
            discovery: Discovery::Static(EndpointSet {
                localities: vec![LocalityEndpoints {
                    locality: Default::default(),
                    priority: 0,
                    weight: 1,
                    endpoints,
                }],
                overprovisioning_percent: 140,
                drop_per_million: 0,
            }),
            balancer: Default::default(),
            connect_timeout: Duration::from_secs(5),
            protocol: Default::default(),
            http2: Default::default(),
            circuit_breakers: Default::default(),
            outlier_detection: None,
            idle_timeout: Duration::ZERO,
            requests_per_connection_max: 0,
            panic_threshold_percent: 50,
            tcp_keepalive: None,
            tls: None,
            socket_matches: Vec::new(),
        };
        Cluster::new(
            Arc::new(config),
            &Secrets::new(),
            &self.metrics,
            Instant::now(),
        )
    }

    fn address(&self, name: &str) -> SocketAddr {
        self.set
            .addresses()
            .find(|(listener, _)| ***listener == *name)
            .expect("bound")
            .1
    }

    async fn connect(&self, name: &str) -> TcpStream {
        TcpStream::connect(self.address(name)).await.unwrap()
    }

    /// What HTTP was given next.
    async fn http_given(&mut self) -> (Option<Protocol>, Vec<u8>) {
        timeout(Duration::from_secs(10), self.http.recv())
            .await
            .expect("within 10 s")
            .unwrap()
    }
}

fn listener(name: &str, address: &str, default_chain: ChainAction) -> Listener {
    Listener {
        name: name.into(),
        address: Some(address.parse().unwrap()),
        direction: Direction::Inbound,
        use_original_dst: false,
        transparent: false,
        original_src: false,
        application_ports: Arc::default(),
        detection: Detection::default(),
        filter_chains: Vec::new(),
        default_filter_chain: Some(FilterChain {
            name: "".into(),
            matches: FilterChainMatch::default(),
            tls: None,
            access: Vec::new(),
            action: default_chain,
        }),
        connections_max: None,
    }
}

fn tcp() -> ChainAction {
    ChainAction::Tcp(Arc::new(TcpProxy {
        stat_prefix: "tcp".into(),
        clusters: vec![("upstream".into(), 1)],
        idle_timeout: Duration::ZERO,
        connect_attempts_max: 2,
        access_log: Vec::new(),
    }))
}

fn http(codec: DownstreamCodec) -> ChainAction {
    ChainAction::Http(Arc::new(HttpConnectionManager {
        stat_prefix: "http".into(),
        codec,
        routes: RouteSource::Rds("none".into()),
        filters: Vec::new(),
        limits: HttpLimits::default(),
        access_log: Vec::new(),
        use_remote_address: false,
        forward_client_cert: Default::default(),
        xff_num_trusted_hops: 0,
        upgrades: Vec::new(),
        server_name: "weft".into(),
        server_header: ServerHeader::PassThrough,
        normalize_path: false,
        merge_slashes: false,
    }))
}

/// An upstream that sends `greeting`, then back whatever it hears.
async fn echo(greeting: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                stream.write_all(greeting).await?;
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await
            });
        }
    });
    address
}

/// An address where nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
}

async fn says(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).await.unwrap();
    hears(stream, bytes).await;
}

async fn hears(stream: &mut TcpStream, bytes: &[u8]) {
    let mut heard = vec![0; bytes.len()];
    timeout(Duration::from_secs(10), stream.read_exact(&mut heard))
        .await
        .expect("within 10 s")
        .unwrap();
    assert_eq!(heard, bytes);
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < until, "not within 10 s: {what}");
        sleep_until(Instant::now() + Duration::from_millis(5)).await;
    }
}
