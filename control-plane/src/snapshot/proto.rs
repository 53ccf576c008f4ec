//! Small xDS messages that several resources are made of.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use prost::Name;
use weft_config::gateway_api::AppProtocol;
use weft_xds_proto::any;
use weft_xds_proto::pb::envoy::config::cluster::v3::Cluster;
use weft_xds_proto::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType,
};
use weft_xds_proto::pb::envoy::config::core::v3 as core;
use weft_xds_proto::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
};
use weft_xds_proto::pb::envoy::config::listener::v3 as listener;
use weft_xds_proto::pb::envoy::extensions::filters::http::fault::v3::HttpFault;
use weft_xds_proto::pb::envoy::extensions::filters::http::local_ratelimit::v3::LocalRateLimit;
use weft_xds_proto::pb::envoy::extensions::filters::http::router::v3::Router;
use weft_xds_proto::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use weft_xds_proto::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager as hcm_parts;
use weft_xds_proto::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
use weft_xds_proto::pb::envoy::extensions::transport_sockets::tls::v3::subject_alt_name_matcher::SanType;
use weft_xds_proto::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use weft_xds_proto::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig,
    explicit_http_config::ProtocolConfig,
};
use weft_xds_proto::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use weft_xds_proto::pb::google::protobuf;
use weft_xds_proto::pb::google::protobuf::Any;

pub(crate) fn duration(value: Duration) -> protobuf::Duration {
    protobuf::Duration {
        seconds: i64::try_from(value.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(value.subsec_nanos()).unwrap_or(0),
    }
}

pub(crate) fn u32_value(value: u32) -> protobuf::UInt32Value {
    protobuf::UInt32Value { value }
}

/// A transport socket of this TLS context.
pub(crate) fn tls_socket<M: Name>(context: &M) -> core::TransportSocket {
    core::TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(core::transport_socket::ConfigType::TypedConfig(any::pack(
            context,
        ))),
    }
}

/// A name that a certificate must have exactly.
pub(crate) fn exact_name(kind: SanType, name: String) -> tls::SubjectAltNameMatcher {
    tls::SubjectAltNameMatcher {
        san_type: kind.into(),
        matcher: Some(StringMatcher {
            match_pattern: Some(MatchPattern::Exact(name)),
            ..StringMatcher::default()
        }),
        ..tls::SubjectAltNameMatcher::default()
    }
}

/// Trust in the roots of the machine that the proxy runs on.
pub(crate) fn system_roots() -> tls::CertificateValidationContext {
    tls::CertificateValidationContext {
        system_root_certs: Some(tls::certificate_validation_context::SystemRootCerts::default()),
        ..tls::CertificateValidationContext::default()
    }
}

/// Where everything but the first resource comes from: the stream that this one came on.
pub(crate) fn ads() -> core::ConfigSource {
    core::ConfigSource {
        resource_api_version: core::ApiVersion::V3.into(),
        config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::Ads(
            core::AggregatedConfigSource::default(),
        )),
        ..core::ConfigSource::default()
    }
}

pub(crate) fn address(address: SocketAddr) -> core::Address {
    core::Address {
        address: Some(core::address::Address::SocketAddress(core::SocketAddress {
            address: address.ip().to_string(),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(
                address.port().into(),
            )),
            ..core::SocketAddress::default()
        })),
    }
}

pub(crate) fn bool_value(value: bool) -> protobuf::BoolValue {
    protobuf::BoolValue { value }
}

pub(crate) fn host_range(ip: IpAddr) -> core::CidrRange {
    core::CidrRange {
        address_prefix: ip.to_string(),
        prefix_len: Some(u32_value(if ip.is_ipv4() { 32 } else { 128 })),
    }
}

pub(crate) fn network_filter<M: Name>(name: &str, config: &M) -> listener::Filter {
    packed_network_filter(name, any::pack(config))
}

pub(crate) fn packed_network_filter(name: &str, config: Any) -> listener::Filter {
    listener::Filter {
        name: name.to_owned(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(config)),
    }
}

/// Packs `whole` and then `parts`, which add to it: a map of several entries has no order of its own, and equal messages must be
/// equal bytes. Messages that come twice are merged (protobuf, "Last One Wins").
pub(crate) fn pack_in_order<M: Name>(whole: &M, parts: impl IntoIterator<Item = M>) -> Any {
    let mut packed = any::pack(whole);
    for part in parts {
        packed.value.extend(part.encode_to_vec());
    }
    packed
}

pub(crate) fn listener_filter<M: Name>(name: &str, config: &M) -> listener::ListenerFilter {
    listener::ListenerFilter {
        name: name.to_owned(),
        filter_disabled: None,
        config_type: Some(listener::listener_filter::ConfigType::TypedConfig(
            any::pack(config),
        )),
    }
}

/// Which filters stand before the router.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FiltersUsed {
    pub(crate) local_rate_limit: bool,
    pub(crate) fault: bool,
}

pub(crate) const FAULT: &str = "envoy.filters.http.fault";
pub(crate) const LOCAL_RATE_LIMIT: &str = "envoy.filters.http.local_ratelimit";
const ROUTER: &str = "envoy.filters.http.router";
pub(crate) const HCM: &str = "envoy.filters.network.http_connection_manager";
pub(crate) const TCP_PROXY: &str = "envoy.filters.network.tcp_proxy";

