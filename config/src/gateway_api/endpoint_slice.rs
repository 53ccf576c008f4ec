//! `EndpointSlice`: the endpoints of a `Service`.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::Serialize;

use super::service::{AppProtocol, Transport};

/// Some of the endpoints of the service that its label `kubernetes.io/service-name` names. Its fields stand beside
/// `metadata`, there is no `spec`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSlice {
    /// The service, from the label `kubernetes.io/service-name`; `None`: it belongs to no service.
    #[serde(skip)]
    pub service: Option<String>,
    /// What its addresses are.
    pub address_type: AddressType,
    /// The endpoints. At most 1,000.
    pub endpoints: Vec<SliceEndpoint>,
    /// The ports at each endpoint. At most 100.
    pub ports: Vec<SlicePort>,
}

/// What the addresses of a slice are. `FQDN` is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub enum AddressType {
    /// IPv4.
    IPv4,
    /// IPv6.
    IPv6,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SliceEndpoint {
    /// Its addresses, of which only the first is used, as Kubernetes says. At least one.
    pub addresses: Vec<IpAddr>,
    /// Whether it takes traffic.
    #[schemars(default)]
    pub conditions: Conditions,
    /// Its host name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The node that it runs on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// Its zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

/// Whether an endpoint takes traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Conditions {
    /// Takes new requests. Default true.
    pub ready: bool,
    /// Would take requests, though it may be terminating. Default: as `ready`.
    pub serving: bool,
    /// Is ending. Default false.
    pub terminating: bool,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            ready: true,
            serving: true,
            terminating: false,
        }
    }
}

/// One port of a slice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SlicePort {
    /// Name of the service's port that it serves. Default empty: the service's only port.
    #[schemars(default)]
    pub name: String,
    /// The number at the endpoints.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// Transport. Default `TCP`.
    pub protocol: Transport,
    /// What is spoken on it.
    #[serde(skip_serializing_if = "AppProtocol::is_detect")]
    #[schemars(default)]
    pub app_protocol: AppProtocol,
}
