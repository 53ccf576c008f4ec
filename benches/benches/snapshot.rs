//! What publishing a change costs while many resources are in force, and reading the snapshot in force.

use std::sync::Arc;

use divan::{Bencher, black_box};
use tokio::time::Instant;
use weft_config::cluster::Cluster;
use weft_config::diag::{Diagnostics, FieldPath};
use weft_config::route::RouteTable;
use weft_proxy::snapshot::{Builder, SnapshotStore};
use weft_proxy::telemetry::Metrics;
use weft_proxy::tls::Secrets;
use weft_tests::bootstrap::message;
use weft_xds_proto::pb::envoy::config::cluster::v3 as cluster_pb;
use weft_xds_proto::pb::envoy::config::route::v3 as route_pb;

fn main() {
    divan::main();
}

const CLUSTERS: [usize; 3] = [10, 1_000, 10_000];

fn cluster(number: usize) -> Arc<Cluster> {
    let yaml = format!("{{name: c{number}, type: STATIC, connect_timeout: 1s}}");
    let proto: cluster_pb::Cluster = message(&yaml).expect("the text is sound");
    let mut diag = Diagnostics::new();
    let cluster = Cluster::parse(&proto, &FieldPath::root(), &mut diag);
    Arc::new(cluster.expect("the cluster is sound"))
}

fn table(name: &str, cluster: usize) -> Arc<RouteTable> {
    let yaml = format!(
        "{{name: {name}, virtual_hosts: [{{name: v, domains: ['*'], routes: [{{match: {{prefix: /}}, route: {{cluster: \
         c{cluster}}}}}]}}]}}"
    );
    let proto: route_pb::RouteConfiguration = message(&yaml).expect("the text is sound");
    let mut diag = Diagnostics::new();
    let table = RouteTable::parse(&proto, &FieldPath::root(), &mut diag);
    Arc::new(table.expect("the table is sound"))
}

/// A builder with so many clusters in force.
fn built(clusters: usize) -> (Arc<SnapshotStore>, Builder) {
    let store = SnapshotStore::new();
    let mut builder = Builder::new(store.clone(), Metrics::new(), Secrets::new());
    let now = Instant::now();
    for number in 0..clusters {
        builder.put_cluster(cluster(number), now);
    }
    builder.put_routes(table("r", 0), now);
    builder.commit(now);
    (store, builder)
}

/// A changed route table becomes the snapshot in force.
#[divan::bench(args = CLUSTERS)]
fn change_a_route(bencher: Bencher<'_, '_>, clusters: usize) {
    let (_store, mut builder) = built(clusters);
    let tables = [table("r", 0), table("r", 1)];
    let mut turn = tables.iter().cycle();
    let now = Instant::now();
    bencher.bench_local(|| {
        if let Some(table) = turn.next() {
            builder.put_routes(table.clone(), now);
        }
        builder.commit(now)
    });
}

/// What a worker does before each request.
#[divan::bench(args = CLUSTERS)]
fn read_the_snapshot(bencher: Bencher<'_, '_>, clusters: usize) {
    let (store, _builder) = built(clusters);
    bencher.bench_local(|| black_box(&store).pointer().load().revision);
}
