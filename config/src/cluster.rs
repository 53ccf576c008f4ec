//! Clusters: how a group of endpoints is found, balanced, protected and spoken to (xDS `Cluster`).

mod balancer;
mod discovery;
mod parse;
mod protection;
mod protocol;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::endpoint::{DnsEndpoint, EndpointSet};
use crate::http2::Http2Options;
use crate::tls::UpstreamTls;

pub(crate) use discovery::check_ads;

/// The name of a cluster, cheap to clone.
pub type ClusterName = Arc<str>;

/// One cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Its name; routes refer to it.
    pub name: ClusterName,
    /// Where its endpoints come from.
    pub discovery: Discovery,
    /// How an endpoint is chosen.
    pub balancer: Balancer,
    /// Bound on opening a connection. Above zero, default 5 s.
    pub connect_timeout: Duration,
    /// How endpoints are spoken to.
    pub protocol: UpstreamProtocol,
    /// Bounds on HTTP/2 connections to endpoints, where there are any.
    pub http2: Http2Options,
    /// Bounds on connections, pending and active requests.
    pub circuit_breakers: CircuitBreakers,
    /// Ejection of endpoints that fail; `None` where not asked for.
    pub outlier_detection: Option<OutlierDetection>,
    /// Idle upstream connections are closed after this. Default 1 h, as in Envoy; zero never.
    pub idle_timeout: Duration,
    /// Requests after which an upstream connection is closed; 0 for no bound.
    pub requests_per_connection_max: u32,
    /// Share of healthy endpoints, percent, below which health is ignored. Default 50.
    pub panic_threshold_percent: u8,
    /// TCP keepalive on upstream sockets.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// TLS towards endpoints; `None`: they are spoken to in plain.
    pub tls: Option<Arc<UpstreamTls>>,
    /// What is spoken instead to endpoints with these labels; the first that fits counts (`transport_socket_matches`).
    pub socket_matches: Vec<SocketMatch>,
}

/// How endpoints with certain labels are spoken to (`Cluster.TransportSocketMatch`).
#[derive(Clone, Debug, PartialEq)]
pub struct SocketMatch {
    /// Labels that an endpoint must have, in its metadata under `envoy.transport_socket_match`; none: any will do.
    pub labels: BTreeMap<String, String>,
    /// TLS towards them; `None`: they are spoken to in plain.
    pub tls: Option<Arc<UpstreamTls>>,
}

impl SocketMatch {
    /// Whether an endpoint with these labels is meant.
    pub fn fits(&self, labels: &BTreeMap<String, String>) -> bool {
        let mut wanted = self.labels.iter();
        wanted.all(|(name, value)| labels.get(name) == Some(value))
    }
}

/// Where a cluster's endpoints come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Discovery {
    /// Listed in the cluster (`STATIC`).
    Static(EndpointSet),
    /// Told by EDS under this resource name (`EDS`; the cluster's name unless `service_name` is given).
    Eds {
        /// The EDS resource name.
        service_name: Arc<str>,
    },
    /// Every address that the names resolve to is an endpoint (`STRICT_DNS`).
    StrictDns(DnsCluster),
    /// One name, of which the first answer is used for new connections (`LOGICAL_DNS`).
    LogicalDns(DnsCluster),
    /// The address that the downstream dialled (`ORIGINAL_DST`).
    OriginalDst,
}

/// Names that the proxy resolves.
#[derive(Clone, Debug, PartialEq)]
pub struct DnsCluster {
    /// The names.
    pub endpoints: Vec<DnsEndpoint>,
    /// Time between look-ups where the answer's TTL is not obeyed. At least 1 ms, default 5 s.
    pub refresh: Duration,
    /// Whether the answer's TTL sets the time of the next look-up. Default false.
    pub respect_ttl: bool,
    /// Which address families are asked for.
    pub family: DnsFamily,
}

