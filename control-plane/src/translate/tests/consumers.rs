//! Routes in another namespace than their service: for downstreams there, and for nobody else.

use weft_xds_proto::pb::envoy::config::listener::v3::Listener;

use super::*;

/// A route in `shop` for the service `reviews` of `default`, back to it with a timeout of its own.
const CONSUMER: &str = "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: patient, namespace: shop}
spec:
  parentRefs: [{group: mesh.weft.dev, kind: MeshService, name: reviews, namespace: default}]
  rules:
  - backendRefs: [{group: mesh.weft.dev, kind: MeshService, name: reviews, namespace: default, port: 9080}]
    timeouts: {request: 30s}
";

/// The timeout of the first route to `reviews` in the table `name`.
fn timeout_for(snapshot: &Snapshot, name: &str, namespace: &str) -> Option<i64> {
    let table: RouteConfiguration = read_as(snapshot, ResourceType::Route, name, namespace);
    let mut hosts = table.virtual_hosts.into_iter();
    let host = hosts.find(|host| host.name == REVIEWS || host.domains == ["*"]);
    let route = host.expect("there").routes.remove(0);
    match route.action {
        Some(Action::Route(action)) => action.timeout.map(|it| it.seconds),
        _ => None,
    }
}

#[test]
fn a_consumer_route_is_for_downstreams_of_its_namespace_alone() {
    let own = format!("  - backendRefs: [{V1}}}]\n    timeouts: {{request: 2s}}\n");
    let snapshot = snapshot(&(reviews(&own) + CONSUMER), vec![]);
    assert_eq!(timeout_for(&snapshot, REVIEWS, "default"), Some(2));
    assert_eq!(timeout_for(&snapshot, REVIEWS, "shop"), Some(30));
    assert_eq!(timeout_for(&snapshot, REVIEWS, "elsewhere"), Some(2));
    let listener: Listener = read_as(
        &snapshot,
        ResourceType::Listener,
        "reviews.default:9080",
        "shop",
    );
    assert_eq!(listener.name, "reviews.default:9080");
}

#[test]
fn the_wildcard_table_has_the_consumer_routes_of_the_node() {
    let own = format!("  - backendRefs: [{V1}}}]\n    timeouts: {{request: 2s}}\n");
    let snapshot = snapshot(&(reviews(&own) + CONSUMER), vec![]);
    assert_eq!(timeout_for(&snapshot, "outbound", "default"), Some(2));
    assert_eq!(timeout_for(&snapshot, "outbound", "shop"), Some(30));
}

#[test]
fn a_consumer_route_is_accepted_and_may_refer_back_to_its_parent() {
    let resources = resources(&(reviews(&format!("  - backendRefs: [{V1}}}]\n")) + CONSUMER));
    let route = resources.iter().find(|it| it.metadata.name == "patient");
    let status = route_status(&resources, route.expect("there")).expect("a route");
    let conditions: Vec<_> = status.parents[0]
        .conditions
        .iter()
        .map(|it| (it.kind, it.status))
        .collect();
    assert_eq!(conditions, [("Accepted", "True"), ("ResolvedRefs", "True")]);
}

#[test]
fn a_consumer_route_to_a_third_service_needs_a_grant() {
    let third = CONSUMER.replace(
        "name: reviews, namespace: default, port",
        "name: reviews-v1, namespace: default, port",
    );
    let yaml = reviews(&format!("  - backendRefs: [{V1}}}]\n")) + &third;
    let snapshot = snapshot(&yaml, vec![]);
    let mut table: RouteConfiguration = read_as(&snapshot, ResourceType::Route, REVIEWS, "shop");
    let route = table.virtual_hosts.remove(0).routes.remove(0);
    assert!(
        matches!(&route.action, Some(Action::DirectResponse(it)) if it.status == 500),
        "{route:?}"
    );
}
