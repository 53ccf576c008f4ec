//! Reading filter chains and when they are used.

use std::net::IpAddr;
use std::sync::Arc;

use weft_xds_proto::pb::envoy::config::core::v3 as core;
use weft_xds_proto::pb::envoy::config::listener::v3 as pb;

use super::http::HCM;
use super::tcp::TCP_PROXY;
use super::{
    ChainAction, Cidr, FilterChain, FilterChainMatch, HttpConnectionManager, ServerNameMatch,
    TcpProxy,
};
use crate::diag::{Diagnostics, FieldPath};
use crate::policy::access::{AccessFilter, NETWORK_RBAC};
use crate::proto::{positive_duration, type_name, unpack};
use crate::tls::DownstreamTls;

#[expect(
    deprecated,
    reason = "use_proxy_proto changes who the peer is, so it is noticed"
)]
fn refuse_unsupported(proto: &pb::FilterChain, at: &FieldPath, diag: &mut Diagnostics) {
    if crate::proto::bool_or(&proto.use_proxy_proto, false) {
        diag.fault(at.field("use_proxy_proto"), "is not supported yet");
    }
}

impl FilterChain {
    pub(super) fn parse(
        proto: &pb::FilterChain,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<Self> {
        refuse_unsupported(proto, at, diag);
        let name = "transport_socket_connect_timeout";
        let timeout = positive_duration(&proto.transport_socket_connect_timeout, at, name, diag);
        let socket = &proto.transport_socket;
        let tls = DownstreamTls::of_socket(socket, timeout, &at.field("transport_socket"), diag);
        let matches = proto.filter_chain_match.clone().unwrap_or_default();
        let matches = FilterChainMatch::parse(&matches, &at.field("filter_chain_match"), diag);
        let action = action(&proto.filters, at, diag);
        let access = access(&proto.filters, at, diag);
        Some(Self {
            name: proto.name.as_str().into(),
            matches,
            tls: tls.map(Arc::new),
            access,
            action: action?,
        })
    }
}

/// The last filter says what is done; what stands before it decides who gets in: RBAC is known, others are refused.
fn action(filters: &[pb::Filter], at: &FieldPath, diag: &mut Diagnostics) -> Option<ChainAction> {
    use pb::filter::ConfigType;
    let at = at.field("filters");
    let Some((last, before)) = filters.split_last() else {
        diag.fault(at, "must not be empty");
        return None;
    };
    for (index, filter) in before.iter().enumerate() {
        let name = match &filter.config_type {
            Some(ConfigType::TypedConfig(config)) => type_name(config),
            _ => filter.name.as_str(),
        };
        let rule = match name {
            NETWORK_RBAC => continue,
            HCM | TCP_PROXY => "must be the last filter".to_owned(),
            name => format!("{name} is not supported yet"),
        };
        diag.fault(at.index(index), rule);
    }
    let at = at.index(before.len());
    let Some(ConfigType::TypedConfig(config)) = &last.config_type else {
        diag.fault(at.field("typed_config"), "is missing");
        return None;
    };
    let at = at.field("typed_config");
    match type_name(config) {
        HCM => {
            let hcm = HttpConnectionManager::parse(&unpack(config, &at, diag)?, &at, diag)?;
            Some(ChainAction::Http(Arc::new(hcm)))
        }
        TCP_PROXY => {
            let proxy = TcpProxy::parse(&unpack(config, &at, diag)?, &at, diag)?;
            Some(ChainAction::Tcp(Arc::new(proxy)))
        }
        NETWORK_RBAC => {
            diag.fault(at, "must stand before a filter that says what is done");
            None
        }
        name => {
            diag.fault(at, format!("{name} is not supported yet"));
            None
        }
    }
}

/// The filters that decide who may connect, in order.
fn access(
    filters: &[pb::Filter],
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> Vec<Arc<AccessFilter>> {
    use pb::filter::ConfigType;
    let mut access = Vec::new();
    for (index, filter) in filters.iter().enumerate() {
        let Some(ConfigType::TypedConfig(config)) = &filter.config_type else {
            continue;
        };
        if type_name(config) == NETWORK_RBAC {
            let at = at.field("filters").index(index).field("typed_config");
            let filter = unpack(config, &at, diag)
                .and_then(|proto| AccessFilter::parse_network(&proto, &at, diag));
            access.extend(filter.map(Arc::new));
        }
    }
    access
}

impl FilterChainMatch {
    fn parse(proto: &pb::FilterChainMatch, at: &FieldPath, diag: &mut Diagnostics) -> Self {
        let mut refuse = |name: &str, given: bool| {
            if given {
                diag.fault(at.field(name), "is not supported yet");
            }
        };
        let direct = !proto.direct_source_prefix_ranges.is_empty();
        refuse("direct_source_prefix_ranges", direct);
        refuse("address_suffix", !proto.address_suffix.is_empty());
        refuse("suffix_len", proto.suffix_len.is_some());
        refuse("source_type", proto.source_type != 0);
        refuse("source_ports", !proto.source_ports.is_empty());
        let transport = proto.transport_protocol.as_str();
        if !["", "raw_buffer", "tls"].contains(&transport) {
            let rule = format!("must be raw_buffer or tls, got {transport:?}");
            diag.fault(at.field("transport_protocol"), rule);
        }
        let destination_port = proto.destination_port.as_ref().and_then(|port| {
            let number = u16::try_from(port.value).ok().filter(|port| *port > 0);
            let rule = || format!("must be from 1 to 65535, got {}", port.value);
            diag.keep(at.field("destination_port"), number.ok_or_else(rule))
        });
        let protocols = proto.application_protocols.iter();
        Self {
            destination_port,
            destination_prefixes: prefixes(&proto.prefix_ranges, "prefix_ranges", at, diag),
            source_prefixes: prefixes(
                &proto.source_prefix_ranges,
                "source_prefix_ranges",
                at,
                diag,
            ),
            server_names: server_names(&proto.server_names, at, diag),
            application_protocols: protocols.map(|it| it.as_str().into()).collect(),
            transport_protocol: transport.into(),
        }
    }
}

fn server_names(given: &[String], at: &FieldPath, diag: &mut Diagnostics) -> Vec<ServerNameMatch> {
    let mut names = Vec::with_capacity(given.len());
    for (index, name) in given.iter().enumerate() {
        let name = name.to_ascii_lowercase();
        let domain = name.strip_prefix('*').filter(|rest| rest.starts_with('.'));
        let rest = domain.unwrap_or(&name);
        if rest.is_empty() || rest.contains('*') {
            let rule = format!("must be a name or \"*.\" and a domain, got {name:?}");
            diag.fault(at.field("server_names").index(index), rule);
            continue;
        }
        names.push(match domain {
            Some(domain) => ServerNameMatch::Below(domain.into()),
            None => ServerNameMatch::Exact(rest.into()),
        });
    }
    names
}

fn prefixes(
    ranges: &[core::CidrRange],
    name: &str,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> Vec<Cidr> {
    let mut prefixes = Vec::with_capacity(ranges.len());
    for (index, range) in ranges.iter().enumerate() {
        prefixes.extend(diag.keep(at.field(name).index(index), Cidr::parse(range)));
    }
    prefixes
}

impl Cidr {
    pub(crate) fn parse(proto: &core::CidrRange) -> Result<Self, String> {
        let text = &proto.address_prefix;
        let address: IpAddr = text
            .parse()
            .map_err(|_| format!("{text:?} is not an IP address"))?;
        let bits: u8 = if address.is_ipv4() { 32 } else { 128 };
        let given = crate::proto::u32_or(&proto.prefix_len, 0);
        let length = u8::try_from(given).ok().filter(|length| *length <= bits);
        let length =
            length.ok_or_else(|| format!("prefix_len must be at most {bits}, got {given}"))?;
        Ok(Self::of(address, length))
    }

    /// The prefix of this length that holds `address`.
    pub(crate) fn of(address: IpAddr, length: u8) -> Self {
        Self {
            address: masked(address, length),
            length,
        }
    }
}

fn masked(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32u32.saturating_sub(length.into()));
            IpAddr::V4((u32::from(v4) & mask.unwrap_or(0)).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128u32.saturating_sub(length.into()));
            IpAddr::V6((u128::from(v6) & mask.unwrap_or(0)).into())
        }
    }
}
