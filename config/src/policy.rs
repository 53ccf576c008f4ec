//! What is applied to a request on its way: who may, retries, header edits, limits, faults.

pub mod access;
pub mod authn;
mod fault;
mod headers;
mod overrides;
mod rate_limit;
mod retry;

use std::sync::Arc;
use std::time::Duration;

use crate::grpc::GrpcStatus;

pub(crate) use headers::editable_name;
pub(crate) use overrides::{FAULT, LOCAL_RATE_LIMIT};

/// Per-route filter configuration; `None`: the listener's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FilterOverrides {
    /// Instead of the listener's local rate limit.
    pub local_rate_limit: Option<Arc<LocalRateLimit>>,
    /// Instead of the listener's fault.
    pub fault: Option<Arc<Fault>>,
    /// Instead of the listener's rules for tokens.
    pub jwt: Option<authn::JwtOverride>,
}

/// Retry policy of a route (`route.v3.RetryPolicy`, gRFC A44).
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// What is worth another attempt.
    pub on: RetryOn,
    /// Attempts beyond the first. Default 1.
    pub retries_max: u32,
    /// Bound of each attempt; `None`: the request's own.
    pub per_try_timeout: Option<Duration>,
    /// Pause before the first retry; doubled with each, with full jitter. Default 25 ms.
    pub backoff_base: Duration,
    /// Longest pause. Default 10 × base.
    pub backoff_max: Duration,
    /// Request body bytes kept to send again; a larger body is not retried once sent. Default 64 KiB.
    pub body_limit_bytes: usize,
}

/// Conditions of a retry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetryOn {
    /// No connection could be made (`connect-failure`).
    pub connect_failure: bool,
    /// The stream was refused before it was read (`refused-stream`).
    pub refused_stream: bool,
    /// The connection broke before a response head (`reset`).
    pub reset: bool,
    /// Reset before the request was written (`reset-before-request`).
    pub reset_before_request: bool,
    /// 502, 503, 504 and what `reset` covers (`gateway-error`).
    pub gateway_error: bool,
    /// Any 5xx and what `reset` covers (`5xx`).
    pub any_5xx: bool,
    /// 409 (`retriable-4xx`).
    pub retriable_4xx: bool,
    /// Listed codes (`retriable-status-codes`).
    pub status_codes: Vec<u16>,
    /// gRPC codes: `cancelled` 1, `deadline-exceeded` 4, `resource-exhausted` 8, `internal` 13, `unavailable` 14.
    pub grpc_codes: Vec<u8>,
}

impl RetryOn {
    /// Whether nothing is ever retried.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How a header is added (`HeaderValueOption.append_action`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderAction {
    /// After those of the same name that are there.
    Append,
    /// Only where none of the name is there.
    AddIfAbsent,
    /// Replacing all of the name, or added where there is none.
    Set,
    /// Replacing all of the name; nothing where there is none.
    Replace,
}

/// One header to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderEdit {
    /// Field name, a valid token, as it shall be written.
    pub name: Arc<str>,
    /// Field value: literal, checked; substitution formatters are refused by the parser.
    pub value: Arc<str>,
    /// How it is added.
    pub action: HeaderAction,
}

/// Edits of one head, in this order: removals, then additions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    /// Lower-case names to remove.
    pub remove: Vec<Arc<str>>,
    /// Headers to add.
    pub add: Vec<HeaderEdit>,
}

impl HeaderEdits {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.add.is_empty()
    }
}

/// A local token bucket (`local_ratelimit.v3.LocalRateLimit`).
#[derive(Clone, Debug, PartialEq)]
pub struct LocalRateLimit {
    /// Names it in metrics (`stat_prefix`).
    pub name: Arc<str>,
    /// The bucket for requests that no descriptor claims; `None`: they are not limited.
    pub bucket: Option<TokenBucket>,
    /// Buckets by what the request carries; the first whose keys are all there is used as well.
    pub descriptors: Vec<RateLimitDescriptor>,
    /// Status of the refusal. 400 to 599, default 429.
    pub status: u16,
    /// What a gRPC call hears instead: what gRPC makes of the status (of 429 `UNAVAILABLE`), or `RESOURCE_EXHAUSTED` where
    /// that is asked for (`rate_limited_as_resource_exhausted`).
    pub grpc_status: GrpcStatus,
    /// Parts per million of requests that the limit is enforced for; the rest is only counted. Default 1,000,000.
    pub enforced_per_million: u32,
    /// Distinct keys that have a bucket at once; beyond, the least recently used is given up. Default 10,000.
    pub keys_max: usize,
}

/// A bucket per distinct value of what is listed.
#[derive(Clone, Debug, PartialEq)]
pub struct RateLimitDescriptor {
    /// What of a request makes the key.
    pub keys: Vec<RateLimitKey>,
    /// The bucket of each distinct key.
    pub bucket: TokenBucket,
}

/// One part of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RateLimitKey {
    /// The value of this header (lower-case name), each distinct one its own bucket.
    Header(Arc<str>),
    /// Only requests whose header has this value.
    HeaderEquals(Arc<str>, Arc<str>),
    /// The downstream's IP address, without port.
    RemoteAddress,
    /// A constant; together with others it separates limits.
    Constant(Arc<str>),
}

/// Tokens: `max` at the start and at most, `fill` more each `interval`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenBucket {
    /// Capacity. Above zero.
    pub max: u32,
    /// Tokens added each interval. Above zero.
    pub fill: u32,
    /// Time between additions. At least 1 ms.
    pub interval: Duration,
}

/// Injected faults (`fault.v3.HTTPFault`).
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// Hold the request back.
    pub delay: Option<FaultDelay>,
    /// Answer instead of forwarding.
    pub abort: Option<FaultAbort>,
    /// Requests that may be held or answered at once; `None`: no bound.
    pub active_max: Option<u32>,
}

/// Hold a share of requests back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultDelay {
    /// For how long. Above zero.
    pub duration: Duration,
    /// Share of requests, parts per million.
    pub per_million: u32,
}

/// Answer a share of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultAbort {
    /// HTTP status, 200 to 599; for gRPC requests where `grpc_status` is given that is used.
    pub http_status: u16,
    /// gRPC status, 1 to 16.
    pub grpc_status: Option<u8>,
    /// Share of requests, parts per million.
    pub per_million: u32,
}
