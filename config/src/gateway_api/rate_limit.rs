//! `RateLimitPolicy`: token buckets in each sidecar.

use schemars::JsonSchema;
use serde::Serialize;

use super::policy_target::PolicyTarget;
use super::quantity::{Percent, Span};

/// Local limits; `global` limits are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RateLimitPolicy {
    /// What it attaches to. From 1 to 16.
    pub target_refs: Vec<PolicyTarget>,
    /// The limits that each sidecar keeps for itself.
    pub local: LocalLimit,
    /// Status of a refusal, from 400 to 599. Default 429.
    #[schemars(default = "too_many_requests", range(min = 400, max = 599))]
    pub status_code: u16,
    /// Share of requests for which the limit is enforced; the rest is only counted, so 0 is a dry run. Default 100.
    #[schemars(default = "all")]
    pub enforced_percent: Percent,
}

/// Token buckets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalLimit {
    /// The bucket of requests that no rule claims; not given: they are not limited.
    #[serde(flatten)]
    pub bucket: Option<Bucket>,
    /// Buckets by what a request carries; the first rule whose keys are all there is used. At most 32.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub rules: Vec<LimitRule>,
    /// Distinct keys that have a bucket at once, from 1 to 1,000,000; beyond, the least recently used is given up. Default 10,000.
    #[schemars(default = "max_keys", range(min = 1, max = 1_000_000))]
    pub max_keys: u32,
}

/// A bucket for each distinct key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LimitRule {
    /// What makes the key. From 1 to 8 parts.
    pub by: Vec<LimitKey>,
    /// The bucket of each distinct key.
    #[serde(flatten)]
    pub bucket: Bucket,
}

/// One part of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "type")]
pub enum LimitKey {
    /// A header: each value its own bucket, or only the requests that carry `value`.
    Header {
        /// Its name.
        name: String,
        /// The value that it must have. Default: any.
        #[serde(skip_serializing_if = "Option::is_none")]
        value: Option<String>,
    },
    /// The downstream's IP address, without port.
    RemoteAddress,
}

/// `burst` tokens at the start and at most, `requests` more each `interval`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Bucket {
    /// Requests per interval. Above zero.
    #[schemars(range(min = 1))]
    pub requests: u32,
    /// Time between additions, from 1ms. Default 1s.
    #[schemars(default = "second")]
    pub interval: Span,
    /// Capacity; not below 1. Default: `requests`.
    #[schemars(range(min = 1))]
    #[schemars(default)]
    pub burst: u32,
}

pub(crate) fn too_many_requests() -> u16 {
    429
}

pub(crate) fn all() -> Percent {
    Percent::ALL
}

pub(crate) fn max_keys() -> u32 {
    10_000
}

pub(crate) fn second() -> Span {
    Span::from(std::time::Duration::from_secs(1))
}
