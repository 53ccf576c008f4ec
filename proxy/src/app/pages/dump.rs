//! `/config_dump` in Envoy's shapes: what the bootstrap says, and what was accepted over xDS or from files.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use weft_xds_proto::pb::envoy::config::bootstrap::v3::Bootstrap;
use weft_xds_proto::pb::envoy::config::listener::v3::{Listener, filter::ConfigType};
use weft_xds_proto::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use weft_xds_proto::pb::google::protobuf::Any;
use weft_xds_proto::{any, json};

use crate::xds::accepted::{Raw, SharedAccepted};
use crate::xds::{Kind, Status};

mod secrets;

/// The `configs` of the page: the bootstrap, where there is one, and for each kind what it says of it, what was accepted
/// since, and what of that was refused last.
pub(super) fn config_dump(
    bootstrap: Option<&Any>,
    accepted: &SharedAccepted,
    status: &Status,
) -> Vec<Value> {
    // Copied first: writing JSON takes its time, and the client must not wait for it.
    let secrets = accepted.lock().secrets().clone();
    let kinds = Kind::ALL.map(|kind| {
        let accepted = accepted.lock();
        let resources: BTreeMap<Arc<str>, Raw> = accepted
            .of(kind)
            .iter()
            .map(|(name, raw)| (name.clone(), raw.clone()))
            .collect();
        (kind, resources)
    });
    let report = status.report();
    let refusals = report.refusals;
    // For all of them: they are dear to build, and would be for each.
    let _descriptors = json::Descriptors::load();
    let bootstrap = bootstrap.and_then(|packed| any::unpack::<Bootstrap>(packed).ok());
    let own = bootstrap.as_ref().map(|bootstrap| {
        let shown = json::to_json(bootstrap).unwrap_or_else(|error| not_shown(&error));
        json!({"@type": type_url("BootstrapConfigDump"), "bootstrap": shown})
    });
    let kinds = kinds.into_iter().map(|(kind, resources)| {
        let fixed = bootstrap.as_ref().map(|bootstrap| fixed(kind, bootstrap));
        let mut dump = dump_of(kind, fixed.unwrap_or_default(), &resources, &refusals);
        if kind == Kind::Secret {
            secrets::add(&mut dump, &secrets, &report.streams);
        }
        Value::Object(dump)
    });
    own.into_iter().chain(kinds).collect()
}

/// How Envoy names the parts of a dump.
struct Names {
    dump: &'static str,
    /// The list of what the bootstrap says.
    fixed: &'static str,
    /// The list of what came later.
    dynamic: &'static str,
    /// The resource in an entry.
    resource: &'static str,
}

impl Names {
    fn of(kind: Kind) -> Self {
        let (dump, fixed, dynamic, resource) = match kind {
            Kind::Secret => (
                "SecretsConfigDump",
                "static_secrets",
                "dynamic_active_secrets",
                "secret",
            ),
            Kind::Listener => (
                "ListenersConfigDump",
                "static_listeners",
                "dynamic_listeners",
                "listener",
            ),
            Kind::Cluster => (
                "ClustersConfigDump",
                "static_clusters",
                "dynamic_active_clusters",
                "cluster",
            ),
            Kind::Route => (
                "RoutesConfigDump",
                "static_route_configs",
                "dynamic_route_configs",
                "route_config",
            ),
            Kind::Endpoints => (
                "EndpointsConfigDump",
                "static_endpoint_configs",
                "dynamic_endpoint_configs",
                "endpoint_config",
            ),
        };
        Self {
            dump,
            fixed,
            dynamic,
            resource,
        }
    }
}

fn dump_of(
    kind: Kind,
    fixed: Vec<Any>,
    resources: &BTreeMap<Arc<str>, Raw>,
    refusals: &[(Kind, String)],
) -> Map<String, Value> {
    let names = Names::of(kind);
    let fixed = fixed
        .iter()
        .map(|packed| Value::Object(object([(names.resource, shown(packed))])));
    let dynamic = resources.iter().map(|(name, raw)| {
        let version = ("version_info", json!(raw.version));
        let resource = (names.resource, shown(&raw.packed));
        match kind {
            Kind::Listener => {
                let state = Value::Object(object([version, resource]));
                object([("name", json!(&**name)), ("active_state", state)])
            }
            _ => object([("name", json!(&**name)), version, resource]),
        }
    });
    let dynamic = dynamic.map(Value::Object);
    let refused = refusals.iter().filter(|(of, _)| *of == kind);
    object([
        ("@type", json!(type_url(names.dump))),
        (names.fixed, fixed.collect()),
        (names.dynamic, dynamic.collect()),
        ("refused", refused.map(|(_, line)| json!(line)).collect()),
    ])
}

