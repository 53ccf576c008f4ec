//! Translation from one state to the next: only services that a change concerns are looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weft_config::gateway_api::{Kind, Object, ObjectKey, Resources, ServiceName, ServiceRef, Spec};
use weft_config::spiffe::ROOT_NAMESPACE;

use super::concern::{Concerns, Difference, differences};
use super::discovered::Discovered;
use super::endpoints::{self, EndpointAt};
use super::inbound::{self, Inbound};
use super::index::Index;
use super::inputs::{Names, UnitInputs};
use super::mesh_tls;
use super::refused::{Refused, Unservable, check};
use super::unit::{self, PortParts};
use crate::snapshot::{PortUnit, Resource, ResourceType, ServiceUnit};

/// Keeps what was translated, to be shared by the next state.
#[derive(Debug)]
pub struct Translator {
    names: Names,
    index: Arc<Index>,
    discovered: Discovered,
    units: BTreeMap<ServiceName, Translation>,
    inbound: Inbound,
    /// Namespaces where who may call changed since the last translation.
    who_changed: BTreeSet<String>,
    concerns: Concerns,
    /// Services that changed since the last translation.
    due: BTreeSet<ServiceName>,
}

/// What became of one service.
#[derive(Debug, Default)]
struct Translation {
    /// The last that proxies take.
    good: Option<Good>,
    /// What proxies would not take of the newest.
    refused: Vec<Refused>,
}

#[derive(Clone, Debug)]
struct Good {
    inputs: UnitInputs,
    parts: Vec<PortParts>,
    endpoints: BTreeMap<u16, Vec<EndpointAt>>,
    unit: Arc<ServiceUnit>,
}

/// What a state is served as.
#[derive(Debug)]
pub struct Translated {
    /// The services.
    pub units: Vec<Arc<ServiceUnit>>,
    /// The inbound listeners.
    pub inbound: Vec<Arc<Resource>>,
    /// Services that were looked at.
    pub looked_at: usize,
    /// Services that were made anew.
    pub rebuilt: usize,
    /// Resources that are not served, because proxies would refuse them: the last good form of their service stays.
    pub refused: Vec<Refused>,
}

impl Translator {
    /// Nothing translated yet.
    pub fn new(names: Names) -> Self {
        Self {
            names,
            index: Arc::default(),
            discovered: Discovered::default(),
            units: BTreeMap::new(),
            inbound: Inbound::default(),
            who_changed: BTreeSet::new(),
            concerns: Concerns::default(),
            due: BTreeSet::new(),
        }
    }

    /// The state last given, indexed.
    pub fn index(&self) -> &Arc<Index> {
        &self.index
    }

    /// Takes over a new desired state.
    pub fn set_resources(&mut self, resources: Resources) {
        let mut namespaces = Vec::new();
        for difference in differences(self.index.resources(), &resources) {
            self.due.extend(self.concerns.of(&difference));
            namespaces.extend(who_may_call(&difference));
            if difference.key.kind == Kind::AuthenticationPolicy {
                // It says of endpoints how they are spoken to.
                let all = self.index.services().keys();
                let of = |name: &&ServiceName| reaches(&difference.key.namespace, &name.namespace);
                self.due.extend(all.filter(of).cloned());
            }
            let named = matches!(difference.key.kind, Kind::Service | Kind::MeshService);
            if named && names_services(&self.index, &difference.key.namespace) {
                // Whom it selects, a policy for it is about: under whatever other service they are called too.
                let all = self.index.services().keys();
                let of = |name: &&ServiceName| name.namespace == difference.key.namespace;
                self.due.extend(all.filter(of).cloned());
            }
        }
        self.index = Arc::new(Index::new(resources));
        // Without policies there is nothing that a service could change.
        let guarded = |policy: bool, name: &String| {
            let index = &self.index;
            policy || index.access(name).next().is_some() || !index.authentication(name).is_empty()
        };
        let guarded = namespaces
            .into_iter()
            .filter(|(policy, name)| guarded(*policy, name));
        self.who_changed.extend(guarded.map(|(_, name)| name));
    }

