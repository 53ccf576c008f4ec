//! `MeshService`: a service outside Kubernetes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::Serialize;

use super::quantity::Span;
use super::service::AppProtocol;

/// A service outside Kubernetes: ports, and where its endpoints come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MeshService {
    /// Ports. At least one, at most 64, no number or name twice.
    pub ports: Vec<MeshPort>,
    /// Where its endpoints come from.
    pub discovery: MeshDiscovery,
    /// Virtual addresses that clients may dial instead of its name. Default none, at most 16.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub addresses: Vec<IpAddr>,
}

/// One port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MeshPort {
    /// Its name, a DNS-1123 label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The port that clients dial.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// The port at the endpoints. Default: the same number.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub target_port: Option<u16>,
    /// What is spoken on it. Default: found out from the first bytes.
    #[serde(skip_serializing_if = "AppProtocol::is_detect")]
    #[schemars(default)]
    pub app_protocol: AppProtocol,
}

impl MeshPort {
    /// The port at endpoints that name none of their own.
    pub fn endpoint_port(&self) -> u16 {
        self.target_port.unwrap_or(self.port)
    }
}

/// Where endpoints come from; exactly one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum MeshDiscovery {
    /// Listed here.
    Static(StaticDiscovery),
    /// Resolved by the control plane.
    Dns(DnsDiscovery),
    /// The sidecars that registered themselves.
    Workloads(WorkloadDiscovery),
}

/// Endpoints listed in the object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct StaticDiscovery {
    /// The endpoints. At most 1,000; none is allowed and answers 503.
    pub endpoints: Vec<StaticEndpoint>,
}

/// One listed endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct StaticEndpoint {
    /// Its address.
    pub address: IpAddr,
    /// Its port. Default: that of the service's port.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// Its share among its neighbours. From 1 to 1,000,000, default 1.
    #[schemars(default = "one", range(min = 1, max = 1_000_000))]
    pub weight: u32,
    /// Its zone. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

/// Endpoints from DNS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DnsDiscovery {
    /// The name to resolve.
    pub host: String,
    /// Which records. Default `A`.
    #[serde(rename = "type")]
    #[schemars(default)]
    pub record: DnsRecord,
    /// Time between look-ups, from 1s to 1h. Default 5s.
    #[schemars(default = "dns_refresh")]
    pub refresh: Span,
}

/// Which records are resolved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub enum DnsRecord {
    /// A and AAAA: each address is an endpoint on the port's target.
    #[default]
    A,
    /// SRV: each record is an endpoint with its own port, weight and priority.
    #[serde(rename = "SRV")]
    Srv,
}

/// Endpoints that registered themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadDiscovery {
    /// Labels that a sidecar must carry, all of them. At least one.
    pub selector: BTreeMap<String, String>,
    /// Service accounts, in the service's namespace, whose workloads it may have where they prove who they are. Default: the one that
    /// is called like the service, and the one that the selector asks for as `app`. At most 64.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub service_accounts: Vec<String>,
}

pub(crate) fn one() -> u32 {
    1
}

/// The default of [`DnsDiscovery::refresh`].
pub(crate) fn dns_refresh() -> Span {
    Span::from(std::time::Duration::from_secs(5))
}
