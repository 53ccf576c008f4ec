//! What goes on the wire for gRPC, for TCP and for what has not said what it is.

use weft_xds_proto::any;
use weft_xds_proto::pb::envoy::config::listener::v3::{Listener, filter::ConfigType};
use weft_xds_proto::pb::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use weft_xds_proto::pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::ClusterSpecifier as TcpClusters;

use super::*;

fn mesh_service(name: &str, port: &str, rest: &str) -> String {
    format!(
        "---\napiVersion: mesh.weft.dev/v1alpha1\nkind: MeshService\nmetadata: {{name: {name}}}\nspec:\n  ports: [{{{port}}}]\n  \
         discovery: {{workloads: {{selector: {{app: {name}}}}}}}\n{rest}"
    )
}

fn route(version: &str, kind: &str, parent: &str, rules: &str) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/{version}\nkind: {kind}\nmetadata: {{name: {parent}}}\nspec:\n  parentRefs: \
         [{{group: mesh.weft.dev, kind: MeshService, name: {parent}}}]\n  rules:\n{rules}"
    )
}

fn backend(name: &str, port: u16, weight: u32) -> String {
    format!(
        "{{group: mesh.weft.dev, kind: MeshService, name: {name}, port: {port}, weight: {weight}}}"
    )
}

/// The chains of a listener: their application protocols, and what the last filter is.
fn chains(listener: &Listener) -> Vec<(Vec<String>, &str)> {
    let chains = listener.filter_chains.iter();
    chains
        .map(|chain| {
            let matches = chain.filter_chain_match.clone().unwrap_or_default();
            let filter = chain.filters.last().expect("a filter");
            (matches.application_protocols, filter.name.as_str())
        })
        .collect()
}

/// Where a TCP chain goes.
fn tcp_clusters(listener: &Listener) -> Vec<(String, u32)> {
    let filter = listener.filter_chains[0].filters.last().expect("a filter");
    let Some(ConfigType::TypedConfig(config)) = &filter.config_type else {
        panic!("{filter:?}")
    };
    let proxy: TcpProxy = any::unpack(config).expect("a TCP proxy");
    match proxy.cluster_specifier {
        Some(TcpClusters::Cluster(name)) => vec![(name, 1)],
        Some(TcpClusters::WeightedClusters(clusters)) => {
            let clusters = clusters.clusters.into_iter();
            clusters.map(|it| (it.name, it.weight)).collect()
        }
        None => panic!("{proxy:?}"),
    }
}

const MANAGER: &str = "envoy.filters.network.http_connection_manager";
const TCP: &str = "envoy.filters.network.tcp_proxy";

#[test]
fn a_grpc_route_is_tried_by_method_before_an_http_route() {
    let to = |name| format!("    backendRefs: [{}]\n", backend(name, 80, 1));
    let yaml = mesh_service("cart", "port: 80, appProtocol: grpc", "")
        + &mesh_service("fast", "port: 80, appProtocol: grpc", "")
        + &route(
            "v1",
            "GRPCRoute",
            "cart",
            &[
                format!("  - matches: [{{method: {{service: shop.Cart}}}}]\n{}", to("cart")),
                format!(
                    "  - matches: [{{method: {{service: shop.Cart, method: Add}}, headers: [{{name: x-tier, value: gold}}]}}]\n{}",
                    to("fast")
                ),
                format!("  - matches: [{{method: {{method: List.*, type: RegularExpression}}}}]\n{}", to("fast")),
            ]
            .concat(),
        )
        + &route("v1", "HTTPRoute", "cart", &format!("  - matches: [{{path: {{type: Exact, value: /health}}}}]\n{}", to("cart")));
    let snapshot = snapshot(&yaml, vec![]);
    let routes = routes(&snapshot, "cart.default.svc.cluster.local:80");
    let paths: Vec<_> = routes
        .iter()
        .map(|it| {
            let matches = it.r#match.clone().expect("a match");
            (
                matches.path_specifier.expect("a path"),
                matches.grpc.is_some(),
            )
        })
        .collect();
    let regex = |text: &str| PathSpecifier::SafeRegex(super::super::rules::regex(text));
    assert_eq!(
        paths,
        [
            (PathSpecifier::Path("/shop.Cart/Add".to_owned()), true),
            (PathSpecifier::Prefix("/shop.Cart/".to_owned()), true),
            (regex("/[^/]+/(?:List.*)"), true),
            (PathSpecifier::Path("/health".to_owned()), false),
        ]
    );
    let headers = &routes[0].r#match.as_ref().expect("a match").headers;
    assert_eq!(headers[0].name, "x-tier");
    let cluster: Cluster = read(
        &snapshot,
        ResourceType::Cluster,
        "cart.default.svc.cluster.local:80",
    );
    let options = cluster.typed_extension_protocol_options.values().next();
    assert!(options.is_some(), "HTTP/2 is said in the protocol options");
}

