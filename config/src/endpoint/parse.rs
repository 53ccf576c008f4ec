//! Reading `ClusterLoadAssignment`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use weft_xds_proto::pb::envoy::config::core::v3 as core;
use weft_xds_proto::pb::envoy::config::endpoint::v3 as pb;
use weft_xds_proto::pb::google::protobuf::{Value, value::Kind};

use super::{
    Address, DnsEndpoint, DnsTarget, Endpoint, EndpointSet, Health, Locality, LocalityEndpoints,
};
use crate::diag::{Diagnostics, FieldPath};
use crate::proto::{per_million, port, socket_addr, u32_or};

/// Percentage by which a priority may lose health before traffic spills over, where nothing is said.
const OVERPROVISIONING_PERCENT: u32 = 140;
/// Highest priority that xDS allows.
const PRIORITY_MAX: u32 = 128;

impl EndpointSet {
    /// Reads the endpoints of one cluster, noting every fault and warning in `diag`.
    ///
    /// `None` means that they cannot be used.
    pub fn parse(
        proto: &pb::ClusterLoadAssignment,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<Self> {
        let mut found = Diagnostics::new();
        let policy = proto.policy.clone().unwrap_or_default();
        let overprovisioning = u32_or(&policy.overprovisioning_factor, OVERPROVISIONING_PERCENT);
        if overprovisioning < 100 {
            let rule = format!("must be at least 100, got {overprovisioning}");
            found.fault(at.field("policy").field("overprovisioning_factor"), rule);
        }
        let mut localities = parse_localities(proto, at, &mut found);
        check_localities(&localities, at, &mut found);
        localities.sort_by_key(|locality| locality.priority);
        let drop_per_million = dropped(&policy, &at.field("policy"), &mut found);
        let refused = found.has_faults();
        diag.extend(found);
        (!refused).then_some(Self {
            localities,
            overprovisioning_percent: overprovisioning,
            drop_per_million,
        })
    }
}

fn parse_localities(
    proto: &pb::ClusterLoadAssignment,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> Vec<LocalityEndpoints> {
    let mut localities = Vec::with_capacity(proto.endpoints.len());
    for (index, locality) in proto.endpoints.iter().enumerate() {
        let at = at.field("endpoints").index(index);
        if !has_traffic(locality) {
            continue;
        }
        let mut endpoints = Vec::with_capacity(locality.lb_endpoints.len());
        for (index, endpoint) in locality.lb_endpoints.iter().enumerate() {
            let at = at.field("lb_endpoints").index(index);
            endpoints.extend(Endpoint::parse(endpoint, &proto.named_endpoints, &at, diag));
        }
        check_weights(endpoints.iter().map(|it| it.weight), "endpoints", &at, diag);
        if locality.lb_config.is_some() {
            diag.fault(at.field("lb_config"), "is not supported yet");
        }
        localities.push(LocalityEndpoints {
            locality: Locality::parse(&locality.locality),
            priority: locality.priority,
            weight: u32_or(&locality.load_balancing_weight, 1),
            endpoints,
        });
    }
    localities
}

/// A locality with a weight of 0 takes no traffic; not given, localities are not weighted.
fn has_traffic(locality: &pb::LocalityLbEndpoints) -> bool {
    u32_or(&locality.load_balancing_weight, 1) > 0
}

/// No priority may be missing, no locality or address stand twice, and weights must add up within a u32 (gRFC A27,
/// A37).
fn check_localities(localities: &[LocalityEndpoints], at: &FieldPath, diag: &mut Diagnostics) {
    let at = at.field("endpoints");
    let mut by_priority: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let mut seen = HashSet::new();
    let mut addresses = HashSet::new();
    for locality in localities {
        let weights = by_priority.entry(locality.priority).or_default();
        weights.push(locality.weight);
        if !seen.insert((locality.priority, &locality.locality)) {
            let Locality {
                region,
                zone,
                sub_zone,
            } = &locality.locality;
            let place = format!("{region}/{zone}/{sub_zone}");
            let priority = locality.priority;
            diag.fault(
                at.clone(),
                format!("locality {place} stands twice in priority {priority}"),
            );
        }
        for endpoint in &locality.endpoints {
            if !addresses.insert(&endpoint.address) {
                diag.fault(
                    at.clone(),
                    format!("address {} stands twice", endpoint.address),
                );
            }
        }
    }
    for (expected, (priority, weights)) in (0..).zip(by_priority) {
        if priority != expected {
            let rule = format!("priority {expected} is missing, the next is {priority}");
            diag.fault(at.clone(), rule);
            return;
        }
        check_weights(weights.into_iter(), "localities", &at, diag);
    }
}

fn check_weights(
    weights: impl Iterator<Item = u32>,
    of: &str,
    at: &FieldPath,
    diag: &mut Diagnostics,
) {
    let total: u64 = weights.map(u64::from).sum();
    if total > u64::from(u32::MAX) {
        let rule = format!("weights of {of} must add up to at most 4294967295, got {total}");
        diag.fault(at.clone(), rule);
    }
}

/// Categories are tried one after the other, so the shares that pass multiply.
fn dropped(
    policy: &pb::cluster_load_assignment::Policy,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> u32 {
    let mut passing = 1_000_000u64;
    for (index, overload) in policy.drop_overloads.iter().enumerate() {
        let at = at.field("drop_overloads").index(index);
        let share = overload.drop_percentage.as_ref().map_or(Ok(0), per_million);
        let share = diag.keep(at, share).unwrap_or(0);
        passing = passing * u64::from(1_000_000 - share) / 1_000_000;
    }
    u32::try_from(1_000_000 - passing).unwrap_or(0)
}

impl Endpoint {
    fn parse(
        proto: &pb::LbEndpoint,
        named: &HashMap<String, pb::Endpoint>,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<Self> {
        let endpoint = diag.keep(at.clone(), body(proto, named))?;
        let at_endpoint = at.field("endpoint");
        if !endpoint.additional_addresses.is_empty() {
            let ignored = "is not supported yet and ignored";
            diag.warn(at_endpoint.field("additional_addresses"), ignored);
        }
        let address = Address::parse(&endpoint.address);
        let address = diag.keep(at_endpoint.field("address"), address);
        let weight = u32_or(&proto.load_balancing_weight, 1);
        if weight == 0 {
            diag.fault(at.field("load_balancing_weight"), "must be above 0");
        }
        Some(Self {
            address: address?,
            weight,
            health: Health::parse(proto.health_status),
            hostname: endpoint.hostname.as_str().into(),
            metadata: metadata(&proto.metadata, "envoy.lb"),
            socket_labels: metadata(&proto.metadata, SOCKET_LABELS).into(),
        })
    }
}

/// The endpoint itself, or the one of `named_endpoints` that is referred to.
fn body<'p>(
    proto: &'p pb::LbEndpoint,
    named: &'p HashMap<String, pb::Endpoint>,
) -> Result<&'p pb::Endpoint, String> {
    use pb::lb_endpoint::HostIdentifier;
    match &proto.host_identifier {
        Some(HostIdentifier::Endpoint(endpoint)) => Ok(endpoint),
        Some(HostIdentifier::EndpointName(name)) => named
            .get(name)
            .ok_or_else(|| format!("{name:?} is not among named_endpoints")),
        None => Err("has no endpoint".to_owned()),
    }
}

impl Address {
    /// Reads an address that is not a name.
    pub(crate) fn parse(proto: &Option<core::Address>) -> Result<Self, String> {
        match proto.as_ref().and_then(|it| it.address.as_ref()) {
            Some(core::address::Address::SocketAddress(socket)) => {
                let address = socket_addr(socket)?;
                if address.port() == 0 {
                    return Err("port must be above 0".to_owned());
                }
                Ok(Self::Socket(address))
            }
            Some(core::address::Address::Pipe(pipe)) if !pipe.path.is_empty() => {
                Ok(Self::Pipe(pipe.path.as_str().into()))
            }
            Some(core::address::Address::Pipe(_)) => Err("pipe has no path".to_owned()),
            Some(core::address::Address::EnvoyInternalAddress(_)) => {
                Err("internal addresses are not supported".to_owned())
            }
            None => Err("has no address".to_owned()),
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(address) => write!(f, "{address}"),
            Self::Pipe(path) => f.write_str(path),
        }
    }
}

impl Locality {
    fn parse(proto: &Option<core::Locality>) -> Self {
        let Some(proto) = proto else {
            return Self::default();
        };
        Self {
            region: proto.region.as_str().into(),
            zone: proto.zone.as_str().into(),
            sub_zone: proto.sub_zone.as_str().into(),
        }
    }
}

impl Health {
    fn parse(status: i32) -> Self {
        match core::HealthStatus::try_from(status) {
            Ok(core::HealthStatus::Unknown | core::HealthStatus::Healthy) => Self::Healthy,
            Ok(core::HealthStatus::Degraded) => Self::Degraded,
            Ok(core::HealthStatus::Draining) => Self::Draining,
            // A status that is newer than we are is no promise of health.
            Ok(core::HealthStatus::Unhealthy | core::HealthStatus::Timeout) | Err(_) => {
                Self::Unhealthy
            }
        }
    }
}

/// Where labels stand that a cluster's `transport_socket_matches` ask for.
const SOCKET_LABELS: &str = "envoy.transport_socket_match";

fn metadata(proto: &Option<core::Metadata>, under: &str) -> BTreeMap<String, String> {
    let found = proto.as_ref().and_then(|it| it.filter_metadata.get(under));
    let fields = found.into_iter().flat_map(|it| &it.fields);
    fields
        .filter_map(|(key, value)| Some((key.clone(), text(value)?)))
        .collect()
}

/// A label's value as text.
pub(crate) fn text(value: &Value) -> Option<String> {
    match &value.kind {
        Some(Kind::StringValue(text)) => Some(text.clone()),
        Some(Kind::NumberValue(number)) => Some(number.to_string()),
        Some(Kind::BoolValue(bool)) => Some(bool.to_string()),
        _ => None,
    }
}

/// Reads the endpoints of a cluster whose names the proxy resolves; an IP address is a name that resolves to itself.
pub(crate) fn dns_endpoints(
    proto: &pb::ClusterLoadAssignment,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> Vec<DnsEndpoint> {
    let mut endpoints = Vec::new();
    for (index, locality) in proto.endpoints.iter().enumerate() {
        let at = at.field("endpoints").index(index);
        if locality.priority > PRIORITY_MAX {
            diag.fault(
                at.field("priority"),
                format!("must be at most {PRIORITY_MAX}"),
            );
        }
        for (index, endpoint) in locality.lb_endpoints.iter().enumerate() {
            let at = at.field("lb_endpoints").index(index);
            let target =
                body(endpoint, &proto.named_endpoints).and_then(|it| DnsTarget::parse(&it.address));
            let weight = u32_or(&endpoint.load_balancing_weight, 1);
            if weight == 0 {
                diag.fault(at.field("load_balancing_weight"), "must be above 0");
            }
            endpoints.extend(diag.keep(at, target).map(|target| DnsEndpoint {
                target,
                locality: Locality::parse(&locality.locality),
                priority: locality.priority,
                weight,
                socket_labels: metadata(&endpoint.metadata, SOCKET_LABELS).into(),
            }));
        }
    }
    endpoints
}

impl DnsTarget {
    fn parse(proto: &Option<core::Address>) -> Result<Self, String> {
        let Some(core::address::Address::SocketAddress(socket)) =
            proto.as_ref().and_then(|it| it.address.as_ref())
        else {
            return Err("has no socket_address".to_owned());
        };
        let port = port(socket)?;
        if port == 0 {
            return Err("port must be above 0".to_owned());
        }
        let host = socket.address.trim_end_matches('.');
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"/?#@[]".contains(&byte);
        if host.is_empty() || host.len() > 253 || !host.bytes().all(plain) {
            return Err(format!("{:?} is not a host name", socket.address));
        }
        Ok(Self {
            host: Arc::from(host.to_ascii_lowercase()),
            port,
        })
    }
}

#[cfg(test)]
mod tests;
