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
