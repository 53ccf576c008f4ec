//! Reading circuit breakers and outlier detection.

use std::time::Duration;

use weft_xds_proto::pb::envoy::config::cluster::v3 as pb;
use weft_xds_proto::pb::envoy::config::core::v3::RoutingPriority;
use weft_xds_proto::pb::google::protobuf::UInt32Value;

use super::{CircuitBreakers, OutlierDetection, RetryBudget};
use crate::diag::{Diagnostics, FieldPath};
use crate::proto::{optional_duration, positive_duration, u32_or};

impl CircuitBreakers {
    /// The first thresholds of the default priority count.
    pub(super) fn parse(
        proto: &pb::CircuitBreakers,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Self {
        if !proto.per_host_thresholds.is_empty() {
            let ignored = "is not supported yet and ignored";
            diag.warn(at.field("per_host_thresholds"), ignored);
        }
        let ours =
            |it: &&pb::circuit_breakers::Thresholds| it.priority == RoutingPriority::Default as i32;
        if proto.thresholds.iter().any(|it| !ours(&it)) {
            let ignored = "those of the high priority are not supported yet and ignored";
            diag.warn(at.field("thresholds"), ignored);
        }
        let Some(given) = proto.thresholds.iter().find(ours) else {
            return Self::default();
        };
        let default = Self::default();
        Self {
            connections_max: u32_or(&given.max_connections, default.connections_max),
            pending_max: u32_or(&given.max_pending_requests, default.pending_max),
            requests_max: u32_or(&given.max_requests, default.requests_max),
            retries_max: match given.retry_budget {
                // It takes the place of the fixed number; one of nothing allows no retry.
                Some(_) => 0,
                None => u32_or(&given.max_retries, default.retries_max),
            },
            retry_budget: match (&given.retry_budget, &given.max_retries) {
                (Some(budget), _) => RetryBudget::parse(budget, &at.field("retry_budget"), diag),
                (None, Some(_)) => RetryBudget::NONE,
                (None, None) => default.retry_budget,
            },
        }
    }
}

impl RetryBudget {
    fn parse(
        proto: &pb::circuit_breakers::thresholds::RetryBudget,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Self {
        let default = Self::default();
        let percent = proto.budget_percent.as_ref().map(|it| it.value);
        let percent = percent.unwrap_or(default.percent.into());
        if !(0.0..=100.0).contains(&percent) {
            let rule = format!("must be from 0 to 100, got {percent}");
            diag.fault(at.field("budget_percent"), rule);
        }
        Self {
            // A float that is out of range becomes the nearest end.
            percent: percent.round() as u32,
            per_second_min: u32_or(&proto.min_retry_concurrency, default.per_second_min),
        }
    }
}

impl OutlierDetection {
    /// Reads `OutlierDetection` (gRFC A50). The enforcement percentages switch a kind of ejection on or off.
    pub(super) fn parse(
        proto: &pb::OutlierDetection,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Self {
        let default = Self::default();
        warn_ignored(proto, at, diag);
        let mut enforced = |name: &str, value: &Option<UInt32Value>, default: u32| {
            let percent = u32_or(value, default);
            if (1..100).contains(&percent) {
                diag.warn(at.field(name), format!("{percent} is taken as 100"));
            }
            percent > 0
        };
        let value = &proto.enforcing_consecutive_5xx;
        let any_5xx = enforced("enforcing_consecutive_5xx", value, 100);
        let value = &proto.enforcing_consecutive_gateway_failure;
        let gateway = enforced("enforcing_consecutive_gateway_failure", value, 0);
        let value = &proto.enforcing_consecutive_local_origin_failure;
        let local = enforced("enforcing_consecutive_local_origin_failure", value, 100);
        let count = |on: bool, value: &Option<UInt32Value>| if on { u32_or(value, 5) } else { 0 };
        let interval = positive_duration(&proto.interval, at, "interval", diag);
        let base = positive_duration(&proto.base_ejection_time, at, "base_ejection_time", diag);
        let base = base.unwrap_or(default.ejection_base);
        let max = optional_duration(&proto.max_ejection_time, at, "max_ejection_time", diag);
        let percent = u32_or(
            &proto.max_ejection_percent,
            default.ejected_percent_max.into(),
        );
        if percent > 100 {
            let rule = format!("must be at most 100, got {percent}");
            diag.fault(at.field("max_ejection_percent"), rule);
        }
        Self {
            consecutive_5xx: count(any_5xx, &proto.consecutive_5xx),
            consecutive_gateway_failure: count(gateway, &proto.consecutive_gateway_failure),
            // Not split, what fails here counts as a 5xx.
            consecutive_local_origin_failure: count(
                local && proto.split_external_local_origin_errors,
                &proto.consecutive_local_origin_failure,
            ),
            interval: interval.unwrap_or(default.interval),
            ejection_base: base,
            ejection_max: max.unwrap_or(default.ejection_max).max(base),
            ejected_percent_max: u8::try_from(percent).unwrap_or(100),
        }
    }
}

fn warn_ignored(proto: &pb::OutlierDetection, at: &FieldPath, diag: &mut Diagnostics) {
    let mut ignored = |name: &str, given: bool| {
        if given {
            diag.warn(at.field(name), "is not supported yet and ignored");
        }
    };
    let on = |value: &Option<UInt32Value>| u32_or(value, 0) > 0;
    ignored("enforcing_success_rate", on(&proto.enforcing_success_rate));
    ignored(
        "enforcing_failure_percentage",
        on(&proto.enforcing_failure_percentage),
    );
    let jitter = proto.max_ejection_time_jitter.as_ref();
    let jitter = jitter.and_then(|it| crate::proto::duration(it).ok());
    ignored(
        "max_ejection_time_jitter",
        jitter.is_some_and(|it| it > Duration::ZERO),
    );
    ignored("monitors", !proto.monitors.is_empty());
}
