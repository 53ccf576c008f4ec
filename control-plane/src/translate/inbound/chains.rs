//! The filter chains of one port of an application.

use weft_config::gateway_api::{AppProtocol, MtlsMode};
use weft_config::tls::mesh_alpn;
use weft_xds_proto::pb::envoy::config::listener::v3::{Filter, FilterChain, FilterChainMatch};
use weft_xds_proto::pb::envoy::config::route::v3::{
    Route, RouteAction, RouteConfiguration, VirtualHost, route::Action,
    route_action::ClusterSpecifier,
};
use weft_xds_proto::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager,
    http_connection_manager::{
        ForwardClientCertDetails, RouteSpecifier, SetCurrentClientCertDetails,
    },
};
use weft_xds_proto::pb::envoy::extensions::filters::network::tcp_proxy::v3::{
    TcpProxy, tcp_proxy::ClusterSpecifier as TcpClusterSpecifier,
};

use crate::snapshot::inbound_cluster_name;
use crate::snapshot::proto::{
    FiltersUsed, HCM, HTTP_PROTOCOLS, TCP_PROXY, connection_manager, duration, network_filter,
    u32_value,
};
use crate::translate::{mesh_tls, rules};

/// The chains of one port: what is taken from sidecars, and what from anybody else.
pub(super) fn chains(
    port: u16,
    protocol: AppProtocol,
    single: bool,
    mode: MtlsMode,
) -> Vec<FilterChain> {
    let port = Port {
        port,
        single,
        protocol,
    };
    let mesh = || from_sidecars(port, mode);
    match mode {
        MtlsMode::Strict => mesh(),
        MtlsMode::Permissive => [mesh(), from_anybody(port)].concat(),
        MtlsMode::Disable => from_anybody(port),
    }
}

/// A port of the application, whether the workload has no other, and what is spoken there.
#[derive(Clone, Copy)]
struct Port {
    port: u16,
    single: bool,
    protocol: AppProtocol,
}

impl Port {
    fn chain(self, what: &str, filter: Filter, protocols: &[&str]) -> FilterChain {
        FilterChain {
            name: format!("{what}|{}", self.port),
            filter_chain_match: Some(FilterChainMatch {
                destination_port: (!self.single).then(|| u32_value(self.port.into())),
                application_protocols: protocols.iter().map(|it| (*it).to_owned()).collect(),
                ..FilterChainMatch::default()
            }),
            filters: vec![filter],
            ..FilterChain::default()
        }
    }

    fn http(self) -> Filter {
        network_filter(HCM, &manager(self.port, self.protocol))
    }

    fn tcp(self) -> Filter {
        network_filter(TCP_PROXY, &tcp_proxy(self.port))
    }
}

/// Over TLS of the mesh. Where anything else may come, it is known by what its ClientHello offers.
fn from_sidecars(port: Port, mode: MtlsMode) -> Vec<FilterChain> {
    let http = |others: &[&str]| {
        let offered = match mode {
            MtlsMode::Permissive => &[mesh_alpn::HTTP][..],
            MtlsMode::Strict | MtlsMode::Disable => others,
        };
        over_tls(
            port.chain("mesh-http", port.http(), offered),
            &HTTP_INSIDE_TLS,
        )
    };
    let tcp = || {
        let offered = match mode {
            MtlsMode::Permissive => &[mesh_alpn::TCP][..],
            MtlsMode::Strict | MtlsMode::Disable => &[],
        };
        over_tls(
            port.chain("mesh-tcp", port.tcp(), offered),
            &[mesh_alpn::TCP],
        )
    };
    match port.protocol {
        AppProtocol::Tcp => vec![tcp()],
        AppProtocol::Http | AppProtocol::Http2 | AppProtocol::Grpc => vec![http(&[])],
        AppProtocol::Detect => vec![http(&[mesh_alpn::HTTP, "h2", "http/1.1"]), tcp()],
    }
}

/// What HTTP is called inside of TLS (ALPN).
const HTTP_INSIDE_TLS: [&str; 3] = [mesh_alpn::HTTP2, "h2", "http/1.1"];

fn over_tls(chain: FilterChain, alpn: &[&str]) -> FilterChain {
    let mut matches = chain.filter_chain_match.unwrap_or_default();
    "tls".clone_into(&mut matches.transport_protocol);
    FilterChain {
        filter_chain_match: Some(matches),
        transport_socket: Some(mesh_tls::from_sidecars(alpn)),
        ..chain
    }
}

/// As it comes: in plain, or over TLS that the application ends itself.
fn from_anybody(port: Port) -> Vec<FilterChain> {
    match port.protocol {
        AppProtocol::Tcp => vec![port.chain("tcp", port.tcp(), &[])],
        AppProtocol::Http | AppProtocol::Http2 | AppProtocol::Grpc => {
            let mut own_tls = port.chain("tls", port.tcp(), &[]);
            let matches = own_tls.filter_chain_match.get_or_insert_default();
            "tls".clone_into(&mut matches.transport_protocol);
            vec![own_tls, port.chain("http", port.http(), &[])]
        }
        AppProtocol::Detect => vec![
            port.chain("http", port.http(), &HTTP_PROTOCOLS),
            port.chain("tcp", port.tcp(), &[]),
        ],
    }
}

fn manager(port: u16, protocol: AppProtocol) -> HttpConnectionManager {
    let name = inbound_cluster_name(port, protocol);
    let route = Route {
        action: Some(Action::Route(RouteAction {
            cluster_specifier: Some(ClusterSpecifier::Cluster(name.clone())),
            // The downstream's sidecar bounds the request; two clocks would disagree.
            timeout: Some(duration(std::time::Duration::ZERO)),
            ..RouteAction::default()
        })),
        ..rules::everything(&name)
    };
    let routes = RouteConfiguration {
        name: name.clone(),
        virtual_hosts: vec![VirtualHost {
            name: name.clone(),
            domains: vec!["*".to_owned()],
            routes: vec![route],
            ..VirtualHost::default()
        }],
        ..RouteConfiguration::default()
    };
    HttpConnectionManager {
        route_specifier: Some(RouteSpecifier::RouteConfig(routes)),
        // The application hears who calls, by what he has shown; what others wrote there is removed.
        forward_client_cert_details: ForwardClientCertDetails::SanitizeSet.into(),
        set_current_client_cert_details: Some(SetCurrentClientCertDetails {
            uri: true,
            ..SetCurrentClientCertDetails::default()
        }),
        ..connection_manager(&name, FiltersUsed::default())
    }
}

fn tcp_proxy(port: u16) -> TcpProxy {
    let name = inbound_cluster_name(port, AppProtocol::Tcp);
    TcpProxy {
        stat_prefix: name.clone(),
        cluster_specifier: Some(TcpClusterSpecifier::Cluster(name)),
        ..TcpProxy::default()
    }
}
