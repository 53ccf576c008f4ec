use std::cell::Cell;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;
use tokio::time::timeout;
use weft_config::cluster::{Cluster, Discovery};
use weft_config::diag::{Diagnostics, FieldPath};
use weft_config::endpoint::{Address, Endpoint, EndpointSet, Health, Locality, LocalityEndpoints};
use weft_config::flag::ResponseFlag;
use weft_config::listener::{
    ChainAction, Detection, Direction, FilterChain, FilterChainMatch, HttpConnectionManager,
    HttpFilter, HttpLimits, Listener, RouteSource, ServerHeader,
};
use weft_config::policy::{HeaderEdits, RetryOn, RetryPolicy};
use weft_config::route::{
    FilterOverrides, Forward, PathMatch, Route, RouteAction, RouteId, RouteMatch, RouteTable,
    VirtualHost,
};

use super::*;
use crate::detect::Protocol;
use crate::drain::{Drain, DrainTimes};
use crate::snapshot::Builder;
use crate::telemetry::{Limit, Metrics};
use crate::tls::Secrets;
use crate::tunnel::{Pools, TunnelLimits};

mod access;
mod bodies;
mod caller_terms;
mod crowding;
mod failures;
mod grpc;
mod grpc_answers;
mod grpc_deadlines;
mod grpc_retries;
mod http2;
mod http2_peers;
mod names;
mod policies;
mod reuse;
mod rewrites;
mod shed;
mod timeouts;
mod tunnels;
mod upstreams;
mod wires;
mod withheld;

use self::wires::Wires;

/// A worker with one listener whose every request goes to `origin`, unless a test says otherwise.
struct Rig {
    worker: Rc<Worker>,
    builder: Builder,
    address: SocketAddr,
    /// What connections are taken to speak from now on.
    protocol: Rc<Cell<Option<Protocol>>>,
    drain: Drain,
    overload: Arc<Overload>,
    metrics: Arc<Metrics>,
}

pub(in crate::http) struct Setup {
    pub(in crate::http) forward: Forward,
    pub(in crate::http) limits: HttpLimits,
    pub(in crate::http) filters: Vec<HttpFilter>,
    pub(in crate::http) upgrades: Vec<Arc<str>>,
    pub(in crate::http) endpoints: Vec<SocketAddr>,
    pub(in crate::http) connect_timeout: Duration,
    pub(in crate::http) idle_timeout: Duration,
    pub(in crate::http) requests_max: u32,
    pub(in crate::http) path: PathMatch,
    /// Whether `CONNECT` has a route like that of the path.
    pub(in crate::http) connect: bool,
    pub(in crate::http) bounds: Bounds,
    pub(in crate::http) tunnel: TunnelLimits,
    pub(in crate::http) server_header: ServerHeader,
    /// Whether the listener is for what our workload asks.
    pub(in crate::http) outbound: bool,
    /// Changes the one route.
    pub(in crate::http) route: Box<dyn FnOnce(&mut Route)>,
    /// Changes the cluster `c`.
    pub(in crate::http) cluster: Box<dyn Fn(&mut Cluster)>,
    /// Another cluster, of one endpoint.
    pub(in crate::http) other: Option<(&'static str, SocketAddr)>,
}

impl Setup {
    pub(in crate::http) fn to(endpoints: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self {
            forward: Forward::to("c".into()),
            limits: HttpLimits::default(),
            filters: Vec::new(),
            upgrades: Vec::new(),
            endpoints: endpoints.into_iter().collect(),
            connect_timeout: Duration::from_secs(2),
            idle_timeout: Duration::from_secs(60),
            requests_max: 1024,
            path: PathMatch::Prefix("/".into()),
            connect: false,
            bounds: Bounds::default(),
            tunnel: TunnelLimits::default(),
            server_header: ServerHeader::PassThrough,
            outbound: false,
            route: Box::new(|_| {}),
            cluster: Box::new(|_| {}),
            other: None,
        }
    }

    async fn start(self) -> Rig {
        let metrics = Metrics::new();
        let store = SnapshotStore::new();
        let bounds = self.bounds;
        let mut builder = Builder::new(store.clone(), metrics.clone(), Secrets::new());
        let now = Instant::now();
        builder.put_cluster(Arc::new(self.cluster()), now);
        if let Some((name, address)) = self.other {
            let mut cluster = Self::to([address]).cluster();
            cluster.name = name.into();
            builder.put_cluster(Arc::new(cluster), now);
        }
        let tunnel = self.tunnel;
        builder.put_listener(Arc::new(self.listener()), now);
        builder.commit(now);
        Rig::start(builder, store, metrics, (bounds, tunnel)).await
    }

