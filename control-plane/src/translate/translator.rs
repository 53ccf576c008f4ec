//! Translation from one state to the next: only what differs is made anew.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use weft_config::diag::Finding;
use weft_config::gateway_api::{Resources, ServiceName, ServiceRef, Spec};
use weft_xds_proto::pb::google::protobuf::Any;

use super::discovered::{Discovered, DnsQuestion};
use super::endpoints::{self, EndpointAt};
use super::inbound;
use super::index::Index;
use super::inputs::UnitInputs;
use super::unit::{self, PortParts};
use crate::snapshot::{PortUnit, Resource, ResourceType, ServiceUnit};
use crate::xds::Workload;

/// Keeps what was translated, to be shared by the next state.
#[derive(Debug)]
pub struct Translator {
    domain: Arc<str>,
    index: Arc<Index>,
    units: HashMap<ServiceName, Cached>,
    inbound: BTreeMap<String, Arc<Resource>>,
}

#[derive(Debug)]
struct Cached {
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
    /// Services that were made anew.
    pub rebuilt: usize,
    /// Resources that a proxy finds fault with, by type and name: a fault of ours, reported and served nonetheless.
    pub refused: Vec<(String, Vec<Finding>)>,
}

impl Translator {
    /// Nothing translated yet. `domain` is the cluster's.
    pub fn new(domain: Arc<str>) -> Self {
        Self {
            domain,
            index: Arc::default(),
            units: HashMap::new(),
            inbound: BTreeMap::new(),
        }
    }

    /// The state last given, indexed.
    pub fn index(&self) -> &Arc<Index> {
        &self.index
    }

    /// Takes over a new desired state.
    pub fn set_resources(&mut self, resources: Resources) {
        self.index = Arc::new(Index::new(resources));
    }

    /// The DNS questions that the state needs answered, with the time between look-ups.
    pub fn questions(&self) -> BTreeMap<DnsQuestion, std::time::Duration> {
        let services = self.index.services().values();
        let mut questions = BTreeMap::new();
        for (question, refresh) in services.filter_map(|it| endpoints::questions(&self.index, it)) {
            let known = questions.entry(question).or_insert(refresh);
            *known = refresh.min(*known);
        }
        questions
    }

    /// Translates the state with what was discovered.
    pub fn translate(&mut self, discovered: &Discovered) -> Translated {
        let index = Arc::clone(&self.index);
        let mut done = Translated {
            units: Vec::with_capacity(index.services().len()),
            inbound: Vec::new(),
            rebuilt: 0,
            refused: Vec::new(),
        };
        self.units
            .retain(|name, _| index.services().contains_key(name));
        for (name, service) in index.services() {
            let inputs = UnitInputs::gather(&index, service, &self.domain);
            let endpoints = endpoints::endpoints_of(&index, discovered, service);
            let cached = match self.units.remove(name) {
                Some(cached) if cached.inputs.is_same(&inputs) && cached.endpoints == endpoints => {
                    cached
                }
                old => {
                    done.rebuilt += 1;
                    let addresses = addresses(&index, service);
                    rebuild(old, inputs, endpoints, addresses, &mut done.refused)
                }
            };
            done.units.push(Arc::clone(&cached.unit));
            self.units.insert(name.clone(), cached);
        }
        done.inbound = self.translate_inbound(discovered, &mut done.refused);
        done
    }

    fn translate_inbound(
        &mut self,
        discovered: &Discovered,
        refused: &mut Vec<(String, Vec<Finding>)>,
    ) -> Vec<Arc<Resource>> {
        let mut ports: BTreeMap<String, (&Workload, BTreeSet<u16>)> = BTreeMap::new();
        for registration in &discovered.workloads {
            let workload = &registration.workload;
            for name in inbound::names(workload) {
                let (_, known) = ports.entry(name).or_insert((workload, BTreeSet::new()));
                known.extend(&workload.ports);
            }
        }
        let mut next = BTreeMap::new();
        for (name, (workload, ports)) in ports {
            let made = inbound::listener(&self.index, &name, workload, &ports);
            let resource = match self.inbound.remove(&name) {
                Some(old) if old.version == made.version => old,
                _ => {
                    check(&made, refused);
                    Arc::new(made)
                }
            };
            next.insert(name, resource);
        }
        self.inbound = next;
        self.inbound.values().cloned().collect()
    }
}

fn rebuild(
    old: Option<Cached>,
    inputs: UnitInputs,
    endpoints: BTreeMap<u16, Vec<EndpointAt>>,
    addresses: Vec<std::net::IpAddr>,
    refused: &mut Vec<(String, Vec<Finding>)>,
) -> Cached {
    let parts = match &old {
        Some(old) if old.inputs.is_same(&inputs) => old.parts.clone(),
        _ => {
            let parts = unit::build(&inputs);
            for part in &parts {
                check(&part.cluster, refused);
                check(&part.listener.named(&part.cluster.name), refused);
                if let Some(route) = &part.route {
                    check(&route.resource(), refused);
                }
            }
            parts
        }
    };
    let ports = parts.iter().map(|part| PortUnit {
        port: part.port,
        listener: Arc::clone(&part.listener),
        route: part.route.clone(),
        tcp_filter: part.tcp_filter.clone(),
        cluster: Arc::clone(&part.cluster),
        endpoints: endpoint_resource(&old, part, &endpoints, refused),
    });
    let unit = ServiceUnit {
        host: inputs.host().into(),
        name: inputs.service.name.name.as_str().into(),
        namespace: inputs.service.name.namespace.as_str().into(),
        addresses,
        ports: ports.collect(),
    };
    Cached {
        inputs,
        parts,
        endpoints,
        unit: Arc::new(unit),
    }
}

fn endpoint_resource(
    old: &Option<Cached>,
    part: &PortParts,
    endpoints: &BTreeMap<u16, Vec<EndpointAt>>,
    refused: &mut Vec<(String, Vec<Finding>)>,
) -> Arc<Resource> {
    let none = Vec::new();
    let now = endpoints.get(&part.port).unwrap_or(&none);
    if let Some(old) = old
        && old.endpoints.get(&part.port) == Some(now)
        && let Some(port) = old.unit.port(part.port)
    {
        return Arc::clone(&port.endpoints);
    }
    let name = &part.cluster.name;
    let assignment = endpoints::assignment(name, now);
    let resource = Resource::new(ResourceType::Endpoint, Arc::clone(name), &assignment);
    check(&resource, refused);
    Arc::new(resource)
}

/// Asks the code that a proxy reads resources with.
fn check(resource: &Resource, refused: &mut Vec<(String, Vec<Finding>)>) {
    let packed = Any {
        type_url: resource.kind.type_url().to_owned(),
        value: resource.value().to_vec(),
    };
    let found = weft_config::resource::check(&packed);
    if !found.is_empty() {
        let name = format!("{} {}", resource.kind.short(), resource.name);
        refused.push((name, found.findings().to_vec()));
    }
}

fn addresses(index: &Index, service: &ServiceRef) -> Vec<std::net::IpAddr> {
    match index.resources().get(&service.key()).map(|it| &it.spec) {
        Some(Spec::Service(service)) => service.cluster_ips.addresses().to_vec(),
        Some(Spec::MeshService(service)) => service.addresses.clone(),
        _ => Vec::new(),
    }
}
