//! Reading `TrafficPolicy`.

use super::{Fields, Item, Reader, check, http_route, reference, suggestion};
use crate::gateway_api::policy_target::PolicyTarget;
use crate::gateway_api::quantity::Span;
use crate::gateway_api::traffic_policy::{
    CircuitBreakers, ConnectionSettings, GrpcRetryCode, Keepalive, LoadBalancer, OutlierDetection,
    Retry, RetryBudget, RetryOn, Timeouts, TrafficPolicy, budget_min, budget_percent,
    keepalive_interval, keepalive_probes, keepalive_time, retry_on, two,
};
use crate::yaml::shorten;

/// Reads the `spec` of a `TrafficPolicy`.
pub(crate) fn traffic_policy(
    cx: &mut Reader<'_>,
    fields: &mut Fields<'_>,
) -> Option<TrafficPolicy> {
    let policy = TrafficPolicy {
        target_refs: reference::target_refs(cx, fields),
        load_balancer: fields
            .get("loadBalancer")
            .and_then(|item| load_balancer(cx, &item)),
        circuit_breakers: fields
            .get("circuitBreakers")
            .and_then(|item| circuit_breakers(cx, &item))
            .unwrap_or_default(),
        connection: fields
            .get("connection")
            .and_then(|item| connection(cx, &item))
            .unwrap_or_default(),
        outlier_detection: fields
            .get("outlierDetection")
            .and_then(|item| outliers(cx, &item)),
        timeouts: fields
            .get("timeouts")
            .and_then(|item| timeouts(cx, &item))
            .unwrap_or_default(),
        retry: fields.get("retry").and_then(|item| retry(cx, &item)),
        retry_budget: fields.get("retryBudget").and_then(|item| budget(cx, &item)),
    };
    fields.refuse(
        cx,
        &[
            "locality",
            "healthChecks",
            "sessionAffinity",
            "sessionPersistence",
            "tls",
            "connectionLimits",
        ],
    );
    check_targets(cx, fields, &policy);
    Some(policy)
}

/// A route has no cluster of its own, so a policy for one cannot say how a cluster behaves.
fn check_targets(cx: &mut Reader<'_>, fields: &Fields<'_>, policy: &TrafficPolicy) {
    let is_route = |target: &PolicyTarget| !target.kind.is_service();
    if !policy.target_refs.iter().any(is_route) {
        return;
    }
    let of_cluster = [
        ("loadBalancer", policy.load_balancer.is_some()),
        ("circuitBreakers", !policy.circuit_breakers.is_empty()),
        ("connection", !policy.connection.is_empty()),
        ("outlierDetection", policy.outlier_detection.is_some()),
        ("timeouts.connect", policy.timeouts.connect.is_some()),
        ("retryBudget", policy.retry_budget.is_some()),
    ];
    for (name, _) in of_cluster.iter().filter(|(_, given)| *given) {
        fields.fault(
            cx,
            format!("`{name}` applies to services; a policy for a route sets only `timeouts` (`request`, `idle`) and `retry`"),
        );
    }
}

