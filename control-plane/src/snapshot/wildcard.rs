//! The form that Envoy takes: one outbound listener, one route table with a virtual host per service and port.
//!
//! Made only when such a node asks, once for each snapshot.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use prost::Message;
use weft_xds_proto::pb::envoy::config::core::v3::TrafficDirection;
use weft_xds_proto::pb::envoy::config::listener::v3::{
    Filter, FilterChain, FilterChainMatch, Listener,
};
use weft_xds_proto::pb::envoy::extensions::filters::listener::http_inspector::v3::HttpInspector;
use weft_xds_proto::pb::envoy::extensions::filters::listener::original_dst::v3::OriginalDst;

use super::encode;
use super::names;
use super::proto;
use super::resource::{Resource, ResourceType};
use super::unit::ServiceUnit;

/// The name of the listener and of its route table.
pub(crate) const OUTBOUND: &str = "outbound";

/// The whole mesh for one sidecar.
#[derive(Debug)]
pub struct Wildcard {
    routes: Arc<Resource>,
    /// Chains for the addresses of services that are, or may be, opaque.
    chains: Vec<FilterChain>,
    /// Whether a chain is chosen by the first bytes.
    detects: bool,
}

impl Wildcard {
    /// Gathers the services for downstreams in `namespace`; their order does not matter.
    pub fn build<'a>(
        units: impl Iterator<Item = &'a Arc<ServiceUnit>>,
        namespace: &str,
        domain: &str,
    ) -> Self {
        let mut units: Vec<_> = units.collect();
        units.sort_by(|a, b| a.host.cmp(&b.host));
        let mut table = BytesMut::new();
        encode::put_bytes(&mut table, 1, OUTBOUND.as_bytes());
        let mut chains = Vec::new();
        let mut detects = false;
        // Envoy refuses a whole table that names a domain twice: the service that sorts first keeps it.
        let mut taken = HashSet::new();
        for unit in units {
            for port in &unit.ports {
                let outbound = port.outbound(namespace);
                if let Some(route) = &outbound.route {
                    let name = format!("{}:{}", unit.host, port.port);
                    let mut domains = domains(unit, port.port, domain);
                    domains.retain(|domain| taken.insert(domain.clone()));
                    let host = encode::encode_virtual_host(&name, domains, route.routes());
                    encode::put_bytes(&mut table, 2, &host);
                }
                if let Some(filter) = &outbound.tcp_filter {
                    let before = chains.len();
                    chains.extend(tcp_chain(unit, port.port, filter));
                    if chains.len() > before && outbound.route.is_some() {
                        detects = true;
                        chains.extend(http_chain(unit, port.port));
                    }
                }
            }
        }
        let routes = Resource::from_value(ResourceType::Route, OUTBOUND, &table);
        Self {
            routes: Arc::new(routes),
            chains,
            detects,
        }
    }

    /// The route table.
    pub fn routes(&self) -> Arc<Resource> {
        Arc::clone(&self.routes)
    }

    /// The listener, bound at `address`. Redirected connections to the address of a TCP service go to it, those to one that
    /// has not said what it speaks go by their first bytes, and all others are HTTP.
    ///
    /// Both HTTP filters always stand in it: a listener that changes makes Envoy drain every connection.
    pub fn listener(&self, address: SocketAddr) -> Arc<Resource> {
        let mut listener_filters = vec![proto::listener_filter(
            "envoy.filters.listener.original_dst",
            &OriginalDst::default(),
        )];
        if self.detects {
            listener_filters.push(proto::listener_filter(
                "envoy.filters.listener.http_inspector",
                &HttpInspector::default(),
            ));
        }
        let listener = Listener {
            name: OUTBOUND.to_owned(),
            address: Some(proto::address(address)),
            traffic_direction: TrafficDirection::Outbound.into(),
            listener_filters,
            // Where the server speaks first there is nothing to inspect: such a connection waits no longer than this.
            listener_filters_timeout: self.detects.then(|| proto::duration(DETECTION_TIMEOUT)),
            continue_on_listener_filters_timeout: self.detects,
            filter_chains: self.chains.clone(),
            default_filter_chain: Some(FilterChain {
                name: "http".to_owned(),
                filters: vec![http_filter()],
                ..FilterChain::default()
            }),
            ..Listener::default()
        };
        Arc::new(Resource::new(ResourceType::Listener, OUTBOUND, &listener))
    }
}

/// A connection manager for the whole table.
fn http_filter() -> Filter {
    let used = proto::FiltersUsed {
        local_rate_limit: true,
        fault: true,
    };
    let manager = proto::rds_connection_manager(OUTBOUND, OUTBOUND, used);
    proto::network_filter(proto::HCM, &manager)
}

/// Every way to write the service as an authority, except the bare name, which two namespaces could claim; that one is
/// given to the namespace `default`.
fn domains(unit: &ServiceUnit, port: u16, domain: &str) -> Vec<String> {
    let mut hosts = Vec::from(names::qualified_forms(&unit.name, &unit.namespace, domain));
    if &*unit.namespace == "default" {
        hosts.push(unit.name.to_string());
    }
    hosts.extend(unit.addresses.iter().map(|ip| match ip {
        std::net::IpAddr::V4(ip) => ip.to_string(),
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
    }));
    let lowest = unit
        .ports
        .iter()
        .filter(|other| other.outbound.route.is_some())
        .map(|other| if other.port == 80 { 0 } else { other.port })
        .min();
    // Without a port in the authority port 80 is meant, or else the only sensible choice: the service's lowest.
    let bare = lowest == Some(if port == 80 { 0 } else { port });
    hosts
        .into_iter()
        .flat_map(|host| {
            let with_port = format!("{host}:{port}");
            [bare.then_some(host), Some(with_port)]
        })
        .flatten()
        .collect()
}

/// A chain for connections to the service's own addresses; a service without any cannot be told apart.
fn tcp_chain(unit: &ServiceUnit, port: u16, filter: &Bytes) -> Option<FilterChain> {
    Some(FilterChain {
        name: format!("{}:{port}", unit.host),
        filter_chain_match: Some(to_addresses(unit, port)?),
        filters: vec![Filter::decode(filter.clone()).ok()?],
        ..FilterChain::default()
    })
}

/// The chain for those of the same connections that turn out to be HTTP.
fn http_chain(unit: &ServiceUnit, port: u16) -> Option<FilterChain> {
    Some(FilterChain {
        name: format!("{}:{port}/http", unit.host),
        filter_chain_match: Some(FilterChainMatch {
            application_protocols: proto::HTTP_PROTOCOLS.map(str::to_owned).into(),
            ..to_addresses(unit, port)?
        }),
        filters: vec![http_filter()],
        ..FilterChain::default()
    })
}

fn to_addresses(unit: &ServiceUnit, port: u16) -> Option<FilterChainMatch> {
    (!unit.addresses.is_empty()).then(|| FilterChainMatch {
        destination_port: Some(proto::u32_value(port.into())),
        prefix_ranges: unit
            .addresses
            .iter()
            .copied()
            .map(proto::host_range)
            .collect(),
        ..FilterChainMatch::default()
    })
}

/// How long the first bytes are waited for before a connection counts as opaque.
const DETECTION_TIMEOUT: Duration = Duration::from_millis(100);
