//! The desired state by what refers to what.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use weft_config::gateway_api::grpc_route::GrpcFilter;
use weft_config::gateway_api::http_route::HttpFilter;
use weft_config::gateway_api::{
    ExtensionRef, Kind, Object, ObjectKey, ParentRef, PolicyTarget, Resources, ServiceName,
    ServiceRef, Spec,
};
use weft_config::spiffe::ROOT_NAMESPACE;

/// The desired state, indexed.
#[derive(Clone, Debug, Default)]
pub struct Index {
    resources: Resources,
    services: BTreeMap<ServiceName, ServiceRef>,
    routes: HashMap<ServiceRef, Vec<Arc<Object>>>,
    policies: HashMap<ObjectKey, Vec<Arc<Object>>>,
    slices: HashMap<ServiceName, Vec<Arc<Object>>>,
    access: HashMap<String, Vec<Arc<Object>>>,
    authentication: HashMap<String, Vec<Arc<Object>>>,
}

impl Index {
    /// Indexes `resources`.
    pub fn new(resources: Resources) -> Self {
        let mut index = Self::default();
        for object in resources.iter() {
            let meta = &object.metadata;
            match &object.spec {
                Spec::Service(_) | Spec::MeshService(_) => {
                    let name = ServiceName {
                        namespace: meta.namespace.clone(),
                        name: meta.name.clone(),
                    };
                    if let Some(service) = resources.find_service(&name) {
                        index.services.insert(name, service);
                    }
                }
                Spec::EndpointSlice(slice) => {
                    if let Some(name) = slice.service.clone() {
                        let namespace = meta.namespace.clone();
                        let slices = index.slices.entry(ServiceName { namespace, name });
                        slices.or_default().push(Arc::clone(object));
                    }
                }
                Spec::ReferenceGrant(_) | Spec::FaultInjection(_) | Spec::ConfigMap(_) => {}
                Spec::AuthorizationPolicy(_) => {
                    let access = index.access.entry(meta.namespace.clone()).or_default();
                    access.push(Arc::clone(object));
                }
                Spec::AuthenticationPolicy(_) => {
                    let namespace = meta.namespace.clone();
                    let policies = index.authentication.entry(namespace).or_default();
                    policies.push(Arc::clone(object));
                }
                spec => {
                    for parent in parents(spec) {
                        push_once(
                            index.routes.entry(parent.service.clone()).or_default(),
                            object,
                        );
                    }
                    for target in targets(spec) {
                        push_once(index.policies.entry(target.key()).or_default(), object);
                    }
                }
            }
        }
        index.resources = resources;
        index
    }

    /// All objects.
    pub fn resources(&self) -> &Resources {
        &self.resources
    }

    /// The services by name, a `MeshService` before a `Service` of the same name.
    pub fn services(&self) -> &BTreeMap<ServiceName, ServiceRef> {
        &self.services
    }

    /// Routes that name `service` as a parent.
    pub fn routes(&self, service: &ServiceRef) -> &[Arc<Object>] {
        self.routes.get(service).map_or(&[], Vec::as_slice)
    }

    /// Policies that name `target`.
    pub fn policies(&self, target: &ObjectKey) -> &[Arc<Object>] {
        self.policies.get(target).map_or(&[], Vec::as_slice)
    }

    /// `AuthorizationPolicy`s that may be about workloads of a namespace: its own, and those of the root namespace that name no services.
    pub fn access(&self, namespace: &str) -> impl Iterator<Item = &Arc<Object>> + use<'_> {
        let of = |namespace: &str| self.access.get(namespace).map_or(&[][..], Vec::as_slice);
        let mesh = match namespace {
            ROOT_NAMESPACE => &[],
            _ => of(ROOT_NAMESPACE),
        };
        let mesh = mesh.iter().filter(|it| it.spec.target_refs().is_empty());
        of(namespace).iter().chain(mesh)
    }

    /// `AuthenticationPolicy`s of a namespace.
    pub fn authentication(&self, namespace: &str) -> &[Arc<Object>] {
        self.authentication
            .get(namespace)
            .map_or(&[], Vec::as_slice)
    }

    /// Slices of a `Service`.
    pub fn slices(&self, service: &ServiceName) -> &[Arc<Object>] {
        self.slices.get(service).map_or(&[], Vec::as_slice)
    }
}

/// What a route attaches to; nothing for other kinds.
pub(crate) fn parents(spec: &Spec) -> &[ParentRef] {
    match spec {
        Spec::HttpRoute(route) => &route.parent_refs,
        Spec::GrpcRoute(route) => &route.parent_refs,
        Spec::TcpRoute(route) => &route.parent_refs,
        _ => &[],
    }
}

/// What a policy for those who call attaches to; nothing for other kinds.
pub(crate) fn targets(spec: &Spec) -> &[PolicyTarget] {
    match spec {
        Spec::TrafficPolicy(_) | Spec::RateLimitPolicy(_) | Spec::BackendTlsPolicy(_) => {
            spec.target_refs()
        }
        _ => &[],
    }
}

/// The services that a route sends to, as often as it names them.
pub(crate) fn backends(spec: &Spec) -> Vec<&ServiceRef> {
    match spec {
        Spec::HttpRoute(route) => {
            let refs = route.rules.iter().flat_map(|rule| &rule.backend_refs);
            refs.map(|backend| &backend.backend.service).collect()
        }
        Spec::GrpcRoute(route) => {
            let refs = route.rules.iter().flat_map(|rule| &rule.backend_refs);
            refs.map(|backend| &backend.backend.service).collect()
        }
        Spec::TcpRoute(route) => {
            let refs = route.rules.iter().flat_map(|rule| &rule.backend_refs);
            refs.map(|backend| &backend.service).collect()
        }
        _ => Vec::new(),
    }
}

/// The filters of our own that a route names, in its namespace.
pub(crate) fn extensions(object: &Object) -> Vec<ObjectKey> {
    let references: Vec<&ExtensionRef> = match &object.spec {
        Spec::HttpRoute(route) => {
            let filters = route.rules.iter().flat_map(|rule| &rule.filters);
            filters.filter_map(HttpFilter::extension).collect()
        }
        Spec::GrpcRoute(route) => {
            let filters = route.rules.iter().flat_map(|rule| &rule.filters);
            filters.filter_map(GrpcFilter::extension).collect()
        }
        _ => Vec::new(),
    };
    let namespace = &object.metadata.namespace;
    let key = |it: &ExtensionRef| ObjectKey::new(Kind::FaultInjection, namespace, &it.name);
    references.into_iter().map(key).collect()
}

fn push_once(objects: &mut Vec<Arc<Object>>, object: &Arc<Object>) {
    if !objects.last().is_some_and(|last| Arc::ptr_eq(last, object)) {
        objects.push(Arc::clone(object));
    }
}
