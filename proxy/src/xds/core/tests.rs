use std::collections::HashMap;

use weft_config::diag::Diagnostics;
use weft_config::document::Document;
use weft_xds_proto::pb::envoy::service::discovery::v3 as pb;
use weft_xds_proto::pb::google::protobuf::Any;

use super::*;
use crate::snapshot::{Absence, DemandLimits, Wanted};
use crate::telemetry::Metrics;
use crate::tls::Secrets;
use crate::xds::wire::Incoming;

mod names;
mod secrets;
mod servers;
mod told;

/// A resource written as YAML, packed.
fn packed(kind: Kind, yaml: &str) -> Any {
    use weft_xds_proto::pb::envoy::{config, extensions::transport_sockets::tls};
    fn encoded<M: prost::Name + Default>(yaml: &str) -> Vec<u8> {
        let mut diag = Diagnostics::new();
        let document = Document::<M>::parse(yaml, "test", &mut diag);
        document
            .unwrap_or_else(|| panic!("{yaml}: {:?}", diag.findings()))
            .message
            .encode_to_vec()
    }
    let value = match kind {
        Kind::Secret => encoded::<tls::v3::Secret>(yaml),
        Kind::Cluster => encoded::<config::cluster::v3::Cluster>(yaml),
        Kind::Endpoints => encoded::<config::endpoint::v3::ClusterLoadAssignment>(yaml),
        Kind::Listener => encoded::<config::listener::v3::Listener>(yaml),
        Kind::Route => encoded::<config::route::v3::RouteConfiguration>(yaml),
    };
    Any {
        type_url: kind.type_url().to_owned(),
        value,
    }
}

fn cluster(name: &str) -> Any {
    packed(
        Kind::Cluster,
        &format!("{{name: {name}, type: EDS, eds_cluster_config: {{eds_config: {{ads: {{}}}}}}}}"),
    )
}

/// A cluster that nothing can be made of: its time-out is below zero.
fn bad_cluster(name: &str) -> Any {
    packed(
        Kind::Cluster,
        &format!("{{name: {name}, type: STATIC, connect_timeout: -1s}}"),
    )
}

fn endpoints(name: &str) -> Any {
    packed(
        Kind::Endpoints,
        &format!(
            "{{cluster_name: {name}, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: \
             {{address: 127.0.0.1, port_value: 1}}}}}}}}]}}]}}"
        ),
    )
}

fn routes(name: &str, cluster: &str) -> Any {
    packed(
        Kind::Route,
        &format!(
            "{{name: {name}, virtual_hosts: [{{name: v, domains: ['*'], routes: [{{match: {{prefix: /}}, \
             route: {{cluster: {cluster}}}}}]}}]}}"
        ),
    )
}

const HCM: &str = "'@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.\
                   HttpConnectionManager";

fn api_listener(name: &str, table: &str) -> Any {
    packed(
        Kind::Listener,
        &format!(
            "{{name: '{name}', api_listener: {{api_listener: {{{HCM}, stat_prefix: s, rds: {{route_config_name: {table}, \
             config_source: {{ads: {{}}}}}}, http_filters: [{{name: router, typed_config: {{'@type': \
             type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}]}}}}}}"
        ),
    )
}

/// A client, and the moment it lives in.
struct Client {
    core: Core,
    store: Arc<SnapshotStore>,
    demand: Option<Arc<Demand>>,
    now: Instant,
    nonces: u32,
}

impl Client {
    fn wildcard(protocol: Protocol) -> Self {
        Self::new(protocol, Source::Ads, None)
    }

    fn mesh() -> Self {
        Self::mesh_over(Protocol::Delta)
    }

    fn mesh_over(protocol: Protocol) -> Self {
        let store = SnapshotStore::new();
        let demand = Demand::new(store.clone(), DemandLimits::default());
        Self::build(protocol, Source::AdsByName, Some(demand), store)
    }

    fn new(protocol: Protocol, source: Source, demand: Option<Arc<Demand>>) -> Self {
        Self::build(protocol, source, demand, SnapshotStore::new())
    }

    fn build(
        protocol: Protocol,
        source: Source,
        demand: Option<Arc<Demand>>,
        store: Arc<SnapshotStore>,
    ) -> Self {
        let metrics = Metrics::new();
        let builder = Builder::new(store.clone(), metrics.clone(), Secrets::new());
        let options = Options {
            protocol,
            listeners: source,
            clusters: source,
            has_ads: true,
            demand: demand.clone(),
            inbound: None,
            introduction: None,
            access_log: None,
            trust_domain: None,
            node: Node::default(),
        };
        let core = Core::new(
            options,
            Reserve::new(|_| Ok(())),
            store.clone(),
            builder,
            Status::new(&metrics),
        );
        Self {
            core,
            store,
            demand,
            now: Instant::now(),
            nonces: 0,
        }
    }

