use serde_json::{Value, json};
use weft_xds_proto::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;

use crate::diag::{Diagnostics, FieldPath};
use crate::endpoint::{EndpointSet, Health};
use crate::testing::{findings, message};

fn parse(endpoints: Value) -> (Option<EndpointSet>, Vec<String>) {
    let proto: ClusterLoadAssignment =
        message(json!({ "cluster_name": "c", "endpoints": endpoints }));
    let mut diag = Diagnostics::new();
    let set = EndpointSet::parse(&proto, &FieldPath::root(), &mut diag);
    (set, findings(&diag))
}

fn endpoint(port: u32, weight: u32) -> Value {
    json!({ "endpoint": { "address": { "socket_address": { "address": "10.0.0.1", "port_value": port } } },
        "load_balancing_weight": weight, "health_status": "DEGRADED" })
}

#[test]
fn localities_are_ordered_by_priority() {
    let (set, found) = parse(json!([
        { "priority": 1, "lb_endpoints": [endpoint(1, 1)] },
        { "priority": 0, "locality": { "zone": "a" }, "load_balancing_weight": 7, "lb_endpoints": [endpoint(2, 3)] },
    ]));
    assert_eq!(found, Vec::<String>::new());
    let set = set.unwrap();
    assert_eq!(set.localities[0].weight, 7);
    assert_eq!(
        (
            set.localities[0].endpoints[0].weight,
            set.localities[0].endpoints[0].health
        ),
        (3, Health::Degraded)
    );
    assert_eq!(
        (set.overprovisioning_percent, set.drop_per_million),
        (140, 0)
    );
}

#[test]
fn gaps_duplicates_and_overflows_are_faults() {
    for (endpoints, fault) in [
        (
            json!([{ "priority": 1, "lb_endpoints": [] }]),
            "endpoints: priority 0 is missing, the next is 1",
        ),
        (
            json!([{ "lb_endpoints": [] }, { "priority": 2 }]),
            "endpoints: priority 1 is missing, the next is 2",
        ),
        (
            json!([{ "locality": { "region": "r" } }, { "locality": { "region": "r" } }]),
            "endpoints: locality r// stands twice in priority 0",
        ),
        (
            json!([{ "lb_endpoints": [endpoint(1, 1), endpoint(1, 2)] }]),
            "endpoints: address 10.0.0.1:1 stands twice",
        ),
        (
            json!([{ "lb_endpoints": [endpoint(1, u32::MAX), endpoint(2, 1)] }]),
            "endpoints[0]: weights of endpoints must add up to at most 4294967295, got 4294967296",
        ),
        (
            json!([{ "lb_endpoints": [endpoint(1, 0)] }]),
            "endpoints[0].lb_endpoints[0].load_balancing_weight: must be above 0",
        ),
        (
            json!([{ "lb_endpoints": [endpoint(0, 1)] }]),
            "endpoints[0].lb_endpoints[0].endpoint.address: port must be above 0",
        ),
        (
            json!([{ "lb_endpoints": [endpoint(65536, 1)] }]),
            "endpoints[0].lb_endpoints[0].endpoint.address: port must be at most 65535, got 65536",
        ),
        (
            json!([{ "lb_endpoints": [{}] }]),
            "endpoints[0].lb_endpoints[0]: has no endpoint",
        ),
    ] {
        let (set, found) = parse(endpoints);
        assert!(set.is_none());
        assert_eq!(found, [format!("fault: {fault}")]);
    }
}

#[test]
fn shares_that_are_dropped_one_after_the_other_multiply() {
    let half = json!({ "category": "x", "drop_percentage": { "numerator": 50 } });
    let proto: ClusterLoadAssignment =
        message(json!({ "policy": { "drop_overloads": [half, half] } }));
    let set = EndpointSet::parse(&proto, &FieldPath::root(), &mut Diagnostics::new());
    assert_eq!(set.unwrap().drop_per_million, 750_000);
}
