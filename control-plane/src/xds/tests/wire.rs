//! Real tonic clients against the server.

mod csds;
mod services;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::service::Routes;
use tonic::transport::Channel;
use weft_xds_proto::pb::envoy::config::core::v3::Node;
use weft_xds_proto::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use weft_xds_proto::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use weft_xds_proto::pb::google::protobuf::{ListValue, Struct, Value, value::Kind};

use super::snapshot;
use crate::snapshot::{ResourceType, SnapshotStore};
use crate::source::workloads::Registry;
use crate::status::{ProxyProgress, ProxyState, StatusBoard, Waiting};
use crate::xds::{XdsConfig, XdsServer};

const A: &str = "a.default.svc.cluster.local:80";

struct Plane {
    snapshots: Arc<SnapshotStore>,
    board: Arc<StatusBoard>,
    registry: Arc<Registry>,
    channel: Channel,
    _stop: watch::Sender<bool>,
}

async fn plane() -> Plane {
    let snapshots = Arc::new(SnapshotStore::new(snapshot(1, &["a"], "1")));
    let board = Arc::new(StatusBoard::new());
    let registry = Arc::new(Registry::new(Duration::from_millis(50)));
    let (stop, stopped) = watch::channel(false);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("bound");
    let server = XdsServer::new(
        XdsConfig::default(),
        Arc::clone(&snapshots),
        Arc::clone(&board),
        Arc::clone(&registry),
        stopped,
    );
    tokio::spawn(server.serve(listener, Routes::default()));
    let channel = Channel::from_shared(format!("http://{address}")).expect("a URI");
    Plane {
        snapshots,
        board,
        registry,
        channel: channel.connect().await.expect("connected"),
        _stop: stop,
    }
}

struct DeltaClient {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

async fn delta_client(channel: Channel, node: Node, kind: ResourceType, name: &str) -> DeltaClient {
    let (requests, receiver) = mpsc::channel(8);
    let first = DeltaDiscoveryRequest {
        node: Some(node),
        type_url: kind.type_url().to_owned(),
        resource_names_subscribe: vec![name.to_owned()],
        ..DeltaDiscoveryRequest::default()
    };
    requests.send(first).await.expect("open");
    let mut client = AggregatedDiscoveryServiceClient::new(channel);
    let stream = client
        .delta_aggregated_resources(ReceiverStream::new(receiver))
        .await;
    DeltaClient {
        requests,
        responses: stream.expect("served").into_inner(),
    }
}

impl DeltaClient {
    async fn next(&mut self) -> DeltaDiscoveryResponse {
        let next = tokio::time::timeout(Duration::from_secs(10), self.responses.message());
        next.await
            .expect("in time")
            .expect("no status")
            .expect("open")
    }

    async fn ack(&mut self, response: &DeltaDiscoveryResponse) {
        let ack = DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            ..DeltaDiscoveryRequest::default()
        };
        self.requests.send(ack).await.expect("open");
    }
}

fn node(id: &str) -> Node {
    Node {
        id: id.to_owned(),
        ..Node::default()
    }
}

