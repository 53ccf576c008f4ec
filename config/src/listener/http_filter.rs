//! Reading the HTTP filters of a listener.

use std::sync::Arc;

use weft_xds_proto::pb::envoy::extensions::filters::http::fault::v3::HttpFault;
use weft_xds_proto::pb::envoy::extensions::filters::http::local_ratelimit::v3 as local_ratelimit;
use weft_xds_proto::pb::envoy::extensions::filters::network::http_connection_manager::v3 as pb;
use weft_xds_proto::pb::google::protobuf::Any;

use super::HttpFilter;
use crate::diag::{Diagnostics, FieldPath};
use crate::policy::access::{AccessFilter, HTTP_RBAC};
use crate::policy::authn::{JWT_AUTHN, JwtAuthn};
use crate::policy::{FAULT, Fault, LOCAL_RATE_LIMIT, LocalRateLimit};
use crate::proto::{type_name, unpack};

const ROUTER: &str = "envoy.extensions.filters.http.router.v3.Router";

/// Filters that watch and change nothing: without them, requests go the same way.
const HARMLESS: [&str; 4] = [
    "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
    "io.istio.http.peer_metadata.Config",
    "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig",
    "stats.PluginConfig",
];

/// Parts of type names of filters that decide who gets in: an answer of 500 would hide that, so they are refused.
const GATEKEEPERS: [&str; 8] = [
    ".rbac.",
    ".jwt_authn.",
    ".ext_authz.",
    ".basic_auth.",
    ".oauth2.",
    ".api_key_auth.",
    ".csrf.",
    ".geoip.",
];

impl HttpFilter {
    /// Reads the filters; the router must be there, and last (gRFC A39).
    pub(super) fn parse_all(
        protos: &[pb::HttpFilter],
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Vec<Self> {
        let list = at.field("http_filters");
        let mut filters: Vec<Self> = Vec::with_capacity(protos.len());
        for (index, proto) in protos.iter().enumerate() {
            let at = list.index(index);
            let last = index + 1 == protos.len();
            if is_router(proto) != last {
                let rule = if last {
                    "the last filter must be the router"
                } else {
                    "the router must be the last filter"
                };
                diag.fault(at.clone(), rule);
            }
            let Some(filter) = Self::parse(proto, &at, diag) else {
                continue;
            };
            let same = |it: &Self| std::mem::discriminant(it) == std::mem::discriminant(&filter);
            let repeats = matches!(filter, Self::Unsupported { .. } | Self::Access(_));
            if !repeats && filters.iter().any(same) {
                diag.fault(at, "a second filter of this kind is not supported yet");
            }
            filters.push(filter);
        }
        if protos.is_empty() {
            diag.fault(list, "must end with the router");
        }
        filters
    }

    /// `None` for the router, for filters that may be left out, and after a fault.
    fn parse(proto: &pb::HttpFilter, at: &FieldPath, diag: &mut Diagnostics) -> Option<Self> {
        use pb::http_filter::ConfigType;
        let at_config = at.field("typed_config");
        let config = match &proto.config_type {
            Some(ConfigType::TypedConfig(config)) => Some(config),
            Some(ConfigType::ConfigDiscovery(_)) => {
                diag.fault(at.field("config_discovery"), "is not supported yet");
                return None;
            }
            None => None,
        };
        match config.map_or(proto.name.as_str(), type_name) {
            ROUTER | "envoy.filters.http.router" => None,
            LOCAL_RATE_LIMIT if proto.disabled => {
                Some(Self::LocalRateLimit(Arc::new(LocalRateLimit::off())))
            }
            LOCAL_RATE_LIMIT => local_rate_limit(config?, &at_config, diag),
            FAULT if proto.disabled => Some(Self::Fault(Arc::new(Fault::off()))),
            FAULT => {
                let fault: HttpFault = unpack(config?, &at_config, diag)?;
                let fault = Fault::parse(&fault, &at_config, diag);
                Some(Self::Fault(Arc::new(fault)))
            }
            JWT_AUTHN if proto.disabled => {
                diag.fault(at.field("disabled"), "is not supported for this filter");
                None
            }
            JWT_AUTHN => {
                let filter =
                    JwtAuthn::parse(&unpack(config?, &at_config, diag)?, &at_config, diag)?;
                Some(Self::Jwt(Arc::new(filter)))
            }
            HTTP_RBAC if proto.disabled => {
                diag.fault(at.field("disabled"), "is not supported for this filter");
                None
            }
            HTTP_RBAC => {
                let rbac = unpack(config?, &at_config, diag)?;
                let filter = AccessFilter::parse_http(&rbac, &proto.name, &at_config, diag)?;
                Some(Self::Access(Arc::new(filter)))
            }
            name if HARMLESS.contains(&name) => {
                diag.warn(at_config, format!("{name} is not supported and left out"));
                None
            }
            name => Self::unknown(proto, config, name, &at_config, diag),
        }
    }

    fn unknown(
        proto: &pb::HttpFilter,
        config: Option<&Any>,
        name: &str,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<Self> {
        let gatekeeper =
            |part: &&str| name.contains(*part) || proto.name.contains(part.trim_matches('.'));
        if GATEKEEPERS.iter().any(gatekeeper) {
            let rule = format!("{name} decides who gets in and is not supported yet");
            diag.fault(at.clone(), rule);
            return None;
        }
        if proto.is_optional || proto.disabled {
            diag.warn(at.clone(), format!("{name} is not supported and left out"));
            return None;
        }
        let why = format!("{name} is not supported, requests that would pass it are answered 500");
        diag.warn(at.clone(), why);
        Some(Self::Unsupported {
            name: proto.name.as_str().into(),
            type_url: config.map_or("", |it| &it.type_url).into(),
        })
    }
}

fn is_router(proto: &pb::HttpFilter) -> bool {
    use pb::http_filter::ConfigType;
    match &proto.config_type {
        Some(ConfigType::TypedConfig(config)) => type_name(config) == ROUTER,
        _ => proto.name == "envoy.filters.http.router",
    }
}

fn local_rate_limit(config: &Any, at: &FieldPath, diag: &mut Diagnostics) -> Option<HttpFilter> {
    let limit: local_ratelimit::LocalRateLimit = unpack(config, at, diag)?;
    // Without a bucket it is there for routes to fill in.
    let limit = match limit.token_bucket {
        None if limit.descriptors.is_empty() => LocalRateLimit::off(),
        _ => LocalRateLimit::parse(&limit, at, diag),
    };
    Some(HttpFilter::LocalRateLimit(Arc::new(limit)))
}