    pub(in crate::http) fn cluster(&self) -> Cluster {
        let endpoint = |address: &SocketAddr| Endpoint {
            address: Address::Socket(*address),
            weight: 1,
            health: Health::Healthy,
            hostname: "".into(),
            metadata: Default::default(),
            socket_labels: Default::default(),
        };
        let set = EndpointSet {
            localities: vec![LocalityEndpoints {
                locality: Locality::default(),
                priority: 0,
                weight: 1,
                endpoints: self.endpoints.iter().map(endpoint).collect(),
            }],
            overprovisioning_percent: 140,
            drop_per_million: 0,
        };
        let mut cluster = Cluster {
            name: "c".into(),
            discovery: Discovery::Static(set),
            balancer: Default::default(),
            connect_timeout: self.connect_timeout,
            protocol: Wires::now().upstream(),
            http2: Default::default(),
            circuit_breakers: weft_config::cluster::CircuitBreakers {
                requests_max: self.requests_max,
                ..Default::default()
            },
            outlier_detection: None,
            idle_timeout: self.idle_timeout,
            requests_per_connection_max: 0,
            panic_threshold_percent: 50,
            tcp_keepalive: None,
            tls: None,
            socket_matches: Vec::new(),
        };
        (self.cluster)(&mut cluster);
        cluster
    }

    pub(in crate::http) fn listener(self) -> Listener {
        let mut route = Route {
            id: RouteId(0),
            name: "r".into(),
            matches: RouteMatch {
                path: self.path.clone(),
                case_sensitive: true,
                headers: Vec::new(),
                query: Vec::new(),
                grpc: false,
                runtime_per_million: 1_000_000,
            },
            action: RouteAction::Forward(self.forward.clone()),
            request_headers: HeaderEdits::default(),
            response_headers: HeaderEdits::default(),
            overrides: FilterOverrides::default(),
        };
        (self.route)(&mut route);
        let mut routes = vec![route];
        if self.connect {
            let mut connect = routes[0].clone();
            connect.id = RouteId(1);
            connect.matches.path = PathMatch::Connect;
            routes.push(connect);
        }
        let host = VirtualHost {
            name: "v".into(),
            domains: vec!["*".into()],
            routes,
        };
        let mut diag = Diagnostics::default();
        let table = RouteTable::build(
            "t".into(),
            vec![host],
            false,
            &FieldPath::default(),
            &mut diag,
        )
        .unwrap();
        let hcm = HttpConnectionManager {
            stat_prefix: "in".into(),
            codec: Default::default(),
            routes: RouteSource::Inline(Arc::new(table)),
            filters: self.filters.clone(),
            limits: self.limits,
            access_log: Vec::new(),
            use_remote_address: !self.outbound,
            forward_client_cert: Default::default(),
            xff_num_trusted_hops: 0,
            upgrades: self.upgrades.clone(),
            server_name: "weft".into(),
            server_header: self.server_header,
            normalize_path: false,
            merge_slashes: false,
        };
        Listener {
            name: "in".into(),
            address: Some("127.0.0.1:1".parse().unwrap()),
            direction: match self.outbound {
                true => Direction::Outbound,
                false => Direction::Inbound,
            },
            use_original_dst: false,
            transparent: false,
            original_src: false,
            application_ports: Arc::default(),
            detection: Detection::default(),
            filter_chains: vec![FilterChain {
                name: "".into(),
                matches: FilterChainMatch::default(),
                tls: None,
                access: Vec::new(),
                action: ChainAction::Http(Arc::new(hcm)),
            }],
            default_filter_chain: None,
            connections_max: None,
        }
    }
}

impl Rig {
    /// A worker that serves what `builder` has put in force.
    async fn start(
        builder: Builder,
        store: Arc<SnapshotStore>,
        metrics: Arc<Metrics>,
        (bounds, tunnel): (Bounds, TunnelLimits),
    ) -> Self {
        let drain = Drain::new(DrainTimes::default());
        let scope = Scope::build(&metrics, &"none".into(), Direction::Inbound, &[]).unwrap();
        let overload = Overload::new(&metrics);
        let worker = Worker::new(WorkerOptions {
            snapshots: store,
            scope,
            drain: drain.watch(),
            overload: overload.clone(),
            bounds,
            tunnels: Pools::new(tunnel),
            rng: fastrand::Rng::with_seed(7),
        });
        spawn_local(worker.clone().run());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = worker.clone();
        let protocol = Rc::new(Cell::new(Wires::now().downstream()));
        let spoken = protocol.clone();
        spawn_local(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                let facts = ConnectionFacts {
                    listener: "in".into(),
                    peer,
                    local: address,
                    original_dst: None,
                    beside: None,
                    direction: Direction::Inbound,
                    protocol: spoken.get(),
                    hello: None,
                    tls: None,
                };
                let worker = serving.clone();
                spawn_local(async move { serve(&worker, stream.into(), Vec::new(), facts).await });
            }
        });
        let address = Wires::now().before(address).await;
        Self {
            worker,
            builder,
            address,
            protocol,
            drain,
            overload,
            metrics,
        }
    }

    async fn connect(&self) -> Peer {
        Peer(TcpStream::connect(self.address).await.unwrap())
    }

    /// Sends `request` on a connection of its own and reads until the proxy closes or says no more for a while.
    async fn ask(&self, request: &str) -> String {
        let mut peer = self.connect().await;
        peer.send(request).await;
        peer.message().await
    }

    /// Every exchange is over, and with it its connections but those at rest.
    async fn settles(&self) {
        for _ in 0..2000 {
            if self.worker.population().1 == 0 {
                return;
            }
            tokio::time::sleep_until(Instant::now() + Duration::from_millis(5)).await;
        }
        panic!("exchanges left: {:?}", self.worker.population());
    }
}

