//! Envoy bootstraps and resources as tests write them.

use std::net::SocketAddr;
use std::sync::OnceLock;

use anyhow::Context;
use weft_config::bootstrap::Bootstrap;
use weft_config::diag::Diagnostics;
use weft_config::document::Document;
use weft_xds_proto::json::Descriptors;

/// A bootstrap for Envoy and for `weft-proxy`: everything comes over one ADS stream from `ads`. `api_type` is `GRPC` or
/// `DELTA_GRPC`; `metadata` is the node's, as flow-style YAML.
pub fn ads(node: &str, ads: SocketAddr, api_type: &str, metadata: &str) -> String {
    format!(
        "
node: {{id: {node}, cluster: test, metadata: {metadata}}}
dynamic_resources:
  ads_config:
    api_type: {api_type}
    transport_api_version: V3
    grpc_services: [{{envoy_grpc: {{cluster_name: ads}}}}]
  lds_config: {{ads: {{}}, resource_api_version: V3}}
  cds_config: {{ads: {{}}, resource_api_version: V3}}
static_resources:
  clusters:
  - name: ads
    type: STATIC
    connect_timeout: 1s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        '@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    load_assignment:
      cluster_name: ads
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: {}, port_value: {}}}}}}}
",
        ads.ip(),
        ads.port()
    )
}

/// Reads a bootstrap.
///
/// # Errors
/// If it has a fault; names all of them.
pub fn parse(text: &str) -> anyhow::Result<Bootstrap> {
    let mut diag = Diagnostics::new();
    let bootstrap = Bootstrap::parse_file(text, "test.yaml", &mut diag);
    bootstrap.with_context(|| format!("{:?}", diag.findings()))
}

/// Reads one xDS message.
///
/// # Errors
/// If it has a fault; names all of them, and the text.
pub fn message<M: prost::Name + Default>(yaml: &str) -> anyhow::Result<M> {
    // Tests and benches make many.
    static HELD: OnceLock<Descriptors> = OnceLock::new();
    HELD.get_or_init(Descriptors::load);
    let mut diag = Diagnostics::new();
    let document = Document::<M>::parse(yaml, "test", &mut diag);
    let document = document.with_context(|| format!("{yaml}: {:?}", diag.findings()))?;
    Ok(document.message)
}

/// A static cluster of a bootstrap, as an item of a flow-style list.
pub struct StaticCluster<'a> {
    /// What routes call it.
    pub name: &'a str,
    /// Where it is.
    pub address: SocketAddr,
    /// Whether it is spoken to by HTTP/2.
    pub http2: bool,
}

/// A bootstrap with one listener, `web`, on a free port. `routes` are items of a flow-style list, `options` fields of the
/// connection manager with a comma behind each.
pub fn one_listener(options: &str, routes: &str, clusters: &[StaticCluster<'_>]) -> String {
    let clusters: Vec<String> = clusters.iter().map(static_cluster).collect();
    format!(
        "
node: {{id: n, cluster: c}}
static_resources:
  listeners:
  - name: web
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: http
        typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.\
HttpConnectionManager, stat_prefix: web, {options} route_config: {{name: web, virtual_hosts: [{{name: all, domains: ['*'], \
routes: [{routes}]}}]}}, http_filters: [{{name: router, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.\
http.router.v3.Router}}}}]}}
  clusters: [{}]
",
        clusters.join(", ")
    )
}

fn static_cluster(cluster: &StaticCluster<'_>) -> String {
    let StaticCluster { name, address, .. } = cluster;
    let (ip, port) = (address.ip(), address.port());
    let protocol = match cluster.http2 {
        true => "http2_protocol_options: {allow_connect: true}",
        false => "http_protocol_options: {}",
    };
    format!(
        "{{name: {name}, type: STATIC, typed_extension_protocol_options: {{envoy.extensions.upstreams.http.v3.\
         HttpProtocolOptions: {{'@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, \
         explicit_http_config: {{{protocol}}}}}}}, circuit_breakers: {{thresholds: [{{max_connections: 10000, \
         max_pending_requests: 10000, max_requests: 10000}}]}}, load_assignment: {{cluster_name: {name}, endpoints: \
         [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: {ip}, port_value: {port}}}}}}}}}]}}]}}}}"
    )
}
