//! Reading `RateLimitPolicy` and `FaultInjection`.

use super::{Fields, Item, Reader, check, reference};
use crate::gateway_api::fault_injection::{Abort, AbortStatus, Delay, FaultInjection};
use crate::gateway_api::quantity::Percent;
use crate::gateway_api::rate_limit::{
    Bucket, LimitKey, LimitRule, LocalLimit, RateLimitPolicy, max_keys, second, too_many_requests,
};
use crate::grpc::GrpcStatus;
use crate::yaml::{Meaning, shorten};

/// Reads the `spec` of a `RateLimitPolicy`.
pub(crate) fn rate_limit(cx: &mut Reader<'_>, fields: &mut Fields<'_>) -> Option<RateLimitPolicy> {
    let target_refs = reference::target_refs(cx, fields);
    fields.refuse(cx, &["global"]);
    let local = fields
        .require(cx, "local")
        .and_then(|item| local(cx, &item));
    let status_code = fields
        .get("statusCode")
        .and_then(|item| item.small(cx, 400, 599));
    let enforced = fields
        .get("enforcedPercent")
        .and_then(|item| percent(cx, &item));
    Some(RateLimitPolicy {
        target_refs,
        local: local?,
        status_code: status_code.unwrap_or_else(too_many_requests),
        enforced_percent: enforced.unwrap_or(Percent::ALL),
    })
}

fn local(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<LocalLimit> {
    let mut fields = item.fields(cx)?;
    let rules = fields
        .get("rules")
        .map(|list| list.each(cx, 0, 32, limit_rule))
        .unwrap_or_default();
    let given = fields.get("requests").is_some();
    let loose = fields.get("interval").or_else(|| fields.get("burst"));
    let bucket = given.then(|| bucket(cx, &mut fields)).flatten();
    if !given && (rules.is_empty() || loose.is_some()) {
        fields.fault(cx, "must have `requests`, or `rules` that have");
    }
    let keys = fields
        .get("maxKeys")
        .and_then(|item| item.number(cx, 1, 1_000_000));
    fields.finish(cx);
    Some(LocalLimit {
        bucket,
        rules,
        max_keys: keys.unwrap_or_else(max_keys),
    })
}

fn limit_rule(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<LimitRule> {
    let mut fields = item.fields(cx)?;
    let by = fields
        .require(cx, "by")
        .map(|list| list.each(cx, 1, 8, limit_key));
    let bucket = bucket(cx, &mut fields);
    fields.finish(cx);
    Some(LimitRule {
        by: by?,
        bucket: bucket?,
    })
}

fn limit_key(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<LimitKey> {
    let mut fields = item.fields(cx)?;
    let header = fields
        .require(cx, "type")
        .and_then(|item| item.choice(cx, &[("Header", true), ("RemoteAddress", false)]))?;
    let key = match header {
        false => Some(LimitKey::RemoteAddress),
        true => {
            let name = fields
                .require(cx, "name")
                .and_then(|item| check::header_name(cx, &item));
            let value = fields
                .get("value")
                .and_then(|item| check::header_value(cx, &item));
            name.map(|name| LimitKey::Header { name, value })
        }
    };
    fields.finish(cx);
    key
}

fn bucket(cx: &mut Reader<'_>, fields: &mut Fields<'_>) -> Option<Bucket> {
    let requests = fields
        .require(cx, "requests")
        .and_then(|item| item.number(cx, 1, u32::MAX))?;
    let interval = fields
        .get("interval")
        .and_then(|item| check::span_above_zero(cx, &item));
    let burst = fields
        .get("burst")
        .and_then(|item| item.number(cx, 1, u32::MAX));
    Some(Bucket {
        requests,
        interval: interval.unwrap_or_else(second),
        burst: burst.unwrap_or(requests),
    })
}

/// Reads the `spec` of a `FaultInjection`.
pub(crate) fn fault_injection(
    cx: &mut Reader<'_>,
    fields: &mut Fields<'_>,
) -> Option<FaultInjection> {
    let (delay_item, abort_item) = (fields.get("delay"), fields.get("abort"));
    if delay_item.is_none() && abort_item.is_none() {
        fields.fault(cx, "must have at least one of `delay` and `abort`");
    }
    if let Some(item) = fields.get("targetRefs") {
        item.fault(cx, "a FaultInjection does not attach by itself: name it as an ExtensionRef filter of a rule");
    }
    Some(FaultInjection {
        delay: delay_item.and_then(|item| delay(cx, &item)),
        abort: abort_item.and_then(|item| abort(cx, &item)),
        max_active: fields
            .get("maxActive")
            .and_then(|item| item.number(cx, 1, u32::MAX)),
    })
}

fn delay(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<Delay> {
    let mut fields = item.fields(cx)?;
    let duration = fields
        .require(cx, "duration")
        .and_then(|item| check::span_within(cx, &item, 1, 3_600_000));
    let share = fields.get("percent").and_then(|item| percent(cx, &item));
    fields.finish(cx);
    Some(Delay {
        duration: duration?,
        percent: share.unwrap_or(Percent::ALL),
    })
}

fn abort(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<Abort> {
    let mut fields = item.fields(cx)?;
    let http = fields.get("httpStatus");
    let grpc = fields.get("grpcStatus");
    let share = fields.get("percent").and_then(|item| percent(cx, &item));
    let status = match (http, grpc) {
        (Some(item), None) => item.small(cx, 200, 599).map(AbortStatus::HttpStatus),
        (None, Some(item)) => grpc_status(cx, &item).map(AbortStatus::GrpcStatus),
        _ => {
            fields.fault(cx, "must have exactly one of `httpStatus` and `grpcStatus`");
            None
        }
    };
    fields.finish(cx);
    Some(Abort {
        status: status?,
        percent: share.unwrap_or(Percent::ALL),
    })
}

/// A number from 1 to 16, or its name.
fn grpc_status(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<u8> {
    let Some(Meaning::Text(text)) = item.meaning() else {
        return item.number(cx, 1, 16).and_then(|n| u8::try_from(n).ok());
    };
    let errors = || GrpcStatus::all().filter(|status| *status != GrpcStatus::OK);
    let found = errors().find(|status| status.name() == Some(text));
    if found.is_none() {
        let hint = super::suggestion(text, errors().filter_map(GrpcStatus::name));
        item.fault(
            cx,
            format!(
                "must be a gRPC status from 1 to 16 or its name, got `{}`{hint}",
                shorten(text)
            ),
        );
    }
    found.and_then(|status| u8::try_from(status.number()).ok())
}

fn percent(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<Percent> {
    let number = item.float(cx)?;
    match Percent::parse(number) {
        Ok(percent) => Some(percent),
        Err(message) => {
            item.fault(cx, message);
            None
        }
    }
}
