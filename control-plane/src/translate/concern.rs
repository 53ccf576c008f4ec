//! Which services a change concerns.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use weft_config::gateway_api::{Kind, Object, ObjectKey, Resources, ServiceName, ServiceRef, Spec};

use super::discovered::{Discovered, Registration, RegistrationKey};
use super::endpoints;
use super::index::{self, Index};
use super::inputs::UnitInputs;

/// One object that differs between two states.
#[derive(Clone, Debug)]
pub(crate) struct Difference {
    pub(crate) key: ObjectKey,
    pub(crate) before: Option<Arc<Object>>,
    pub(crate) after: Option<Arc<Object>>,
}

/// What differs between two states. Objects that both share cost one comparison of pointers.
pub(crate) fn differences(before: &Resources, after: &Resources) -> Vec<Difference> {
    let mut found = Vec::new();
    let (mut old, mut new) = (before.iter().peekable(), after.iter().peekable());
    loop {
        let (take_old, take_new) = match (old.peek(), new.peek()) {
            (None, None) => return found,
            (Some(_), None) => (true, false),
            (None, Some(_)) => (false, true),
            (Some(a), Some(b)) if Arc::ptr_eq(a, b) => (true, true),
            (Some(a), Some(b)) => match a.key().cmp(&b.key()) {
                std::cmp::Ordering::Less => (true, false),
                std::cmp::Ordering::Equal => (true, true),
                std::cmp::Ordering::Greater => (false, true),
            },
        };
        let before = take_old.then(|| old.next()).flatten();
        let after = take_new.then(|| new.next()).flatten();
        let same = match (before, after) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a == b,
            _ => false,
        };
        if let Some(either) = before.or(after).filter(|_| !same) {
            found.push(Difference {
                key: either.key(),
                before: before.cloned(),
                after: after.cloned(),
            });
        }
    }
}

/// Which services were made with which objects in view.
#[derive(Debug, Default)]
pub(crate) struct Concerns {
    by_object: HashMap<ObjectKey, BTreeSet<ServiceName>>,
    by_service: HashMap<ServiceName, BTreeSet<ObjectKey>>,
    /// Services to which grants matter.
    crossing: BTreeSet<ServiceName>,
}

impl Concerns {
    /// Notes what a service was made of, in place of what was noted before.
    pub(crate) fn note(&mut self, inputs: &UnitInputs) {
        let service = &inputs.service.name;
        self.forget(service);
        for key in &inputs.looked_at {
            let services = self.by_object.entry(key.clone()).or_default();
            services.insert(service.clone());
        }
        self.by_service
            .insert(service.clone(), inputs.looked_at.clone());
        if inputs.crosses {
            self.crossing.insert(service.clone());
        }
    }

    /// Forgets a service.
    pub(crate) fn forget(&mut self, service: &ServiceName) {
        self.crossing.remove(service);
        for key in self.by_service.remove(service).unwrap_or_default() {
            if let Some(services) = self.by_object.get_mut(&key) {
                services.remove(service);
                if services.is_empty() {
                    self.by_object.remove(&key);
                }
            }
        }
    }

    /// The services that may come out differently, there or not.
    pub(crate) fn of(&self, difference: &Difference) -> BTreeSet<ServiceName> {
        let looking = |key: &ObjectKey| self.by_object.get(key).into_iter().flatten().cloned();
        let mut concerned: BTreeSet<ServiceName> = looking(&difference.key).collect();
        let key = &difference.key;
        let name = |namespace: &str, name: &str| ServiceName {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        match key.kind {
            Kind::Service | Kind::MeshService => {
                concerned.insert(name(&key.namespace, &key.name));
            }
            Kind::ReferenceGrant => concerned.extend(self.crossing.iter().cloned()),
            _ => {}
        }
        for object in [&difference.before, &difference.after]
            .into_iter()
            .flatten()
        {
            let parents = index::parents(&object.spec).iter();
            concerned.extend(parents.map(|parent| parent.service.name.clone()));
            for target in index::targets(&object.spec) {
                concerned.extend(looking(&target.key()));
            }
            if let Spec::EndpointSlice(slice) = &object.spec
                && let Some(service) = &slice.service
            {
                concerned.insert(name(&key.namespace, service));
            }
        }
        concerned
    }
}

impl Discovered {
    /// The services of `index` whose endpoints may differ from those with what was found out `before`.
    pub(crate) fn services_that_differ(&self, before: &Self, index: &Index) -> Vec<ServiceName> {
        let moved = difference(&before.workloads, &self.workloads);
        let same_answers = Arc::ptr_eq(&before.dns, &self.dns) || before.dns == self.dns;
        if moved.is_empty() && same_answers {
            return Vec::new();
        }
        // What a workload takes also hangs on those that share its listener.
        let names: BTreeSet<_> = moved.iter().map(|it| it.workload.called()).collect();
        let sharing = self.workloads.iter();
        let sharing = sharing.filter(|it| names.contains(&it.workload.called()));
        let moved: Vec<_> = moved.iter().chain(sharing).collect();
        let differs = |service: &ServiceRef| {
            let member =
                |it: &&Arc<Registration>| endpoints::is_member(index, service, &it.workload);
            let answered = || {
                let question = endpoints::question(index, service).map(|(question, _)| question);
                question.is_some_and(|it| before.dns.get(&it) != self.dns.get(&it))
            };
            moved.iter().any(member) || (!same_answers && answered())
        };
        let services = index.services().iter();
        let services = services.filter(|(_, service)| differs(service));
        services.map(|(name, _)| name.clone()).collect()
    }
}

/// Workloads that are in one list and not, or not the same, in the other.
fn difference(before: &[Arc<Registration>], after: &[Arc<Registration>]) -> Vec<Arc<Registration>> {
    let by_node = |list: &[Arc<Registration>]| -> BTreeMap<RegistrationKey, Arc<Registration>> {
        let pairs = list.iter().map(|it| (it.key(), Arc::clone(it)));
        pairs.collect()
    };
    let (old, new) = (by_node(before), by_node(after));
    let gone_or_changed = old.iter().filter(|(node, it)| new.get(*node) != Some(it));
    let come_or_changed = new.iter().filter(|(node, it)| old.get(*node) != Some(it));
    let moved = gone_or_changed.chain(come_or_changed);
    moved.map(|(_, it)| Arc::clone(it)).collect()
}
