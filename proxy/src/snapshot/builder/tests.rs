use weft_config::diag::{Diagnostics, FieldPath};
use weft_config::document::Document;
use weft_xds_proto::pb::envoy::config as pb;

use super::*;
use crate::snapshot::SnapshotStore;
use crate::tls::Secrets;

/// Reads `yaml` as the protobuf message and that as the model.
macro_rules! model {
    ($model:ty, $proto:ty, $yaml:expr) => {{
        let mut diag = Diagnostics::new();
        let document = Document::<$proto>::parse($yaml, "test", &mut diag);
        let message = document
            .unwrap_or_else(|| panic!("{:?}", diag.findings()))
            .message;
        let model = <$model>::parse(&message, &FieldPath::root(), &mut diag);
        Arc::new(model.unwrap_or_else(|| panic!("{:?}", diag.findings())))
    }};
}

fn eds_cluster(name: &str) -> Arc<weft_config::cluster::Cluster> {
    let yaml =
        format!("{{name: {name}, type: EDS, eds_cluster_config: {{eds_config: {{ads: {{}}}}}}}}");
    model!(
        weft_config::cluster::Cluster,
        pb::cluster::v3::Cluster,
        &yaml
    )
}

fn endpoints(port: u16) -> Arc<EndpointSet> {
    let yaml = format!(
        "{{cluster_name: c, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: \
         {{address: 127.0.0.1, port_value: {port}}}}}}}}}]}}]}}"
    );
    model!(EndpointSet, pb::endpoint::v3::ClusterLoadAssignment, &yaml)
}

fn table(name: &str, cluster: &str) -> Arc<RouteTable> {
    let yaml = format!(
        "{{name: {name}, virtual_hosts: [{{name: v, domains: ['*'], routes: [{{match: {{prefix: /}}, \
         route: {{cluster: {cluster}}}}}]}}]}}"
    );
    model!(RouteTable, pb::route::v3::RouteConfiguration, &yaml)
}

fn listener(name: &str, table: &str) -> Arc<Listener> {
    let yaml = format!(
        "{{name: {name}, address: {{socket_address: {{address: 127.0.0.1, port_value: 1}}}}, filter_chains: [{{filters: [\
         {{name: hcm, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.network.\
         http_connection_manager.v3.HttpConnectionManager, stat_prefix: s, rds: {{route_config_name: {table}, \
         config_source: {{ads: {{}}}}}}, http_filters: [{{name: router, typed_config: {{'@type': \
         type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}]}}}}]}}]}}"
    );
    model!(Listener, pb::listener::v3::Listener, &yaml)
}

struct House {
    store: Arc<SnapshotStore>,
    builder: Builder,
    now: Instant,
}

impl House {
    fn new() -> Self {
        let store = SnapshotStore::new();
        let mut builder = Builder::new(store.clone(), Metrics::new(), Secrets::new());
        builder.unknown_clusters(UnknownClusters::ToldAll);
        Self {
            store,
            builder,
            now: Instant::now(),
        }
    }

    /// Listener `l`, table `t`, cluster `a` with endpoints, in force.
    fn furnished() -> Self {
        let mut house = Self::new();
        house.builder.put_cluster(eds_cluster("a"), house.now);
        house.builder.put_endpoints(&"a".into(), endpoints(1));
        house.builder.put_routes(table("t", "a"), house.now);
        house.builder.put_listener(listener("l", "t"), house.now);
        assert_eq!(house.commit(), Some(1));
        house
    }

    fn commit(&mut self) -> Option<u64> {
        self.builder.commit(self.now).published
    }

    /// The cluster that the only route of listener `l` leads to.
    fn leads_to(&self) -> Option<String> {
        let snapshot = self.store.current();
        let view = snapshot.listeners.get("l")?;
        let table = view.chains.first()?.http()?.table.clone()?;
        let cluster = table.routes.first()?.clusters.first()?.cluster.clone()?;
        Some(cluster.name.to_string())
    }
}

#[tokio::test(start_paused = true)]
async fn all_that_is_ready_comes_in_force_in_one_snapshot() {
    let house = House::furnished();
    assert_eq!(house.leads_to().as_deref(), Some("a"));
    assert_eq!(house.store.current().revision, 1);
}

