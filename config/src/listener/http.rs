//! Reading `HttpConnectionManager`.

#![expect(
    deprecated,
    reason = "older forms that control planes still send are noticed too"
)]

use std::sync::Arc;

use weft_xds_proto::pb::envoy::config::core::v3 as core;
use weft_xds_proto::pb::envoy::extensions::filters::network::http_connection_manager::v3 as pb;

use super::{
    AccessLog, DownstreamCodec, ForwardClientCert, HttpConnectionManager, HttpFilter, HttpLimits,
    RouteSource, ServerHeader,
};
use crate::cluster::check_ads;
use crate::diag::{Diagnostics, FieldPath};
use crate::http2::Http2Options;
use crate::proto::{bool_or, optional_duration, u32_or};
use crate::route::RouteTable;

/// The type name of the filter's configuration.
pub(super) const HCM: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
/// `max_request_headers_kb` may be at most this.
const HEADER_KIB_MAX: u32 = 8192;

impl HttpConnectionManager {
    pub(super) fn parse(
        proto: &pb::HttpConnectionManager,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<Self> {
        refuse_unsupported(proto, at, diag);
        warn_ignored(proto, at, diag);
        let codec = codec(proto.codec_type);
        let codec = diag.keep(at.field("codec_type"), codec);
        let server_header = server_header(proto.server_header_transformation);
        let server_header = diag.keep(at.field("server_header_transformation"), server_header);
        let forward_client_cert = ForwardClientCert::parse(proto, at, diag);
        let routes = RouteSource::parse(proto, at, diag);
        let filters = HttpFilter::parse_all(&proto.http_filters, at, diag);
        let limits = HttpLimits::parse(proto, at, diag);
        let access_log = AccessLog::parse_all(&proto.access_log, at, diag);
        Some(Self {
            stat_prefix: proto.stat_prefix.as_str().into(),
            codec: codec?,
            routes: routes?,
            filters,
            limits,
            access_log,
            use_remote_address: bool_or(&proto.use_remote_address, false),
            forward_client_cert: forward_client_cert?,
            xff_num_trusted_hops: proto.xff_num_trusted_hops,
            upgrades: upgrades(&proto.upgrade_configs, at, diag),
            server_name: server_name(&proto.server_name, at, diag)?,
            server_header: server_header?,
            normalize_path: bool_or(&proto.normalize_path, false),
            merge_slashes: proto.merge_slashes,
        })
    }
}

/// What would change how a request is read, who it is taken to come from, or where it goes.
fn refuse_unsupported(proto: &pb::HttpConnectionManager, at: &FieldPath, diag: &mut Diagnostics) {
    let mut refuse = |name: &str, given: bool| {
        if given {
            diag.fault(at.field(name), "is not supported yet");
        }
    };
    let detection = !proto.original_ip_detection_extensions.is_empty();
    refuse("original_ip_detection_extensions", detection);
    let mutation = !proto.early_header_mutation_extensions.is_empty();
    refuse("early_header_mutation_extensions", mutation);
    refuse(
        "path_with_escaped_slashes_action",
        proto.path_with_escaped_slashes_action > 1,
    );
    refuse(
        "path_normalization_options",
        proto.path_normalization_options.is_some(),
    );
    refuse("strip_matching_host_port", proto.strip_matching_host_port);
    refuse("strip_port_mode", proto.strip_port_mode.is_some());
    refuse("strip_trailing_host_dot", proto.strip_trailing_host_dot);
    refuse(
        "scheme_header_transformation",
        proto.scheme_header_transformation.is_some(),
    );
    refuse(
        "forward_client_cert_matcher",
        proto.forward_client_cert_matcher.is_some(),
    );
    let common = proto.common_http_protocol_options.unwrap_or_default();
    let at = at.field("common_http_protocol_options");
    if common.headers_with_underscores_action != 0 {
        let at = at.field("headers_with_underscores_action");
        diag.fault(at, "only ALLOW is supported yet");
    }
    if common.max_stream_duration.is_some() {
        let why = "is not supported yet and ignored; set it on routes";
        diag.warn(at.field("max_stream_duration"), why);
    }
}

fn warn_ignored(proto: &pb::HttpConnectionManager, at: &FieldPath, diag: &mut Diagnostics) {
    let mut ignored = |name: &str, given: bool| {
        if given {
            diag.warn(at.field(name), "is not supported yet and ignored");
        }
    };
    ignored("local_reply_config", proto.local_reply_config.is_some());
    ignored("add_user_agent", bool_or(&proto.add_user_agent, false));
    ignored("skip_xff_append", proto.skip_xff_append);
    ignored("via", !proto.via.is_empty());
    ignored("append_x_forwarded_port", proto.append_x_forwarded_port);
    ignored("request_id_extension", proto.request_id_extension.is_some());
    ignored("proxy_status_config", proto.proxy_status_config.is_some());
    ignored(
        "typed_header_validation_config",
        proto.typed_header_validation_config.is_some(),
    );
    ignored(
        "http3_protocol_options",
        proto.http3_protocol_options.is_some(),
    );
    let flushed = proto.access_log_flush_interval.is_some() || proto.access_log_options.is_some();
    ignored("access_log_options", flushed);
}

fn codec(value: i32) -> Result<DownstreamCodec, String> {
    use pb::http_connection_manager::CodecType;
    match CodecType::try_from(value) {
        Ok(CodecType::Auto) => Ok(DownstreamCodec::Auto),
        Ok(CodecType::Http1) => Ok(DownstreamCodec::Http1),
        Ok(CodecType::Http2) => Ok(DownstreamCodec::Http2),
        Ok(CodecType::Http3) => Err("HTTP3 is not supported".to_owned()),
        Err(_) => Err(format!("has no value {value}")),
    }
}

fn server_header(value: i32) -> Result<ServerHeader, String> {
    use pb::http_connection_manager::ServerHeaderTransformation as Proto;
    match Proto::try_from(value) {
        Ok(Proto::Overwrite) => Ok(ServerHeader::Overwrite),
        Ok(Proto::AppendIfAbsent) => Ok(ServerHeader::AppendIfAbsent),
        Ok(Proto::PassThrough) => Ok(ServerHeader::PassThrough),
        Err(_) => Err(format!("has no value {value}")),
    }
}

/// What we call ourselves: visible ASCII and spaces, for it is written into heads.
fn server_name(given: &str, at: &FieldPath, diag: &mut Diagnostics) -> Option<Arc<str>> {
    if !given.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        diag.fault(at.field("server_name"), "is not a field value");
        return None;
    }
    Some(if given.is_empty() { "weft" } else { given }.into())
}

