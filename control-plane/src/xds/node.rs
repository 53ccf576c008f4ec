//! Who is at the other end of a stream, and what it says of itself.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use weft_config::spiffe::SpiffeId;
use weft_xds_proto::pb::envoy::config::core::v3::Node;
use weft_xds_proto::pb::google::protobuf::{Struct, Value, value::Kind};

use crate::identity::{ClaimRefused, may_be_in, may_register};
use crate::snapshot::{NodeView, Snapshot};
use crate::translate::{Registration, RegistrationKey, Workload};

/// A node as the control plane knows it.
#[derive(Clone, Debug)]
pub struct NodeInfo {
    /// `node.id`.
    pub id: Arc<str>,
    /// `node.cluster`: the service.
    pub cluster: Arc<str>,
    /// `node.user_agent_name`: `envoy`, `weft-proxy`, `gRPC C-core` …
    pub user_agent: Arc<str>,
    /// What decides which resources it is given.
    pub view: NodeView,
    /// The workload that it registers, where it does.
    pub registration: Option<Arc<Registration>>,
    /// The service and the namespace that it says it is of, where it says so.
    claim: Claim,
    /// Where its admin page is; only ever a loopback address, or the address that it registered.
    pub admin: Option<SocketAddr>,
    /// The node as sent.
    pub proto: Arc<Node>,
}

/// What a node says of itself that it may have to prove.
#[derive(Clone, Debug, Default)]
struct Claim {
    service: Option<String>,
    namespace: Option<String>,
}

/// What is wrong with a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("node.metadata.weft.{field}: {rule}, got {got}")]
pub struct NodeFault {
    field: &'static str,
    rule: &'static str,
    got: String,
}

impl NodeInfo {
    /// Reads the node of a first request.
    ///
    /// # Errors
    /// If `metadata.weft` is there but is not a workload that could be reached.
    pub fn parse(node: Node) -> Result<Self, NodeFault> {
        let id: Arc<str> = node.id.as_str().into();
        let locality = node.locality.as_ref();
        let zone = locality.map_or("", |locality| locality.zone.as_str());
        let weft = node
            .metadata
            .as_ref()
            .and_then(|metadata| fields(metadata.fields.get("weft")));
        let fields = Fields(weft);
        let registration = match fields.text("service")? {
            // A workload that listens nowhere only calls others: there is nothing to be found.
            Some(_) if fields.ports()?.is_empty() => None,
            Some(service) => Some(Arc::new(Registration {
                node_id: Arc::clone(&id),
                workload: fields.workload(service, zone)?,
            })),
            None => None,
        };
        let said = fields.text("namespace")?.or_else(|| namespace_of_id(&id));
        let namespace = match &registration {
            Some(registration) => registration.workload.namespace.clone(),
            None => said.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()),
        };
        let claim = Claim {
            namespace: registration
                .as_ref()
                .map(|it| it.workload.namespace.clone())
                .or(said),
            service: fields.text("service")?,
        };
        let mut view = NodeView {
            namespace: namespace.into(),
            ..NodeView::default()
        };
        if let Some(address) = fields.parsed("outbound_address", "must be IP:PORT")? {
            view.outbound_address = address;
        }
        let admin: Option<SocketAddr> = fields.parsed("admin", "must be IP:PORT")?;
        let own = registration.as_ref().map(|r| r.workload.address);
        let admin = admin.filter(|a| a.ip().is_loopback() || Some(a.ip()) == own);
        Ok(Self {
            cluster: node.cluster.as_str().into(),
            user_agent: node.user_agent_name.as_str().into(),
            view,
            registration,
            claim,
            admin,
            proto: Arc::new(node),
            id,
        })
    }
}

impl NodeInfo {
    /// What tells it from others: a node is called what it likes, so who it has proved to be is part of it.
    pub fn key(&self) -> RegistrationKey {
        (Arc::clone(&self.id), self.view.identity.clone())
    }

    /// The same node, of a client on another machine: an admin page on its loopback is not on ours, and nothing that it says
    /// may lead us to what is.
    pub(super) fn of_elsewhere(&self) -> Self {
        Self {
            admin: self.admin.filter(|admin| !admin.ip().is_loopback()),
            ..self.clone()
        }
    }

    /// The same node, which has proved to be `identity`.
    ///
    /// # Errors
    /// If it says that it is somebody else's namespace.
    pub(super) fn proved(mut self, identity: &SpiffeId) -> Result<Self, ClaimRefused> {
        let (own, _) = identity.as_workload().unwrap_or_default();
        let namespace = self.claim.namespace.as_deref().unwrap_or(own);
        may_be_in(identity, namespace)?;
        self.view.namespace = namespace.into();
        self.view.identity = Some(identity.clone());
        self.registration = self.registration.map(|registration| {
            let mut registration = Registration::clone(&registration);
            registration.workload.identity = Some(identity.clone());
            Arc::new(registration)
        });
        Ok(self)
    }
}

impl NodeInfo {
    /// Whether it is of the service that it says it is of, where it has proved who it is: `snapshot` knows whom that lists.
    ///
    /// # Errors
    /// If it is not.
    pub(super) fn check_service(&self, snapshot: &Snapshot) -> Result<(), ClaimRefused> {
        let Some((identity, service)) =
            self.view.identity.as_ref().zip(self.claim.service.as_ref())
        else {
            return Ok(());
        };
        let namespace = &*self.view.namespace;
        let listed = snapshot.listed_accounts(namespace, service);
        may_register(identity, namespace, service, listed)
    }
}

/// The metadata's fields, each read with its rule.
struct Fields<'a>(Option<&'a Struct>);