    /// A step; the requests it makes.
    fn step(&mut self) -> Vec<Request> {
        self.core.step(self.now).requests
    }

    /// Waits until the step that is due next although nothing happens; the requests it makes.
    async fn step_when_due(&mut self) -> Vec<Request> {
        let due = self.core.step(self.now).next.expect("a step is due");
        tokio::time::sleep_until(due).await;
        self.now = Instant::now();
        self.step()
    }

    /// A response with these resources; the requests that follow.
    fn told(&mut self, kind: Kind, resources: Vec<(&str, Any)>, removed: &[&str]) -> Vec<Request> {
        self.nonces += 1;
        let is_sotw = self.core.protocol() == Protocol::Sotw;
        let resources = resources.into_iter().map(|(version, packed)| Incoming {
            name: None,
            version: version.to_owned(),
            packed: Some(packed),
            ttl: None,
        });
        let received = Received {
            type_url: kind.type_url().to_owned(),
            nonce: self.nonces.to_string(),
            version: format!("v{}", self.nonces),
            resources: resources.collect(),
            removed: removed.iter().map(|it| (*it).to_owned()).collect(),
            errors: Vec::new(),
            is_full_state: is_sotw && kind.is_full_state(),
        };
        self.core.receive(received, self.now);
        self.step()
    }
}

fn delta(request: &Request) -> &pb::DeltaDiscoveryRequest {
    match request {
        Request::Delta(request) => request,
        Request::Sotw(_) => panic!("not incremental: {request:?}"),
    }
}

/// The acknowledgement (`None`) or refusal of `kind` among requests.
fn reply(requests: &[Request], kind: Kind) -> Option<Option<String>> {
    let replies = requests.iter().map(|request| match request {
        Request::Delta(it) => (&it.type_url, &it.response_nonce, &it.error_detail),
        Request::Sotw(it) => (&it.type_url, &it.response_nonce, &it.error_detail),
    });
    let mut replies =
        replies.filter(|(url, nonce, _)| *url == kind.type_url() && !nonce.is_empty());
    replies
        .next()
        .map(|(_, _, error)| error.as_ref().map(|it| it.message.clone()))
}

