//! Reading the local rate limit filter's configuration.

use std::time::Duration;

use weft_xds_proto::pb::envoy::config::core::v3::RuntimeFractionalPercent;
use weft_xds_proto::pb::envoy::config::route::v3::{RateLimit, rate_limit};
use weft_xds_proto::pb::envoy::extensions::common::ratelimit::v3 as common;
use weft_xds_proto::pb::envoy::extensions::filters::http::local_ratelimit::v3 as pb;
use weft_xds_proto::pb::envoy::r#type::v3 as kind;

use super::{LocalRateLimit, RateLimitDescriptor, RateLimitKey, TokenBucket};
use crate::diag::{Diagnostics, FieldPath};
use crate::grpc::GrpcStatus;
use crate::proto::{bool_or, duration, runtime_per_million, u32_or};

/// Distinct keys that have a bucket at once where nothing is said.
const KEYS_MAX: usize = 10_000;

impl LocalRateLimit {
    /// A filter that limits nothing.
    pub fn off() -> Self {
        Self {
            name: "off".into(),
            bucket: None,
            descriptors: Vec::new(),
            status: 429,
            grpc_status: GrpcStatus::of_http(429),
            enforced_per_million: 0,
            keys_max: KEYS_MAX,
        }
    }

    /// Reads `LocalRateLimit`. As in Envoy, a filter without `filter_enabled` limits nothing.
    pub(crate) fn parse(
        proto: &pb::LocalRateLimit,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Self {
        refuse_unsupported(proto, at, diag);
        let enabled = share(&proto.filter_enabled, at.field("filter_enabled"), diag);
        if proto.filter_enabled.is_none() {
            let why = "is not given, so nothing is limited";
            diag.warn(at.field("filter_enabled"), why);
        }
        let bucket = proto.token_bucket.as_ref().map(TokenBucket::parse);
        let bucket = bucket.and_then(|it| diag.keep(at.field("token_bucket"), it));
        let descriptors = descriptors(proto, at, diag);
        let enforced = share(&proto.filter_enforced, at.field("filter_enforced"), diag);
        match enabled {
            0 => return Self::off(),
            1_000_000 => {}
            _ => diag.fault(
                at.field("filter_enabled"),
                "must be all or none of the requests; use filter_enforced for a share",
            ),
        }
        let status = status(proto, at, diag);
        let keys_max = u32_or(&proto.max_dynamic_descriptors, 0);
        Self {
            name: proto.stat_prefix.as_str().into(),
            bucket,
            descriptors,
            status,
            grpc_status: match proto.rate_limited_as_resource_exhausted {
                true => GrpcStatus::RESOURCE_EXHAUSTED,
                false => GrpcStatus::of_http(status),
            },
            enforced_per_million: enforced,
            keys_max: match usize::try_from(keys_max) {
                Ok(0) | Err(_) => KEYS_MAX,
                Ok(given) => given,
            },
        }
    }
}

fn refuse_unsupported(proto: &pb::LocalRateLimit, at: &FieldPath, diag: &mut Diagnostics) {
    let mut refuse = |name: &str, given: bool| {
        if given {
            diag.fault(at.field(name), "is not supported yet");
        }
    };
    refuse(
        "local_rate_limit_per_downstream_connection",
        proto.local_rate_limit_per_downstream_connection,
    );
    refuse(
        "local_cluster_rate_limit",
        proto.local_cluster_rate_limit.is_some(),
    );
    let shared = bool_or(&proto.always_consume_default_token_bucket, true);
    refuse(
        "always_consume_default_token_bucket",
        !shared && !proto.descriptors.is_empty(),
    );
    let mut ignored = |name: &str, given: bool| {
        if given {
            diag.warn(at.field(name), "is not supported yet and ignored");
        }
    };
    ignored(
        "request_headers_to_add_when_not_enforced",
        !proto.request_headers_to_add_when_not_enforced.is_empty(),
    );
    ignored(
        "response_headers_to_add",
        !proto.response_headers_to_add.is_empty(),
    );
    ignored(
        "enable_x_ratelimit_headers",
        proto.enable_x_ratelimit_headers != 0,
    );
}

/// Not given, it is none of the requests.
fn share(proto: &Option<RuntimeFractionalPercent>, at: FieldPath, diag: &mut Diagnostics) -> u32 {
    let share = proto.as_ref().map_or(Ok(0), runtime_per_million);
    diag.keep(at, share).unwrap_or(0)
}

/// Envoy takes nothing below 400 and answers 429 instead.
fn status(proto: &pb::LocalRateLimit, at: &FieldPath, diag: &mut Diagnostics) -> u16 {
    let code = proto.status.as_ref().map_or(0, |it| it.code);
    match u16::try_from(code) {
        Ok(0) => 429,
        Ok(code @ 400..=599) => code,
        _ => {
            let rule = format!("must be from 400 to 599, got {code}");
            diag.fault(at.field("status").field("code"), rule);
            429
        }
    }
}

impl TokenBucket {
    fn parse(proto: &kind::TokenBucket) -> Result<Self, String> {
        let interval = proto.fill_interval.as_ref();
        let interval = interval.map_or(Ok(Duration::ZERO), duration)?;
        if interval < Duration::from_millis(1) {
            return Err(format!(
                "fill_interval must be at least 1ms, got {interval:?}"
            ));
        }
        let fill = u32_or(&proto.tokens_per_fill, 1);
        if proto.max_tokens == 0 || fill == 0 {
            return Err("max_tokens and tokens_per_fill must be above 0".to_owned());
        }
        Ok(Self {
            max: proto.max_tokens,
            fill,
            interval,
        })
    }
}

fn descriptors(
    proto: &pb::LocalRateLimit,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> Vec<RateLimitDescriptor> {
    let mut descriptors = Vec::new();
    for (index, descriptor) in proto.descriptors.iter().enumerate() {
        let at = at.field("descriptors").index(index);
        let descriptor = RateLimitDescriptor::parse(descriptor, &proto.rate_limits);
        descriptors.extend(diag.keep(at, descriptor));
    }
    descriptors
}

impl RateLimitDescriptor {
    /// Joins a descriptor, which names keys and a bucket, with the first of `rate_limits` whose actions make them.
    fn parse(
        proto: &common::LocalRateLimitDescriptor,
        rate_limits: &[RateLimit],
    ) -> Result<Self, String> {
        if proto.shadow_mode {
            return Err("shadow_mode is not supported yet".to_owned());
        }
        let bucket = proto.token_bucket.as_ref().map(TokenBucket::parse);
        let bucket = bucket.unwrap_or_else(|| Err("has no token_bucket".to_owned()))?;
        let wanted: Vec<&str> = proto.entries.iter().map(|it| it.key.as_str()).collect();
        let limit = rate_limits
            .iter()
            .find(|limit| limit.actions.iter().map(produced_key).eq(wanted.iter().copied()))
            .ok_or_else(|| {
                format!(
                    "no entry of rate_limits makes the keys [{}]; those of routes are not supported yet",
                    wanted.join(", ")
                )
            })?;
        let parts = limit.actions.iter().zip(&proto.entries);
        let keys = parts.map(|(action, entry)| RateLimitKey::parse(action, &entry.value));
        Ok(Self {
            keys: keys.collect::<Result<_, _>>()?,
            bucket,
        })
    }
}

/// The key that an action puts into a descriptor; empty for actions that are not supported.
fn produced_key(action: &rate_limit::Action) -> &str {
    use rate_limit::action::ActionSpecifier;
    match &action.action_specifier {
        Some(ActionSpecifier::RequestHeaders(it)) => &it.descriptor_key,
        Some(ActionSpecifier::RemoteAddress(_)) => "remote_address",
        Some(ActionSpecifier::GenericKey(it)) if it.descriptor_key.is_empty() => "generic_key",
        Some(ActionSpecifier::GenericKey(it)) => &it.descriptor_key,
        _ => "",
    }
}

impl RateLimitKey {
    /// An empty `wanted` stands for each distinct value.
    fn parse(action: &rate_limit::Action, wanted: &str) -> Result<Self, String> {
        use rate_limit::action::ActionSpecifier;
        match &action.action_specifier {
            Some(ActionSpecifier::RequestHeaders(header)) => {
                let name = header.header_name.to_ascii_lowercase().into();
                Ok(match wanted {
                    "" => Self::Header(name),
                    value => Self::HeaderEquals(name, value.into()),
                })
            }
            Some(ActionSpecifier::RemoteAddress(_)) if wanted.is_empty() => Ok(Self::RemoteAddress),
            Some(ActionSpecifier::GenericKey(key))
                if wanted.is_empty() || wanted == key.descriptor_value =>
            {
                Ok(Self::Constant(key.descriptor_value.as_str().into()))
            }
            _ => Err(format!(
                "an entry with the value {wanted:?} can never match"
            )),
        }
    }
}
