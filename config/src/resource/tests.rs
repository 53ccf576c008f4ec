use serde_json::{Value, json};
use weft_xds_proto::pb::google::protobuf::Any;

use super::*;

/// One of each kind, with as many kinds of fields as fit.
fn sound() -> Vec<Any> {
    let hcm = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "route_config": inline_table(), "http_filters": [{ "name": "envoy.filters.http.router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" } }],
    });
    [
        json!({ "@type": "type.googleapis.com/envoy.config.listener.v3.Listener", "name": "l",
            "address": { "socket_address": { "address": "::1", "port_value": 80 } },
            "filter_chains": [{ "filter_chain_match": { "prefix_ranges": [{ "address_prefix": "10.0.0.0", "prefix_len": 8 }] },
                "filters": [{ "name": "h", "typed_config": hcm }] }] }),
        table(),
        json!({ "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "c", "connect_timeout": "1s",
            "load_assignment": { "cluster_name": "c", "endpoints": [{ "priority": 0, "lb_endpoints": [endpoint()] }] },
            "circuit_breakers": { "thresholds": [{ "retry_budget": { "budget_percent": { "value": 1.5 } } }] }, "outlier_detection": {} }),
        json!({ "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment", "cluster_name": "c",
            "endpoints": [{ "priority": 0, "load_balancing_weight": 4, "lb_endpoints": [endpoint()] }] }),
    ]
    .into_iter()
    .map(crate::testing::message)
    .collect()
}

fn table() -> Value {
    json!({ "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration", "name": "t", "virtual_hosts": [
        { "name": "h", "domains": ["*.a", "b.*", "c"], "routes": [
            { "match": { "safe_regex": { "regex": "/a(b|c)*" } }, "redirect": { "host_redirect": "x", "regex_rewrite": {
                "pattern": { "regex": "(a)" }, "substitution": "\\1" } } },
            { "match": { "prefix": "/", "headers": [{ "name": "x", "range_match": { "start": 1, "end": 9 } }] },
                "route": { "timeout": "1s", "weighted_clusters": { "clusters": [{ "name": "a", "weight": 1 }, { "name": "b", "weight": 2 }] },
                    "retry_policy": { "retry_on": "5xx", "num_retries": 2 } } }] }] })
}

fn inline_table() -> Value {
    let mut table = table();
    table.as_object_mut().map(|it| it.remove("@type"));
    table
}

fn endpoint() -> Value {
    json!({ "endpoint": { "address": { "socket_address": { "address": "10.0.0.1", "port_value": 80 } } }, "load_balancing_weight": 3 })
}

fn parse(packed: &Any) -> (Option<Resource>, Diagnostics) {
    let mut diag = Diagnostics::new();
    let resource = Resource::parse(packed, &FieldPath::root(), &mut diag);
    (resource, diag)
}

#[test]
fn every_kind_is_read_under_its_name() {
    let names: Vec<_> = sound()
        .iter()
        .map(|packed| match parse(packed) {
            (Some(resource), diag) if diag.is_empty() => resource.name().to_owned(),
            (_, diag) => panic!("{:#?}", diag.findings()),
        })
        .collect();
    assert_eq!(names, ["l", "t", "c", "c"]);
}

#[test]
fn a_type_that_is_not_known_is_a_fault() {
    let packed = Any {
        type_url: "type.googleapis.com/x".to_owned(),
        value: Vec::new(),
    };
    let (resource, diag) = parse(&packed);
    assert!(resource.is_none() && diag.has_faults());
}

/// Replays with the seed that a failure prints.
#[test]
fn hostile_bytes_are_refused_or_read_but_never_panic() {
    let sound = sound();
    for seed in 0..3_000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut packed = sound[rng.usize(..sound.len())].clone();
        for _ in 0..rng.usize(1..8) {
            mutate(&mut packed.value, &mut rng);
        }
        let result = std::panic::catch_unwind(|| parse(&packed));
        let Ok((resource, diag)) = result else {
            panic!("seed {seed} panics")
        };
        // Refused means that somebody is told why.
        assert!(
            resource.is_some() != diag.has_faults(),
            "seed {seed}: {:?}",
            diag.findings()
        );
    }
}

fn mutate(bytes: &mut Vec<u8>, rng: &mut fastrand::Rng) {
    let at = rng.usize(..=bytes.len());
    match rng.u8(..5) {
        0 if at < bytes.len() => bytes[at] = rng.u8(..),
        1 if at < bytes.len() => bytes[at] ^= 1 << rng.u8(..8),
        2 => bytes.insert(at, rng.u8(..)),
        3 => bytes.truncate(at),
        _ => {
            let part: Vec<u8> = bytes
                .iter()
                .skip(at)
                .take(rng.usize(..40))
                .copied()
                .collect();
            let to = rng.usize(..=bytes.len());
            bytes.splice(to..to, part);
        }
    }
}
