//! YAML in, resources out.

mod access;
mod consumers;
mod incremental;
mod kinds;
mod refused;
mod strangers;
mod tokens;

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message;
use weft_config::gateway_api::{Resources, parse};
use weft_xds_proto::pb::envoy::config::cluster::v3::Cluster;
use weft_xds_proto::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use weft_xds_proto::pb::envoy::config::route::v3::{
    Route, RouteConfiguration, route::Action, route_action::ClusterSpecifier,
    route_match::PathSpecifier,
};

use super::{Discovered, Registration, Translated, Translator, Workload, route_status};
use crate::snapshot::{NodeView, ResourceType, Snapshot};

fn resources(yaml: &str) -> Resources {
    let parsed = parse("test.yaml", yaml);
    assert!(!parsed.has_faults(), "{:?}", parsed.findings);
    let objects = parsed.documents.into_iter().map(|it| it.object);
    objects.collect()
}

fn translated(yaml: &str, workloads: Vec<Arc<Registration>>) -> Translated {
    let mut translator = Translator::new(crate::translate::Names::default());
    translator.set_resources(resources(yaml));
    let discovered = Discovered {
        workloads,
        ..Discovered::default()
    };
    let done = translator.translate(&discovered);
    assert!(
        done.refused.is_empty(),
        "a proxy would refuse {:?}",
        done.refused
    );
    done
}

fn snapshot(yaml: &str, workloads: Vec<Arc<Registration>>) -> Snapshot {
    let done = translated(yaml, workloads);
    Snapshot::new(1, 1, "cluster.local".into(), done.units, done.inbound)
}

fn workload(service: &str, version: &str, port: u16) -> Arc<Registration> {
    Arc::new(Registration {
        node_id: format!("{service}-{version}-{port}").into(),
        workload: Workload {
            identity: None,
            service: service.to_owned(),
            namespace: "default".to_owned(),
            labels: BTreeMap::from([
                ("app".to_owned(), service.to_owned()),
                ("version".to_owned(), version.to_owned()),
            ]),
            address: [127, 0, 0, 1].into(),
            inbound_port: port,
            redirected: false,
            ports: vec![8080],
            instance: "i".to_owned(),
            zone: String::new(),
        },
    })
}

fn read<M: Message + Default>(snapshot: &Snapshot, kind: ResourceType, name: &str) -> M {
    read_as(snapshot, kind, name, "default")
}

/// The resource as a node in `namespace` is given it.
fn read_as<M: Message + Default>(
    snapshot: &Snapshot,
    kind: ResourceType,
    name: &str,
    namespace: &str,
) -> M {
    let node = NodeView {
        namespace: namespace.into(),
        ..NodeView::default()
    };
    let resource = snapshot
        .find(kind, name, &node)
        .unwrap_or_else(|| panic!("{name} does not exist"));
    M::decode(resource.value()).expect("encoded here")
}

fn routes(snapshot: &Snapshot, name: &str) -> Vec<Route> {
    let table: RouteConfiguration = read(snapshot, ResourceType::Route, name);
    table
        .virtual_hosts
        .into_iter()
        .flat_map(|host| host.routes)
        .collect()
}

/// A service with one HTTP port 9080 whose endpoints are workloads of these labels.
fn service(name: &str, selector: &str) -> String {
    format!(
        "---\napiVersion: mesh.weft.dev/v1alpha1\nkind: MeshService\nmetadata: {{name: {name}}}\nspec:\n  \
         ports: [{{port: 9080, appProtocol: http}}]\n  discovery: {{workloads: {{selector: {{{selector}}}}}}}\n"
    )
}

fn reviews(rules: &str) -> String {
    format!(
        "{}{}{}---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: reviews}}\nspec:\n  \
         parentRefs: [{{group: mesh.weft.dev, kind: MeshService, name: reviews, port: 9080}}]\n  rules:\n{rules}",
        service("reviews", "app: reviews"),
        service("reviews-v1", "app: reviews, version: v1"),
        service("reviews-v2", "app: reviews, version: v2"),
    )
}