/// The other end of a connection of the proxy, client or origin.
struct Peer(TcpStream);

impl Peer {
    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Reads until `end` was read.
    async fn until(&mut self, end: &str) -> String {
        let mut read = Vec::new();
        let mut byte = [0];
        while !read.ends_with(end.as_bytes()) {
            let n = timeout(Duration::from_secs(10), self.0.read(&mut byte)).await;
            match n.unwrap_or_else(|_| {
                panic!(
                    "waited for {end:?} behind {:?}",
                    String::from_utf8_lossy(&read)
                )
            }) {
                Ok(1) => read.push(byte[0]),
                other => panic!(
                    "{other:?} instead of {end:?} behind {:?}",
                    String::from_utf8_lossy(&read)
                ),
            }
        }
        String::from_utf8(read).unwrap()
    }

    /// Reads a head.
    async fn head(&mut self) -> String {
        self.until("\r\n\r\n").await
    }

    /// Reads a message that says its length.
    async fn message(&mut self) -> String {
        let mut message = self.head().await;
        let lower = message.to_ascii_lowercase();
        if lower.contains("transfer-encoding: chunked") {
            return message + &self.until("0\r\n\r\n").await;
        }
        let length = lower
            .split("content-length: ")
            .nth(1)
            .and_then(|rest| rest.split('\r').next());
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        timeout(Duration::from_secs(10), self.0.read_exact(&mut body))
            .await
            .unwrap()
            .unwrap();
        message.push_str(std::str::from_utf8(&body).unwrap());
        message
    }

    /// Reads to the end of the connection.
    async fn rest(&mut self) -> String {
        let mut read = Vec::new();
        let end = timeout(Duration::from_secs(10), self.0.read_to_end(&mut read))
            .await
            .unwrap();
        end.unwrap();
        String::from_utf8_lossy(&read).into_owned()
    }
}

/// An origin: what each connection does is said by `life`.
async fn origin<F: Future<Output = ()> + 'static>(
    mut life: impl FnMut(usize, Peer) -> F + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    spawn_local(async move {
        let mut count = 0;
        while let Ok((stream, _)) = listener.accept().await {
            spawn_local(life(count, Peer(stream)));
            count += 1;
        }
    });
    Wires::now().behind(address).await
}

/// Nobody listens there.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
}

/// An origin that answers every request with its head as it arrived.
async fn echo() -> SocketAddr {
    origin(|_, mut peer| async move {
        loop {
            let head = peer.head().await;
            peer.send(ok(&head)).await;
        }
    })
    .await
}

/// An origin that answers every request with `said`.
async fn says(said: &'static str) -> SocketAddr {
    origin(move |_, mut peer| async move {
        loop {
            peer.head().await;
            peer.send(ok(said)).await;
        }
    })
    .await
}

fn ok(body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nServer: theirs\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// The value of the field that `name` (lower case) begins.
fn field<'a>(answer: &'a str, name: &str) -> &'a str {
    let found = answer.split("\r\n").find_map(|line| {
        let (field, value) = line.split_once(": ")?;
        field.eq_ignore_ascii_case(name).then_some(value)
    });
    found.unwrap_or("none")
}

fn flag(answer: &str) -> &str {
    answer
        .split("x-weft-response-flag: ")
        .nth(1)
        .and_then(|rest| rest.split('\r').next())
        .unwrap_or("none")
}

fn local<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, async {
        timeout(Duration::from_secs(30), test)
            .await
            .expect("the test hangs");
    });
}

const GET: &str = "GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
