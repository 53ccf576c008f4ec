//! Reading `Cluster`.

#![expect(
    deprecated,
    reason = "older forms that control planes still send are read too"
)]

use std::sync::Arc;
use std::time::Duration;

use weft_xds_proto::pb::envoy::config::cluster::v3 as pb;
use weft_xds_proto::pb::envoy::config::core::v3 as core;

use super::{
    Balancer, CircuitBreakers, Cluster, Discovery, OutlierDetection, SocketMatch, TcpKeepalive,
};
use crate::cluster::protocol::Protocol;
use crate::diag::{Diagnostics, FieldPath};
use crate::endpoint::text;
use crate::proto::{positive_duration, u32_or};
use crate::tls::UpstreamTls;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// `CommonLbConfig.healthy_panic_threshold` where nothing is said.
const PANIC_THRESHOLD_PERCENT: f64 = 50.0;

impl Cluster {
    /// Reads a cluster, noting every fault and warning in `diag`.
    ///
    /// `None` means that it cannot be used.
    pub fn parse(proto: &pb::Cluster, at: &FieldPath, diag: &mut Diagnostics) -> Option<Self> {
        let mut found = Diagnostics::new();
        let cluster = read(proto, at, &mut found);
        let refused = found.has_faults();
        diag.extend(found);
        cluster.filter(|_| !refused)
    }
}

fn read(proto: &pb::Cluster, at: &FieldPath, diag: &mut Diagnostics) -> Option<Cluster> {
    if proto.name.is_empty() {
        diag.fault(at.field("name"), "must not be empty");
    }
    refuse_unsupported(proto, at, diag);
    let socket = &proto.transport_socket;
    let tls = UpstreamTls::of_socket(socket, &at.field("transport_socket"), diag);
    let discovery = Discovery::parse(proto, at, diag);
    let original_dst = discovery == Some(Discovery::OriginalDst);
    let balancer = Balancer::parse(proto, original_dst, at, diag);
    let protocol = Protocol::parse(proto, at, diag);
    let connect_timeout = positive_duration(&proto.connect_timeout, at, "connect_timeout", diag);
    let breakers = proto.circuit_breakers.as_ref();
    let breakers =
        breakers.map(|it| CircuitBreakers::parse(it, &at.field("circuit_breakers"), diag));
    let outlier = proto.outlier_detection.as_ref();
    let outlier =
        outlier.map(|it| OutlierDetection::parse(it, &at.field("outlier_detection"), diag));
    let options = proto.upstream_connection_options.as_ref();
    let keepalive = options.and_then(|it| it.tcp_keepalive.as_ref());
    Some(Cluster {
        name: proto.name.as_str().into(),
        discovery: discovery?,
        balancer: balancer?,
        connect_timeout: connect_timeout.unwrap_or(CONNECT_TIMEOUT),
        protocol: protocol.protocol,
        http2: protocol.http2,
        circuit_breakers: breakers.unwrap_or_default(),
        outlier_detection: outlier,
        idle_timeout: protocol.idle_timeout,
        requests_per_connection_max: protocol.requests_per_connection_max,
        panic_threshold_percent: panic_threshold(proto, at, diag),
        tcp_keepalive: keepalive.map(TcpKeepalive::parse),
        tls: tls.map(Arc::new),
        socket_matches: socket_matches(proto, at, diag),
    })
}

/// Forms of transport in one cluster.
const SOCKET_MATCHES_MAX: usize = 64;

fn socket_matches(proto: &pb::Cluster, at: &FieldPath, diag: &mut Diagnostics) -> Vec<SocketMatch> {
    let at = at.field("transport_socket_matches");
    let count = proto.transport_socket_matches.len();
    if count > SOCKET_MATCHES_MAX {
        let rule = format!("must be at most {SOCKET_MATCHES_MAX}, got {count}");
        diag.fault(at, rule);
        return Vec::new();
    }
    let mut matches: Vec<SocketMatch> = Vec::with_capacity(count);
    for (index, proto) in proto.transport_socket_matches.iter().enumerate() {
        let at = at.index(index);
        let socket = &proto.transport_socket;
        let tls = UpstreamTls::of_socket(socket, &at.field("transport_socket"), diag);
        let tls = tls.map(Arc::new);
        // Clusters tend to have the same context twice; sessions are kept by context.
        let same = matches.iter().find(|it| it.tls == tls);
        let tls = same.map_or(tls, |it| it.tls.clone());
        let fields = proto.r#match.iter().flat_map(|it| &it.fields);
        let at = at.field("match");
        let labels = fields.filter_map(|(name, value)| {
            let value = text(value).ok_or("must be a text, a number or a boolean");
            let value = diag.keep(at.key(name), value.map_err(str::to_owned))?;
            Some((name.clone(), value))
        });
        let labels = labels.collect();
        matches.push(SocketMatch { labels, tls });
    }
    matches
}

/// What would change where requests go, or who gets in, if it were ignored.
fn refuse_unsupported(proto: &pb::Cluster, at: &FieldPath, diag: &mut Diagnostics) {
    let mut refuse = |name: &str, given: bool| {
        if given {
            diag.fault(at.field(name), "is not supported yet");
        }
    };
    refuse("health_checks", !proto.health_checks.is_empty());
    refuse(
        "transport_socket_matcher",
        proto.transport_socket_matcher.is_some(),
    );
    refuse("lb_subset_config", proto.lb_subset_config.is_some());
    refuse("upstream_bind_config", proto.upstream_bind_config.is_some());
    refuse("filters", !proto.filters.is_empty());
    refuse("upstream_config", proto.upstream_config.is_some());
    refuse(
        "connection_pool_per_downstream_connection",
        proto.connection_pool_per_downstream_connection,
    );
    let mut ignored = |name: &str, given: bool| {
        if given {
            diag.warn(at.field(name), "is not supported yet and ignored");
        }
    };
    ignored("dns_resolvers", !proto.dns_resolvers.is_empty());
    ignored(
        "dns_resolution_config",
        proto.dns_resolution_config.is_some(),
    );
    ignored(
        "typed_dns_resolver_config",
        proto.typed_dns_resolver_config.is_some(),
    );
    ignored("preconnect_policy", proto.preconnect_policy.is_some());
    let drops = proto.close_connections_on_host_health_failure;
    ignored("close_connections_on_host_health_failure", drops);
}

fn panic_threshold(proto: &pb::Cluster, at: &FieldPath, diag: &mut Diagnostics) -> u8 {
    let common = proto.common_lb_config.as_ref();
    let given = common.and_then(|it| it.healthy_panic_threshold.as_ref());
    let percent = given.map_or(PANIC_THRESHOLD_PERCENT, |it| it.value);
    if !(0.0..=100.0).contains(&percent) {
        let at = at
            .field("common_lb_config")
            .field("healthy_panic_threshold");
        diag.fault(at, format!("must be from 0 to 100, got {percent}"));
    }
    // A float that is out of range becomes the nearest end.
    percent.round() as u8
}

impl TcpKeepalive {
    /// What is not given is Linux's default.
    fn parse(proto: &core::TcpKeepalive) -> Self {
        let seconds = |value, default| Duration::from_secs(u32_or(value, default).max(1).into());
        Self {
            time: seconds(&proto.keepalive_time, 7200),
            interval: seconds(&proto.keepalive_interval, 75),
            probes: u32_or(&proto.keepalive_probes, 9).max(1),
        }
    }
}

#[cfg(test)]
mod tests;
