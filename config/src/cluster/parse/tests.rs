use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use weft_xds_proto::pb::envoy::config::cluster::v3 as pb;

use crate::cluster::{Balancer, Cluster, Discovery, DnsFamily, RetryBudget, UpstreamProtocol};
use crate::diag::{Diagnostics, FieldPath};
use crate::testing::{findings, message};

fn parse(mut value: Value) -> (Option<Cluster>, Vec<String>) {
    value["name"] = json!("c");
    let proto: pb::Cluster = message(value);
    let mut diag = Diagnostics::new();
    let cluster = Cluster::parse(&proto, &FieldPath::root(), &mut diag);
    (cluster, findings(&diag))
}

fn sound(value: Value) -> Cluster {
    let (cluster, found) = parse(value);
    assert_eq!(found, Vec::<String>::new());
    cluster.unwrap()
}

#[test]
fn eds_is_named_after_the_cluster_unless_told() {
    let ads = json!({ "ads": {}, "resource_api_version": "V3" });
    let cluster = sound(json!({ "type": "EDS", "eds_cluster_config": { "eds_config": ads } }));
    assert_eq!(
        cluster.discovery,
        Discovery::Eds {
            service_name: "c".into()
        }
    );
    assert_eq!(cluster.connect_timeout, Duration::from_secs(5));
    let cluster = sound(
        json!({ "type": "EDS", "eds_cluster_config": { "eds_config": ads, "service_name": "s" } }),
    );
    assert_eq!(
        cluster.discovery,
        Discovery::Eds {
            service_name: "s".into()
        }
    );
}

#[test]
fn both_forms_of_dns_clusters_are_read() {
    let assignment = json!({ "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": {
        "socket_address": { "address": "A.example.", "port_value": 80 } } } }] }] });
    let old = sound(
        json!({ "type": "LOGICAL_DNS", "dns_lookup_family": "V4_ONLY", "load_assignment": assignment }),
    );
    let Discovery::LogicalDns(old) = old.discovery else {
        panic!()
    };
    assert_eq!(
        (&*old.endpoints[0].target.host, old.family),
        ("a.example", DnsFamily::V4Only)
    );
    let new = sound(
        json!({ "cluster_type": { "name": "envoy.clusters.dns", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster",
        "dns_lookup_family": "ALL", "respect_dns_ttl": true, "dns_refresh_rate": "7s" } }, "load_assignment": assignment }),
    );
    let Discovery::StrictDns(new) = new.discovery else {
        panic!()
    };
    assert_eq!(
        (new.family, new.respect_ttl, new.refresh),
        (DnsFamily::All, true, Duration::from_secs(7))
    );
}

#[test]
fn the_first_known_policy_counts_also_inside_wrr_locality() {
    let policy = |config: Value| json!({ "typed_extension_config": { "name": "p", "typed_config": config } });
    let least = policy(
        json!({ "@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest", "choice_count": 3 }),
    );
    let ring = policy(
        json!({ "@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash" }),
    );
    let wrapped = policy(
        json!({ "@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.wrr_locality.v3.WrrLocality",
        "endpoint_picking_policy": { "policies": [ring, least] } }),
    );
    let cluster = sound(json!({ "load_balancing_policy": { "policies": [wrapped] } }));
    assert_eq!(cluster.balancer, Balancer::LeastRequest { choices: 3 });
    let (cluster, found) = parse(json!({ "load_balancing_policy": { "policies": [ring] } }));
    assert!(cluster.is_none());
    assert!(found[0].contains("none of the policies"), "{found:?}");
}

#[test]
fn protocols_are_read_from_both_forms() {
    let options = |config: Value| {
        let mut config = config;
        config["@type"] =
            json!("type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions");
        json!({ "typed_extension_protocol_options": { "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": config } })
    };
    assert_eq!(sound(json!({})).protocol, UpstreamProtocol::Http1);
    assert_eq!(
        sound(json!({ "http2_protocol_options": {} })).protocol,
        UpstreamProtocol::Http2
    );
    let downstream =
        options(json!({ "use_downstream_protocol_config": { "http2_protocol_options": {} } }));
    assert_eq!(sound(downstream).protocol, UpstreamProtocol::Downstream);
    let explicit = options(
        json!({ "explicit_http_config": { "http2_protocol_options": {} }, "common_http_protocol_options": { "idle_timeout": "9s", "max_requests_per_connection": 5 } }),
    );
    let cluster = sound(explicit);
    assert_eq!(
        (
            cluster.protocol,
            cluster.idle_timeout,
            cluster.requests_per_connection_max
        ),
        (UpstreamProtocol::Http2, Duration::from_secs(9), 5)
    );
    assert!(parse(options(json!({ "auto_config": {} }))).0.is_none());
}

