//! One service: for each port its listener, routes and cluster.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use weft_config::gateway_api::http_route::HeaderModifier;
use weft_config::gateway_api::resources::PortView;
use weft_config::gateway_api::{AppProtocol, Spec};
use weft_xds_proto::any;
use weft_xds_proto::pb::envoy::config::core::v3::TrafficDirection;
use weft_xds_proto::pb::envoy::config::listener::v3::{ApiListener, Listener};
use weft_xds_proto::pb::envoy::config::route::v3::{Route, RouteAction};

use super::inputs::UnitInputs;
use super::policies::RoutePolicy;
use super::rules::{self, Share, Shares};
use super::{cluster, filters, grpc, http, index, tcp};
use crate::snapshot::proto::{
    FAULT, FiltersUsed, LOCAL_RATE_LIMIT, duration, rds_connection_manager,
};
use crate::snapshot::{ListenerTemplate, Resource, ResourceType, RouteUnit, encode_routes};

/// The resources of one port, its endpoints apart.
#[derive(Clone, Debug)]
pub(crate) struct PortParts {
    pub(crate) port: u16,
    pub(crate) listener: Arc<ListenerTemplate>,
    pub(crate) route: Option<Arc<RouteUnit>>,
    pub(crate) tcp_filter: Option<Bytes>,
    pub(crate) cluster: Arc<Resource>,
}

/// Translates the service of `inputs`.
pub(crate) fn build(inputs: &UnitInputs) -> Vec<PortParts> {
    let ports = ports(inputs);
    ports.iter().map(|port| build_port(inputs, port)).collect()
}

/// The ports that the mesh carries, ascending.
fn ports(inputs: &UnitInputs) -> Vec<PortView> {
    use weft_config::gateway_api::service::Transport;
    let mut ports = inputs.objects.service_ports(&inputs.service);
    if let Some(object) = inputs.objects.get(&inputs.service.key())
        && let Spec::Service(service) = &object.spec
    {
        ports.retain(|view| {
            let carried = |it: &&weft_config::gateway_api::service::ServicePort| {
                it.port == view.port && it.name == view.name && it.protocol == Transport::Tcp
            };
            service.ports.iter().any(|port| carried(&port))
        });
    }
    ports.sort_by_key(|port| port.port);
    ports.dedup_by_key(|port| port.port);
    ports
}

fn build_port(inputs: &UnitInputs, view: &PortView) -> PortParts {
    let name = inputs.resource_name(&inputs.service.name, view.port);
    let port_name = view.name.as_deref();
    let policy = RoutePolicy::of_service(inputs, port_name);
    let cluster = cluster::cluster(&name, view.app_protocol, &policy);
    let cluster = Arc::new(Resource::new(
        ResourceType::Cluster,
        name.as_str(),
        &cluster,
    ));
    if view.app_protocol == AppProtocol::Tcp {
        let filter = tcp::filter(inputs, view.port, port_name);
        return PortParts {
            port: view.port,
            tcp_filter: Some(filter.encode_to_vec().into()),
            listener: template(&tcp::listener(filter)),
            route: None,
            cluster,
        };
    }
    let routes = routes(inputs, view.port, port_name);
    let used = |filter: &str| {
        routes
            .iter()
            .any(|it| it.typed_per_filter_config.contains_key(filter))
    };
    let manager = rds_connection_manager(
        &name,
        &name,
        FiltersUsed {
            local_rate_limit: used(LOCAL_RATE_LIMIT),
            fault: used(FAULT),
        },
    );
    let listener = Listener {
        traffic_direction: TrafficDirection::Outbound.into(),
        api_listener: Some(ApiListener {
            api_listener: Some(any::pack(&manager)),
        }),
        ..Listener::default()
    };
    PortParts {
        port: view.port,
        listener: template(&listener),
        route: Some(Arc::new(RouteUnit::new(&name, encode_routes(routes)))),
        tcp_filter: None,
        cluster,
    }
}

fn template(listener: &Listener) -> Arc<ListenerTemplate> {
    Arc::new(ListenerTemplate::new(listener.encode_to_vec()))
}

/// All routes of a port in the order in which they are tried.
fn routes(inputs: &UnitInputs, port: u16, port_name: Option<&str>) -> Vec<Route> {
    let mut attached = false;
    let mut ranked = Vec::new();
    for object in &inputs.routes {
        if !attaches(inputs, &object.spec, port, port_name) {
            continue;
        }
        match &object.spec {
            Spec::HttpRoute(route) => {
                attached = true;
                ranked.extend(http::routes(inputs, object, route, port, port_name));
            }
            Spec::GrpcRoute(route) => {
                attached = true;
                ranked.extend(grpc::routes(inputs, object, route, port, port_name));
            }
            _ => {}
        }
    }
    if !attached {
        return unrouted(inputs, port, port_name);
    }
    // Stable: routes come by age, rules and conditions as written.
    ranked.sort_by_key(|it| it.rank);
    ranked.into_iter().map(|it| it.route).collect()
}

/// Without a route, everything goes to the service itself.
fn unrouted(inputs: &UnitInputs, port: u16, port_name: Option<&str>) -> Vec<Route> {
    let policy = RoutePolicy::of_service(inputs, port_name);
    let timeout = policy.request_timeout().map(|span| span.duration());
    let action = RouteAction {
        timeout: Some(duration(timeout.unwrap_or_default())),
        idle_timeout: policy.idle_timeout().map(|span| duration(span.duration())),
        retry_policy: policy.retry(),
        ..RouteAction::default()
    };
    let template = Route {
        typed_per_filter_config: filters::of_service(&policy),
        ..rules::everything(&format!("{}", inputs.service).replace(' ', "/"))
    };
    rules::forward(template, itself(inputs, port), action, 500)
}

/// The service's own cluster, all of it.
pub(crate) fn itself(inputs: &UnitInputs, port: u16) -> Shares {
    Shares {
        valid: vec![Share {
            cluster: inputs.resource_name(&inputs.service.name, port),
            weight: 1,
            request: HeaderModifier::default(),
            response: HeaderModifier::default(),
        }],
        broken: 0,
        why: String::new(),
    }
}

/// Whether a route applies to this port of the service.
pub(crate) fn attaches(
    inputs: &UnitInputs,
    spec: &Spec,
    port: u16,
    port_name: Option<&str>,
) -> bool {
    index::parents(spec).iter().any(|parent| {
        parent.service == inputs.service
            && parent.port.is_none_or(|wanted| wanted == port)
            && parent
                .section_name
                .as_deref()
                .is_none_or(|wanted| Some(wanted) == port_name)
    })
}