/// What the bootstrap says of a kind: as resources of their own, even where it says them inside of others.
fn fixed(kind: Kind, bootstrap: &Bootstrap) -> Vec<Any> {
    let Some(resources) = &bootstrap.static_resources else {
        return Vec::new();
    };
    match kind {
        Kind::Secret => resources.secrets.iter().map(any::pack).collect(),
        Kind::Listener => resources.listeners.iter().map(any::pack).collect(),
        Kind::Cluster => resources.clusters.iter().map(any::pack).collect(),
        Kind::Route => resources.listeners.iter().flat_map(inline_routes).collect(),
        Kind::Endpoints => {
            let assignments = resources.clusters.iter();
            let assignments = assignments.filter_map(|cluster| cluster.load_assignment.as_ref());
            assignments.map(any::pack).collect()
        }
    }
}

/// The route tables that stand in a listener.
fn inline_routes(listener: &Listener) -> Vec<Any> {
    use hcm::http_connection_manager::RouteSpecifier;
    let chains = listener
        .filter_chains
        .iter()
        .chain(&listener.default_filter_chain);
    let filters = chains.flat_map(|chain| &chain.filters);
    let managers = filters.filter_map(|filter| match &filter.config_type {
        Some(ConfigType::TypedConfig(config)) => {
            any::unpack::<hcm::HttpConnectionManager>(config).ok()
        }
        _ => None,
    });
    let tables = managers.filter_map(|manager| match manager.route_specifier {
        Some(RouteSpecifier::RouteConfig(table)) => Some(any::pack(&table)),
        _ => None,
    });
    tables.collect()
}

fn shown(packed: &Any) -> Value {
    json::any_to_json(packed).unwrap_or_else(|error| not_shown(&error))
}

fn not_shown(error: &json::JsonError) -> Value {
    json!({"error": error.to_string()})
}

fn object<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    Map::from_iter(fields.map(|(name, value)| (name.to_owned(), value)))
}

fn type_url(dump: &str) -> String {
    format!("type.googleapis.com/envoy.admin.v3.{dump}")
}

#[cfg(test)]
mod tests {
    use weft_config::diag::Diagnostics;

    use super::*;
    use crate::telemetry::Metrics;

    const BOOTSTRAP: &str = r#"
node: { id: one, cluster: shop }
static_resources:
  secrets:
  - name: ours
    tls_certificate:
      certificate_chain: { filename: /chain.pem }
      private_key: { inline_string: "-----BEGIN PRIVATE KEY-----\naHVudGVyMg==\n-----END PRIVATE KEY-----\n" }
  listeners:
  - name: in
    address: { socket_address: { address: 127.0.0.1, port_value: 10000 } }
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          route_config: { name: table, virtual_hosts: [{ name: all, domains: ["*"] }] }
          http_filters:
          - name: envoy.filters.http.router
            typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
  clusters:
  - name: origin
    type: STATIC
    load_assignment:
      cluster_name: origin
      endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: 1 } } } }] }]
"#;

    #[test]
    fn what_the_bootstrap_says_is_dumped_in_envoys_shapes_without_its_secrets() {
        let mut diag = Diagnostics::new();
        let bootstrap =
            weft_config::bootstrap::Bootstrap::parse_file(BOOTSTRAP, "boot.yaml", &mut diag)
                .unwrap_or_else(|| panic!("{:?}", diag.findings()));
        let status = Status::new(&Metrics::new());
        let configs = config_dump(Some(&bootstrap.packed), &SharedAccepted::default(), &status);
        let list = |name: &str| {
            let list = configs.iter().find_map(|config| config.get(name));
            list.unwrap_or_else(|| panic!("no {name} in {configs:?}"))
        };
        assert_eq!(list("bootstrap")["node"]["id"], "one");
        assert_eq!(list("static_listeners")[0]["listener"]["name"], "in");
        assert_eq!(
            list("static_listeners")[0]["listener"]["@type"],
            Kind::Listener.type_url()
        );
        assert_eq!(list("static_clusters")[0]["cluster"]["name"], "origin");
        assert_eq!(
            list("static_route_configs")[0]["route_config"]["name"],
            "table"
        );
        assert_eq!(
            list("static_endpoint_configs")[0]["endpoint_config"]["cluster_name"],
            "origin"
        );
        let whole = serde_json::to_string(&configs).unwrap();
        assert!(
            whole.contains("[redacted]") && !whole.contains("aHVudGVyMg"),
            "{whole}"
        );
    }
}
