//! What choosing an endpoint costs, by policy and number of endpoints.

use std::sync::Arc;

use divan::{Bencher, black_box};
use tokio::time::Instant;
use weft_config::cluster;
use weft_config::diag::{Diagnostics, FieldPath};
use weft_proxy::balance::{Cluster, PickContext};
use weft_proxy::telemetry::Metrics;
use weft_proxy::tls::Secrets;
use weft_tests::bootstrap::message;
use weft_xds_proto::pb::envoy::config::cluster::v3 as pb;

fn main() {
    divan::main();
}

const ENDPOINTS: [usize; 3] = [2, 100, 10_000];

fn cluster(policy: &str, endpoints: usize) -> Arc<Cluster> {
    let list: String = (0..endpoints)
        .map(|at| {
            let weight = 1 + at % 3;
            format!(
                "{{load_balancing_weight: {weight}, endpoint: {{address: {{socket_address: {{address: 10.{}.{}.{}, \
                 port_value: 80}}}}}}}}, ",
                at >> 16,
                (at >> 8) & 255,
                at & 255
            )
        })
        .collect();
    let yaml = format!(
        "{{name: c, type: STATIC, connect_timeout: 1s, lb_policy: {policy}, load_assignment: {{cluster_name: c, endpoints: [\
         {{lb_endpoints: [{list}]}}]}}}}"
    );
    let proto: pb::Cluster = message(&yaml).expect("the text is sound");
    let mut diag = Diagnostics::new();
    let config = cluster::Cluster::parse(&proto, &FieldPath::root(), &mut diag);
    let config = Arc::new(config.expect("the cluster is sound"));
    let built = Cluster::new(
        config.clone(),
        &Secrets::new(),
        &Metrics::new(),
        Instant::now(),
    );
    if let cluster::Discovery::Static(set) = &config.discovery {
        built.set_endpoints(set);
    }
    built
}

fn pick(bencher: Bencher<'_, '_>, policy: &str, endpoints: usize) {
    let cluster = cluster(policy, endpoints);
    let mut rng = fastrand::Rng::with_seed(1);
    let now = Instant::now();
    bencher.bench_local(|| {
        let mut context = PickContext {
            now,
            rng: &mut rng,
            avoid: &[],
            original_dst: None,
        };
        black_box(&cluster)
            .pick(&mut context)
            .expect("all are healthy")
    });
}

#[divan::bench(args = ENDPOINTS)]
fn round_robin(bencher: Bencher<'_, '_>, endpoints: usize) {
    pick(bencher, "ROUND_ROBIN", endpoints);
}

#[divan::bench(args = ENDPOINTS)]
fn least_request(bencher: Bencher<'_, '_>, endpoints: usize) {
    pick(bencher, "LEAST_REQUEST", endpoints);
}

#[divan::bench(args = ENDPOINTS)]
fn random(bencher: Bencher<'_, '_>, endpoints: usize) {
    pick(bencher, "RANDOM", endpoints);
}