#[test]
fn breakers_and_outlier_detection_are_read() {
    let cluster = sound(json!({
        "circuit_breakers": { "thresholds": [{ "max_connections": 1, "max_requests": 2, "retry_budget": { "budget_percent": { "value": 25.0 }, "min_retry_concurrency": 9 } }] },
        "outlier_detection": { "consecutive_5xx": 3, "base_ejection_time": "1s", "enforcing_consecutive_gateway_failure": 100 },
    }));
    let breakers = cluster.circuit_breakers;
    assert_eq!(
        (
            breakers.connections_max,
            breakers.pending_max,
            breakers.requests_max
        ),
        (1, 1024, 2)
    );
    assert_eq!(
        (
            breakers.retry_budget.percent,
            breakers.retry_budget.per_second_min,
        ),
        (25, 9)
    );
    let outlier = cluster.outlier_detection.unwrap();
    assert_eq!(
        (
            outlier.consecutive_5xx,
            outlier.consecutive_gateway_failure,
            outlier.consecutive_local_origin_failure
        ),
        (3, 5, 0)
    );
    assert_eq!(
        (outlier.ejection_base, outlier.ejection_max),
        (Duration::from_secs(1), Duration::from_secs(300))
    );
}

#[test]
fn retries_are_bounded_by_a_budget_or_where_only_their_number_is_given_by_that() {
    let bounds = |thresholds: serde_json::Value| {
        let breakers = json!({ "circuit_breakers": { "thresholds": [thresholds] } });
        let breakers = sound(breakers).circuit_breakers;
        (breakers.retry_budget, breakers.retries_max)
    };
    let nothing = json!({ "budget_percent": { "value": 0.0 }, "min_retry_concurrency": 0 });
    assert_eq!(bounds(json!({})).0, RetryBudget::default());
    assert_eq!(
        bounds(json!({ "max_retries": 7 })),
        (RetryBudget::NONE, 7),
        "as in Envoy"
    );
    assert_eq!(
        bounds(json!({ "max_retries": 7, "retry_budget": {} })).0,
        RetryBudget::default(),
        "a budget goes before"
    );
    assert_eq!(
        bounds(json!({ "retry_budget": nothing })),
        (RetryBudget::NONE, 0),
        "a budget of nothing allows nothing"
    );
}

#[test]
fn what_would_change_where_traffic_goes_is_refused() {
    let tls = json!({ "name": "tls", "typed_config": { "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext" } });
    for (value, fault) in [
        (
            json!({ "transport_socket": tls }),
            "transport_socket.typed_config.common_tls_context: is missing",
        ),
        (
            json!({ "health_checks": [{}] }),
            "health_checks: is not supported yet",
        ),
        (
            json!({ "lb_subset_config": {} }),
            "lb_subset_config: is not supported yet",
        ),
        (
            json!({ "lb_policy": "MAGLEV" }),
            "lb_policy: MAGLEV is not supported yet",
        ),
        (
            json!({ "type": "ORIGINAL_DST" }),
            "lb_policy: CLUSTER_PROVIDED and ORIGINAL_DST go only together",
        ),
        (
            json!({ "type": "LOGICAL_DNS" }),
            "load_assignment: must have one endpoint for LOGICAL_DNS, got 0",
        ),
        (
            json!({ "type": "EDS" }),
            "eds_cluster_config.eds_config: is missing",
        ),
        (
            json!({ "cluster_type": { "name": "envoy.clusters.aggregate" } }),
            "cluster_type: \"envoy.clusters.aggregate\" is not supported",
        ),
        (
            json!({ "connect_timeout": "0s" }),
            "connect_timeout: must be above 0s, got 0s",
        ),
        (
            json!({ "common_lb_config": { "healthy_panic_threshold": { "value": 101.0 } } }),
            "common_lb_config.healthy_panic_threshold: must be from 0 to 100, got 101",
        ),
    ] {
        let (cluster, found) = parse(value);
        assert!(cluster.is_none());
        assert_eq!(found, [format!("fault: {fault}")]);
    }
}

#[test]
fn endpoints_with_labels_have_a_transport_of_their_own() {
    let tls = json!({ "name": "tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": { "alpn_protocols": ["weft"] },
    } });
    let plain = json!({ "name": "envoy.transport_sockets.raw_buffer" });
    let cluster = sound(json!({
        "transport_socket": tls,
        "transport_socket_matches": [
            { "name": "mesh", "match": { "mode": "mesh", "port": 7 }, "transport_socket": tls },
            { "name": "plain", "match": {}, "transport_socket": plain },
        ],
    }));
    let labels = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(pair).collect()
    };
    let [mesh, rest] = &cluster.socket_matches[..] else {
        panic!("{:?}", cluster.socket_matches)
    };
    assert!(mesh.fits(&labels(&[("mode", "mesh"), ("port", "7"), ("more", "x")])));
    assert!(!mesh.fits(&labels(&[("mode", "mesh")])));
    assert!(rest.fits(&labels(&[])));
    assert!(mesh.tls.as_ref().is_some_and(|tls| tls.is_mesh()) && rest.tls.is_none());
    let (cluster, found) = parse(json!({ "transport_socket_matches": [
        { "match": { "mode": { "deep": true } }, "transport_socket": plain },
    ] }));
    assert!(cluster.is_none());
    assert_eq!(
        found,
        [
            "fault: transport_socket_matches[0].match[\"mode\"]: must be a text, a number or a boolean"
        ]
    );
}