    /// What proxies would refuse if `next` took the place of the state last given.
    pub fn judge(&self, next: &Resources) -> Vec<Unservable> {
        let mut causes: BTreeMap<ServiceName, Vec<ObjectKey>> = BTreeMap::new();
        let mut access: BTreeMap<String, Vec<ObjectKey>> = BTreeMap::new();
        let mut unservable = Vec::new();
        for difference in differences(self.index.resources(), next) {
            if let Some((true, namespace)) = who_may_call(&difference) {
                let of_namespace = access.entry(namespace).or_default();
                of_namespace.push(difference.key.clone());
            }
            let judged = [Kind::AuthorizationPolicy, Kind::AuthenticationPolicy];
            if judged.contains(&difference.key.kind)
                && let Some(refused) = difference.after.as_deref().and_then(inbound::trial)
            {
                let causes = vec![difference.key.clone()];
                unservable.push(Unservable { causes, refused });
            }
            for service in self.concerns.of(&difference) {
                let cause = difference.key.clone();
                causes.entry(service).or_default().push(cause);
            }
        }
        if causes.is_empty() && access.is_empty() || !unservable.is_empty() {
            return unservable;
        }
        let index = Index::new(next.clone());
        for (namespace, causes) in access {
            let refused = self.inbound.judge(&index, &BTreeSet::from([namespace]));
            unservable.extend(refused.into_iter().map(|refused| Unservable {
                causes: causes.clone(),
                refused,
            }));
        }
        for (name, causes) in causes {
            let Some(service) = index.services().get(&name) else {
                continue; // It goes, or never was.
            };
            let inputs = UnitInputs::gather(&index, service, &self.names);
            for part in unit::build(&inputs) {
                unservable.extend(check_parts(&part).into_iter().map(|refused| Unservable {
                    causes: causes.clone(),
                    refused,
                }));
            }
        }
        unservable
    }

    /// Translates the state with what was discovered.
    pub fn translate(&mut self, discovered: &Discovered) -> Translated {
        let index = Arc::clone(&self.index);
        let mut due = std::mem::take(&mut self.due);
        let moved = discovered.services_that_differ(&self.discovered, &index);
        due.extend(moved);
        let mut rebuilt = 0;
        for name in &due {
            let Some(service) = index.services().get(name) else {
                self.units.remove(name);
                self.concerns.forget(name);
                continue;
            };
            let inputs = UnitInputs::gather(&index, service, &self.names);
            let endpoints = endpoints::endpoints_of(&index, discovered, service);
            self.concerns.note(&inputs);
            let addresses = addresses(&index, service);
            let translation = self.units.entry(name.clone()).or_default();
            rebuilt += usize::from(translation.update(inputs, endpoints, addresses));
        }
        let registered_anew = discovered.workloads != self.discovered.workloads;
        let workloads = registered_anew.then_some(discovered.workloads.as_slice());
        let who = std::mem::take(&mut self.who_changed);
        self.inbound.update(&index, workloads, &due, &who);
        self.discovered = discovered.clone();
        let units = self.units.values();
        Translated {
            units: units
                .clone()
                .filter_map(|it| Some(Arc::clone(&it.good.as_ref()?.unit)))
                .collect(),
            inbound: self.inbound.resources().collect(),
            looked_at: due.len(),
            rebuilt,
            refused: units
                .flat_map(|it| &it.refused)
                .chain(self.inbound.refused())
                .cloned()
                .collect(),
        }
    }
}

impl Translation {
    /// Makes the service anew where anything differs; whether it did.
    fn update(
        &mut self,
        inputs: UnitInputs,
        endpoints: BTreeMap<u16, Vec<EndpointAt>>,
        addresses: Vec<std::net::IpAddr>,
    ) -> bool {
        let same_inputs = self.good.as_ref().filter(|old| old.inputs.is_same(&inputs));
        if same_inputs.is_some_and(|old| old.endpoints == endpoints) {
            self.refused.clear();
            return false;
        }
        let parts = match same_inputs {
            Some(old) => old.parts.clone(),
            None => unit::build(&inputs),
        };
        let mut refused: Vec<Refused> = match same_inputs {
            Some(_) => Vec::new(),
            None => parts.iter().flat_map(check_parts).collect(),
        };
        let ports = parts.iter().map(|part| PortUnit {
            port: part.port,
            outbound: part.outbound.clone(),
            consumers: part.consumers.clone(),
            cluster: Arc::clone(&part.cluster),
            mesh_cluster: part.mesh_cluster.clone(),
            endpoints: self.endpoint_resource(part, &endpoints, &mut refused),
        });
        let unit = ServiceUnit {
            host: inputs.host().into(),
            name: inputs.service.name.name.as_str().into(),
            namespace: inputs.service.name.namespace.as_str().into(),
            accounts: mesh_tls::listed(&inputs.objects, &inputs.service).to_vec(),
            addresses,
            ports: ports.collect(),
        };
        self.refused = refused;
        if self.refused.is_empty() {
            self.good = Some(Good {
                inputs,
                parts,
                endpoints,
                unit: Arc::new(unit),
            });
        }
        true
    }

