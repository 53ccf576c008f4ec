//! Who we are, as the control plane is told.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};

use weft_xds_proto::pb::envoy::config::core::v3::Node;
use weft_xds_proto::pb::envoy::config::core::v3::node::UserAgentVersionType;
use weft_xds_proto::pb::google::protobuf::value::Kind as ValueKind;
use weft_xds_proto::pb::google::protobuf::{ListValue, Struct, Value};

/// A workload that registers itself over its stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Its service.
    pub service: String,
    /// Its namespace.
    pub namespace: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Where others reach it.
    pub address: IpAddr,
    /// The port on which its proxy takes what is for it.
    pub inbound_port: u16,
    /// Whether calls to the application are redirected to its proxy.
    pub redirected: bool,
    /// The ports of the application.
    pub app_ports: Vec<u16>,
    /// Tells it from other instances of the service.
    pub instance: String,
}

impl Workload {
    /// The node of this workload: everything that registration needs is in `metadata.weft`, and where the admin page is.
    pub fn node(&self, admin: Option<SocketAddr>) -> Node {
        let ports = self.app_ports.iter().map(|port| number(*port)).collect();
        let labels = self
            .labels
            .iter()
            .map(|(key, value)| (key.clone(), text(value)));
        let mut fields = HashMap::from([
            ("service".to_owned(), text(&self.service)),
            ("namespace".to_owned(), text(&self.namespace)),
            ("labels".to_owned(), structure(labels.collect())),
            ("address".to_owned(), text(&self.address.to_string())),
            ("inbound_port".to_owned(), number(self.inbound_port)),
            (
                "ports".to_owned(),
                value(ValueKind::ListValue(ListValue { values: ports })),
            ),
            ("instance".to_owned(), text(&self.instance)),
        ]);
        if self.redirected {
            fields.insert("redirected".to_owned(), value(ValueKind::BoolValue(true)));
        }
        if let Some(admin) = admin {
            fields.insert("admin".to_owned(), text(&admin.to_string()));
        }
        let metadata = HashMap::from([("weft".to_owned(), structure(fields))]);
        let (address, instance, namespace) = (self.address, &self.instance, &self.namespace);
        introduced(Node {
            id: format!("sidecar~{address}~{instance}.{namespace}~{namespace}"),
            cluster: self.service.clone(),
            metadata: Some(Struct { fields: metadata }),
            ..Default::default()
        })
    }
}

/// `node` with the name, version and features of this program.
pub fn introduced(node: Node) -> Node {
    let features = [
        "xds.config.supports-resource-ttl",
        "xds.config.resource-in-sotw",
    ];
    let mut client_features = node.client_features;
    client_features.extend(features.map(str::to_owned));
    client_features.sort();
    client_features.dedup();
    Node {
        user_agent_name: "weft-proxy".to_owned(),
        user_agent_version_type: Some(UserAgentVersionType::UserAgentVersion(
            env!("CARGO_PKG_VERSION").to_owned(),
        )),
        client_features,
        ..node
    }
}

fn value(kind: ValueKind) -> Value {
    Value { kind: Some(kind) }
}

fn text(text: &str) -> Value {
    value(ValueKind::StringValue(text.to_owned()))
}

fn number(number: u16) -> Value {
    value(ValueKind::NumberValue(number.into()))
}

fn structure(fields: HashMap<String, Value>) -> Value {
    value(ValueKind::StructValue(Struct { fields }))
}
