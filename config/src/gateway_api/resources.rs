//! A whole desired state, by key.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::names::ServiceName;
use super::object::{Kind, Object, ObjectKey, Spec};
use super::reference::ServiceKind;
use super::reference::ServiceRef;
use super::service::AppProtocol;
use super::{
    AuthenticationPolicy, AuthorizationPolicy, BackendTlsPolicy, ConfigMap, EndpointSlice,
    GrpcRoute, HttpRoute, MeshService, Metadata, ReferenceGrant, TcpRoute,
};
use super::{FaultInjection, RateLimitPolicy, Service, TrafficPolicy};

/// One object of a desired state.
pub type Entry = Arc<Object>;

/// A set of objects by key, in the order of their keys. Cheap to clone: the objects are shared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resources {
    objects: BTreeMap<ObjectKey, Entry>,
}

impl Resources {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `object` in, and gives back what was there under its key.
    pub fn insert(&mut self, object: impl Into<Arc<Object>>) -> Option<Entry> {
        let object = object.into();
        self.objects.insert(object.key(), object)
    }

    /// Takes the object of this key out.
    pub fn remove(&mut self, key: &ObjectKey) -> Option<Entry> {
        self.objects.remove(key)
    }

    /// The object of this key.
    pub fn get(&self, key: &ObjectKey) -> Option<&Entry> {
        self.objects.get(key)
    }

    /// Whether there is an object of this key.
    pub fn contains(&self, key: &ObjectKey) -> bool {
        self.objects.contains_key(key)
    }

    /// All objects, by kind, namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.objects.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// All objects of a kind, by namespace and name.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Entry> {
        let first = ObjectKey::new(kind, "", "");
        self.objects
            .range(first..)
            .take_while(move |(key, _)| key.kind == kind)
            .map(|(_, object)| object)
    }

    /// The service called `name`: a `MeshService` where there is one, else a `Service`.
    pub fn find_service(&self, name: &ServiceName) -> Option<ServiceRef> {
        [ServiceKind::MeshService, ServiceKind::Service]
            .into_iter()
            .map(|kind| ServiceRef {
                kind,
                name: name.clone(),
            })
            .find(|service| self.contains(&service.key()))
    }

    /// The ports of a service; empty where there is no such service.
    pub fn service_ports(&self, service: &ServiceRef) -> Vec<PortView> {
        let Some(object) = self.get(&service.key()) else {
            return Vec::new();
        };
        match &object.spec {
            Spec::Service(service) => service.ports.iter().map(PortView::of_service).collect(),
            Spec::MeshService(service) => service.ports.iter().map(PortView::of_mesh).collect(),
            _ => Vec::new(),
        }
    }

    /// Whether an object of `from` (kind and namespace) may refer to `to`: always within a namespace, else by a `ReferenceGrant`
    /// in the namespace of `to`.
    pub fn permits_reference(&self, kind: Kind, namespace: &str, to: &ObjectKey) -> bool {
        namespace == to.namespace
            || self
                .reference_grants()
                .filter(|(meta, _)| meta.namespace == to.namespace)
                .any(|(_, grant)| grant.permits(kind, namespace, to))
    }
}

impl FromIterator<Object> for Resources {
    fn from_iter<I: IntoIterator<Item = Object>>(objects: I) -> Self {
        let mut resources = Self::new();
        for object in objects {
            resources.insert(object);
        }
        resources
    }
}

impl FromIterator<Arc<Object>> for Resources {
    fn from_iter<I: IntoIterator<Item = Arc<Object>>>(objects: I) -> Self {
        let mut resources = Self::new();
        for object in objects {
            resources.insert(object);
        }
        resources
    }
}

/// A port of a service of either kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortView {
    /// Its name.
    pub name: Option<String>,
    /// The port that clients dial.
    pub port: u16,
    /// What is spoken on it.
    pub app_protocol: AppProtocol,
}

impl PortView {
    fn of_service(port: &super::service::ServicePort) -> Self {
        Self {
            name: port.name.clone(),
            port: port.port,
            app_protocol: port.app_protocol,
        }
    }

    fn of_mesh(port: &super::mesh_service::MeshPort) -> Self {
        Self {
            name: port.name.clone(),
            port: port.port,
            app_protocol: port.app_protocol,
        }
    }
}

/// An iterator over the objects of one kind, typed.
macro_rules! typed {
    ($($(#[$doc:meta])* $name:ident: $kind:ident;)*) => {
        impl Resources {
            $($(#[$doc])*
            pub fn $name(&self) -> impl Iterator<Item = (&Metadata, &$kind)> {
                self.of_kind(Kind::$kind).filter_map(|object| match &object.spec {
                    Spec::$kind(spec) => Some((&object.metadata, spec)),
                    _ => None,
                })
            })*
        }
    };
}

typed! {
    /// All `Service`s.
    services: Service;
    /// All `EndpointSlice`s.
    endpoint_slices: EndpointSlice;
    /// All `MeshService`s.
    mesh_services: MeshService;
    /// All `HTTPRoute`s.
    http_routes: HttpRoute;
    /// All `GRPCRoute`s.
    grpc_routes: GrpcRoute;
    /// All `TCPRoute`s.
    tcp_routes: TcpRoute;
    /// All `ReferenceGrant`s.
    reference_grants: ReferenceGrant;
    /// All `TrafficPolicy`s.
    traffic_policies: TrafficPolicy;
    /// All `RateLimitPolicy`s.
    rate_limit_policies: RateLimitPolicy;
    /// All `FaultInjection`s.
    fault_injections: FaultInjection;
    /// All `AuthorizationPolicy`s.
    authorization_policies: AuthorizationPolicy;
    /// All `AuthenticationPolicy`s.
    authentication_policies: AuthenticationPolicy;
    /// All `BackendTLSPolicy`s.
    backend_tls_policies: BackendTlsPolicy;
    /// All `ConfigMap`s.
    config_maps: ConfigMap;
}
