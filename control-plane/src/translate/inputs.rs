//! Everything that the resources of one service depend on, endpoints apart.

use std::sync::Arc;

use weft_config::gateway_api::{Object, Resources, ServiceName, ServiceRef, Spec};

use super::index::{self, Index};

/// The whole argument of a service's translation.
#[derive(Clone, Debug)]
pub struct UnitInputs {
    /// The service.
    pub service: ServiceRef,
    /// The cluster's domain.
    pub domain: Arc<str>,
    /// Its routes, the oldest first.
    pub routes: Vec<Arc<Object>>,
    /// Policies that name the service or one of its routes, the oldest first.
    pub policies: Vec<Arc<Object>>,
    /// The service itself, the backends of its routes that exist, the filters that they name, and the grants that cross
    /// namespaces.
    pub objects: Resources,
}

impl UnitInputs {
    /// Gathers what concerns `service`.
    pub fn gather(index: &Index, service: &ServiceRef, domain: &Arc<str>) -> Self {
        let mut objects = Resources::new();
        let mut policies = Vec::new();
        let mut crosses = false;
        let all = index.resources();
        if let Some(object) = all.get(&service.key()) {
            objects.insert(Arc::clone(object));
        }
        policies.extend(index.policies(&service.key()).iter().cloned());
        // A route of another namespace than the service's would concern only downstreams there (GAMMA: consumer routes);
        // a unit is the same for all, so such a route is not accepted, and its conditions say so.
        let mut routes: Vec<_> = index
            .routes(service)
            .iter()
            .filter(|route| route.metadata.namespace == service.name.namespace)
            .cloned()
            .collect();
        for route in &routes {
            policies.extend(index.policies(&route.key()).iter().cloned());
            for backend in index::backends(&route.spec) {
                crosses |= backend.name.namespace != route.metadata.namespace;
                if let Some(object) = all.get(&backend.key()) {
                    objects.insert(Arc::clone(object));
                }
            }
            for key in index::extensions(route) {
                if let Some(object) = all.get(&key) {
                    objects.insert(Arc::clone(object));
                }
            }
        }
        if crosses {
            for object in all.iter() {
                if matches!(object.spec, Spec::ReferenceGrant(_)) {
                    objects.insert(Arc::clone(object));
                }
            }
        }
        routes.sort_by(|a, b| age(a).cmp(&age(b)));
        policies.sort_by(|a, b| age(a).cmp(&age(b)));
        policies.dedup_by(|a, b| Arc::ptr_eq(a, b));
        Self {
            service: service.clone(),
            domain: Arc::clone(domain),
            routes,
            policies,
            objects,
        }
    }

    /// The service's canonical host.
    pub fn host(&self) -> String {
        self.service.name.host(&self.domain)
    }

    /// Whether translating `other` gives the same: all objects are the very same.
    pub fn is_same(&self, other: &Self) -> bool {
        let same = |a: &[Arc<Object>], b: &[Arc<Object>]| {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| Arc::ptr_eq(a, b))
        };
        self.service == other.service
            && self.domain == other.domain
            && same(&self.routes, &other.routes)
            && same(&self.policies, &other.policies)
            && self.objects.len() == other.objects.len()
            && self
                .objects
                .iter()
                .zip(other.objects.iter())
                .all(|(a, b)| Arc::ptr_eq(a, b))
    }

    /// The name of the resources of `service` at `port`: `HOST:PORT`.
    pub(crate) fn resource_name(&self, service: &ServiceName, port: u16) -> String {
        format!("{}:{port}", service.host(&self.domain))
    }
}

/// Gateway API's order of conflicting objects: the oldest first, then by namespace and name.
pub(crate) fn age(object: &Object) -> (&str, &str, &str) {
    let meta = &object.metadata;
    // One without a time is as old as can be: it was there before the store was.
    let created = meta.creation_timestamp.as_deref().unwrap_or_default();
    (created, &meta.namespace, &meta.name)
}
