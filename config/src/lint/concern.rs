//! What a change may make right or wrong, so that the rest need not be judged again.

use std::collections::BTreeSet;

use super::{parents_of, references};
use crate::gateway_api::{Kind, Object, ObjectKey, Resources, Spec};
use crate::spiffe::ROOT_NAMESPACE;

/// The objects that a change of some others may concern.
#[derive(Clone, Debug, Default)]
pub struct Concern {
    /// What changes, and what it is attached to: others that are attached there meet it.
    touched: BTreeSet<ObjectKey>,
    /// A grant changes, so that references across namespaces may begin or cease to hold.
    grants: bool,
    /// Where routes change, so that filters begin or cease to be used.
    routes_in: BTreeSet<String>,
    /// Where services change, or what they take of callers, so that policies of callers begin or cease to have an effect.
    services_in: BTreeSet<String>,
}

impl Concern {
    /// Of a change of `changed`; `states` are those before and after it.
    pub fn of(changed: &BTreeSet<ObjectKey>, states: &[&Resources]) -> Self {
        let mut concern = Self {
            touched: changed.clone(),
            ..Self::default()
        };
        for key in changed {
            concern.grants |= key.kind == Kind::ReferenceGrant;
            if key.kind.is_route() {
                concern.routes_in.insert(key.namespace.clone());
            }
            let of_services = [Kind::Service, Kind::MeshService, Kind::AuthenticationPolicy];
            if of_services.contains(&key.kind) {
                concern.services_in.insert(key.namespace.clone());
            }
            let objects = states.iter().filter_map(|state| state.get(key));
            concern
                .touched
                .extend(objects.flat_map(|object| attached_to(object)));
        }
        concern
    }

    /// Whether `object` is one of them.
    pub(super) fn includes(&self, object: &Object) -> bool {
        let kind = object.kind();
        if self.grants && kind.is_route() {
            return true;
        }
        if kind == Kind::FaultInjection && self.routes_in.contains(&object.metadata.namespace) {
            return true;
        }
        let of_callers = matches!(kind, Kind::AuthorizationPolicy | Kind::AuthenticationPolicy);
        if of_callers && self.reaches(object) {
            return true;
        }
        self.touched.contains(&object.key())
            || attached_to(object)
                .chain(references::named_by(object))
                .any(|key| self.touched.contains(&key))
    }
}

impl Concern {
    /// Whether a policy of callers may be about services that change, or fetch keys from one.
    fn reaches(&self, policy: &Object) -> bool {
        let here = &policy.metadata.namespace;
        let fetches = match &policy.spec {
            Spec::AuthenticationPolicy(policy) => policy.jwt.is_some(),
            _ => false,
        };
        let anywhere = here == ROOT_NAMESPACE || fetches;
        (anywhere && !self.services_in.is_empty())
            || self.services_in.contains(here)
            || self.services_in.contains(ROOT_NAMESPACE)
    }
}

/// What a route, a policy or a slice is attached to, or takes roots from.
fn attached_to(object: &Object) -> impl Iterator<Item = ObjectKey> {
    let slice = match &object.spec {
        Spec::EndpointSlice(slice) => slice.service.as_ref(),
        _ => None,
    };
    let namespace = &object.metadata.namespace;
    let service = slice.map(|name| ObjectKey::new(Kind::Service, namespace, name));
    let parents = parents_of(object).iter().map(|it| it.service.key());
    let targets = object.spec.target_refs().iter().map(|it| it.key());
    let roots = match &object.spec {
        Spec::BackendTlsPolicy(policy) => policy.validation.ca_refs.as_slice(),
        _ => &[],
    };
    let roots = roots.iter().map(|it| it.key(namespace));
    parents.chain(targets).chain(roots).chain(service)
}
