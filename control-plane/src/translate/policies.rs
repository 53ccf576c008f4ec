//! Which policy applies: the most specific that says something, field by field; among equals the oldest.

use weft_config::gateway_api::traffic_policy::{Retry, TrafficPolicy};
use weft_config::gateway_api::{BackendTlsPolicy, Object, ObjectKey, RateLimitPolicy, Span, Spec};
use weft_xds_proto::pb::envoy::config::route::v3::{RetryPolicy, retry_policy::RetryBackOff};

use super::index;
use super::inputs::UnitInputs;
use crate::snapshot::proto::{duration, u32_value};

/// The policies of one rule on one port, the most specific first: rule, route, port, service.
#[derive(Debug)]
pub(crate) struct RoutePolicy<'a> {
    traffic: Vec<&'a TrafficPolicy>,
    tls: Option<(&'a Object, &'a BackendTlsPolicy)>,
    limit: Option<(&'a Object, &'a RateLimitPolicy)>,
}

impl<'a> RoutePolicy<'a> {
    /// The policies for the rule called `rule` of `route` on the port called `port`.
    pub(crate) fn find(
        inputs: &'a UnitInputs,
        route: &Object,
        rule: Option<&str>,
        port: Option<&str>,
    ) -> Self {
        Self::of(inputs, &[(route.key(), rule), (inputs.service.key(), port)])
    }

    /// The policies of the service alone, on the port called `port`.
    pub(crate) fn of_service(inputs: &'a UnitInputs, port: Option<&str>) -> Self {
        Self::of(inputs, &[(inputs.service.key(), port)])
    }

    fn of(inputs: &'a UnitInputs, targets: &[(ObjectKey, Option<&str>)]) -> Self {
        let mut found = Self {
            traffic: Vec::new(),
            tls: None,
            limit: None,
        };
        for (key, section) in targets {
            // A section without a name cannot be named by a policy.
            if section.is_some() {
                found.add(inputs, key, *section);
            }
            found.add(inputs, key, None);
        }
        found
    }

    fn add(&mut self, inputs: &'a UnitInputs, key: &ObjectKey, section: Option<&str>) {
        for policy in &inputs.policies {
            let applies = index::targets(&policy.spec)
                .iter()
                .any(|target| target.key() == *key && target.section_name.as_deref() == section);
            match &policy.spec {
                Spec::TrafficPolicy(traffic) if applies => self.traffic.push(traffic),
                Spec::RateLimitPolicy(limit) if applies && self.limit.is_none() => {
                    self.limit = Some((policy, limit));
                }
                Spec::BackendTlsPolicy(tls) if applies && self.tls.is_none() => {
                    self.tls = Some((policy, tls));
                }
                _ => {}
            }
        }
    }

    /// The first of the policies that says something.
    pub(crate) fn first<T>(&self, field: impl Fn(&'a TrafficPolicy) -> Option<T>) -> Option<T> {
        self.traffic.iter().find_map(|policy| field(policy))
    }

    /// The rate limit, with the policy that it is from.
    pub(crate) fn rate_limit(&self) -> Option<(&'a Object, &'a RateLimitPolicy)> {
        self.limit
    }

    /// How endpoints outside of the mesh are spoken to, with the policy that says it.
    pub(crate) fn backend_tls(&self) -> Option<(&'a Object, &'a BackendTlsPolicy)> {
        self.tls
    }

    pub(crate) fn request_timeout(&self) -> Option<Span> {
        self.first(|policy| policy.timeouts.request)
    }

    pub(crate) fn idle_timeout(&self) -> Option<Span> {
        self.first(|policy| policy.timeouts.idle)
    }

    /// Retries, for a route that says nothing itself.
    pub(crate) fn retry(&self) -> Option<RetryPolicy> {
        self.first(|policy| policy.retry.as_ref()).map(retry_policy)
    }
}

fn retry_policy(retry: &Retry) -> RetryPolicy {
    let mut on: Vec<&str> = retry.conditions.iter().map(|on| on.envoy_name()).collect();
    on.extend(retry.grpc_codes.iter().map(|code| code.envoy_name()));
    if !retry.codes.is_empty() {
        on.push("retriable-status-codes");
    }
    let above_zero = |span: &Span| !span.is_zero();
    RetryPolicy {
        retry_on: on.join(","),
        num_retries: Some(u32_value(retry.attempts)),
        retriable_status_codes: retry.codes.iter().copied().map(u32::from).collect(),
        per_try_timeout: retry
            .per_try_timeout
            .filter(above_zero)
            .map(|span| duration(span.duration())),
        retry_back_off: retry
            .backoff
            .filter(above_zero)
            .map(|backoff| RetryBackOff {
                base_interval: Some(duration(backoff.duration())),
                max_interval: retry
                    .max_backoff
                    .filter(above_zero)
                    .map(|span| duration(span.duration())),
            }),
        ..RetryPolicy::default()
    }
}
