//! What callers say themselves of time-outs and retries, in the fields that Envoy's router takes.

use std::time::Duration;

use weft_config::policy::RetryPolicy;

use crate::http::head::{Head, Known};

/// Attempts beyond the first that a caller can ask for: as many as a policy can.
const RETRIES_MAX: u32 = 20;
/// Statuses that a caller can list; those behind are passed over.
const STATUS_CODES_MAX: usize = 32;

/// What a caller asks for. A value that cannot be read counts as not said.
///
/// <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter>
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallerTerms {
    /// Bound of the request instead of the route's; zero: none (`x-envoy-upstream-rq-timeout-ms`).
    pub timeout: Option<Duration>,
    /// Bound of each attempt instead of the policy's; zero: none (`x-envoy-upstream-rq-per-try-timeout-ms`).
    pub per_try_timeout: Option<Duration>,
    /// Instead of the policy's (`x-envoy-max-retries`).
    retries_max: Option<u32>,
    /// Conditions beside the policy's (`x-envoy-retry-on`, `x-envoy-retry-grpc-on`).
    on: Vec<String>,
    /// What `retriable-status-codes` stands for beside the policy's (`x-envoy-retriable-status-codes`).
    status_codes: Vec<u32>,
}

/// The fields that say so.
const FIELDS: [Known; 6] = [
    Known::XEnvoyUpstreamRqTimeoutMs,
    Known::XEnvoyUpstreamRqPerTryTimeoutMs,
    Known::XEnvoyMaxRetries,
    Known::XEnvoyRetryOn,
    Known::XEnvoyRetryGrpcOn,
    Known::XEnvoyRetriableStatusCodes,
];

impl CallerTerms {
    /// Takes the terms out of a request's head, which goes on without them; `None` where it has none.
    pub fn take(head: &mut Head) -> Option<Box<Self>> {
        if !head.fields().any(|field| FIELDS.contains(&field.known)) {
            return None;
        }
        let mut terms = Self {
            timeout: number(head, Known::XEnvoyUpstreamRqTimeoutMs).map(millis),
            per_try_timeout: number(head, Known::XEnvoyUpstreamRqPerTryTimeoutMs).map(millis),
            retries_max: number(head, Known::XEnvoyMaxRetries).map(|it| it.min(RETRIES_MAX)),
            ..Self::default()
        };
        for lists in [Known::XEnvoyRetryOn, Known::XEnvoyRetryGrpcOn] {
            terms
                .on
                .extend(head.get(lists).and_then(text).map(str::to_owned));
        }
        if let Some(codes) = head.get(Known::XEnvoyRetriableStatusCodes).and_then(text) {
            let codes = codes
                .split(',')
                .filter_map(|code| code.trim().parse::<u32>().ok());
            terms.status_codes.extend(codes.take(STATUS_CODES_MAX));
        }
        for field in FIELDS {
            head.remove(field);
        }
        Some(Box::new(terms))
    }

    /// Puts the terms in the place of what a policy says, or beside it.
    pub(super) fn apply(&self, policy: &mut RetryPolicy) {
        // A policy that retries statuses has this condition, whether the caller names it or not.
        if !policy.on.status_codes.is_empty() {
            policy
                .on
                .add_listed("retriable-status-codes", &self.status_codes);
        }
        for list in &self.on {
            policy.on.add_listed(list, &self.status_codes);
        }
        policy.retries_max = self.retries_max.unwrap_or(policy.retries_max);
    }
}

fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok()
}

fn number(head: &Head, field: Known) -> Option<u32> {
    text(head.get(field)?)?.trim().parse().ok()
}

