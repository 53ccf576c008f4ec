//! Whole documents: from text to objects, with everything that is wrong.

use std::sync::Arc;

use serde_json::Value;

use super::object::{GATEWAY_GROUP, Kind, MESH_GROUP, Object, ObjectKey, Spec};
use super::read::{
    Fields, Item, Reader, authentication_policy, authorization_policy, backend_tls_policy,
    http_route, mesh_service, metadata, other_routes, policies, service, suggestion,
    traffic_policy,
};
use crate::diag::{FieldPath, Finding, Location, Severity};
use crate::yaml::{self, Node, shorten};

/// What came out of a text: the objects that can be used, and every fault and warning.
#[derive(Debug, Default)]
pub struct Parsed {
    /// Objects without faults, in the order of the text.
    pub documents: Vec<Document>,
    /// Everything found, in the order of the text.
    pub findings: Vec<Finding>,
    /// Names of the objects that have faults, where they can be read: they are written down, only not well.
    pub refused: Vec<ObjectKey>,
}

impl Parsed {
    /// Whether anything was refused.
    pub fn has_faults(&self) -> bool {
        self.findings.iter().any(|f| f.severity == Severity::Fault)
    }

    /// Adds what came out of another text.
    pub fn extend(&mut self, other: Parsed) {
        self.documents.extend(other.documents);
        self.findings.extend(other.findings);
        self.refused.extend(other.refused);
    }
}

/// An object and the text it came from.
#[derive(Clone, Debug)]
pub struct Document {
    /// The object.
    pub object: Arc<Object>,
    /// Where it stands.
    pub source: Source,
}

/// The text that an object came from, so that later findings can say where.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file as the user named it.
    pub file: Arc<str>,
    root: Arc<Node>,
}

impl Source {
    /// The place of the value at `path`, or of what is there of the way to it.
    pub fn locate(&self, path: &FieldPath) -> Location {
        self.root.locate(path).in_file(&self.file)
    }
}

/// Reads all objects of a text in YAML (any number of documents) or JSON. A `List` counts as its items. `file` is how the
/// user names the text.
///
/// Never panics and never stops at the first fault; a faulty document does not hide its neighbours.
pub fn parse(file: &str, text: &str) -> Parsed {
    let (nodes, findings) = yaml::parse(file, text);
    let mut parsed = Parsed {
        findings,
        ..Parsed::default()
    };
    let file: Arc<str> = file.into();
    for node in nodes {
        read_node(&file, node, &mut parsed);
    }
    parsed.findings.sort_by(|a, b| a.location.cmp(&b.location));
    parsed
}

/// Reads one object from JSON.
///
/// # Errors
/// Everything that was found, where any of it is a fault.
pub fn parse_json(value: &Value) -> Result<Object, Vec<Finding>> {
    let Some(node) = Node::from_json(value) else {
        let message = format!("is nested more than {} deep", yaml::DEPTH_MAX);
        return Err(vec![Finding {
            severity: Severity::Fault,
            path: FieldPath::root(),
            location: None,
            message,
        }]);
    };
    let mut cx = Reader::new("");
    let object = read_object(&mut cx, &Item::new(&node, FieldPath::root()));
    let (mut findings, refused) = cx.into_findings();
    match object {
        Some(object) if !refused => Ok(object),
        _ => {
            for finding in &mut findings {
                finding.location = None;
            }
            Err(findings)
        }
    }
}

fn read_node(file: &Arc<str>, node: Node, parsed: &mut Parsed) {
    let kind = node.get("kind").map(Node::describe);
    if kind.as_deref() == Some("the text `List`") {
        return read_list(file, node, parsed);
    }
    let mut cx = Reader::new(file);
    let object = read_object(&mut cx, &Item::new(&node, FieldPath::root()));
    let (findings, refused) = cx.into_findings();
    parsed.findings.extend(findings);
    if refused {
        parsed.refused.extend(name_of(&node));
    }
    if let (Some(object), false) = (object, refused) {
        let (object, root) = (Arc::new(object), Arc::new(node));
        let file = file.clone();
        let source = Source { file, root };
        parsed.documents.push(Document { object, source });
    }
}

/// The name of an object that has faults elsewhere.
fn name_of(node: &Node) -> Option<ObjectKey> {
    let metadata = node.get("metadata")?;
    let kind = Kind::find(node.get("kind")?.text()?)?;
    let namespace = match metadata.get("namespace") {
        Some(namespace) => namespace.text()?.to_owned(),
        None => super::metadata::default_namespace(),
    };
    Some(ObjectKey::new(
        kind,
        &namespace,
        metadata.get("name")?.text()?,
    ))
}

fn read_list(file: &Arc<str>, node: Node, parsed: &mut Parsed) {
    let mut cx = Reader::new(file);
    let item = Item::new(&node, FieldPath::root());
    let mut items = Vec::new();
    if let Some(mut fields) = item.fields(&mut cx) {
        fields.accept(&["apiVersion", "kind", "metadata"]);
        if let Some(list) = fields.require(&mut cx, "items") {
            items = list.list(&mut cx, 0, LIST_ITEMS_MAX);
        }
        fields.finish(&mut cx);
    }
    let nested = items.iter().filter(|item| item.node.get("items").is_some());
    for item in nested {
        item.fault(&mut cx, "a List within a List is not supported");
    }
    let nodes: Vec<Node> = items
        .iter()
        .filter(|item| item.node.get("items").is_none())
        .map(|item| item.node.clone())
        .collect();
    parsed.findings.extend(cx.into_findings().0);
    for node in nodes {
        read_node(file, node, parsed);
    }
}

