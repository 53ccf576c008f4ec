//! TCP services, and what is opaque of those that have not said what they speak: one filter, by weight.

use weft_config::gateway_api::http_route::HeaderModifier;
use weft_config::gateway_api::resources::PortView;
use weft_config::gateway_api::{Object, Spec, TcpRoute};
use weft_xds_proto::pb::envoy::config::core::v3::TrafficDirection;
use weft_xds_proto::pb::envoy::config::listener::v3::{
    Filter, FilterChain, FilterChainMatch, Listener,
};
use weft_xds_proto::pb::envoy::extensions::filters::listener::http_inspector::v3::HttpInspector;
use weft_xds_proto::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use weft_xds_proto::pb::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use weft_xds_proto::pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::{
    ClusterSpecifier, WeightedCluster, weighted_cluster::ClusterWeight,
};

use super::backend;
use super::inputs::UnitInputs;
use super::policies::RoutePolicy;
use super::rules::Shares;
use crate::snapshot::proto::{
    HCM, HTTP_PROTOCOLS, TCP_PROXY, duration, listener_filter, network_filter,
};

/// The filter of a TCP port. A route's backend that cannot be sent to keeps its share, on a cluster that does not exist:
/// those connections are closed, as Gateway API asks for.
pub(crate) fn filter(inputs: &UnitInputs, view: &PortView, attached: &[&Object]) -> Filter {
    let own = inputs.resource_name(&inputs.service.name, view.port);
    let policy = RoutePolicy::of_service(inputs, view.name.as_deref());
    let clusters = routed(inputs, attached).unwrap_or_else(|| vec![(own.clone(), 1)]);
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

/// The same for a port that may speak anything: requests where the first bytes are HTTP, else the filter.
pub(crate) fn detecting_listener(filter: Filter, requests: &HttpConnectionManager) -> Listener {
    let mut listener = listener(filter);
    listener.filter_chains.push(FilterChain {
        name: "http".to_owned(),
        filter_chain_match: Some(FilterChainMatch {
            application_protocols: HTTP_PROTOCOLS.map(str::to_owned).into(),
            ..FilterChainMatch::default()
        }),
        filters: vec![network_filter(HCM, requests)],
        ..FilterChain::default()
    });
    listener.listener_filters.push(listener_filter(
        "envoy.filters.listener.http_inspector",
        &HttpInspector::default(),
    ));
    listener
}

/// The oldest route's backends, for requests on a port without a route for them; `None` where no `TCPRoute` is attached.
pub(crate) fn shares(inputs: &UnitInputs, attached: &[&Object]) -> Option<Shares> {
    let (object, route) = oldest(attached)?;
    let backends = route.rules.iter().flat_map(|rule| &rule.backend_refs);
    let unchanged = HeaderModifier::default;
    let backends = backends.map(|backend| (backend, unchanged(), unchanged()));
    Some(Shares::new(inputs, object, backends))
}

/// The oldest route's backends; `None` where none is attached.
fn routed(inputs: &UnitInputs, attached: &[&Object]) -> Option<Vec<(String, u32)>> {
    let (object, route) = oldest(attached)?;
    let rule = route.rules.first()?;
    let clusters = rule.backend_refs.iter().filter(|it| it.weight > 0);
    let clusters: Vec<_> = clusters
        .map(|it| {
            let name = match backend::check(&inputs.objects, object, it) {
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

fn oldest<'a>(attached: &[&'a Object]) -> Option<(&'a Object, &'a TcpRoute)> {
    attached.iter().find_map(|object| match &object.spec {
        Spec::TcpRoute(route) => Some((*object, route)),
        _ => None,
    })
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
