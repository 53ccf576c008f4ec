//! `TrafficPolicy`: how a service is balanced, protected and retried.

use schemars::JsonSchema;
use serde::Serialize;

use super::policy_target::PolicyTarget;
use super::quantity::Span;

/// How a service, one of its ports, a route or one of its rules is treated; what is not given stays with the next less
/// specific policy, and in the end with the proxy's default. A policy for a route may set only `timeouts` (not `connect`)
/// and `retry`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrafficPolicy {
    /// What it attaches to. From 1 to 16.
    pub target_refs: Vec<PolicyTarget>,
    /// How an endpoint is chosen. Default: `RoundRobin`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_balancer: Option<LoadBalancer>,
    /// Bounds on what runs at once.
    #[serde(skip_serializing_if = "CircuitBreakers::is_empty")]
    #[schemars(default)]
    pub circuit_breakers: CircuitBreakers,
    /// Upstream connections.
    #[serde(skip_serializing_if = "ConnectionSettings::is_empty")]
    #[schemars(default)]
    pub connection: ConnectionSettings,
    /// Ejection of endpoints that fail. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outlier_detection: Option<OutlierDetection>,
    /// Bounds in time.
    #[serde(skip_serializing_if = "Timeouts::is_empty")]
    #[schemars(default)]
    pub timeouts: Timeouts,
    /// Further attempts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// How many retries there may be relative to requests. Default: 20 %, at least 3 per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_budget: Option<RetryBudget>,
}

/// How an endpoint is chosen. `RingHash`, `Maglev` and session affinity are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "type")]
pub enum LoadBalancer {
    /// In turn, by weight.
    RoundRobin,
    /// The least loaded of some picked at random.
    LeastRequest {
        /// How many are compared. From 2 to 16, default 2.
        #[schemars(default = "two", range(min = 2, max = 16))]
        choices: u32,
    },
    /// Any, by weight.
    Random,
}

/// Bounds per sidecar on what goes to the service at once; what is above them is answered 503 with flag `UO`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CircuitBreakers {
    /// Connections. Above zero, default 1024.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_connections: Option<u32>,
    /// Requests that wait for a connection. Default 1024.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_pending_requests: Option<u32>,
    /// Requests. Above zero, default 1024.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_requests: Option<u32>,
}

impl CircuitBreakers {
    /// Whether nothing is given.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Upstream connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionSettings {
    /// Idle connections are closed after this. Default 1h; `0s` never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Span>,
    /// Requests after which a connection is closed. Above zero, default no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_requests: Option<u32>,
    /// TCP keepalive. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keepalive: Option<Keepalive>,
}

impl ConnectionSettings {
    /// Whether nothing is given.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// TCP keepalive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Keepalive {
    /// Idle time before the first probe, in whole seconds from 1s to 9h. Default 2h.
    #[schemars(default = "keepalive_time")]
    pub time: Span,
    /// Time between probes, in whole seconds from 1s to 9h. Default 75s.
    #[schemars(default = "keepalive_interval")]
    pub interval: Span,
    /// Probes without an answer that end the connection, from 1 to 127. Default 9.
    #[schemars(default = "keepalive_probes", range(min = 1, max = 127))]
    pub probes: u32,
}

/// Ejection of endpoints that fail in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OutlierDetection {
    /// 5xx answers, or failures without an answer, in a row that eject; 0 never. Default 5.
    #[serde(rename = "consecutive5xx", skip_serializing_if = "Option::is_none")]
    pub consecutive_5xx: Option<u32>,
    /// 502, 503 or 504 in a row that eject; 0 never. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consecutive_gateway_failures: Option<u32>,
    /// Time between sweeps that let endpoints return. Above zero, default 10s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span>,
    /// The first ejection; each later one adds as much. Above zero, default 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_ejection_time: Option<Span>,
    /// The longest ejection; not below `baseEjectionTime`. Default 300s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ejection_time: Option<Span>,
    /// Share of endpoints that may be ejected at once, percent, but always one. From 0 to 100, default 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 100))]
    pub max_ejection_percent: Option<u8>,
}