fn subscribes(requests: &[Request], kind: Kind) -> Vec<String> {
    let of_kind = requests
        .iter()
        .map(delta)
        .filter(|it| it.type_url == kind.type_url());
    of_kind
        .flat_map(|it| it.resource_names_subscribe.clone())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn the_first_request_of_a_stream_and_only_that_says_who_we_are() {
    let mut client = Client::wildcard(Protocol::Delta);
    assert!(client.step().is_empty(), "there is no stream");
    client.core.stream_began();
    let requests = client.step();
    let nodes: Vec<_> = requests.iter().map(|it| delta(it).node.is_some()).collect();
    assert_eq!(nodes, [true, false]);
    client.core.stream_began();
    assert!(delta(&client.step()[0]).node.is_some());
}

#[tokio::test(start_paused = true)]
async fn good_resources_are_applied_and_all_bad_ones_named_in_one_refusal() {
    let mut client = Client::wildcard(Protocol::Delta);
    client.core.stream_began();
    client.step();
    let told = vec![
        ("1", bad_cluster("x")),
        ("1", cluster("good")),
        ("1", bad_cluster("y")),
    ];
    let requests = client.told(Kind::Cluster, told, &[]);
    let error = reply(&requests, Kind::Cluster).unwrap().unwrap();
    let lines: Vec<_> = error.lines().collect();
    assert!(
        lines.len() == 2 && lines[0].starts_with("x: connect_timeout: "),
        "{error}"
    );
    assert!(lines[1].starts_with("y: connect_timeout: "), "{error}");
    assert!(client.store.current().cluster("good").is_some());
    assert_eq!(subscribes(&requests, Kind::Endpoints), ["good"]);
}

/// What is logged while `run` runs.
fn logged(run: impl FnOnce()) -> String {
    #[derive(Clone, Default)]
    struct Log(Arc<std::sync::Mutex<Vec<u8>>>);
    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    tracing::subscriber::with_default(subscriber, run);
    let bytes = log.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test(start_paused = true)]
async fn however_many_are_refused_the_log_names_the_first_and_counts_the_others() {
    let mut client = Client::wildcard(Protocol::Delta);
    client.core.stream_began();
    client.step();
    let bad = (0..10_000).map(|it| {
        let message = weft_xds_proto::pb::envoy::config::cluster::v3::Cluster {
            name: format!("bad-{it}"),
            connect_timeout: Some(weft_xds_proto::pb::google::protobuf::Duration {
                seconds: -1,
                nanos: 0,
            }),
            ..Default::default()
        };
        let packed = Any {
            type_url: Kind::Cluster.type_url().to_owned(),
            value: prost::Message::encode_to_vec(&message),
        };
        ("1", packed)
    });
    let bad = bad.collect();
    let mut refusal = None;
    let log = logged(|| {
        let requests = client.told(Kind::Cluster, bad, &[]);
        refusal = reply(&requests, Kind::Cluster).unwrap();
    });
    assert!(log.lines().count() < 50, "{} lines", log.lines().count());
    assert!(log.contains("bad-0: connect_timeout"), "{log}");
    assert!(log.contains("more=9980"), "{log}");
    assert!(
        refusal.unwrap().contains("bad-100: "),
        "the server hears of more"
    );
    assert_eq!(client.core.status.report().refusals.len(), 1_000);
}

#[tokio::test(start_paused = true)]
async fn the_last_good_form_stays_and_a_refused_version_is_asked_for_again() {
    let mut client = Client::wildcard(Protocol::Delta);
    client.core.stream_began();
    client.step();
    client.told(
        Kind::Cluster,
        vec![("1", cluster("a")), ("1", cluster("b"))],
        &[],
    );
    client.told(
        Kind::Cluster,
        vec![("2", bad_cluster("a")), ("2", cluster("b"))],
        &[],
    );
    assert!(client.store.current().cluster("a").is_some());
    client.core.stream_ended("test");
    client.core.stream_began();
    let requests = client.step();
    let first = delta(&requests[0]);
    let want = HashMap::from([
        ("a".to_owned(), "1".to_owned()),
        ("b".to_owned(), "2".to_owned()),
    ]);
    assert_eq!(first.initial_resource_versions, want);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_type_is_refused() {
    let mut client = Client::wildcard(Protocol::Delta);
    client.core.stream_began();
    client.step();
    let received = Received {
        type_url: "type.googleapis.com/no.such.Type".to_owned(),
        nonce: "9".to_owned(),
        version: String::new(),
        resources: Vec::new(),
        removed: Vec::new(),
        errors: Vec::new(),
        is_full_state: false,
    };
    client.core.receive(received, client.now);
    let requests = client.step();
    let refusal = delta(&requests[0]);
    assert_eq!(refusal.response_nonce, "9");
    assert!(
        refusal
            .error_detail
            .as_ref()
            .unwrap()
            .message
            .contains("no.such.Type")
    );
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_leaves_when_the_routes_are_in_force() {
    let mut client = Client::mesh();
    client.core.stream_began();
    let demand = client.demand.clone().unwrap();
    let Wanted::Pending(ticket) = demand.want("a:80") else {
        panic!("known already");
    };
    assert_eq!(subscribes(&client.step(), Kind::Listener), ["a:80"]);
    let requests = client.told(Kind::Listener, vec![("1", api_listener("a:80", "t"))], &[]);
    assert_eq!(subscribes(&requests, Kind::Route), ["t"]);
    assert_eq!(
        reply(&requests, Kind::Listener),
        None,
        "it waits for its routes"
    );
    let requests = client.told(Kind::Route, vec![("1", routes("t", "c"))], &[]);
    assert_eq!(subscribes(&requests, Kind::Cluster), ["c"]);
    assert_eq!(
        reply(&requests, Kind::Route),
        None,
        "they wait for their cluster"
    );
    let requests = client.told(Kind::Cluster, vec![("1", cluster("c"))], &[]);
    assert_eq!(subscribes(&requests, Kind::Endpoints), ["c"]);
    assert_eq!(reply(&requests, Kind::Cluster), Some(None));
    let requests = client.told(Kind::Endpoints, vec![("1", endpoints("c"))], &[]);
    assert_eq!(reply(&requests, Kind::Endpoints), Some(None));
    assert_eq!(reply(&requests, Kind::Route), Some(None));
    assert_eq!(reply(&requests, Kind::Listener), Some(None));
    assert_eq!(&*ticket.await.unwrap().config.name, "a:80");
    assert!(matches!(demand.want("a:80"), Wanted::Ready(_)));
}

#[tokio::test(start_paused = true)]
async fn what_a_full_state_lacks_is_gone_for_clusters_but_not_for_endpoints() {
    let mut client = Client::wildcard(Protocol::Sotw);
    client.core.stream_began();
    client.step();
    client.told(
        Kind::Cluster,
        vec![("1", cluster("a")), ("1", cluster("b"))],
        &[],
    );
    client.told(
        Kind::Endpoints,
        vec![("1", endpoints("a")), ("1", endpoints("b"))],
        &[],
    );
    client.told(Kind::Endpoints, vec![("2", endpoints("b"))], &[]);
    assert!(
        client
            .core
            .accepted()
            .lock()
            .get(Kind::Endpoints, "a")
            .is_some()
    );
    client.told(Kind::Cluster, vec![("2", cluster("b"))], &[]);
    assert!(client.store.current().cluster("a").is_none());
    assert!(client.store.current().cluster("b").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_refused_resource_of_a_full_state_is_not_gone() {
    let mut client = Client::wildcard(Protocol::Sotw);
    client.core.stream_began();
    client.step();
    client.told(Kind::Cluster, vec![("1", cluster("a"))], &[]);
    let requests = client.told(Kind::Cluster, vec![("2", bad_cluster("a"))], &[]);
    assert!(reply(&requests, Kind::Cluster).unwrap().is_some());
    assert!(client.store.current().cluster("a").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_resource_that_is_not_renewed_in_its_time_is_given_up() {
    let mut client = Client::wildcard(Protocol::Delta);
    client.core.stream_began();
    client.step();
    let ttl = Some(std::time::Duration::from_secs(3));
    let told = |packed: Option<Any>, client: &mut Client| {
        let received = Received {
            type_url: Kind::Cluster.type_url().to_owned(),
            nonce: "n".to_owned(),
            version: String::new(),
            resources: vec![Incoming {
                name: Some("a".to_owned()),
                version: "1".to_owned(),
                packed,
                ttl,
            }],
            removed: Vec::new(),
            errors: Vec::new(),
            is_full_state: false,
        };
        client.core.receive(received, client.now);
        client.core.step(client.now).next
    };
    told(Some(cluster("a")), &mut client);
    client.now += std::time::Duration::from_secs(2);
    told(None, &mut client);
    client.now += std::time::Duration::from_secs(2);
    client.step();
    assert!(
        client.store.current().cluster("a").is_some(),
        "a heartbeat renewed it"
    );
    client.now += std::time::Duration::from_secs(1);
    client.step();
    assert!(client.store.current().cluster("a").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_time_to_live_that_no_clock_can_count_is_none() {
    let mut client = Client::wildcard(Protocol::Delta);
    client.core.stream_began();
    client.step();
    for packed in [Some(cluster("a")), None] {
        let received = Received::from_delta(pb::DeltaDiscoveryResponse {
            type_url: Kind::Cluster.type_url().to_owned(),
            nonce: "n".to_owned(),
            resources: vec![pb::Resource {
                name: "a".to_owned(),
                version: "1".to_owned(),
                resource: packed,
                ttl: Some(weft_xds_proto::pb::google::protobuf::Duration {
                    seconds: i64::MAX,
                    nanos: i32::MAX,
                }),
                ..Default::default()
            }],
            ..Default::default()
        });
        client.core.receive(received, client.now);
        client.step();
        assert!(client.store.current().cluster("a").is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_serves_what_was_saved_and_resumes_by_version() {
    let mut before = Client::mesh();
    before.core.stream_began();
    let _ticket = before.demand.clone().unwrap().want("a:80");
    before.step();
    before.told(Kind::Listener, vec![("7", api_listener("a:80", "t"))], &[]);
    before.told(Kind::Route, vec![("7", routes("t", "c"))], &[]);
    before.told(Kind::Cluster, vec![("7", cluster("c"))], &[]);
    before.told(Kind::Endpoints, vec![("7", endpoints("c"))], &[]);
    let saved = before.core.to_save();
    assert_eq!(saved.names, ["a:80"]);

    let mut after = Client::mesh();
    after.core.restore(saved, after.now);
    let tables = after.core.status.tables();
    let soon = tokio::time::timeout(std::time::Duration::from_secs(1), tables);
    soon.await.expect("without a server");
    assert!(matches!(
        after.demand.clone().unwrap().want("a:80"),
        Wanted::Ready(_)
    ));
    after.core.stream_began();
    let requests = after.step();
    for request in requests.iter().map(delta) {
        let versions: Vec<_> = request.initial_resource_versions.values().collect();
        assert_eq!(versions, ["7"], "{}", request.type_url);
    }
    assert_eq!(requests.len(), 4);
}
