//! Endpoints of a cluster: addresses with weight, health and locality (xDS `ClusterLoadAssignment`).

mod parse;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

pub(crate) use parse::{dns_endpoints, text};

/// Where an endpoint is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// An IP address and port.
    Socket(SocketAddr),
    /// A Unix domain socket.
    Pipe(Arc<str>),
}

/// A name to resolve and the port to reach (only in `STRICT_DNS` and `LOGICAL_DNS` clusters).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DnsTarget {
    /// Host name, without a trailing dot.
    pub host: Arc<str>,
    /// Port, above zero.
    pub port: u16,
}

/// What xDS says of an endpoint's health (`core.v3.HealthStatus`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Health {
    /// `UNKNOWN` or `HEALTHY`: takes traffic.
    #[default]
    Healthy,
    /// `DEGRADED`: takes traffic when no healthy endpoint is left.
    Degraded,
    /// `DRAINING`: takes no new requests; running ones finish.
    Draining,
    /// `UNHEALTHY` or `TIMEOUT`: takes no traffic while the cluster does not panic.
    Unhealthy,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it is.
    pub address: Address,
    /// Share of traffic relative to its neighbours in the locality. From 1; default 1.
    pub weight: u32,
    /// Health as told by the control plane.
    pub health: Health,
    /// `hostname` of the xDS endpoint, for host rewriting and SNI; empty when not given.
    pub hostname: Arc<str>,
    /// `envoy.lb` metadata, for subsets.
    pub metadata: BTreeMap<String, String>,
    /// `envoy.transport_socket_match` metadata, by which a cluster chooses how it is spoken to.
    pub socket_labels: Labels,
}

/// Labels of an endpoint, shared by its copies.
pub type Labels = Arc<BTreeMap<String, String>>;

/// `core.v3.Locality`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Locality {
    /// Region.
    pub region: Arc<str>,
    /// Zone within the region.
    pub zone: Arc<str>,
    /// Sub-zone within the zone.
    pub sub_zone: Arc<str>,
}

/// Endpoints of one locality and priority (`endpoint.v3.LocalityLbEndpoints`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalityEndpoints {
    /// Where these endpoints are.
    pub locality: Locality,
    /// 0 is tried first; a higher one only as lower ones lose health.
    pub priority: u32,
    /// Share of traffic among localities of the same priority; 1 when not given.
    pub weight: u32,
    /// The endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// The endpoints of one cluster as one version of EDS (or a static cluster) has them.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct EndpointSet {
    /// Ordered by priority, then as sent.
    pub localities: Vec<LocalityEndpoints>,
    /// Percentage by which a priority may lose health before traffic spills over, default 140.
    pub overprovisioning_percent: u32,
    /// Requests to drop before balancing, parts per million (`drop_overloads`); default 0.
    pub drop_per_million: u32,
}

/// A name that the proxy resolves itself, with what each resolved address inherits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsEndpoint {
    /// The name and port.
    pub target: DnsTarget,
    /// See [`LocalityEndpoints::locality`].
    pub locality: Locality,
    /// See [`LocalityEndpoints::priority`].
    pub priority: u32,
    /// See [`Endpoint::weight`].
    pub weight: u32,
    /// See [`Endpoint::socket_labels`].
    pub socket_labels: Labels,
}
