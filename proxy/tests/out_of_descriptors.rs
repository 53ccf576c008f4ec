//! A proxy that has run out of descriptors. Alone in its process, for the limit is the process's.
#![expect(clippy::unwrap_used, reason = "helpers of a test fail the test")]

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use weft_config::bootstrap::overload::Beyond;
use weft_config::listener::{
    ChainAction, HttpConnectionManager, HttpLimits, RouteSource, ServerHeader,
};
use weft_config::listener::{
    Detection, Direction, DownstreamCodec, FilterChain, FilterChainMatch, Listener,
};
use weft_proxy::drain::{Drain, DrainTimes};
use weft_proxy::listener::{ListenerSet, Sharing};
use weft_proxy::overload::Overload;
use weft_proxy::snapshot::{ChainKind, ChainView, HttpView, ListenerView, Snapshot, SnapshotStore};
use weft_proxy::stream::Stream;
use weft_proxy::telemetry::{Limit, Metrics, Scope};
use weft_proxy::tunnel::TunnelLimits;
use weft_proxy::worker::{HttpConnection, ServeHttp, WorkerParts, Workers};

/// Says hello on each connection, holds it until the peer goes.
struct Hello;

impl ServeHttp for Hello {
    fn serve(&self, connection: HttpConnection) {
        tokio::task::spawn_local(async move {
            let Stream::Plain(mut socket) = connection.stream else {
                panic!("encrypted");
            };
            socket.try_write(b"hello").unwrap();
            while socket.read(&mut [0; 16]).await.is_ok_and(|n| n > 0) {}
            drop(connection.guard);
        });
    }
}

fn listener() -> Listener {
    Listener {
        name: "a".into(),
        address: Some("127.0.0.1:0".parse().unwrap()),
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
            action: ChainAction::Http(Arc::new(hcm())),
        }),
        connections_max: None,
    }
}

fn hcm() -> HttpConnectionManager {
    HttpConnectionManager {
        stat_prefix: "a".into(),
        codec: DownstreamCodec::Http1,
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
    }
}

fn publish(store: &SnapshotStore, metrics: &Arc<Metrics>, listener: &Arc<Listener>) {
    let scope = Scope::build(metrics, &listener.name, listener.direction, &[]).unwrap();
    let chain = ChainView {
        name: "".into(),
        tls: None,
        access: Vec::new(),
        kind: ChainKind::Http(Arc::new(HttpView {
            hcm: Arc::new(hcm()),
            table: None,
            filters: Vec::new(),
            scope,
        })),
    };
    let mut snapshot = Snapshot {
        revision: 1,
        ..Snapshot::default()
    };
    let view = ListenerView {
        config: listener.clone(),
        chains: Vec::new(),
        default_chain: Some(chain),
        on_demand: None,
        last_use: Arc::default(),
    };
    Arc::make_mut(&mut snapshot.listeners).insert(listener.name.clone(), Arc::new(view));
    store.publish(snapshot);
}

#[tokio::test]
async fn accepting_pauses_without_spinning_and_goes_on_when_descriptors_are_free() {
    let metrics = Metrics::new();
    let parts = WorkerParts {
        snapshot: SnapshotStore::new(),
        metrics: metrics.clone(),
        drain: Drain::new(DrainTimes::default()),
        connections_max: 10_000,
        beyond: Beyond::Wait,
        overload: Overload::new(&metrics),
        tunnel: TunnelLimits::default(),
        http: Arc::new(|_| Rc::new(Hello)),
    };
    let workers = Workers::start(1, &parts).unwrap();
    let mut set = ListenerSet::new(
        workers,
        parts.metrics.clone(),
        parts.drain.clone(),
        Sharing::Exclusive,
    );
    let listener = Arc::new(listener());
    publish(&parts.snapshot, &parts.metrics, &listener);
    assert!(set.apply([&listener]).is_empty());
    let address = set.addresses().next().unwrap().1;

    // Clients take descriptors too, until neither they nor the proxy find any.
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let limit = open + 40;
    let before = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(limit),
            maximum: before.maximum,
        },
    )
    .unwrap();
    let mut clients = Vec::new();
    while let Ok(client) = TcpStream::connect(address).await {
        clients.push(client);
        assert!(clients.len() < 100);
    }
    let until = Instant::now() + Duration::from_secs(10);
    while parts.metrics.limits.get(Limit::Connections) == 0 {
        assert!(Instant::now() < until, "the accept loop met no limit");
        sleep_until(Instant::now() + Duration::from_millis(5)).await;
    }
    // A loop that spins fails tens of thousands of times in half a second; one that pauses, a few times.
    sleep_until(Instant::now() + Duration::from_millis(500)).await;
    let failed = parts.metrics.limits.get(Limit::Connections);
    assert!(failed < 500, "accepting failed {failed} times: it spins");

    // The first ones are served and go; those who waited are accepted now.
    let mut last = clients.pop().unwrap();
    clients.clear();
    let mut heard = [0; 5];
    timeout(Duration::from_secs(10), last.read_exact(&mut heard))
        .await
        .expect("accepted within 10 s")
        .unwrap();
    assert_eq!(&heard, b"hello");
}