#[tokio::test(start_paused = true)]
async fn an_equal_push_is_nothing() {
    let mut house = House::furnished();
    let before = house.store.current();
    house.builder.put_cluster(eds_cluster("a"), house.now);
    house.builder.put_endpoints(&"a".into(), endpoints(1));
    house.builder.put_routes(table("t", "a"), house.now);
    house.builder.put_listener(listener("l", "t"), house.now);
    assert_eq!(house.commit(), None);
    assert!(Arc::ptr_eq(&before, &house.store.current()));
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_endpoints_publishes_no_snapshot() {
    let mut house = House::furnished();
    for port in 2..1_000 {
        house.builder.put_endpoints(&"a".into(), endpoints(port));
        assert_eq!(house.commit(), None);
    }
    assert_eq!(house.store.current().revision, 1);
}

#[tokio::test(start_paused = true)]
async fn a_route_waits_for_the_endpoints_of_a_cluster_that_it_newly_names() {
    let mut house = House::furnished();
    house.builder.put_routes(table("t", "b"), house.now);
    assert_eq!(house.commit(), None, "the cluster is not known");
    house.builder.put_cluster(eds_cluster("b"), house.now);
    house.commit();
    assert_eq!(
        house.leads_to().as_deref(),
        Some("a"),
        "the cluster has no endpoints"
    );
    assert!(house.builder.table_waits("t"));
    house.builder.put_endpoints(&"b".into(), endpoints(2));
    assert!(house.commit().is_some());
    assert_eq!(house.leads_to().as_deref(), Some("b"));
    assert!(!house.builder.table_waits("t"));
}

#[tokio::test(start_paused = true)]
async fn a_cluster_whose_endpoints_never_come_holds_nothing_back_for_long() {
    let mut house = House::furnished();
    house.builder.put_cluster(eds_cluster("b"), house.now);
    house.builder.put_routes(table("t", "b"), house.now);
    let next = house.builder.commit(house.now).next.unwrap();
    assert_eq!(next, house.now + WAIT_MAX);
    house.now = next - Duration::from_millis(1);
    house.commit();
    assert_eq!(house.leads_to().as_deref(), Some("a"));
    house.now = next;
    house.commit();
    assert_eq!(house.leads_to().as_deref(), Some("b"));
}

#[tokio::test(start_paused = true)]
async fn a_removed_cluster_stays_until_routes_let_go() {
    let mut house = House::furnished();
    house.builder.put_cluster(eds_cluster("b"), house.now);
    house.builder.put_endpoints(&"b".into(), endpoints(2));
    house.builder.remove_cluster(&"a".into(), house.now);
    house.commit();
    assert_eq!(house.leads_to().as_deref(), Some("a"), "a route names it");
    house.builder.put_routes(table("t", "b"), house.now);
    house.commit();
    assert_eq!(house.leads_to().as_deref(), Some("b"));
    assert!(
        house.store.current().cluster("a").is_none(),
        "nothing names it any more"
    );
}

#[tokio::test(start_paused = true)]
async fn a_removed_cluster_that_routes_go_on_naming_goes_after_a_while() {
    let mut house = House::furnished();
    house.builder.remove_cluster(&"a".into(), house.now);
    house.commit();
    house.now += WAIT_MAX;
    house.commit();
    assert_eq!(house.leads_to(), None);
    assert!(house.store.current().cluster("a").is_none());
    house.builder.put_cluster(eds_cluster("a"), house.now);
    house.commit();
    assert_eq!(house.leads_to().as_deref(), Some("a"), "it came back");
}

#[tokio::test(start_paused = true)]
async fn a_removed_cluster_that_comes_back_in_time_keeps_its_handle() {
    let mut house = House::furnished();
    let before = house.builder.cluster("a").unwrap().clone();
    house.builder.remove_cluster(&"a".into(), house.now);
    house.commit();
    house.builder.put_cluster(eds_cluster("a"), house.now);
    house.now += WAIT_MAX;
    house.commit();
    assert!(Arc::ptr_eq(&before, house.builder.cluster("a").unwrap()));
    assert_eq!(house.leads_to().as_deref(), Some("a"));
}

#[tokio::test(start_paused = true)]
async fn a_listener_waits_for_its_routes_and_then_no_longer() {
    let mut house = House::new();
    house.builder.put_listener(listener("l", "t"), house.now);
    assert_eq!(house.commit(), None);
    house.now += WAIT_MAX;
    assert_eq!(house.commit(), Some(1));
    assert!(house.store.current().listener("l").is_some());
    assert_eq!(house.leads_to(), None);
    house.builder.put_cluster(eds_cluster("a"), house.now);
    house.builder.put_endpoints(&"a".into(), endpoints(1));
    house.builder.put_routes(table("t", "a"), house.now);
    house.commit();
    assert_eq!(
        house.leads_to().as_deref(),
        Some("a"),
        "routes that come late are found"
    );
}

#[tokio::test(start_paused = true)]
async fn names_that_come_into_use_and_go_out_of_use_are_told_once() {
    let mut house = House::furnished();
    assert_eq!(house.builder.named_tables().added, ["t".into()]);
    assert_eq!(house.builder.named_clusters().added, ["a".into()]);
    assert_eq!(house.builder.named_endpoints().added, ["a".into()]);
    assert!(house.builder.named_tables().is_empty());
    house.builder.remove_listener(&"l".into());
    house.commit();
    assert_eq!(house.builder.named_tables().removed, ["t".into()]);
    house.builder.remove_routes(&"t".into());
    assert_eq!(house.builder.named_clusters().removed, ["a".into()]);
}

#[tokio::test(start_paused = true)]
async fn parts_that_did_not_change_are_shared_by_snapshots() {
    let mut house = House::furnished();
    house.builder.put_routes(table("u", "a"), house.now);
    house.builder.put_listener(listener("m", "u"), house.now);
    house.commit();
    let before = house.store.current();
    house.builder.put_cluster(eds_cluster("b"), house.now);
    house.builder.put_endpoints(&"b".into(), endpoints(2));
    house.builder.put_routes(table("u", "b"), house.now);
    house.commit();
    let after = house.store.current();
    assert!(Arc::ptr_eq(&before.listeners["l"], &after.listeners["l"]));
    assert!(!Arc::ptr_eq(&before.listeners["m"], &after.listeners["m"]));
    assert!(Arc::ptr_eq(&before.api_listeners, &after.api_listeners));
}

#[tokio::test(start_paused = true)]
async fn tables_from_disk_wait_for_nothing() {
    let mut house = House::new();
    house.builder.unknown_clusters(UnknownClusters::MayCome);
    house.builder.put_cluster(eds_cluster("a"), house.now);
    house.builder.put_routes(table("t", "a"), house.now);
    house.builder.put_listener(listener("l", "t"), house.now);
    house.builder.commit_unready(house.now);
    assert_eq!(house.leads_to().as_deref(), Some("a"));
}
