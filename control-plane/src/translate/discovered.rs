//! What was found out, not written: registered workloads and answers of the DNS.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use weft_config::gateway_api::ServiceName;
use weft_config::spiffe::SpiffeId;

/// Everything found out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Discovered {
    /// Workloads that registered themselves.
    pub workloads: Vec<Arc<Registration>>,
    /// Answers of the DNS; a question without an answer yet is missing.
    pub dns: Arc<BTreeMap<DnsQuestion, DnsAnswer>>,
}

impl Discovered {
    /// The workloads that call themselves `name`. They share their listener.
    pub(crate) fn called<'a>(
        &'a self,
        name: &'a ServiceName,
    ) -> impl Iterator<Item = &'a Arc<Registration>> {
        let workloads = self.workloads.iter();
        workloads.filter(|it| {
            it.workload.service == name.name && it.workload.namespace == name.namespace
        })
    }
}

/// A workload that a sidecar registers for itself (`node.metadata.weft`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The node that speaks for it.
    pub node_id: Arc<str>,
    /// What it is.
    pub workload: Workload,
}

impl Registration {
    /// What tells it from others. A node is called what it likes: another one of that name is not it, if it has proved to be
    /// somebody else.
    pub fn key(&self) -> RegistrationKey {
        (Arc::clone(&self.node_id), self.workload.identity.clone())
    }
}

/// What tells registrations apart: the node's name, and who it has proved to be.
pub type RegistrationKey = (Arc<str>, Option<SpiffeId>);

/// A workload.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Workload {
    /// Its service.
    pub service: String,
    /// Its namespace.
    pub namespace: String,
    /// Its labels; `app` is the service where it is not given.
    pub labels: BTreeMap<String, String>,
    /// Where its sidecar is reached.
    pub address: IpAddr,
    /// The inbound port of its sidecar.
    pub inbound_port: u16,
    /// Whether what is for its application is redirected to its sidecar: it is called on the ports of the application then, and not on
    /// the sidecar's.
    #[serde(default)]
    pub redirected: bool,
    /// The ports that the application listens on.
    pub ports: Vec<u16>,
    /// Tells several workloads of a service apart.
    pub instance: String,
    /// Its zone; empty where none is said.
    pub zone: String,
    /// Who it has proved to be; `None`: it registered where nobody is asked.
    #[serde(default, with = "spiffe", skip_serializing_if = "Option::is_none")]
    pub identity: Option<SpiffeId>,
}

impl Workload {
    /// What it calls itself.
    pub(crate) fn called(&self) -> ServiceName {
        ServiceName {
            namespace: self.namespace.clone(),
            name: self.service.clone(),
        }
    }
}

/// Identities as text.
mod spiffe {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};
    use weft_config::spiffe::SpiffeId;

    pub(super) fn serialize<S: Serializer>(
        id: &Option<SpiffeId>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match id {
            Some(id) => to.collect_str(id),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D>(from: D) -> Result<Option<SpiffeId>, D::Error>
    where
        D: Deserializer<'de>,
    {
        let text = Option::<String>::deserialize(from)?;
        let id = text.map(|text| SpiffeId::parse(&text));
        id.transpose().map_err(D::Error::custom)
    }
}

/// A question to the DNS.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct DnsQuestion {
    /// The name.
    pub host: String,
    /// SRV rather than A and AAAA.
    pub srv: bool,
}

/// The answer last heard. A failing look-up keeps the one before.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DnsAnswer {
    /// What was found, in a stable order.
    pub records: Vec<DnsRecord>,
}

/// One endpoint found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct DnsRecord {
    /// SRV priority; 0 for addresses.
    pub priority: u16,
    /// Its address.
    pub address: IpAddr,
    /// SRV port; `None` for addresses.
    pub port: Option<u16>,
    /// SRV weight, at least 1.
    pub weight: u16,
}
