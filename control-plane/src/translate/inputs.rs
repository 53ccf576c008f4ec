//! Everything that the resources of one service depend on, endpoints apart.

use std::collections::BTreeSet;
use std::sync::Arc;

use weft_config::gateway_api::precedence::route_rank;
use weft_config::gateway_api::{Kind, Object, ObjectKey, Resources, ServiceName, ServiceRef};
use weft_config::spiffe::{SpiffeId, TrustDomain};

use super::index::{self, Index};
use super::{backend_tls, mesh_tls};

/// What the mesh is called.
#[derive(Clone, Debug)]
pub struct Names {
    /// What the names of its services end in, without dots at its ends: `cluster.local`.
    pub domain: Arc<str>,
    /// The trust domain of its workloads.
    pub trust_domain: TrustDomain,
}

/// As in Kubernetes and Istio.
impl Default for Names {
    fn default() -> Self {
        Self {
            domain: "cluster.local".into(),
            trust_domain: TrustDomain::default(),
        }
    }
}

/// The whole argument of a service's translation.
#[derive(Clone, Debug)]
pub struct UnitInputs {
    /// The service.
    pub service: ServiceRef,
    /// The cluster's domain.
    pub domain: Arc<str>,
    /// Who its workloads may be; none where it has no sidecars.
    pub identities: Vec<SpiffeId>,
    /// Its routes, the oldest first.
    pub routes: Vec<Arc<Object>>,
    /// Policies that name the service or one of its routes, the oldest first.
    pub policies: Vec<Arc<Object>>,
    /// The service itself, the backends of its routes that exist, the filters that they name, and the grants that cross
    /// namespaces.
    pub objects: Resources,
    /// Every object that was looked for, there or not, by which the service may differ; grants apart.
    pub(crate) looked_at: BTreeSet<ObjectKey>,
    /// Whether a route refers to another namespace, so that grants matter.
    pub(crate) crosses: bool,
}

impl UnitInputs {
    /// Gathers what concerns `service`.
    pub fn gather(index: &Index, service: &ServiceRef, names: &Names) -> Self {
        let mut inputs = Self {
            service: service.clone(),
            domain: Arc::clone(&names.domain),
            identities: mesh_tls::identities(index, service, &names.trust_domain),
            routes: index.routes(service).to_vec(),
            policies: Vec::new(),
            objects: Resources::new(),
            looked_at: BTreeSet::new(),
            crosses: false,
        };
        inputs.look_at(index, service.key());
        inputs.find_policies(index, &service.key());
        for route in inputs.routes.clone() {
            inputs.looked_at.insert(route.key());
            inputs.find_policies(index, &route.key());
            for backend in index::backends(&route.spec) {
                inputs.crosses |= backend.name.namespace != route.metadata.namespace;
                inputs.look_at(index, backend.key());
            }
            for key in index::extensions(&route) {
                inputs.look_at(index, key);
            }
        }
        if inputs.crosses {
            let grants = index.resources().of_kind(Kind::ReferenceGrant);
            grants.for_each(|grant| drop(inputs.objects.insert(Arc::clone(grant))));
        }
        // Of objects in conflict the older wins, then the first by namespace and name.
        let by_age = |a: &Arc<Object>, b: &Arc<Object>| {
            route_rank(&a.metadata).cmp(&route_rank(&b.metadata))
        };
        inputs.routes.sort_by(by_age);
        inputs.policies.sort_by(by_age);
        inputs.policies.dedup_by(|a, b| Arc::ptr_eq(a, b));
        inputs
    }

    fn look_at(&mut self, index: &Index, key: ObjectKey) {
        if let Some(object) = index.resources().get(&key) {
            self.objects.insert(Arc::clone(object));
        }
        self.looked_at.insert(key);
    }

    fn find_policies(&mut self, index: &Index, target: &ObjectKey) {
        for policy in index.policies(target) {
            self.policies.push(Arc::clone(policy));
            for key in backend_tls::roots(policy) {
                self.look_at(index, key);
            }
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
            && self.identities == other.identities
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