/// How many proxies have acknowledged, once nobody is waited for.
async fn acknowledged(plane: &Plane, waiting: &Waiting) -> usize {
    let all = |wanted| move |proxy: &ProxyProgress| proxy.state == wanted;
    let mut ticks = plane.board.ticks();
    let answered = async {
        while waiting.progress().iter().any(all(ProxyState::Pending)) {
            ticks.changed().await.expect("the board is there");
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(10), answered);
    in_time.await.expect("all have answered");
    let proxies = waiting.progress().into_iter();
    proxies.filter(all(ProxyState::Acked)).count()
}

#[tokio::test]
async fn a_delta_client_subscribes_follows_and_is_waited_for() {
    let plane = plane().await;
    let mut client = delta_client(plane.channel.clone(), node("n"), ResourceType::Cluster, A).await;
    let first = client.next().await;
    assert_eq!(first.resources[0].name, A);
    client.ack(&first).await;
    plane.snapshots.publish(snapshot(2, &["a"], "2"));
    let waiting = Waiting::new(Arc::clone(&plane.board), 2);
    let second = client.next().await;
    assert_ne!(second.resources[0].version, first.resources[0].version);
    assert_eq!(waiting.progress()[0].state, ProxyState::Pending);
    client.ack(&second).await;
    assert_eq!(acknowledged(&plane, &waiting).await, 1);
}

#[tokio::test]
async fn a_sotw_client_is_served_the_same() {
    let plane = plane().await;
    let (requests, receiver) = mpsc::channel(8);
    let first = DiscoveryRequest {
        node: Some(node("n")),
        type_url: ResourceType::Listener.type_url().to_owned(),
        resource_names: vec!["a".to_owned()],
        ..DiscoveryRequest::default()
    };
    requests.send(first).await.expect("open");
    let mut client = AggregatedDiscoveryServiceClient::new(plane.channel.clone());
    let stream = client
        .stream_aggregated_resources(ReceiverStream::new(receiver))
        .await;
    let mut stream = stream.expect("served").into_inner();
    let response: DiscoveryResponse = stream.message().await.expect("no status").expect("open");
    assert_eq!(response.resources.len(), 1);
    assert_eq!(
        response.resources[0].type_url,
        ResourceType::Listener.type_url()
    );
}

#[tokio::test]
async fn a_workload_is_registered_with_its_stream_and_leaves_after_its_grace() {
    let plane = plane().await;
    let text = |text: &str| Value {
        kind: Some(Kind::StringValue(text.to_owned())),
    };
    let number = |number: f64| Value {
        kind: Some(Kind::NumberValue(number)),
    };
    let ports = ListValue {
        values: vec![number(80.0)],
    };
    let weft = Struct {
        fields: [
            ("service".to_owned(), text("a")),
            ("address".to_owned(), text("127.0.0.1")),
            ("inbound_port".to_owned(), number(7001.0)),
            (
                "ports".to_owned(),
                Value {
                    kind: Some(Kind::ListValue(ports)),
                },
            ),
        ]
        .into(),
    };
    let metadata = Struct {
        fields: [(
            "weft".to_owned(),
            Value {
                kind: Some(Kind::StructValue(weft)),
            },
        )]
        .into(),
    };
    let node = Node {
        metadata: Some(metadata),
        ..node("w")
    };
    let mut without_ports = node.clone();
    let fields = without_ports.metadata.as_mut().expect("set above");
    if let Some(Kind::StructValue(weft)) = fields
        .fields
        .get_mut("weft")
        .and_then(|it| it.kind.as_mut())
    {
        weft.fields.remove("ports");
    }
    let mut changes = plane.registry.changes();
    let mut client = delta_client(plane.channel.clone(), node, ResourceType::Cluster, A).await;
    changes.changed().await.expect("open");
    let early = tokio::time::timeout(Duration::from_millis(50), client.responses.message());
    assert!(
        early.await.is_err(),
        "told by a snapshot that does not know it"
    );
    let mut knowing = snapshot(2, &["a"], "1");
    knowing.registered = *changes.borrow_and_update();
    plane.snapshots.publish(knowing);
    client.next().await;
    assert_eq!(plane.registry.workloads().len(), 1);
    let caller = Node {
        id: "caller".to_owned(),
        ..without_ports
    };
    let mut calls = delta_client(plane.channel.clone(), caller, ResourceType::Cluster, A).await;
    calls.next().await;
    assert_eq!(plane.registry.workloads().len(), 1, "nobody calls a caller");
    changes.borrow_and_update();
    drop(client);
    changes.changed().await.expect("open");
    assert_eq!(plane.registry.workloads().len(), 1, "kept for its grace");
    plane
        .registry
        .sweep(Instant::now() + Duration::from_secs(1));
    assert_eq!(plane.registry.workloads().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_proxies_acknowledge_a_change() {
    let plane = plane().await;
    let mut clients = Vec::new();
    for number in 0..100 {
        let node = node(&format!("n{number}"));
        let mut client = delta_client(plane.channel.clone(), node, ResourceType::Cluster, A).await;
        let first = client.next().await;
        client.ack(&first).await;
        clients.push(client);
    }
    let settled = Waiting::new(Arc::clone(&plane.board), 1);
    acknowledged(&plane, &settled).await;
    let started = Instant::now();
    plane.snapshots.publish(snapshot(2, &["a"], "2"));
    let waiting = Waiting::new(Arc::clone(&plane.board), 2);
    for mut client in clients.drain(..) {
        tokio::spawn(async move {
            let next = client.next().await;
            client.ack(&next).await;
            // Kept open to the end of the test.
            std::future::pending::<()>().await;
        });
    }
    assert_eq!(acknowledged(&plane, &waiting).await, 100);
    eprintln!("100 acknowledged after {:?}", started.elapsed());
}
