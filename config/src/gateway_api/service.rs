//! The core `Service` as far as a mesh is concerned.

use std::collections::BTreeMap;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::Serialize;

/// A Kubernetes service. Fields that concern only kube-proxy or a cloud's load balancer (`nodePort`, `externalIPs`,
/// `loadBalancerIP`, …) are accepted and not kept: they do not change traffic inside the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// How it is reached.
    #[serde(rename = "type")]
    pub service_type: ServiceType,
    /// Virtual addresses (`clusterIP`, `clusterIPs`); empty where none are assigned or the service is headless.
    #[serde(
        rename = "clusterIPs",
        serialize_with = "cluster_ips",
        skip_serializing_if = "ClusterIps::is_unassigned"
    )]
    #[schemars(default, with = "Vec<String>")]
    pub cluster_ips: ClusterIps,
    /// Ports. At least one, except of an `ExternalName`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub ports: Vec<ServicePort>,
    /// Labels of the pods that it selects; empty where its `EndpointSlice`s are written by hand.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub selector: BTreeMap<String, String>,
    /// The host that an `ExternalName` stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_name: Option<String>,
}

/// How a service is reached. `NodePort` and `LoadBalancer` count as `ClusterIP` inside the mesh, but are written back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub enum ServiceType {
    /// A virtual address, or headless.
    #[default]
    ClusterIP,
    /// Also a port on each node.
    NodePort,
    /// Also a load balancer outside.
    LoadBalancer,
    /// An alias of a host outside.
    ExternalName,
}

/// Virtual addresses of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterIps {
    /// `clusterIP: None`: clients see the endpoints' own addresses.
    Headless,
    /// The addresses; empty where none are assigned yet.
    Assigned(Vec<IpAddr>),
}

impl Default for ClusterIps {
    fn default() -> Self {
        Self::Assigned(Vec::new())
    }
}

impl ClusterIps {
    /// Whether none are assigned, though the service is not headless.
    pub fn is_unassigned(&self) -> bool {
        matches!(self, Self::Assigned(addresses) if addresses.is_empty())
    }

    /// The addresses; none where headless.
    pub fn addresses(&self) -> &[IpAddr] {
        match self {
            Self::Headless => &[],
            Self::Assigned(addresses) => addresses,
        }
    }
}

/// One port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServicePort {
    /// Its name, a DNS-1123 label; may be missing where it is the only port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The port that clients dial.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// The port at the endpoints. Default: the same number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_port: Option<TargetPort>,
    /// What is spoken on it: `appProtocol`, or else the name up to its first `-`, or else found out from the first bytes.
    #[serde(skip_serializing_if = "AppProtocol::is_detect")]
    #[schemars(default)]
    pub app_protocol: AppProtocol,
    /// `TCP` or `UDP`. Default `TCP`; a `UDP` port is not carried by the mesh.
    pub protocol: Transport,
}

/// The transport of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub enum Transport {
    /// TCP.
    #[default]
    #[serde(rename = "TCP")]
    Tcp,
    /// UDP: known, not carried by the mesh.
    #[serde(rename = "UDP")]
    Udp,
    /// SCTP: known, not carried by the mesh.
    #[serde(rename = "SCTP")]
    Sctp,
}

/// The port at the endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum TargetPort {
    /// By number.
    Number(u16),
    /// By the name of the container's port; the `EndpointSlice` resolves it.
    Name(String),
}

/// What is spoken on a port.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema,
)]
pub enum AppProtocol {
    /// Not said: found out from the first bytes.
    #[default]
    #[serde(rename = "detect")]
    Detect,
    /// HTTP/1.1, with WebSocket.
    #[serde(rename = "http")]
    Http,
    /// HTTP/2 without TLS.
    #[serde(rename = "http2")]
    Http2,
    /// gRPC: HTTP/2 with trailers.
    #[serde(rename = "grpc")]
    Grpc,
    /// Opaque bytes, TLS of the application's own among them.
    #[serde(rename = "tcp")]
    Tcp,
}

impl AppProtocol {
    /// Whether nothing is said.
    pub fn is_detect(&self) -> bool {
        *self == Self::Detect
    }
}

fn cluster_ips<S: serde::Serializer>(ips: &ClusterIps, serializer: S) -> Result<S::Ok, S::Error> {
    match ips {
        ClusterIps::Headless => serializer.collect_seq(["None"]),
        ClusterIps::Assigned(addresses) => serializer.collect_seq(addresses),
    }
}
