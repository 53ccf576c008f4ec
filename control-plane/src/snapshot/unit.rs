//! One service as it is served: per port its listener, routes, cluster and endpoints.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};

use super::resource::{Resource, ResourceType};
use super::{NodeView, encode};

/// The resources of one service.
#[derive(Clone, Debug)]
pub struct ServiceUnit {
    /// Canonical host: `reviews.default.svc.cluster.local`.
    pub host: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// The service accounts that it lists, whose workloads alone it has; none: it lists none.
    pub accounts: Vec<String>,
    /// Virtual addresses under which applications dial it.
    pub addresses: Vec<IpAddr>,
    /// Its ports, ascending.
    pub ports: Vec<PortUnit>,
}

impl ServiceUnit {
    /// The port `port`.
    pub fn port(&self, port: u16) -> Option<&PortUnit> {
        self.ports.iter().find(|unit| unit.port == port)
    }
}

/// The resources of one port of a service.
#[derive(Clone, Debug)]
pub struct PortUnit {
    /// The port that clients name.
    pub port: u16,
    /// What downstreams are given.
    pub outbound: Outbound,
    /// What downstreams of a namespace are given instead, where that namespace has routes of its own for this port.
    pub consumers: BTreeMap<Arc<str>, Outbound>,
    /// The cluster.
    pub cluster: Arc<Resource>,
    /// The cluster for nodes with an identity, which speak to sidecars over TLS; `None`: there is no difference.
    pub mesh_cluster: Option<Arc<Resource>>,
    /// The endpoints.
    pub endpoints: Arc<Resource>,
}

impl PortUnit {
    /// The cluster that `node` is given.
    pub fn cluster(&self, node: &NodeView) -> &Arc<Resource> {
        let mesh = self.mesh_cluster.as_ref();
        mesh.filter(|_| node.identity.is_some())
            .unwrap_or(&self.cluster)
    }

    /// What downstreams in `namespace` are given.
    pub fn outbound(&self, namespace: &str) -> &Outbound {
        self.consumers.get(namespace).unwrap_or(&self.outbound)
    }
}

/// How downstreams reach one port.
#[derive(Clone, Debug)]
pub struct Outbound {
    /// The listener, waiting for the name it is asked under.
    pub listener: Arc<ListenerTemplate>,
    /// The listener under a virtual address, where it differs: a port whose protocol is found out from the first bytes.
    pub by_address: Option<Arc<ListenerTemplate>>,
    /// The routes; `None` for a TCP service.
    pub route: Option<Arc<RouteUnit>>,
    /// The TCP proxy of what is, or may be, opaque: an encoded network filter, for the wildcard form.
    pub tcp_filter: Option<Bytes>,
}

/// The routes of one port.
#[derive(Debug)]
pub struct RouteUnit {
    resource: Arc<Resource>,
    routes: Bytes,
}

impl RouteUnit {
    /// Wraps the encoded routes of [`super::encode_routes`] into a route configuration `name` for any host.
    pub fn new(name: &str, routes: Vec<u8>) -> Self {
        let host = encode::encode_virtual_host(name, vec!["*".to_owned()], &routes);
        let mut value = BytesMut::new();
        encode::put_bytes(&mut value, 1, name.as_bytes());
        encode::put_bytes(&mut value, 2, &host);
        Self {
            resource: Arc::new(Resource::from_value(ResourceType::Route, name, &value)),
            routes: routes.into(),
        }
    }

    /// The route configuration.
    pub fn resource(&self) -> Arc<Resource> {
        Arc::clone(&self.resource)
    }

    /// Its routes, to be put into another virtual host.
    pub fn routes(&self) -> &Bytes {
        &self.routes
    }
}

/// A listener without its name: it is served under exactly the name that a client asked for.
#[derive(Debug)]
pub struct ListenerTemplate {
    body: Bytes,
    named: Mutex<BTreeMap<Box<str>, Arc<Resource>>>,
}

impl ListenerTemplate {
    /// Takes an encoded listener that has no name.
    pub fn new(nameless: Vec<u8>) -> Self {
        Self {
            body: nameless.into(),
            named: Mutex::default(),
        }
    }

    /// The listener under `name`, made at the first call for each.
    pub fn named(&self, name: &str) -> Arc<Resource> {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(resource) = named.get(name) {
            return Arc::clone(resource);
        }
        let mut value = BytesMut::with_capacity(self.body.len() + name.len() + 4);
        encode::put_bytes(&mut value, 1, name.as_bytes());
        value.extend_from_slice(&self.body);
        let resource = Arc::new(Resource::from_value(ResourceType::Listener, name, &value));
        if named.len() < NAMES_KEPT_MAX {
            named.insert(name.into(), Arc::clone(&resource));
        }
        resource
    }
}

/// A service has four names and its addresses, each with and without port 80: more are not worth keeping.
const NAMES_KEPT_MAX: usize = 32;