impl Fields<'_> {
    fn get(&self, field: &'static str) -> Option<&Kind> {
        match self.0?.fields.get(field)?.kind.as_ref()? {
            Kind::NullValue(_) => None,
            kind => Some(kind),
        }
    }

    fn text(&self, field: &'static str) -> Result<Option<String>, NodeFault> {
        match self.get(field) {
            None => Ok(None),
            Some(Kind::StringValue(text)) if text.len() <= TEXT_BYTES_MAX => {
                Ok(Some(text.clone()).filter(|text| !text.is_empty()))
            }
            Some(other) => Err(fault(field, "must be a text of at most 253 bytes", other)),
        }
    }

    fn parsed<T: std::str::FromStr>(
        &self,
        field: &'static str,
        rule: &'static str,
    ) -> Result<Option<T>, NodeFault> {
        let Some(text) = self.text(field)? else {
            return Ok(None);
        };
        match text.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(fault(field, rule, &Kind::StringValue(text))),
        }
    }

    fn workload(&self, service: String, zone: &str) -> Result<Workload, NodeFault> {
        let label = |field, text: String| match weft_config::gateway_api::names::is_dns_label(&text)
        {
            true => Ok(text),
            false => Err(fault(
                field,
                "must be a DNS label",
                &Kind::StringValue(text),
            )),
        };
        let service = label("service", service)?;
        let namespace = self
            .text("namespace")?
            .unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
        let address: IpAddr = self
            .parsed("address", "must be an IP address")?
            .ok_or_else(|| missing("address"))?;
        if address.is_unspecified() || address.is_multicast() {
            let got = Kind::StringValue(address.to_string());
            return Err(fault(
                "address",
                "must be an address that can be reached",
                &got,
            ));
        }
        let mut labels = self.labels()?;
        labels
            .entry("app".to_owned())
            .or_insert_with(|| service.clone());
        Ok(Workload {
            namespace: label("namespace", namespace)?,
            labels,
            address: address.to_canonical(),
            inbound_port: match self.get("inbound_port") {
                Some(kind) => port("inbound_port", kind)?,
                None => return Err(missing("inbound_port")),
            },
            redirected: match self.get("redirected") {
                None => false,
                Some(Kind::BoolValue(redirected)) => *redirected,
                Some(other) => return Err(fault("redirected", "must be true or false", other)),
            },
            ports: self.ports()?,
            instance: self.text("instance")?.unwrap_or_default(),
            zone: zone.to_owned(),
            identity: None,
            service,
        })
    }

    fn labels(&self) -> Result<BTreeMap<String, String>, NodeFault> {
        let labels = match self.get("labels") {
            None => return Ok(BTreeMap::new()),
            Some(Kind::StructValue(labels)) if labels.fields.len() <= LABELS_MAX => labels,
            Some(other) => return Err(fault("labels", "must be a map of at most 64 texts", other)),
        };
        labels
            .fields
            .iter()
            .map(|(key, value)| match &value.kind {
                Some(Kind::StringValue(text)) if key.len() + text.len() <= 2 * TEXT_BYTES_MAX => {
                    Ok((key.clone(), text.clone()))
                }
                Some(other) => Err(fault("labels", "each value must be a short text", other)),
                None => Ok((key.clone(), String::new())),
            })
            .collect()
    }

    fn ports(&self) -> Result<Vec<u16>, NodeFault> {
        match self.get("ports") {
            None => Ok(Vec::new()),
            Some(Kind::ListValue(list)) if list.values.len() <= PORTS_MAX => {
                let ports = list.values.iter().filter_map(|value| value.kind.as_ref());
                ports.map(|kind| port("ports", kind)).collect()
            }
            Some(other) => Err(fault("ports", "must be a list of at most 64 ports", other)),
        }
    }
}

fn fields(value: Option<&Value>) -> Option<&Struct> {
    match value?.kind.as_ref()? {
        Kind::StructValue(fields) => Some(fields),
        _ => None,
    }
}

fn port(field: &'static str, kind: &Kind) -> Result<u16, NodeFault> {
    let number = match kind {
        Kind::NumberValue(number) if number.fract() == 0.0 && (1.0..65536.0).contains(number) => {
            Some(*number as u16)
        }
        Kind::StringValue(text) => text.parse().ok().filter(|port| *port > 0),
        _ => None,
    };
    number.ok_or_else(|| fault(field, "must be a port from 1 to 65535", kind))
}

/// Istio's form of node id: `sidecar~IP~INSTANCE.NAMESPACE~NAMESPACE`.
fn namespace_of_id(id: &str) -> Option<String> {
    let mut parts = id.split('~');
    let namespace = parts.nth(3)?;
    let namespace = namespace.split('.').next()?;
    weft_config::gateway_api::names::is_dns_label(namespace).then(|| namespace.to_owned())
}

fn fault(field: &'static str, rule: &'static str, got: &Kind) -> NodeFault {
    let got: String = match got {
        Kind::StringValue(text) => format!("{text:?}"),
        Kind::NumberValue(number) => number.to_string(),
        Kind::BoolValue(value) => value.to_string(),
        Kind::ListValue(list) => format!("a list of {}", list.values.len()),
        Kind::StructValue(map) => format!("a map of {}", map.fields.len()),
        Kind::NullValue(_) => "null".to_owned(),
    };
    let got = got.chars().take(200).collect();
    NodeFault { field, rule, got }
}

fn missing(field: &'static str) -> NodeFault {
    NodeFault {
        field,
        rule: "must be given with a service",
        got: "nothing".to_owned(),
    }
}

/// Of a node that does not say where it is.
const DEFAULT_NAMESPACE: &str = "default";
const TEXT_BYTES_MAX: usize = 253;
const LABELS_MAX: usize = 64;
const PORTS_MAX: usize = 64;