/// `Cluster.DnsLookupFamily`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DnsFamily {
    /// IPv6, and IPv4 where there is none (`AUTO`).
    #[default]
    Auto,
    /// `V4_ONLY`.
    V4Only,
    /// `V6_ONLY`.
    V6Only,
    /// IPv4, and IPv6 where there is none.
    V4Preferred,
    /// Both.
    All,
}

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Balancer {
    /// In turn, by weight.
    #[default]
    RoundRobin,
    /// The less loaded of `choices` picked at random, by weight (P2C for 2).
    LeastRequest {
        /// How many are compared. From 2, default 2.
        choices: u32,
    },
    /// Any, by weight.
    Random,
    /// The downstream's original destination (`CLUSTER_PROVIDED` of `ORIGINAL_DST`).
    OriginalDst,
}

/// How endpoints are spoken to (`HttpProtocolOptions`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2.
    Http2,
    /// What the downstream speaks.
    Downstream,
}

/// Bounds per cluster (`CircuitBreakers`, default priority).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitBreakers {
    /// Upstream connections. Default 1024.
    pub connections_max: u32,
    /// Requests waiting for a connection. Default 1024.
    pub pending_max: u32,
    /// Requests running. Default 1024.
    pub requests_max: u32,
    /// Retries running, where the budget is [`RetryBudget::NONE`] (`max_retries`). Default 3; 0 with a budget of nothing.
    pub retries_max: u32,
    /// Retry budget, where `max_retries` is not given without one. Default: one retry for four good answers, and 3 per second
    /// besides.
    pub retry_budget: RetryBudget,
}

impl Default for CircuitBreakers {
    fn default() -> Self {
        Self {
            connections_max: 1024,
            pending_max: 1024,
            requests_max: 1024,
            retries_max: 3,
            retry_budget: RetryBudget::default(),
        }
    }
}

/// How many retries a cluster may see relative to what it answers well. Attempts that reached no endpoint are not in it.
///
/// Unlike in Envoy, where a budget is a share of the requests that are running: those are most when nothing is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBudget {
    /// Of all attempts that were answered well or are retries, in the last 10 s, how many percent may be retries: with 20
    /// one retry for four good answers. Good is an answer below 500, of gRPC one that ejection counts so. 100 is no bound.
    /// Default 20 (`budget_percent`).
    pub percent: u32,
    /// Retries per second that are allowed besides, whatever is answered. Default 3 (`min_retry_concurrency`).
    pub per_second_min: u32,
}

impl RetryBudget {
    /// There is none: only the number of retries that run at once is bounded.
    pub const NONE: Self = Self {
        percent: 0,
        per_second_min: 0,
    };
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self {
            percent: 20,
            per_second_min: 3,
        }
    }
}

/// Ejection of endpoints on consecutive failures (`OutlierDetection`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutlierDetection {
    /// 5xx answers or local failures in a row that eject; 0 never. Default 5.
    pub consecutive_5xx: u32,
    /// 502, 503, 504 or local failures in a row that eject; 0 never. Default 5 (as in Envoy, enforced 0 % there).
    pub consecutive_gateway_failure: u32,
    /// Failures to connect, resets and time-outs in a row that eject; 0 never. Default 5.
    pub consecutive_local_origin_failure: u32,
    /// Time between sweeps that return endpoints. Default 10 s.
    pub interval: Duration,
    /// First ejection; each later one adds as much. Default 30 s.
    pub ejection_base: Duration,
    /// Longest ejection. Default 300 s.
    pub ejection_max: Duration,
    /// Share of endpoints that may be ejected at once, percent, but always one. Default 10.
    pub ejected_percent_max: u8,
}

impl Default for OutlierDetection {
    fn default() -> Self {
        Self {
            consecutive_5xx: 5,
            consecutive_gateway_failure: 0,
            consecutive_local_origin_failure: 5,
            interval: Duration::from_secs(10),
            ejection_base: Duration::from_secs(30),
            ejection_max: Duration::from_secs(300),
            ejected_percent_max: 10,
        }
    }
}

/// `TcpKeepalive`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpKeepalive {
    /// Idle time before the first probe.
    pub time: Duration,
    /// Time between probes.
    pub interval: Duration,
    /// Probes without an answer that end the connection.
    pub probes: u32,
}
