//! Reading `RemoteJwks`: where keys are fetched, and how often.

use std::sync::Arc;
use std::time::Duration;

use weft_xds_proto::pb::envoy::config::core::v3 as core;
use weft_xds_proto::pb::envoy::extensions::filters::http::jwt_authn::v3 as pb;

use super::RemoteKeys;
use crate::diag::{Diagnostics, FieldPath};
use crate::proto::{optional_duration, positive_duration, u32_or};

const CACHE_DURATION: Duration = Duration::from_secs(600);
/// Who serves keys is not asked more often than this for being old.
const CACHE_DURATION_MIN: Duration = Duration::from_secs(1);
const FAILED_PAUSE: Duration = Duration::from_secs(1);
const FAILED_PAUSE_MIN: Duration = Duration::from_millis(100);
const BACKOFF_BASE: Duration = Duration::from_secs(1);
const RETRIES_MAX: u32 = 10;
/// Requests wait for an answer: no attempt may take longer.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);
const URI_BYTES_MAX: usize = 4096;

impl RemoteKeys {
    pub(super) fn parse(
        proto: &pb::RemoteJwks,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<Self> {
        let at_uri = at.field("http_uri");
        let Some(uri) = &proto.http_uri else {
            diag.fault(at_uri, "is missing");
            return None;
        };
        let place = diag.keep(at_uri.field("uri"), Self::authority_and_path(&uri.uri));
        let cluster = match &uri.http_upstream_type {
            Some(core::http_uri::HttpUpstreamType::Cluster(name)) if !name.is_empty() => {
                Ok(Arc::from(name.as_str()))
            }
            _ => Err("must name a cluster"),
        };
        let cluster = diag.keep(at_uri.field("cluster"), cluster);
        if uri.timeout.is_none() {
            diag.fault(at_uri.field("timeout"), "is missing");
        }
        let timeout = positive_duration(&uri.timeout, &at_uri, "timeout", diag);
        if timeout.is_some_and(|it| it > TIMEOUT_MAX) {
            diag.fault(
                at_uri.field("timeout"),
                format!("must be at most {TIMEOUT_MAX:?}"),
            );
        }
        let cache_duration = positive_duration(&proto.cache_duration, at, "cache_duration", diag);
        let cache_duration = cache_duration.unwrap_or(CACHE_DURATION);
        if cache_duration < CACHE_DURATION_MIN {
            let rule = format!("must be at least 1s, got {cache_duration:?}");
            diag.fault(at.field("cache_duration"), rule);
        }
        let at_fetch = at.field("async_fetch");
        let failed_pause = proto.async_fetch.as_ref().and_then(|fetch| {
            if !fetch.fast_listener {
                let why = "false is not supported: requests wait for keys, and listeners never do";
                diag.warn(at_fetch.field("fast_listener"), why);
            }
            let field = "failed_refetch_duration";
            positive_duration(&fetch.failed_refetch_duration, &at_fetch, field, diag)
        });
        let retry = Retry::parse(proto.retry_policy.as_ref(), &at.field("retry_policy"), diag);
        let (authority, path) = place?;
        Some(Self {
            cluster: cluster?,
            authority,
            path,
            timeout: timeout?,
            cache_duration,
            retries_max: retry.max,
            backoff_base: retry.base,
            backoff_max: retry.longest,
            failed_pause: failed_pause.unwrap_or(FAILED_PAUSE).max(FAILED_PAUSE_MIN),
        })
    }

    /// `Host`, and path with query, of `http://` or `https://`; which of both is the cluster's to decide.
    ///
    /// # Errors
    /// If it is no such address.
    pub fn authority_and_path(uri: &str) -> Result<(Arc<str>, Arc<str>), String> {
        if uri.len() > URI_BYTES_MAX {
            return Err(format!("must be at most {URI_BYTES_MAX} bytes"));
        }
        let rest = ["http://", "https://"]
            .iter()
            .find_map(|scheme| uri.strip_prefix(scheme))
            .ok_or_else(|| format!("must begin with http:// or https://, got {uri:?}"))?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
        let visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if authority.is_empty() || authority.contains('@') || !visible(rest) || rest.contains('#') {
            return Err(format!("is no address of keys: {uri:?}"));
        }
        let path = match path.starts_with('/') {
            true => path.to_owned(),
            false => format!("/{path}"),
        };
        Ok((authority.into(), path.into()))
    }
}

struct Retry {
    max: u32,
    base: Duration,
    longest: Duration,
}

impl Retry {
    fn parse(proto: Option<&core::RetryPolicy>, at: &FieldPath, diag: &mut Diagnostics) -> Self {
        let Some(proto) = proto else {
            return Self {
                max: 0,
                base: BACKOFF_BASE,
                longest: BACKOFF_BASE * 10,
            };
        };
        let mut refuse = |name: &str, given: bool| {
            if given {
                diag.fault(at.field(name), "is not supported for keys");
            }
        };
        refuse("retry_on", !proto.retry_on.is_empty());
        refuse("retry_priority", proto.retry_priority.is_some());
        refuse(
            "retry_host_predicate",
            !proto.retry_host_predicate.is_empty(),
        );
        let max = u32_or(&proto.num_retries, 1);
        if max > RETRIES_MAX {
            let rule = format!("must be at most {RETRIES_MAX}, got {max}");
            diag.fault(at.field("num_retries"), rule);
        }
        let at = at.field("retry_back_off");
        let backoff = proto.retry_back_off.unwrap_or_default();
        let base = positive_duration(&backoff.base_interval, &at, "base_interval", diag);
        let base = base.unwrap_or(BACKOFF_BASE).max(Duration::from_millis(1));
        let longest = optional_duration(&backoff.max_interval, &at, "max_interval", diag);
        let longest = longest.unwrap_or(base.saturating_mul(10));
        if longest < base {
            let rule = format!("must be at least base_interval, got {longest:?}");
            diag.fault(at.field("max_interval"), rule);
        }
        Self { max, base, longest }
    }
}