fn load_balancer(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<LoadBalancer> {
    let mut fields = item.fields(cx)?;
    let kind = fields.require(cx, "type")?;
    let text = kind.text(cx)?;
    let balancer = match text {
        "RoundRobin" => LoadBalancer::RoundRobin,
        "Random" => LoadBalancer::Random,
        "LeastRequest" => {
            let choices = fields
                .get("choices")
                .and_then(|item| item.number(cx, 2, 16));
            LoadBalancer::LeastRequest {
                choices: choices.unwrap_or_else(two),
            }
        }
        "RingHash" | "Maglev" => {
            kind.fault(cx, format!("the load balancer {text} is not supported yet"));
            return None;
        }
        other => {
            let hint = suggestion(other, ["RoundRobin", "LeastRequest", "Random"]);
            let got = shorten(other);
            kind.fault(
                cx,
                format!("must be one of RoundRobin, LeastRequest, Random, got `{got}`{hint}"),
            );
            return None;
        }
    };
    fields.finish(cx);
    Some(balancer)
}

fn circuit_breakers(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<CircuitBreakers> {
    let mut fields = item.fields(cx)?;
    let breakers = CircuitBreakers {
        max_connections: count(cx, &mut fields, "maxConnections", 1),
        max_pending_requests: count(cx, &mut fields, "maxPendingRequests", 0),
        max_requests: count(cx, &mut fields, "maxRequests", 1),
    };
    if let Some(item) = fields.get("maxRetries") {
        item.fault(cx, "retries are bounded by `retryBudget`");
    }
    fields.finish(cx);
    Some(breakers)
}

fn connection(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<ConnectionSettings> {
    let mut fields = item.fields(cx)?;
    let connection = ConnectionSettings {
        idle_timeout: fields
            .get("idleTimeout")
            .and_then(|item| check::span(cx, &item)),
        max_requests: count(cx, &mut fields, "maxRequests", 1),
        keepalive: fields
            .get("keepalive")
            .and_then(|item| keepalive(cx, &item)),
    };
    fields.finish(cx);
    Some(connection)
}

fn keepalive(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<Keepalive> {
    let mut fields = item.fields(cx)?;
    let keepalive = Keepalive {
        time: seconds(cx, &mut fields, "time").unwrap_or_else(keepalive_time),
        interval: seconds(cx, &mut fields, "interval").unwrap_or_else(keepalive_interval),
        probes: fields
            .get("probes")
            .and_then(|item| item.number(cx, 1, 127))
            .unwrap_or_else(keepalive_probes),
    };
    fields.finish(cx);
    Some(keepalive)
}

/// Whole seconds, as the kernel counts them; it takes at most 32,767.
fn seconds(cx: &mut Reader<'_>, fields: &mut Fields<'_>, name: &'static str) -> Option<Span> {
    let item = fields.get(name)?;
    let span = check::span_within(cx, &item, 1000, 9 * 3_600_000)?;
    if span.duration().subsec_millis() != 0 {
        item.fault(cx, format!("must be whole seconds, got {span}"));
        return None;
    }
    Some(span)
}

fn outliers(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<OutlierDetection> {
    let mut fields = item.fields(cx)?;
    let longest = fields.get("maxEjectionTime");
    let detection = OutlierDetection {
        consecutive_5xx: count(cx, &mut fields, "consecutive5xx", 0),
        consecutive_gateway_failures: count(cx, &mut fields, "consecutiveGatewayFailures", 0),
        interval: fields
            .get("interval")
            .and_then(|item| check::span_above_zero(cx, &item)),
        base_ejection_time: fields
            .get("baseEjectionTime")
            .and_then(|item| check::span_above_zero(cx, &item)),
        max_ejection_time: longest
            .as_ref()
            .and_then(|item| check::span_above_zero(cx, item)),
        max_ejection_percent: fields
            .get("maxEjectionPercent")
            .and_then(|item| percent(cx, &item)),
    };
    fields.refuse(
        cx,
        &[
            "successRate",
            "failurePercentage",
            "consecutiveLocalOriginFailures",
        ],
    );
    fields.finish(cx);
    if let (Some(base), Some(max), Some(item)) = (
        detection.base_ejection_time,
        detection.max_ejection_time,
        &longest,
    ) && max < base
    {
        item.fault(
            cx,
            format!("must not be below `baseEjectionTime` ({base}), got {max}"),
        );
    }
    Some(detection)
}

fn timeouts(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<Timeouts> {
    let mut fields = item.fields(cx)?;
    let timeouts = Timeouts {
        request: fields
            .get("request")
            .and_then(|item| check::span(cx, &item)),
        idle: fields.get("idle").and_then(|item| check::span(cx, &item)),
        connect: fields
            .get("connect")
            .and_then(|item| check::span_above_zero(cx, &item)),
    };
    fields.finish(cx);
    Some(timeouts)
}

fn retry(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<Retry> {
    let mut fields = item.fields(cx)?;
    let conditions = fields.get("conditions").map(|list| {
        let conditions = list.each(cx, 0, 16, |cx, item| item.choice(cx, CONDITIONS));
        check::unique(cx, &list, &conditions, "the condition", |on| {
            Some(on.envoy_name())
        });
        conditions
    });
    let grpc_codes = fields.get("grpcCodes").map(|list| {
        let codes = list.each(cx, 0, 16, |cx, item| item.choice(cx, GRPC_CODES));
        check::unique(cx, &list, &codes, "the code", |code| {
            Some(code.envoy_name())
        });
        codes
    });
    let longest = fields.get("maxBackoff");
    let retry = Retry {
        attempts: fields
            .get("attempts")
            .and_then(|item| item.number(cx, 0, 20))
            .unwrap_or(1),
        conditions: conditions.unwrap_or_else(retry_on),
        codes: http_route::codes(cx, &mut fields),
        grpc_codes: grpc_codes.unwrap_or_default(),
        per_try_timeout: fields
            .get("perTryTimeout")
            .and_then(|item| check::span_above_zero(cx, &item)),
        backoff: fields
            .get("backoff")
            .and_then(|item| check::span_above_zero(cx, &item)),
        max_backoff: longest
            .as_ref()
            .and_then(|item| check::span_above_zero(cx, item)),
    };
    fields.finish(cx);
    if let (Some(base), Some(max), Some(item)) = (retry.backoff, retry.max_backoff, &longest)
        && max < base
    {
        item.fault(
            cx,
            format!("must not be below `backoff` ({base}), got {max}"),
        );
    }
    Some(retry)
}

fn budget(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<RetryBudget> {
    let mut fields = item.fields(cx)?;
    let budget = RetryBudget {
        percent: fields
            .get("percent")
            .and_then(|item| percent(cx, &item))
            .unwrap_or_else(budget_percent),
        min_retries: count(cx, &mut fields, "minRetries", 0).unwrap_or_else(budget_min),
    };
    fields.finish(cx);
    Some(budget)
}

fn percent(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<u8> {
    item.number(cx, 0, 100).and_then(|n| u8::try_from(n).ok())
}

fn count(
    cx: &mut Reader<'_>,
    fields: &mut Fields<'_>,
    name: &'static str,
    min: u32,
) -> Option<u32> {
    fields
        .get(name)
        .and_then(|item| item.number(cx, min, u32::MAX))
}

const CONDITIONS: &[(&str, RetryOn)] = &[
    ("ConnectFailure", RetryOn::ConnectFailure),
    ("RefusedStream", RetryOn::RefusedStream),
    ("Reset", RetryOn::Reset),
    ("GatewayError", RetryOn::GatewayError),
    ("5xx", RetryOn::Any5xx),
    ("Retriable4xx", RetryOn::Retriable4xx),
];

const GRPC_CODES: &[(&str, GrpcRetryCode)] = &[
    ("CANCELLED", GrpcRetryCode::Cancelled),
    ("DEADLINE_EXCEEDED", GrpcRetryCode::DeadlineExceeded),
    ("RESOURCE_EXHAUSTED", GrpcRetryCode::ResourceExhausted),
    ("INTERNAL", GrpcRetryCode::Internal),
    ("UNAVAILABLE", GrpcRetryCode::Unavailable),
];