impl RouteSource {
    fn parse(
        proto: &pb::HttpConnectionManager,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<Self> {
        use pb::http_connection_manager::RouteSpecifier;
        match &proto.route_specifier {
            Some(RouteSpecifier::RouteConfig(table)) => {
                let table = RouteTable::parse(table, &at.field("route_config"), diag)?;
                Some(Self::Inline(Arc::new(table)))
            }
            Some(RouteSpecifier::Rds(rds)) => {
                let at = at.field("rds");
                check_ads(&rds.config_source, &at.field("config_source"), diag);
                if rds.route_config_name.is_empty() {
                    diag.fault(at.field("route_config_name"), "must not be empty");
                }
                Some(Self::Rds(rds.route_config_name.as_str().into()))
            }
            Some(RouteSpecifier::ScopedRoutes(_)) => {
                diag.fault(at.field("scoped_routes"), "is not supported yet");
                None
            }
            None => {
                diag.fault(at.clone(), "has neither rds nor route_config");
                None
            }
        }
    }
}

fn upgrades(
    configs: &[pb::http_connection_manager::UpgradeConfig],
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> Vec<Arc<str>> {
    let mut upgrades: Vec<Arc<str>> = Vec::new();
    for (index, config) in configs.iter().enumerate() {
        if !config.filters.is_empty() {
            let at = at.field("upgrade_configs").index(index);
            diag.fault(at.field("filters"), "is not supported yet");
        }
        if bool_or(&config.enabled, true) {
            upgrades.push(config.upgrade_type.to_ascii_lowercase().into());
        }
    }
    upgrades
}

impl HttpLimits {
    fn parse(proto: &pb::HttpConnectionManager, at: &FieldPath, diag: &mut Diagnostics) -> Self {
        let mut limits = Self::default();
        let kib = u32_or(&proto.max_request_headers_kb, 60);
        if kib == 0 || kib > HEADER_KIB_MAX {
            let rule = format!("must be from 1 to {HEADER_KIB_MAX}, got {kib}");
            diag.fault(at.field("max_request_headers_kb"), rule);
        }
        limits.header_bytes_max = usize::try_from(kib).unwrap_or(60).saturating_mul(1024);
        let mut set = |place: &mut std::time::Duration, given, at: &FieldPath, name| {
            if let Some(given) = optional_duration(given, at, name, diag) {
                *place = given;
            }
        };
        let timeouts = &mut limits;
        set(
            &mut timeouts.stream_idle_timeout,
            &proto.stream_idle_timeout,
            at,
            "stream_idle_timeout",
        );
        set(
            &mut timeouts.request_timeout,
            &proto.request_timeout,
            at,
            "request_timeout",
        );
        let headers = &proto.request_headers_timeout;
        set(
            &mut timeouts.request_headers_timeout,
            headers,
            at,
            "request_headers_timeout",
        );
        let common = proto.common_http_protocol_options.unwrap_or_default();
        let below = at.field("common_http_protocol_options");
        set(
            &mut timeouts.idle_timeout,
            &common.idle_timeout,
            &below,
            "idle_timeout",
        );
        let life = &common.max_connection_duration;
        set(
            &mut timeouts.connection_duration_max,
            life,
            &below,
            "max_connection_duration",
        );
        limits.common(&common, &below, diag);
        let http2 = proto.http2_protocol_options.as_ref();
        limits.http2 = Http2Options::parse(http2, &at.field("http2_protocol_options"), diag);
        limits
    }

    fn common(
        &mut self,
        proto: &core::HttpProtocolOptions,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) {
        let count = usize::try_from(u32_or(&proto.max_headers_count, 100)).unwrap_or(100);
        if count == 0 {
            diag.fault(at.field("max_headers_count"), "must be above 0");
        }
        self.header_count_max = count;
        self.requests_per_connection_max = u32_or(&proto.max_requests_per_connection, 0);
    }
}