fn millis(count: u32) -> Duration {
    Duration::from_millis(count.into())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weft_config::policy::RetryOn;

    use super::*;
    use crate::policy::RetryState;

    fn terms(fields: &[(&str, &str)]) -> Option<Box<CallerTerms>> {
        let mut head = Head::request(b"GET", b"a", b"/");
        for (name, value) in fields {
            head.add(name.as_bytes(), value.as_bytes());
        }
        head.add(b"x-other", b"stays");
        let terms = CallerTerms::take(&mut head);
        let left: Vec<_> = head.forwarded().map(|it| it.known.name()).collect();
        assert!(
            !left.iter().any(|name| name.starts_with("x-envoy")),
            "{left:?}"
        );
        assert!(head.get_name(b"x-other").is_some());
        terms
    }

    fn policy() -> RetryPolicy {
        RetryPolicy {
            on: RetryOn {
                status_codes: vec![500],
                ..RetryOn::default()
            },
            retries_max: 2,
            per_try_timeout: None,
            backoff_base: Duration::from_millis(1),
            backoff_max: Duration::from_millis(1),
            body_limit_bytes: 1,
        }
    }

    fn applied(fields: &[(&str, &str)]) -> RetryPolicy {
        let mut policy = policy();
        terms(fields).unwrap().apply(&mut policy);
        policy
    }

    #[test]
    fn a_head_without_such_fields_has_no_terms() {
        assert_eq!(terms(&[]), None);
        assert_eq!(terms(&[("x-envoy-retry-off", "5xx")]), None);
    }

    #[test]
    fn times_are_milliseconds_and_zero_is_said() {
        for (said, timeout) in [
            ("250", Some(250)),
            ("0", Some(0)),
            (" 1 ", Some(1)),
            ("-1", None),
            ("1s", None),
            ("", None),
            ("4294967296", None),
        ] {
            let told = terms(&[
                ("X-Envoy-Upstream-Rq-Timeout-Ms", said),
                ("x-envoy-upstream-rq-per-try-timeout-ms", said),
            ])
            .unwrap();
            let timeout = timeout.map(Duration::from_millis);
            assert_eq!((told.timeout, told.per_try_timeout), (timeout, timeout));
        }
    }

    #[test]
    fn conditions_come_beside_those_of_the_policy_and_the_count_in_its_place() {
        let on = applied(&[("x-envoy-retry-on", "reset, nonsense,5xx")]).on;
        assert!(on.reset && on.any_5xx && !on.connect_failure);
        assert_eq!(on.status_codes, [500]);
        let on = applied(&[("x-envoy-retry-grpc-on", "unavailable,unavailable,internal")]).on;
        assert_eq!(on.grpc_codes, [14, 13]);
        assert_eq!(applied(&[("x-envoy-max-retries", "5")]).retries_max, 5);
        assert_eq!(applied(&[("x-envoy-max-retries", "0")]).retries_max, 0);
        assert_eq!(applied(&[("x-envoy-max-retries", "x")]).retries_max, 2);
    }

    #[test]
    fn what_a_caller_can_ask_for_has_bounds() {
        assert_eq!(
            applied(&[("x-envoy-max-retries", "4000000000")]).retries_max,
            20
        );
        let many: Vec<_> = (400..600).map(|code| code.to_string()).collect();
        let codes = [("x-envoy-retriable-status-codes", &*many.join(","))];
        assert_eq!(applied(&codes).on.status_codes.len(), 1 + STATUS_CODES_MAX);
    }

    #[test]
    fn statuses_count_where_somebody_retries_statuses() {
        let codes = ("x-envoy-retriable-status-codes", "418,x, 429");
        let mut none = policy();
        none.on.status_codes.clear();
        terms(&[codes]).unwrap().apply(&mut none);
        assert!(none.on.status_codes.is_empty());
        let named = terms(&[codes, ("x-envoy-retry-on", "retriable-status-codes")]).unwrap();
        named.apply(&mut none);
        assert_eq!(none.on.status_codes, [418, 429]);
        assert_eq!(applied(&[codes]).on.status_codes, [500, 418, 429]);
    }

    #[test]
    fn the_policy_of_the_route_stays_what_it_is_for_others() {
        let route = Arc::new(policy());
        let told = terms(&[("x-envoy-max-retries", "0")]);
        let state = RetryState::on_terms(Some(&route), told.as_deref());
        assert_eq!(state.body_limit_bytes(), 0);
        assert_eq!(*route, policy());
    }
}
