//! Reading how a cluster's endpoints are spoken to.

#![expect(
    deprecated,
    reason = "older forms that control planes still send are read too"
)]

use std::time::Duration;

use weft_xds_proto::pb::envoy::config::cluster::v3 as pb;
use weft_xds_proto::pb::envoy::config::core::v3 as core;
use weft_xds_proto::pb::envoy::extensions::upstreams::http::v3 as upstreams;

use super::UpstreamProtocol;
use crate::diag::{Diagnostics, FieldPath};
use crate::http2::Http2Options;
use crate::proto::{optional_duration, u32_or, unpack};

const EXTENSION: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);

/// What `HttpProtocolOptions` and the older fields of `Cluster` say.
pub(super) struct Protocol {
    pub(super) protocol: UpstreamProtocol,
    pub(super) http2: Http2Options,
    pub(super) idle_timeout: Duration,
    pub(super) requests_per_connection_max: u32,
}

impl Protocol {
    pub(super) fn parse(proto: &pb::Cluster, at: &FieldPath, diag: &mut Diagnostics) -> Self {
        let extensions = at.field("typed_extension_protocol_options");
        let mut others: Vec<_> = proto.typed_extension_protocol_options.keys().collect();
        others.retain(|name| *name != EXTENSION);
        others.sort();
        for name in others {
            diag.warn(extensions.key(name), "is not supported and ignored");
        }
        match proto.typed_extension_protocol_options.get(EXTENSION) {
            Some(options) => {
                let at = extensions.key(EXTENSION);
                let options = unpack(options, &at, diag).unwrap_or_default();
                Self::from_extension(&options, &at, diag)
            }
            None => Self::legacy(proto, at, diag),
        }
    }

    fn legacy(proto: &pb::Cluster, at: &FieldPath, diag: &mut Diagnostics) -> Self {
        use pb::cluster::ClusterProtocolSelection;
        let selection = ClusterProtocolSelection::try_from(proto.protocol_selection);
        let common = proto.common_http_protocol_options.as_ref();
        let mut options = Self::common(common, at, diag);
        options.protocol = match (selection, &proto.http2_protocol_options) {
            (Ok(ClusterProtocolSelection::UseDownstreamProtocol), _) => {
                UpstreamProtocol::Downstream
            }
            (_, Some(_)) => UpstreamProtocol::Http2,
            (_, None) => UpstreamProtocol::Http1,
        };
        let http2 = proto.http2_protocol_options.as_ref();
        options.http2 = Http2Options::parse(http2, &at.field("http2_protocol_options"), diag);
        if proto.max_requests_per_connection.is_some() {
            options.requests_per_connection_max = u32_or(&proto.max_requests_per_connection, 0);
        }
        options
    }

    fn from_extension(
        proto: &upstreams::HttpProtocolOptions,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Self {
        let mut refuse = |name: &str, given: bool| {
            if given {
                diag.fault(at.field(name), "is not supported yet");
            }
        };
        let codec = |name: &str| name == "envoy.filters.http.upstream_codec";
        refuse(
            "http_filters",
            proto.http_filters.iter().any(|it| !codec(&it.name)),
        );
        refuse(
            "request_mirror_policies",
            !proto.request_mirror_policies.is_empty(),
        );
        refuse("outlier_detection", proto.outlier_detection.is_some());
        let mut ignored = |name: &str, given: bool| {
            if given {
                diag.warn(at.field(name), "is not supported yet and ignored");
            }
        };
        ignored("retry_policy", proto.retry_policy.is_some());
        ignored("hash_policy", !proto.hash_policy.is_empty());
        let mut options = Self::common(proto.common_http_protocol_options.as_ref(), at, diag);
        options.protocol = protocol(&proto.upstream_protocol_options, at, diag);
        options.http2 = http2(&proto.upstream_protocol_options, at, diag);
        options
    }

    fn common(
        proto: Option<&core::HttpProtocolOptions>,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Self {
        let mut options = Self {
            protocol: UpstreamProtocol::Http1,
            http2: Http2Options::default(),
            idle_timeout: IDLE_TIMEOUT,
            requests_per_connection_max: 0,
        };
        let Some(proto) = proto else {
            return options;
        };
        let at = at.field("common_http_protocol_options");
        if let Some(timeout) = optional_duration(&proto.idle_timeout, &at, "idle_timeout", diag) {
            options.idle_timeout = timeout;
        }
        options.requests_per_connection_max = u32_or(&proto.max_requests_per_connection, 0);
        let mut ignored = |name: &str, given: bool| {
            if given {
                diag.warn(at.field(name), "is not supported yet and ignored");
            }
        };
        ignored(
            "max_connection_duration",
            proto.max_connection_duration.is_some(),
        );
        ignored("max_stream_duration", proto.max_stream_duration.is_some());
        ignored("max_headers_count", proto.max_headers_count.is_some());
        ignored(
            "max_response_headers_kb",
            proto.max_response_headers_kb.is_some(),
        );
        options
    }
}

/// What is said of HTTP/2, in whichever form names it.
fn http2(
    proto: &Option<upstreams::http_protocol_options::UpstreamProtocolOptions>,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> Http2Options {
    use upstreams::http_protocol_options::UpstreamProtocolOptions as Options;
    use upstreams::http_protocol_options::explicit_http_config::ProtocolConfig;
    let (given, at) = match proto {
        Some(Options::ExplicitHttpConfig(explicit)) => match &explicit.protocol_config {
            Some(ProtocolConfig::Http2ProtocolOptions(options)) => {
                (Some(options), at.field("explicit_http_config"))
            }
            _ => return Http2Options::default(),
        },
        Some(Options::UseDownstreamProtocolConfig(config)) => (
            config.http2_protocol_options.as_ref(),
            at.field("use_downstream_protocol_config"),
        ),
        _ => return Http2Options::default(),
    };
    Http2Options::parse(given, &at.field("http2_protocol_options"), diag)
}

fn protocol(
    proto: &Option<upstreams::http_protocol_options::UpstreamProtocolOptions>,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> UpstreamProtocol {
    use upstreams::http_protocol_options::UpstreamProtocolOptions as Options;
    use upstreams::http_protocol_options::explicit_http_config::ProtocolConfig;
    let refused = match proto {
        Some(Options::ExplicitHttpConfig(explicit)) => match &explicit.protocol_config {
            Some(ProtocolConfig::HttpProtocolOptions(_)) => return UpstreamProtocol::Http1,
            Some(ProtocolConfig::Http2ProtocolOptions(_)) => return UpstreamProtocol::Http2,
            Some(ProtocolConfig::Http3ProtocolOptions(_)) => "HTTP/3 is not supported",
            None => "explicit_http_config names no protocol",
        },
        Some(Options::UseDownstreamProtocolConfig(_)) => return UpstreamProtocol::Downstream,
        Some(Options::AutoConfig(_)) => "auto_config needs TLS, which is not supported yet",
        None => "names no protocol",
    };
    diag.fault(at.clone(), refused);
    UpstreamProtocol::Http1
}
