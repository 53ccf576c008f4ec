//! One service: for each port its listeners, routes and cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use prost::Message;
use weft_config::gateway_api::resources::PortView;
use weft_config::gateway_api::{AppProtocol, Kind, Object, Spec};
use weft_xds_proto::any;
use weft_xds_proto::pb::envoy::config::cluster::v3::Cluster;
use weft_xds_proto::pb::envoy::config::core::v3::TrafficDirection;
use weft_xds_proto::pb::envoy::config::listener::v3::{ApiListener, Listener};
use weft_xds_proto::pb::envoy::config::route::v3::Route;

use super::inputs::UnitInputs;
use super::policies::RoutePolicy;
use super::rules::{self, Shares};
use super::{backend_tls, cluster, filters, grpc, http, index, mesh_tls, tcp, template};
use crate::snapshot::proto::{FAULT, FiltersUsed, LOCAL_RATE_LIMIT, rds_connection_manager};
use crate::snapshot::{
    ListenerTemplate, Outbound, Resource, ResourceType, RouteUnit, encode_routes,
};

/// The resources of one port, its endpoints apart.
#[derive(Clone, Debug)]
pub(crate) struct PortParts {
    pub(crate) port: u16,
    pub(crate) outbound: Outbound,
    pub(crate) consumers: BTreeMap<Arc<str>, Outbound>,
    pub(crate) cluster: Arc<Resource>,
    /// The cluster for sidecars that have an identity.
    pub(crate) mesh_cluster: Option<Arc<Resource>>,
}

impl PortParts {
    /// Every form in which downstreams are given the port.
    pub(crate) fn outbounds(&self) -> impl Iterator<Item = &Outbound> {
        std::iter::once(&self.outbound).chain(self.consumers.values())
    }
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
    let policy = RoutePolicy::of_service(inputs, view.name.as_deref());
    let cluster = Cluster {
        transport_socket: backend_tls::towards(inputs, view.app_protocol, &policy),
        ..cluster::cluster(&name, view.app_protocol, &policy)
    };
    let encoded =
        |cluster: &Cluster| Arc::new(Resource::new(ResourceType::Cluster, name.as_str(), cluster));
    let mesh_cluster = (!inputs.identities.is_empty()).then(|| {
        encoded(&Cluster {
            transport_socket_matches: vec![mesh_tls::towards(&inputs.identities)],
            ..cluster.clone()
        })
    });
    let attached: Vec<&Object> = inputs
        .routes
        .iter()
        .map(|route| &**route)
        .filter(|route| attaches(inputs, route, view))
        .collect();
    let of_namespace = |namespace: &str| {
        let routes = attached.iter().copied();
        let routes: Vec<&Object> = routes
            .filter(|route| route.metadata.namespace == namespace)
            .collect();
        outbound(inputs, view, &routes)
    };
    // Routes of another namespace than the service's are for its downstreams alone, and take the place of the service's
    // own for them (GEP-1294: consumer routes).
    let home = inputs.service.name.namespace.as_str();
    let namespaces = attached
        .iter()
        .map(|route| route.metadata.namespace.as_str());
    let consumers: BTreeSet<&str> = namespaces.filter(|it| *it != home).collect();
    PortParts {
        port: view.port,
        outbound: of_namespace(home),
        consumers: consumers
            .into_iter()
            .map(|namespace| (namespace.into(), of_namespace(namespace)))
            .collect(),
        cluster: encoded(&cluster),
        mesh_cluster,
    }
}

/// What downstreams are given who follow `attached`, the oldest route first.
fn outbound(inputs: &UnitInputs, view: &PortView, attached: &[&Object]) -> Outbound {
    let name = inputs.resource_name(&inputs.service.name, view.port);
    if view.app_protocol == AppProtocol::Tcp {
        let filter = tcp::filter(inputs, view, attached);
        return Outbound {
            tcp_filter: Some(filter.encode_to_vec().into()),
            listener: template(&tcp::listener(filter)),
            by_address: None,
            route: None,
        };
    }
    let routes = routes(inputs, view, attached);
    let used = |filter: &str| {
        routes
            .iter()
            .any(|it| it.typed_per_filter_config.contains_key(filter))
    };
    let used = FiltersUsed {
        local_rate_limit: used(LOCAL_RATE_LIMIT),
        fault: used(FAULT),
    };
    let manager = rds_connection_manager(&name, &name, used);
    let by_requests = Listener {
        traffic_direction: TrafficDirection::Outbound.into(),
        api_listener: Some(ApiListener {
            api_listener: Some(any::pack(&manager)),
        }),
        ..Listener::default()
    };
    let opaque =
        (view.app_protocol == AppProtocol::Detect).then(|| tcp::filter(inputs, view, attached));
    Outbound {
        listener: template(&by_requests),
        tcp_filter: opaque.as_ref().map(|it| it.encode_to_vec().into()),
        by_address: opaque.map(|filter| template(&tcp::detecting_listener(filter, &manager))),
        route: Some(Arc::new(RouteUnit::new(&name, encode_routes(routes)))),
    }
}

fn template(listener: &Listener) -> Arc<ListenerTemplate> {
    Arc::new(ListenerTemplate::new(listener.encode_to_vec()))
}

/// All routes of a port in the order in which they are tried: a gRPC call belongs to a `GRPCRoute` before an `HTTPRoute`, and
/// to either before a `TCPRoute` (GEP-1294).
fn routes(inputs: &UnitInputs, view: &PortView, attached: &[&Object]) -> Vec<Route> {
    let mut grpc_routes = Vec::new();
    let mut http_routes = Vec::new();
    for object in attached {
        match &object.spec {
            Spec::HttpRoute(route) => http_routes.push((*object, route)),
            Spec::GrpcRoute(route) => grpc_routes.push((*object, route)),
            _ => {}
        }
    }
    if grpc_routes.is_empty() && http_routes.is_empty() {
        return unrouted(inputs, view, attached);
    }
    let mut routes = grpc::routes(inputs, &grpc_routes, view);
    routes.extend(http::routes(inputs, &http_routes, view));
    routes
}

/// Without a route for requests, all of them go where connections go: by a `TCPRoute`, or to the service itself.
fn unrouted(inputs: &UnitInputs, view: &PortView, attached: &[&Object]) -> Vec<Route> {
    let policy = RoutePolicy::of_service(inputs, view.name.as_deref());
    let template = Route {
        typed_per_filter_config: filters::of_service(&policy),
        ..rules::everything(&format!("{}", inputs.service).replace(' ', "/"))
    };
    let shares = tcp::shares(inputs, attached).unwrap_or_else(|| Shares::itself(inputs, view.port));
    rules::forward(template, shares, template::action(&policy), 500)
}

/// Whether a route applies to this port of the service.
fn attaches(inputs: &UnitInputs, route: &Object, view: &PortView) -> bool {
    let names = |parent: &weft_config::gateway_api::ParentRef| {
        parent.service == inputs.service
            && parent.port.is_none_or(|wanted| wanted == view.port)
            && (parent.section_name.is_none() || parent.section_name == view.name)
    };
    carries(route.kind(), view.app_protocol) && index::parents(&route.spec).iter().any(names)
}

/// Whether routes of this kind say anything of what is spoken on a port.
pub(crate) fn carries(kind: Kind, protocol: AppProtocol) -> bool {
    match protocol {
        AppProtocol::Detect => true,
        AppProtocol::Tcp => kind == Kind::TcpRoute,
        AppProtocol::Http | AppProtocol::Http2 | AppProtocol::Grpc => kind != Kind::TcpRoute,
    }
}
