//! Reading retry policies.

use std::time::Duration;

use weft_xds_proto::pb::envoy::config::route::v3 as pb;

use super::{RetryOn, RetryPolicy};
use crate::diag::{Diagnostics, FieldPath, near_name};
use crate::proto::{optional_duration, positive_duration, u32_or};

/// Bytes of a request body that are kept for another attempt where nothing is said.
const BODY_LIMIT_BYTES: usize = 64 * 1024;

impl RetryPolicy {
    /// Reads a retry policy; `body_limit_bytes` is what the route says of buffering.
    pub(crate) fn parse(
        proto: &pb::RetryPolicy,
        body_limit_bytes: Option<usize>,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Self {
        if !proto.retriable_request_headers.is_empty() {
            // Ignored, it would retry requests that must not be sent twice.
            let field = at.field("retriable_request_headers");
            diag.fault(field, "is not supported yet");
        }
        warn_ignored(proto, at, diag);
        let (backoff_base, backoff_max) = backoff(proto, at, diag);
        Self {
            on: RetryOn::parse(proto, at, diag),
            retries_max: u32_or(&proto.num_retries, 1),
            per_try_timeout: optional_duration(&proto.per_try_timeout, at, "per_try_timeout", diag)
                .filter(|it| !it.is_zero()),
            backoff_base,
            backoff_max,
            body_limit_bytes: body_limit_bytes.unwrap_or(BODY_LIMIT_BYTES),
        }
    }
}

fn warn_ignored(proto: &pb::RetryPolicy, at: &FieldPath, diag: &mut Diagnostics) {
    let mut ignored = |name: &str, given: bool| {
        if given {
            diag.warn(at.field(name), "is not supported yet and ignored");
        }
    };
    ignored("per_try_idle_timeout", proto.per_try_idle_timeout.is_some());
    ignored("retry_priority", proto.retry_priority.is_some());
    ignored("retriable_headers", !proto.retriable_headers.is_empty());
    ignored(
        "rate_limited_retry_back_off",
        proto.rate_limited_retry_back_off.is_some(),
    );
    // A retry avoids endpoints that were tried, whether asked or not.
    let other = |it: &pb::retry_policy::RetryHostPredicate| {
        it.name != "envoy.retry_host_predicates.previous_hosts"
    };
    ignored(
        "retry_host_predicate",
        proto.retry_host_predicate.iter().any(other),
    );
}

fn backoff(
    proto: &pb::RetryPolicy,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> (Duration, Duration) {
    let default = Duration::from_millis(25);
    let Some(given) = &proto.retry_back_off else {
        return (default, default * 10);
    };
    let at = at.field("retry_back_off");
    let least = Duration::from_millis(1);
    let base = positive_duration(&given.base_interval, &at, "base_interval", diag);
    let base = base.unwrap_or(default).max(least);
    let max = positive_duration(&given.max_interval, &at, "max_interval", diag);
    let max = max.unwrap_or_else(|| base.saturating_mul(10)).max(least);
    if max < base {
        let rule = format!("must be at least base_interval, {base:?}, got {max:?}");
        diag.fault(at.field("max_interval"), rule);
    }
    (base, max)
}

/// Conditions that Envoy knows and that never arise here.
const NEVER_MET: [&str; 3] = [
    "envoy-ratelimited",
    "http3-post-connect-failure",
    "retriable-headers",
];
const KNOWN: [&str; 13] = [
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "refused-stream",
    "retriable-4xx",
    "retriable-status-codes",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

impl RetryOn {
    fn parse(proto: &pb::RetryPolicy, at: &FieldPath, diag: &mut Diagnostics) -> Self {
        let mut on = Self::default();
        let names = proto.retry_on.split(',').map(str::trim);
        for name in names.filter(|name| !name.is_empty()) {
            if !on.add(name, &proto.retriable_status_codes) {
                let near = match NEVER_MET.contains(&name) {
                    true => "is not supported yet and never met".to_owned(),
                    false => match near_name(name, KNOWN) {
                        Some(near) => format!("is not known, did you mean {near:?}?"),
                        None => "is not known and never met".to_owned(),
                    },
                };
                diag.warn(at.field("retry_on"), format!("{name:?} {near}"));
            }
        }
        on
    }

    fn add(&mut self, name: &str, status_codes: &[u32]) -> bool {
        match name {
            "5xx" => self.any_5xx = true,
            "gateway-error" => self.gateway_error = true,
            "reset" => self.reset = true,
            "reset-before-request" => self.reset_before_request = true,
            "connect-failure" => self.connect_failure = true,
            "refused-stream" => self.refused_stream = true,
            "retriable-4xx" => self.retriable_4xx = true,
            "retriable-status-codes" => {
                let codes = status_codes
                    .iter()
                    .filter_map(|code| u16::try_from(*code).ok());
                self.status_codes.extend(codes);
            }
            "cancelled" => self.add_grpc(1),
            "deadline-exceeded" => self.add_grpc(4),
            "resource-exhausted" => self.add_grpc(8),
            "internal" => self.add_grpc(13),
            "unavailable" => self.add_grpc(14),
            _ => return false,
        }
        true
    }

    fn add_grpc(&mut self, code: u8) {
        if !self.grpc_codes.contains(&code) {
            self.grpc_codes.push(code);
        }
    }

    /// Adds the conditions of a list as `x-envoy-retry-on` and `x-envoy-retry-grpc-on` have it; what is not known is passed
    /// over. `retriable-status-codes` stands for `status_codes`.
    pub fn add_listed(&mut self, list: &str, status_codes: &[u32]) {
        for name in list.split(',').map(str::trim) {
            self.add(name, status_codes);
        }
    }
}