const REVIEWS: &str = "reviews.default.svc.cluster.local:9080";
const V1: &str = "{group: mesh.weft.dev, kind: MeshService, name: reviews-v1, port: 9080";
const V2: &str = "{group: mesh.weft.dev, kind: MeshService, name: reviews-v2, port: 9080";

#[test]
fn weights_of_a_route_become_weighted_clusters() {
    let yaml = reviews(&format!(
        "  - backendRefs: [{V1}, weight: 90}}, {V2}, weight: 10}}]\n    timeouts: {{request: 2s}}\n    \
         retry: {{codes: [503], attempts: 2, backoff: 25ms}}\n"
    ));
    let routes = routes(&snapshot(&yaml, vec![]), REVIEWS);
    let [
        Route {
            action: Some(Action::Route(action)),
            ..
        },
    ] = routes.as_slice()
    else {
        panic!("{routes:?}")
    };
    let Some(ClusterSpecifier::WeightedClusters(clusters)) = &action.cluster_specifier else {
        panic!("{action:?}")
    };
    let shares: Vec<_> = clusters
        .clusters
        .iter()
        .map(|it| (it.name.as_str(), it.weight.map(|weight| weight.value)))
        .collect();
    assert_eq!(
        shares,
        [
            ("reviews-v1.default.svc.cluster.local:9080", Some(90)),
            ("reviews-v2.default.svc.cluster.local:9080", Some(10)),
        ]
    );
    assert_eq!(action.timeout.map(|it| it.seconds), Some(2));
    let retry = action.retry_policy.as_ref().expect("retries");
    assert_eq!(retry.retriable_status_codes, [503]);
    assert_eq!(retry.num_retries.map(|it| it.value), Some(2));
}

#[test]
fn the_share_of_a_backend_that_does_not_exist_is_answered_500() {
    let missing = "{group: mesh.weft.dev, kind: MeshService, name: nobody, port: 9080, weight: 25}";
    let yaml = reviews(&format!(
        "  - backendRefs: [{V1}, weight: 75}}, {missing}]\n"
    ));
    let routes = routes(&snapshot(&yaml, vec![]), REVIEWS);
    let [refused, rest] = routes.as_slice() else {
        panic!("{routes:?}")
    };
    let share = refused
        .r#match
        .as_ref()
        .and_then(|it| it.runtime_fraction.as_ref());
    let share = share.and_then(|it| it.default_value).map(|it| it.numerator);
    assert_eq!(share, Some(250_000));
    assert!(matches!(&refused.action, Some(Action::DirectResponse(it)) if it.status == 500));
    assert!(matches!(&rest.action, Some(Action::Route(_))));
    let resources = resources(&yaml);
    let route = resources
        .iter()
        .find(|it| it.kind().is_route())
        .expect("there");
    let status = route_status(&resources, route).expect("a route");
    let reasons: Vec<_> = status.parents[0]
        .conditions
        .iter()
        .map(|it| it.reason)
        .collect();
    assert_eq!(reasons, ["Accepted", "BackendNotFound"]);
}