fn read_object(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<Object> {
    let mut fields = item.fields(cx)?;
    let version = fields.require(cx, "apiVersion");
    let kind_item = fields.require(cx, "kind");
    let version_text = version.as_ref().and_then(|item| item.text(cx));
    let kind = kind_item.and_then(|item| kind(cx, &item, version_text))?;
    if let (Some(item), Some(text)) = (&version, version_text) {
        check_version(cx, item, text, kind);
    }
    let metadata = match fields.require(cx, "metadata") {
        Some(item) => metadata::metadata(cx, &item, kind),
        None => {
            // What else is wrong is told all the same; an object without a name comes of none of it.
            if !matches!(kind, Kind::EndpointSlice | Kind::ConfigMap)
                && let Some(item) = fields.require(cx, "spec")
            {
                read_spec(cx, &item, kind);
            }
            return None;
        }
    };
    // `status` is the control plane's own word; what a user's file says of it is left aside.
    fields.accept(&["status"]);
    let spec = match kind {
        Kind::EndpointSlice => {
            service::endpoint_slice(cx, &mut fields, &metadata).map(Spec::EndpointSlice)
        }
        Kind::ConfigMap => backend_tls_policy::config_map(cx, &mut fields).map(Spec::ConfigMap),
        _ => match fields.require(cx, "spec") {
            Some(item) => read_spec(cx, &item, kind),
            None => None,
        },
    };
    let object = spec.map(|spec| Object { metadata, spec });
    finish(cx, fields, object)
}

fn finish(cx: &mut Reader<'_>, fields: Fields<'_>, object: Option<Object>) -> Option<Object> {
    if object.is_some() || cx.has_faults() {
        fields.finish(cx);
    }
    object
}

fn read_spec(cx: &mut Reader<'_>, item: &Item<'_>, kind: Kind) -> Option<Spec> {
    let mut fields = item.fields(cx)?;
    let at = &mut fields;
    let spec = match kind {
        Kind::Service => service::service(cx, at).map(Spec::Service),
        Kind::MeshService => mesh_service::mesh_service(cx, at).map(Spec::MeshService),
        Kind::HttpRoute => http_route::http_route(cx, at).map(Spec::HttpRoute),
        Kind::GrpcRoute => other_routes::grpc_route(cx, at).map(Spec::GrpcRoute),
        Kind::TcpRoute => other_routes::tcp_route(cx, at).map(Spec::TcpRoute),
        Kind::ReferenceGrant => other_routes::reference_grant(cx, at).map(Spec::ReferenceGrant),
        Kind::TrafficPolicy => traffic_policy::traffic_policy(cx, at).map(Spec::TrafficPolicy),
        Kind::RateLimitPolicy => policies::rate_limit(cx, at).map(Spec::RateLimitPolicy),
        Kind::FaultInjection => policies::fault_injection(cx, at).map(Spec::FaultInjection),
        Kind::AuthenticationPolicy => {
            authentication_policy::authentication_policy(cx, at).map(Spec::AuthenticationPolicy)
        }
        Kind::AuthorizationPolicy => {
            authorization_policy::authorization_policy(cx, at).map(Spec::AuthorizationPolicy)
        }
        Kind::BackendTlsPolicy => {
            backend_tls_policy::backend_tls_policy(cx, at).map(Spec::BackendTlsPolicy)
        }
        Kind::EndpointSlice | Kind::ConfigMap => None,
    };
    fields.finish(cx);
    spec
}

fn kind(cx: &mut Reader<'_>, item: &Item<'_>, version: Option<&str>) -> Option<Kind> {
    let text = item.text(cx)?;
    let found = Kind::ALL.into_iter().find(|kind| kind.name() == text);
    if found.is_some() {
        return found;
    }
    let group = version
        .unwrap_or_default()
        .split('/')
        .next()
        .unwrap_or_default();
    let ours = matches!(group, GATEWAY_GROUP | MESH_GROUP | "v1" | "");
    let message = if NOT_YET.contains(&text) && ours {
        format!("the kind {text} is known but not supported by this version yet")
    } else if matches!(text, "Gateway" | "GatewayClass") {
        format!(
            "the kind {text} configures gateways; this is a mesh, whose routes have services as parents"
        )
    } else {
        let names = Kind::ALL
            .map(Kind::name)
            .into_iter()
            .chain(NOT_YET.iter().copied());
        let hint = suggestion(text, names);
        format!("unknown kind `{}`{hint}", shorten(text))
    };
    item.fault(cx, message);
    None
}

fn check_version(cx: &mut Reader<'_>, item: &Item<'_>, text: &str, kind: Kind) {
    let group = kind.group();
    let known = kind.versions().iter().map(|version| match group {
        "" => (*version).to_owned(),
        group => format!("{group}/{version}"),
    });
    let known: Vec<String> = known.collect();
    if !known.iter().any(|version| version == text) {
        let all = known.join("` or `");
        let got = shorten(text);
        item.fault(cx, format!("{kind} is read as `{all}`, got `{got}`"));
    }
}

/// Kinds of ours and of the Gateway API that later versions will read.
const NOT_YET: &[&str] = &["TLSRoute", "UDPRoute", "TelemetryPolicy", "Canary"];

const LIST_ITEMS_MAX: usize = 100_000;