/// Bounds in time; `0s` is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Timeouts {
    /// From the request to the end of its response, retries included; a route's own `timeouts.request` wins. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Span>,
    /// Silence that ends a request, or a TCP connection. Default: 5m for requests, 1h for TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<Span>,
    /// Opening a connection. Above zero, default 5s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<Span>,
}

impl Timeouts {
    /// Whether nothing is given.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Further attempts, for routes that say nothing themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// Attempts beyond the first, from 0 (never) to 20. Default 1.
    #[schemars(default = "super::mesh_service::one", range(max = 20))]
    pub attempts: u32,
    /// What is worth another attempt, besides `codes` and `grpcCodes`. Default `ConnectFailure` and `RefusedStream`.
    #[schemars(default = "retry_on")]
    pub conditions: Vec<RetryOn>,
    /// Statuses that are worth another attempt, from 400 to 599.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub codes: Vec<u16>,
    /// gRPC codes that are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub grpc_codes: Vec<GrpcRetryCode>,
    /// Bound of each attempt. Above zero; default: none of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_try_timeout: Option<Span>,
    /// Pause before the first retry, doubled with each, with jitter. Above zero, default 25ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Span>,
    /// The longest pause; not below `backoff`. Default: ten times `backoff`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_backoff: Option<Span>,
}

/// What is worth another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
pub enum RetryOn {
    /// No connection could be made.
    ConnectFailure,
    /// The stream was refused before it was read.
    RefusedStream,
    /// The connection broke before a response head.
    Reset,
    /// 502, 503, 504, or what `Reset` covers.
    GatewayError,
    /// Any 5xx, or what `Reset` covers.
    #[serde(rename = "5xx")]
    Any5xx,
    /// 409.
    #[serde(rename = "Retriable4xx")]
    Retriable4xx,
}

impl RetryOn {
    /// Envoy's word in `retry_on`.
    pub fn envoy_name(self) -> &'static str {
        match self {
            Self::ConnectFailure => "connect-failure",
            Self::RefusedStream => "refused-stream",
            Self::Reset => "reset",
            Self::GatewayError => "gateway-error",
            Self::Any5xx => "5xx",
            Self::Retriable4xx => "retriable-4xx",
        }
    }
}

/// gRPC codes that can be retried (gRFC A44).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "each is its own name")]
pub enum GrpcRetryCode {
    Cancelled,
    DeadlineExceeded,
    ResourceExhausted,
    Internal,
    Unavailable,
}

impl GrpcRetryCode {
    /// Envoy's word in `retry_on`.
    pub fn envoy_name(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::DeadlineExceeded => "deadline-exceeded",
            Self::ResourceExhausted => "resource-exhausted",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
        }
    }
}

/// How many retries there may be relative to good answers, per sidecar and port of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetryBudget {
    /// Of all attempts of the last 10 s that were answered well or are retries, how many percent may be retries, from 0 to
    /// 100: with 20 one retry for four good answers. 100 is no bound. Default 20.
    #[schemars(default = "budget_percent", range(max = 100))]
    pub percent: u8,
    /// Retries per second that are allowed besides, whatever is answered. Default 3.
    #[schemars(default = "budget_min")]
    pub min_retries: u32,
}

pub(crate) fn two() -> u32 {
    2
}

pub(crate) fn keepalive_time() -> Span {
    Span::from(std::time::Duration::from_secs(7200))
}

pub(crate) fn keepalive_interval() -> Span {
    Span::from(std::time::Duration::from_secs(75))
}

pub(crate) fn keepalive_probes() -> u32 {
    9
}

pub(crate) fn retry_on() -> Vec<RetryOn> {
    vec![RetryOn::ConnectFailure, RetryOn::RefusedStream]
}

pub(crate) fn budget_percent() -> u8 {
    20
}

pub(crate) fn budget_min() -> u32 {
    3
}