#[test]
fn exact_paths_stand_before_long_prefixes_before_short_ones() {
    let rule = |kind: &str, path: &str| {
        format!(
            "  - matches: [{{path: {{type: {kind}, value: {path}}}}}]\n    backendRefs: [{V1}}}]\n"
        )
    };
    let yaml = reviews(
        &[
            rule("PathPrefix", "/"),
            rule("PathPrefix", "/a/b/"),
            rule("Exact", "/a"),
        ]
        .concat(),
    );
    let routes = routes(&snapshot(&yaml, vec![]), REVIEWS);
    let paths: Vec<_> = routes
        .into_iter()
        .filter_map(|route| route.r#match?.path_specifier)
        .collect();
    assert_eq!(
        paths,
        [
            PathSpecifier::Path("/a".to_owned()),
            PathSpecifier::PathSeparatedPrefix("/a/b".to_owned()),
            PathSpecifier::Prefix("/".to_owned()),
        ]
    );
}

#[test]
fn workloads_are_endpoints_of_every_service_that_selects_them() {
    let yaml = reviews(&format!("  - backendRefs: [{V1}}}]\n"));
    let workloads = vec![
        workload("reviews", "v1", 7001),
        workload("reviews", "v2", 7002),
    ];
    let snapshot = snapshot(&yaml, workloads);
    let count = |name: &str| {
        let name = format!("{name}.default.svc.cluster.local:9080");
        let assignment: ClusterLoadAssignment = read(&snapshot, ResourceType::Endpoint, &name);
        let localities = assignment.endpoints.iter();
        localities.map(|it| it.lb_endpoints.len()).sum::<usize>()
    };
    assert_eq!(
        (count("reviews"), count("reviews-v1"), count("reviews-v2")),
        (2, 1, 1)
    );
}

#[test]
fn what_is_redirected_is_called_on_the_ports_of_its_application() {
    let yaml = reviews(&format!("  - backendRefs: [{V1}}}]\n"));
    let called = |redirected: bool, ports: &[u16]| {
        let mut registration = (*workload("reviews", "v1", 7001)).clone();
        registration.workload.redirected = redirected;
        registration.workload.ports = ports.to_vec();
        let snapshot = snapshot(&yaml, vec![Arc::new(registration)]);
        let name = "reviews.default.svc.cluster.local:9080";
        let assignment: ClusterLoadAssignment = read(&snapshot, ResourceType::Endpoint, name);
        let text = format!("{:?}", assignment.endpoints[0].lb_endpoints[0]);
        let ports = [7001, 8080, 9080, 9090];
        let mut found = ports
            .into_iter()
            .filter(|port| text.contains(&format!("PortValue({port})")));
        found.next().expect("an endpoint has a port")
    };
    assert_eq!(called(false, &[8080]), 7001);
    // What only has one port is called on it, whatever leads there; of several, on the one that the service leads to.
    assert_eq!(called(true, &[8080]), 8080);
    assert_eq!(called(true, &[8080, 9080, 9090]), 9080);
}

#[test]
fn a_workload_finds_its_inbound_listener_and_the_cluster_of_its_application() {
    let yaml = service("reviews", "app: reviews");
    let snapshot = snapshot(&yaml, vec![workload("reviews", "v1", 7001)]);
    let node = NodeView::default();
    for name in ["inbound/default/reviews", "inbound/default/reviews/8080"] {
        assert!(
            snapshot.find(ResourceType::Listener, name, &node).is_some(),
            "{name}"
        );
    }
    let cluster: Cluster = read(&snapshot, ResourceType::Cluster, "inbound|8080");
    assert_eq!(cluster.name, "inbound|8080");
    assert!(
        snapshot
            .find(ResourceType::Cluster, "inbound|08080", &node)
            .is_none()
    );
}

#[test]
fn a_listener_is_served_under_exactly_the_name_asked_for() {
    let snapshot = snapshot(&service("reviews", "app: reviews"), vec![]);
    let node = NodeView::default();
    let forms = [
        "reviews:9080",
        "reviews.default:9080",
        "reviews.default.svc:9080",
        REVIEWS,
    ];
    for name in forms {
        let found = snapshot
            .find(ResourceType::Listener, name, &node)
            .expect(name);
        assert_eq!(&*found.name, name);
    }
    for name in [
        "reviews",
        "Reviews:9080",
        "reviews.other:9080",
        "reviews:0",
        "nobody:9080",
    ] {
        assert!(
            snapshot.find(ResourceType::Listener, name, &node).is_none(),
            "{name}"
        );
    }
}
