//! TCP services: one filter, by weight.

use weft_config::gateway_api::{Kind, Spec};
use weft_xds_proto::pb::envoy::config::core::v3::TrafficDirection;
use weft_xds_proto::pb::envoy::config::listener::v3::{Filter, FilterChain, Listener};
use weft_xds_proto::pb::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use weft_xds_proto::pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::{
    ClusterSpecifier, WeightedCluster, weighted_cluster::ClusterWeight,
};

use super::backend;
use super::inputs::UnitInputs;
use super::policies::RoutePolicy;
use super::unit::attaches;
use crate::snapshot::proto::{TCP_PROXY, duration, network_filter};

/// The filter of a TCP port. A route's backend that cannot be sent to keeps its share, on a cluster that does not exist:
/// those connections are closed, as Gateway API asks for.
pub(crate) fn filter(inputs: &UnitInputs, port: u16, port_name: Option<&str>) -> Filter {
    let own = inputs.resource_name(&inputs.service.name, port);
    let policy = RoutePolicy::of_service(inputs, port_name);
    let clusters = routed(inputs, port, port_name).unwrap_or_else(|| vec![(own.clone(), 1)]);
    let proxy = TcpProxy {
        stat_prefix: own,
        idle_timeout: policy.idle_timeout().map(|span| duration(span.duration())),
        cluster_specifier: Some(specifier(clusters)),
        ..TcpProxy::default()
    };
    network_filter(TCP_PROXY, &proxy)
}

/// A listener that lacks its name, around the filter.
pub(crate) fn listener(filter: Filter) -> Listener {
    Listener {
        traffic_direction: TrafficDirection::Outbound.into(),
        filter_chains: vec![FilterChain {
            name: "tcp".to_owned(),
            filters: vec![filter],
            ..FilterChain::default()
        }],
        ..Listener::default()
    }
}

/// The oldest route's backends; `None` where none is attached.
fn routed(inputs: &UnitInputs, port: u16, port_name: Option<&str>) -> Option<Vec<(String, u32)>> {
    let (object, route) = inputs.routes.iter().find_map(|object| match &object.spec {
        Spec::TcpRoute(route) if attaches(inputs, &object.spec, port, port_name) => {
            Some((object, route))
        }
        _ => None,
    })?;
    let rule = route.rules.first()?;
    let clusters = rule.backend_refs.iter().filter(|it| it.weight > 0);
    let clusters: Vec<_> = clusters
        .map(|it| {
            let namespace = &object.metadata.namespace;
            let name = match backend::check(&inputs.objects, Kind::TcpRoute, namespace, it) {
                Ok(()) => inputs.resource_name(&it.service.name, it.port),
                Err(_) => REFUSED.to_owned(),
            };
            (name, it.weight)
        })
        .collect();
    match clusters.is_empty() {
        true => Some(vec![(REFUSED.to_owned(), 1)]),
        false => Some(clusters),
    }
}

fn specifier(mut clusters: Vec<(String, u32)>) -> ClusterSpecifier {
    if clusters.len() == 1
        && let Some((name, _)) = clusters.pop()
    {
        return ClusterSpecifier::Cluster(name);
    }
    let clusters = clusters.into_iter().map(|(name, weight)| ClusterWeight {
        name,
        weight,
        metadata_match: None,
    });
    ClusterSpecifier::WeightedClusters(WeightedCluster {
        clusters: clusters.collect(),
    })
}

/// A cluster that never exists.
const REFUSED: &str = "refused";
