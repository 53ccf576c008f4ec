//! `typed_per_filter_config`: rate limits and faults of a route.

use std::collections::HashMap;

use weft_config::gateway_api::fault_injection::AbortStatus;
use weft_config::gateway_api::rate_limit::{Bucket, LimitKey};
use weft_config::gateway_api::{FaultInjection, Kind, Object, ObjectKey, RateLimitPolicy, Spec};
use weft_xds_proto::any;
use weft_xds_proto::pb::envoy::config::route::v3::RateLimit;
use weft_xds_proto::pb::envoy::config::route::v3::rate_limit::{
    Action, action::ActionSpecifier, action::RemoteAddress, action::RequestHeaders,
};
use weft_xds_proto::pb::envoy::extensions::common::ratelimit::v3::{
    LocalRateLimitDescriptor, rate_limit_descriptor::Entry,
};
use weft_xds_proto::pb::envoy::extensions::filters::common::fault::v3::{
    FaultDelay, fault_delay::FaultDelaySecifier,
};
use weft_xds_proto::pb::envoy::extensions::filters::http::fault::v3::{
    FaultAbort, HttpFault, fault_abort::ErrorType,
};
use weft_xds_proto::pb::envoy::extensions::filters::http::local_ratelimit::v3::LocalRateLimit;
use weft_xds_proto::pb::envoy::r#type::v3::{HttpStatus, TokenBucket};
use weft_xds_proto::pb::google::protobuf::Any;

use super::inputs::UnitInputs;
use super::policies::RoutePolicy;
use super::rules;
use crate::snapshot::proto::{FAULT, LOCAL_RATE_LIMIT, duration, u32_value};

/// The configuration of both filters for one route. `faults` are the `FaultInjection`s that it names; the first that
/// exists applies.
pub(crate) fn per_route<'a>(
    inputs: &UnitInputs,
    route: &Object,
    policy: &RoutePolicy<'_>,
    mut faults: impl Iterator<Item = &'a str>,
) -> HashMap<String, Any> {
    let mut filters = HashMap::new();
    if let Some((object, limit)) = policy.rate_limit() {
        let limit = rate_limit(object, limit);
        filters.insert(LOCAL_RATE_LIMIT.to_owned(), any::pack(&limit));
    }
    let namespace = &route.metadata.namespace;
    let fault = faults.find_map(|name| {
        let key = ObjectKey::new(Kind::FaultInjection, namespace, name);
        match &inputs.objects.get(&key)?.spec {
            Spec::FaultInjection(fault) => Some(fault),
            _ => None,
        }
    });
    if let Some(fault) = fault {
        filters.insert(FAULT.to_owned(), any::pack(&http_fault(fault)));
    }
    filters
}

/// The rate limit that applies where no route is attached.
pub(crate) fn of_service(policy: &RoutePolicy<'_>) -> HashMap<String, Any> {
    let limit = policy.rate_limit().map(|(object, limit)| {
        let limit = rate_limit(object, limit);
        (LOCAL_RATE_LIMIT.to_owned(), any::pack(&limit))
    });
    limit.into_iter().collect()
}

fn rate_limit(object: &Object, policy: &RateLimitPolicy) -> LocalRateLimit {
    let meta = &object.metadata;
    let mut descriptors = Vec::new();
    let mut rate_limits = Vec::new();
    for rule in &policy.local.rules {
        let (entries, actions) = rule.by.iter().map(limit_key).unzip();
        descriptors.push(LocalRateLimitDescriptor {
            entries,
            token_bucket: Some(token_bucket(&rule.bucket)),
            ..LocalRateLimitDescriptor::default()
        });
        rate_limits.push(RateLimit {
            actions,
            ..RateLimit::default()
        });
    }
    LocalRateLimit {
        stat_prefix: format!("{}.{}", meta.namespace, meta.name),
        status: Some(HttpStatus {
            code: policy.status_code.into(),
        }),
        token_bucket: policy.local.bucket.as_ref().map(token_bucket),
        filter_enabled: Some(rules::fraction(1_000_000)),
        filter_enforced: Some(rules::fraction(policy.enforced_percent.per_million())),
        descriptors,
        rate_limits,
        // A call that is refused is no failure of its endpoint, and `UNAVAILABLE` would have callers come back at once.
        rate_limited_as_resource_exhausted: true,
        max_dynamic_descriptors: Some(u32_value(policy.local.max_keys)),
        ..LocalRateLimit::default()
    }
}

/// A part of a key: what names it in the descriptor, and the action that makes it. An empty value is any value.
fn limit_key(key: &LimitKey) -> (Entry, Action) {
    let (entry, specifier) = match key {
        LimitKey::Header { name, value } => {
            let descriptor_key = format!("header:{}", name.to_ascii_lowercase());
            let entry = Entry {
                key: descriptor_key.clone(),
                value: value.clone().unwrap_or_default(),
            };
            let header = RequestHeaders {
                header_name: name.to_ascii_lowercase(),
                descriptor_key,
                skip_if_absent: false,
            };
            (entry, ActionSpecifier::RequestHeaders(header))
        }
        LimitKey::RemoteAddress => {
            let entry = Entry {
                key: "remote_address".to_owned(),
                value: String::new(),
            };
            let address = RemoteAddress::default();
            (entry, ActionSpecifier::RemoteAddress(address))
        }
    };
    let action = Action {
        action_specifier: Some(specifier),
    };
    (entry, action)
}

fn token_bucket(bucket: &Bucket) -> TokenBucket {
    TokenBucket {
        max_tokens: bucket.burst,
        tokens_per_fill: Some(u32_value(bucket.requests)),
        fill_interval: Some(duration(bucket.interval.duration())),
    }
}

fn http_fault(fault: &FaultInjection) -> HttpFault {
    HttpFault {
        delay: fault.delay.map(|delay| FaultDelay {
            percentage: Some(rules::percent(delay.percent.per_million())),
            fault_delay_secifier: Some(FaultDelaySecifier::FixedDelay(duration(
                delay.duration.duration(),
            ))),
        }),
        abort: fault.abort.map(|abort| FaultAbort {
            percentage: Some(rules::percent(abort.percent.per_million())),
            error_type: Some(match abort.status {
                AbortStatus::HttpStatus(status) => ErrorType::HttpStatus(status.into()),
                AbortStatus::GrpcStatus(status) => ErrorType::GrpcStatus(status.into()),
            }),
            ..FaultAbort::default()
        }),
        max_active_faults: fault.max_active.map(u32_value),
        ..HttpFault::default()
    }
}
