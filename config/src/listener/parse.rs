//! Reading `Listener`.

#![expect(
    deprecated,
    reason = "older forms that control planes still send are read too"
)]

use std::net::SocketAddr;
use std::sync::Arc;

use weft_xds_proto::pb::envoy::config::core::v3 as core;
use weft_xds_proto::pb::envoy::config::listener::v3 as pb;
use weft_xds_proto::pb::envoy::extensions::filters::listener::original_src::v3::OriginalSrc;
use weft_xds_proto::pb::google::protobuf::Any;

use super::{
    ChainAction, Detection, Direction, FilterChain, FilterChainMatch, HttpConnectionManager,
    Listener,
};
use crate::diag::{Diagnostics, FieldPath};
use crate::listener::http::HCM;
use crate::proto::{bool_or, optional_duration, socket_addr, type_name, unpack};

impl Listener {
    /// Reads a listener, noting every fault and warning in `diag`.
    ///
    /// `None` means that it cannot be used.
    pub fn parse(proto: &pb::Listener, at: &FieldPath, diag: &mut Diagnostics) -> Option<Self> {
        let mut found = Diagnostics::new();
        let listener = read(proto, at, &mut found);
        let refused = found.has_faults();
        diag.extend(found);
        (!refused).then_some(listener)
    }
}

fn read(proto: &pb::Listener, at: &FieldPath, diag: &mut Diagnostics) -> Listener {
    if proto.name.is_empty() && proto.address.is_none() {
        diag.fault(at.field("name"), "must not be empty");
    }
    refuse_unsupported(proto, at, diag);
    let filters = ListenerFilters::parse(&proto.listener_filters, at, diag);
    let timeout = optional_duration(
        &proto.listener_filters_timeout,
        at,
        "listener_filters_timeout",
        diag,
    );
    let mut listener = Listener {
        name: proto.name.as_str().into(),
        address: bound_address(proto, at, diag),
        direction: Direction::parse(proto.traffic_direction),
        use_original_dst: filters.original_dst || bool_or(&proto.use_original_dst, false),
        transparent: bool_or(&proto.transparent, false),
        original_src: filters.original_src,
        application_ports: Arc::default(),
        detection: Detection {
            enabled: filters.inspector,
            timeout: timeout.unwrap_or(Detection::default().timeout),
        },
        filter_chains: Vec::new(),
        default_filter_chain: None,
        connections_max: None,
    };
    match &proto.api_listener {
        Some(api) => listener.default_filter_chain = api_chain(proto, api, at, diag),
        None => chains(&mut listener, proto, at, diag),
    }
    bound_buffers(&mut listener, proto, at, diag);
    let looked_at = |chain: &FilterChain| {
        !chain.matches.application_protocols.is_empty()
            || !chain.matches.transport_protocol.is_empty()
    };
    listener.detection.enabled |= listener.filter_chains.iter().any(looked_at);
    if listener.name.is_empty()
        && let Some(address) = listener.address
    {
        listener.name = address.to_string().into();
    }
    listener
}

fn refuse_unsupported(proto: &pb::Listener, at: &FieldPath, diag: &mut Diagnostics) {
    let mut refuse = |name: &str, given: bool| {
        if given {
            diag.fault(at.field(name), "is not supported yet");
        }
    };
    refuse(
        "additional_addresses",
        !proto.additional_addresses.is_empty(),
    );
    refuse("fcds_config", proto.fcds_config.is_some());
    refuse("filter_chain_matcher", proto.filter_chain_matcher.is_some());
    refuse("udp_listener_config", proto.udp_listener_config.is_some());
    refuse("internal_listener", proto.listener_specifier.is_some());
    let unbound = |it: &pb::listener::DeprecatedV1| !bool_or(&it.bind_to_port, true);
    let unbound = proto.deprecated_v1.as_ref().is_some_and(unbound);
    refuse(
        "bind_to_port",
        unbound || !bool_or(&proto.bind_to_port, true),
    );
    let mut ignored = |name: &str, given: bool| {
        if given {
            diag.warn(at.field(name), "is not supported yet and ignored");
        }
    };
    ignored("access_log", !proto.access_log.is_empty());
    ignored("socket_options", !proto.socket_options.is_empty());
    ignored("freebind", bool_or(&proto.freebind, false));
    ignored("tcp_keepalive", proto.tcp_keepalive.is_some());
    ignored("enable_mptcp", proto.enable_mptcp);
}