/// What Envoy's `http_inspector` calls what is HTTP.
pub(crate) const HTTP_PROTOCOLS: [&str; 3] = ["http/1.0", "http/1.1", "h2c"];

/// The filters in use, which do nothing until a route configures them, and the router.
///
/// The local rate limit is optional, for gRPC clients know the fault filter but not this one (gRFC A39).
pub(crate) fn http_filters(used: FiltersUsed) -> Vec<hcm::HttpFilter> {
    let mut filters = Vec::new();
    if used.fault {
        filters.push(http_filter(FAULT, &HttpFault::default()));
    }
    if used.local_rate_limit {
        let limit = LocalRateLimit {
            stat_prefix: "local_rate_limit".to_owned(),
            ..LocalRateLimit::default()
        };
        filters.push(hcm::HttpFilter {
            is_optional: true,
            ..http_filter(LOCAL_RATE_LIMIT, &limit)
        });
    }
    filters.push(http_filter(ROUTER, &Router::default()));
    filters
}

pub(crate) fn http_filter<M: Name>(name: &str, config: &M) -> hcm::HttpFilter {
    packed_http_filter(name, any::pack(config))
}

pub(crate) fn packed_http_filter(name: &str, config: Any) -> hcm::HttpFilter {
    hcm::HttpFilter {
        name: name.to_owned(),
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(config)),
        ..hcm::HttpFilter::default()
    }
}

/// A connection manager whose routes RDS tells.
pub(crate) fn rds_connection_manager(
    stat_prefix: &str,
    routes: &str,
    used: FiltersUsed,
) -> hcm::HttpConnectionManager {
    hcm::HttpConnectionManager {
        route_specifier: Some(hcm_parts::RouteSpecifier::Rds(hcm::Rds {
            config_source: Some(ads()),
            route_config_name: routes.to_owned(),
        })),
        ..connection_manager(stat_prefix, used)
    }
}

/// A connection manager that still lacks its routes; WebSocket upgrades are allowed.
pub(crate) fn connection_manager(
    stat_prefix: &str,
    used: FiltersUsed,
) -> hcm::HttpConnectionManager {
    hcm::HttpConnectionManager {
        stat_prefix: stat_prefix.to_owned(),
        // A mesh does not take an application's name from it.
        server_header_transformation: hcm_parts::ServerHeaderTransformation::PassThrough.into(),
        http_filters: http_filters(used),
        http2_protocol_options: Some(http2_options()),
        upgrade_configs: vec![hcm_parts::UpgradeConfig {
            upgrade_type: "websocket".to_owned(),
            ..hcm_parts::UpgradeConfig::default()
        }],
        ..hcm::HttpConnectionManager::default()
    }
}

/// What came in goes on.
/// What is spoken to an application; `None`: nothing is said of HTTP.
pub(crate) fn upstream_protocol(protocol: AppProtocol) -> Option<UpstreamProtocolOptions> {
    match protocol {
        AppProtocol::Tcp => None,
        AppProtocol::Http => Some(explicit(ProtocolConfig::HttpProtocolOptions(
            core::Http1ProtocolOptions::default(),
        ))),
        AppProtocol::Http2 | AppProtocol::Grpc => Some(explicit(
            ProtocolConfig::Http2ProtocolOptions(http2_options()),
        )),
        AppProtocol::Detect => Some(as_downstream()),
    }
}

fn explicit(config: ProtocolConfig) -> UpstreamProtocolOptions {
    UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
        protocol_config: Some(config),
    })
}

fn as_downstream() -> UpstreamProtocolOptions {
    UpstreamProtocolOptions::UseDownstreamProtocolConfig(UseDownstreamHttpConfig {
        http_protocol_options: Some(core::Http1ProtocolOptions::default()),
        http2_protocol_options: Some(http2_options()),
        ..UseDownstreamHttpConfig::default()
    })
}

/// HTTP/2 on either side: WebSockets may come and go by extended CONNECT (RFC 8441).
pub(crate) fn http2_options() -> core::Http2ProtocolOptions {
    core::Http2ProtocolOptions {
        allow_connect: true,
        ..core::Http2ProtocolOptions::default()
    }
}

/// `typed_extension_protocol_options` of a cluster.
pub(crate) fn protocol_options(
    protocol: UpstreamProtocolOptions,
    common: Option<core::HttpProtocolOptions>,
) -> HashMap<String, Any> {
    let options = HttpProtocolOptions {
        common_http_protocol_options: common,
        upstream_protocol_options: Some(protocol),
        ..HttpProtocolOptions::default()
    };
    HashMap::from([(
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions".to_owned(),
        any::pack(&options),
    )])
}

/// The cluster of the application on `port`: what came in goes on, to this machine.
pub(crate) fn inbound_cluster(name: &str, port: u16, protocol: AppProtocol) -> Cluster {
    Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Static.into())),
        load_assignment: Some(ClusterLoadAssignment {
            cluster_name: name.to_owned(),
            endpoints: vec![LocalityLbEndpoints {
                lb_endpoints: vec![LbEndpoint {
                    host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
                        address: Some(address(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))),
                        ..Endpoint::default()
                    })),
                    ..LbEndpoint::default()
                }],
                ..LocalityLbEndpoints::default()
            }],
            ..ClusterLoadAssignment::default()
        }),
        typed_extension_protocol_options: upstream_protocol(protocol)
            .map_or_else(HashMap::new, |protocol| protocol_options(protocol, None)),
        ..Cluster::default()
    }
}