#[test]
fn a_call_keeps_its_callers_deadline_and_is_retried_by_the_statuses_of_a_policy() {
    let yaml = mesh_service("cart", "port: 80, appProtocol: grpc", "")
        + &route(
            "v1",
            "GRPCRoute",
            "cart",
            &format!(
                "  - matches: [{{method: {{service: shop.Cart}}}}]\n    backendRefs: [{}]\n",
                backend("cart", 80, 1)
            ),
        )
        + "---\napiVersion: mesh.weft.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: cart}\nspec:\n  targetRefs: [{group: \
           gateway.networking.k8s.io, kind: GRPCRoute, name: cart}]\n  retry: {attempts: 2, grpcCodes: [UNAVAILABLE, \
           RESOURCE_EXHAUSTED]}\n";
    let snapshot = snapshot(&yaml, vec![]);
    let routes = routes(&snapshot, "cart.default.svc.cluster.local:80");
    let Some(Action::Route(action)) = &routes[0].action else {
        panic!("{routes:?}");
    };
    let retry = action.retry_policy.as_ref().expect("retries");
    assert_eq!(
        retry.retry_on,
        "connect-failure,refused-stream,unavailable,resource-exhausted"
    );
    let bounds = action.max_stream_duration.expect("bounds of the stream");
    let max = bounds.grpc_timeout_header_max.expect("deadlines are kept");
    assert_eq!((max.seconds, max.nanos), (0, 0), "whatever they are");
    assert_eq!(bounds.max_stream_duration, None);
}

#[test]
fn a_tcp_route_is_one_filter_by_weight_and_refuses_what_is_not_there() {
    let yaml = mesh_service("db", "port: 3306, appProtocol: mysql", "")
        + &mesh_service("db-b", "port: 3306, appProtocol: mysql", "")
        + &route(
            "v1alpha2",
            "TCPRoute",
            "db",
            &format!(
                "  - backendRefs: [{}, {}, {}]\n",
                backend("db", 3306, 8),
                backend("db-b", 3306, 2),
                backend("nobody", 3306, 1)
            ),
        );
    let snapshot = snapshot(&yaml, vec![]);
    let listener: Listener = read(&snapshot, ResourceType::Listener, "db:3306");
    assert!(listener.api_listener.is_none());
    assert_eq!(chains(&listener), [(vec![], TCP)]);
    assert_eq!(
        tcp_clusters(&listener),
        [
            ("db.default.svc.cluster.local:3306".to_owned(), 8),
            ("db-b.default.svc.cluster.local:3306".to_owned(), 2),
            ("refused".to_owned(), 1),
        ]
    );
    let node = NodeView::default();
    let routes = snapshot.find(
        ResourceType::Route,
        "db.default.svc.cluster.local:3306",
        &node,
    );
    assert!(routes.is_none(), "connections have no route table");
}

#[test]
fn a_port_that_says_nothing_is_requests_by_name_and_either_by_address() {
    let yaml = mesh_service("legacy", "port: 7000", "  addresses: [10.99.0.1]\n");
    let snapshot = snapshot(&yaml, vec![]);
    let by_name: Listener = read(&snapshot, ResourceType::Listener, "legacy:7000");
    assert!(by_name.api_listener.is_some(), "gRPC and authorities");
    let by_address: Listener = read(&snapshot, ResourceType::Listener, "10.99.0.1:7000");
    assert!(by_address.api_listener.is_none());
    let http = ["http/1.0", "http/1.1", "h2c"].map(str::to_owned).to_vec();
    assert_eq!(
        chains(&by_address),
        [(vec![], TCP), (http.clone(), MANAGER)]
    );
    assert_eq!(
        by_address.listener_filters[0].name,
        "envoy.filters.listener.http_inspector"
    );
    let outbound: Listener = read(&snapshot, ResourceType::Listener, "outbound");
    assert_eq!(chains(&outbound), [(vec![], TCP), (http, MANAGER)]);
    assert!(outbound.continue_on_listener_filters_timeout);
    let inspects = |it: &Listener| {
        it.listener_filters
            .iter()
            .any(|it| it.name.ends_with("http_inspector"))
    };
    assert!(inspects(&outbound));
}

#[test]
fn a_port_that_says_what_it_speaks_is_not_inspected() {
    let yaml = mesh_service(
        "web",
        "port: 80, appProtocol: http",
        "  addresses: [10.99.0.2]\n",
    ) + &mesh_service(
        "db",
        "port: 3306, appProtocol: mysql",
        "  addresses: [10.99.0.3]\n",
    );
    let snapshot = snapshot(&yaml, vec![]);
    let web: Listener = read(&snapshot, ResourceType::Listener, "10.99.0.2:80");
    assert!(web.api_listener.is_some());
    let outbound: Listener = read(&snapshot, ResourceType::Listener, "outbound");
    assert_eq!(chains(&outbound), [(vec![], TCP)]);
    assert_eq!(
        outbound.listener_filters.len(),
        1,
        "the original destination alone"
    );
}

#[test]
fn a_tcp_route_takes_the_requests_too_of_a_port_that_says_nothing() {
    let yaml = mesh_service("legacy", "port: 7000", "")
        + &mesh_service("legacy-b", "port: 7000", "")
        + &route(
            "v1alpha2",
            "TCPRoute",
            "legacy",
            &format!("  - backendRefs: [{}]\n", backend("legacy-b", 7000, 1)),
        );
    let snapshot = snapshot(&yaml, vec![]);
    let routes = routes(&snapshot, "legacy.default.svc.cluster.local:7000");
    let Some(Action::Route(action)) = &routes[0].action else {
        panic!("{routes:?}")
    };
    let to = ClusterSpecifier::Cluster("legacy-b.default.svc.cluster.local:7000".to_owned());
    assert_eq!(action.cluster_specifier.as_ref(), Some(&to));
}