/// An API listener is never bound, and what is looked up by name needs no address.
fn bound_address(
    proto: &pb::Listener,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> Option<SocketAddr> {
    use core::address::Address;
    if proto.api_listener.is_some() {
        return None;
    }
    let address = match proto.address.as_ref()?.address.as_ref() {
        Some(Address::SocketAddress(socket)) => socket_addr(socket),
        Some(Address::Pipe(_)) => Err("listening on a pipe is not supported yet".to_owned()),
        Some(Address::EnvoyInternalAddress(_)) => {
            Err("internal addresses are not supported".to_owned())
        }
        None => Err("has no socket_address".to_owned()),
    };
    diag.keep(at.field("address"), address)
}

impl Direction {
    fn parse(value: i32) -> Self {
        match core::TrafficDirection::try_from(value) {
            Ok(core::TrafficDirection::Inbound) => Self::Inbound,
            Ok(core::TrafficDirection::Outbound) => Self::Outbound,
            Ok(core::TrafficDirection::Unspecified) | Err(_) => Self::Unspecified,
        }
    }
}

const ORIGINAL_SRC: &str = "envoy.extensions.filters.listener.original_src.v3.OriginalSrc";

/// What of `OriginalSrc` cannot be honoured would change how answers find their way back.
fn original_src(config: &Any, at: &FieldPath, diag: &mut Diagnostics) {
    let Some(proto) = unpack::<OriginalSrc>(config, at, diag) else {
        return;
    };
    if proto.bind_port {
        let rule =
            "must be false: the downstream's port may be that of a connection which is there";
        diag.fault(at.field("bind_port"), rule);
    }
    if proto.mark != 0 {
        let rule = "must be 0: weft-proxy redirect marks answers by connection";
        diag.fault(at.field("mark"), rule);
    }
}

/// What the listener filters ask for.
#[derive(Default)]
struct ListenerFilters {
    original_dst: bool,
    original_src: bool,
    inspector: bool,
}

impl ListenerFilters {
    fn parse(filters: &[pb::ListenerFilter], at: &FieldPath, diag: &mut Diagnostics) -> Self {
        use pb::listener_filter::ConfigType;
        let mut asked = Self::default();
        for (index, filter) in filters.iter().enumerate() {
            let at = at.field("listener_filters").index(index);
            if filter.filter_disabled.is_some() {
                diag.fault(at.field("filter_disabled"), "is not supported yet");
            }
            let name = match &filter.config_type {
                Some(ConfigType::TypedConfig(config)) => type_name(config),
                Some(ConfigType::ConfigDiscovery(_)) => "config_discovery",
                None => filter.name.as_str(),
            };
            match name {
                "envoy.extensions.filters.listener.original_dst.v3.OriginalDst"
                | "envoy.filters.listener.original_dst" => asked.original_dst = true,
                ORIGINAL_SRC => {
                    asked.original_src = true;
                    if let Some(ConfigType::TypedConfig(config)) = &filter.config_type {
                        original_src(config, &at.field("typed_config"), diag);
                    }
                }
                "envoy.filters.listener.original_src" => asked.original_src = true,
                "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
                | "envoy.filters.listener.tls_inspector"
                | "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector"
                | "envoy.filters.listener.http_inspector" => asked.inspector = true,
                // Among others `proxy_protocol`: without it, the wrong peer would be let in.
                name => diag.fault(at, format!("{name} is not supported yet")),
            }
        }
        asked
    }
}

fn api_chain(
    proto: &pb::Listener,
    api: &pb::ApiListener,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> Option<FilterChain> {
    if !proto.filter_chains.is_empty() || proto.default_filter_chain.is_some() {
        diag.fault(
            at.field("filter_chains"),
            "must be empty beside an api_listener",
        );
    }
    let at = at.field("api_listener").field("api_listener");
    let Some(config) = &api.api_listener else {
        diag.fault(at, "is missing");
        return None;
    };
    if type_name(config) != HCM {
        diag.fault(at, format!("must hold {HCM}, got {:?}", type_name(config)));
        return None;
    }
    let hcm = HttpConnectionManager::parse(&unpack(config, &at, diag)?, &at, diag)?;
    Some(FilterChain {
        name: "api_listener".into(),
        matches: FilterChainMatch::default(),
        tls: None,
        access: Vec::new(),
        action: ChainAction::Http(Arc::new(hcm)),
    })
}

fn chains(listener: &mut Listener, proto: &pb::Listener, at: &FieldPath, diag: &mut Diagnostics) {
    for (index, chain) in proto.filter_chains.iter().enumerate() {
        let at = at.field("filter_chains").index(index);
        let Some(chain) = FilterChain::parse(chain, &at, diag) else {
            continue;
        };
        // Two equal matches leave it open which chain is meant (gRFC A36).
        let twin = listener
            .filter_chains
            .iter()
            .position(|it| it.matches == chain.matches);
        if let Some(twin) = twin {
            let rule = format!("is the same as that of filter_chains[{twin}]");
            diag.fault(at.field("filter_chain_match"), rule);
        }
        listener.filter_chains.push(chain);
    }
    if let Some(chain) = &proto.default_filter_chain {
        let at = at.field("default_filter_chain");
        listener.default_filter_chain = FilterChain::parse(chain, &at, diag);
    }
    if proto.filter_chains.is_empty() && proto.default_filter_chain.is_none() {
        diag.fault(at.field("filter_chains"), "must not be empty");
    }
}

/// `per_connection_buffer_limit_bytes` bounds what is held for a side of a request that does not take it.
fn bound_buffers(
    listener: &mut Listener,
    proto: &pb::Listener,
    at: &FieldPath,
    diag: &mut Diagnostics,
) {
    let Some(limit) = &proto.per_connection_buffer_limit_bytes else {
        return;
    };
    let bytes = usize::try_from(limit.value).unwrap_or(usize::MAX);
    if bytes == 0 {
        let at = at.field("per_connection_buffer_limit_bytes");
        return diag.warn(at, "0, no limit, is not supported; the default is used");
    }
    let chains = listener.filter_chains.iter_mut();
    for chain in chains.chain(&mut listener.default_filter_chain) {
        if let ChainAction::Http(hcm) = &mut chain.action {
            Arc::make_mut(hcm).limits.buffer_bytes_max = bytes;
        }
    }
}

#[cfg(test)]
mod tests;
