//! `FaultInjection`: delays and aborts, as an `ExtensionRef` filter of a rule.

use schemars::JsonSchema;
use serde::Serialize;

use super::quantity::{Percent, Span};

/// Faults for a share of requests; at least one of delay and abort is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FaultInjection {
    /// Holds requests back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<Delay>,
    /// Answers instead of forwarding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abort: Option<Abort>,
    /// Requests per sidecar that may be held or answered at once. Above zero, default no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_active: Option<u32>,
}

/// Holds requests back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Delay {
    /// For how long. Above zero, at most 1h.
    pub duration: Span,
    /// Share of requests. Default 100.
    #[schemars(default = "super::rate_limit::all")]
    pub percent: Percent,
}

/// Answers instead of forwarding; exactly one status is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Abort {
    /// With what.
    #[serde(flatten)]
    pub status: AbortStatus,
    /// Share of requests. Default 100.
    #[schemars(default = "super::rate_limit::all")]
    pub percent: Percent,
}

/// With what a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AbortStatus {
    /// An HTTP status, from 200 to 599.
    HttpStatus(u16),
    /// A gRPC status, from 1 to 16, or its name, such as `UNAVAILABLE`.
    GrpcStatus(u8),
}