    /// The endpoints of a port; the very resource of before where they are the same.
    fn endpoint_resource(
        &self,
        part: &PortParts,
        endpoints: &BTreeMap<u16, Vec<EndpointAt>>,
        refused: &mut Vec<Refused>,
    ) -> Arc<Resource> {
        let now = endpoints.get(&part.port).map_or(&[][..], Vec::as_slice);
        if let Some(old) = &self.good
            && old.endpoints.get(&part.port).is_some_and(|it| it == now)
            && let Some(port) = old.unit.port(part.port)
        {
            return Arc::clone(&port.endpoints);
        }
        let name = &part.cluster.name;
        let assignment = endpoints::assignment(name, now);
        let resource = Resource::new(ResourceType::Endpoint, Arc::clone(name), &assignment);
        refused.extend(check(&resource));
        Arc::new(resource)
    }
}

/// The namespace in which an object says who may call, or which workloads are meant by that; and whether it is a policy.
fn who_may_call(difference: &Difference) -> Option<(bool, String)> {
    let key = &difference.key;
    match key.kind {
        Kind::AuthorizationPolicy | Kind::AuthenticationPolicy => {
            Some((true, key.namespace.clone()))
        }
        Kind::Service | Kind::MeshService => Some((false, key.namespace.clone())),
        _ => None,
    }
}

/// Whether a policy of this namespace says of single services how they are spoken to.
fn names_services(index: &Index, namespace: &str) -> bool {
    let policies = index.authentication(namespace).iter();
    policies
        .filter_map(|it| match &it.spec {
            Spec::AuthenticationPolicy(policy) => Some(policy),
            _ => None,
        })
        .any(|policy| !policy.target_refs.is_empty())
}

/// Whether a policy says who may call, or what is taken of callers, of all services of a namespace: it names none, and is of that
/// namespace or of the root namespace.
pub(crate) fn holds_without_targets(policy: &Object, service: &str) -> bool {
    let of_callers = matches!(
        policy.spec,
        Spec::AuthorizationPolicy(_) | Spec::AuthenticationPolicy(_)
    );
    of_callers
        && policy.spec.target_refs().is_empty()
        && reaches(&policy.metadata.namespace, service)
}

/// Whether a policy in one namespace may be about services in another.
pub(crate) fn reaches(policy: &str, service: &str) -> bool {
    policy == service || policy == ROOT_NAMESPACE
}

fn check_parts(part: &PortParts) -> Vec<Refused> {
    let name = &part.cluster.name;
    let outbounds = part.outbounds().flat_map(|outbound| {
        let listeners = std::iter::once(&outbound.listener).chain(&outbound.by_address);
        let listeners = listeners.map(|listener| listener.named(name));
        listeners.chain(outbound.route.iter().map(|route| route.resource()))
    });
    let clusters = std::iter::once(&part.cluster).chain(&part.mesh_cluster);
    let resources = clusters.cloned().chain(outbounds);
    resources.filter_map(|resource| check(&resource)).collect()
}

fn addresses(index: &Index, service: &ServiceRef) -> Vec<std::net::IpAddr> {
    match index.resources().get(&service.key()).map(|it| &it.spec) {
        Some(Spec::Service(service)) => service.cluster_ips.addresses().to_vec(),
        Some(Spec::MeshService(service)) => service.addresses.clone(),
        _ => Vec::new(),
    }
}
