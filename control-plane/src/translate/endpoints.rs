//! Where a service's endpoints are, whatever they come from.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use weft_config::gateway_api::endpoint_slice::SliceEndpoint;
use weft_config::gateway_api::mesh_service::{DnsRecord as RecordKind, MeshDiscovery, MeshPort};
use weft_config::gateway_api::service::{ServicePort, TargetPort};
use weft_config::gateway_api::{
    MeshService, MtlsMode, Resources, Service, ServiceName, ServiceRef, Spec,
};
use weft_xds_proto::pb::envoy::config::core::v3::{HealthStatus, Locality};
use weft_xds_proto::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
};

use super::authentication;
use super::discovered::{Discovered, DnsQuestion, Registration, Workload};
use super::index::Index;
use super::mesh_tls;
use crate::snapshot::proto::{address, u32_value};

/// One endpoint of a service port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EndpointAt {
    /// 0 is tried first.
    pub priority: u32,
    /// Its zone; empty where not known.
    pub zone: String,
    /// Where it is.
    pub address: SocketAddr,
    /// Its share among its neighbours.
    pub weight: u32,
    /// Whether it is ending: it takes no new requests.
    pub draining: bool,
    /// Whether it is a sidecar that has proved who it is, so that other sidecars speak to it over TLS.
    pub mesh: bool,
}

/// The endpoints of `service` by port.
pub fn endpoints_of(
    index: &Index,
    discovered: &Discovered,
    service: &ServiceRef,
) -> BTreeMap<u16, Vec<EndpointAt>> {
    let Some(object) = index.resources().get(&service.key()) else {
        return BTreeMap::new();
    };
    let mut ports = match &object.spec {
        Spec::MeshService(mesh) => of_mesh_service(index, mesh, discovered, service),
        Spec::Service(spec) => of_service(index, spec, discovered, service),
        _ => BTreeMap::new(),
    };
    for endpoints in ports.values_mut() {
        endpoints.sort();
        endpoints.dedup_by(|a, b| a.address == b.address);
    }
    ports
}

/// Whether a workload that registered itself is an endpoint of `service`.
pub(crate) fn is_member(index: &Index, service: &ServiceRef, workload: &Workload) -> bool {
    selector_of(index, service).is_some_and(|selector| takes(index, service, selector, workload))
}

/// A workload that `service` would take, with what it selects for labels.
pub(crate) fn likely_member(index: &Index, service: &ServiceRef, port: u16) -> Registration {
    let mut labels = selector_of(index, service).cloned().unwrap_or_default();
    let own = || service.name.name.clone();
    labels.entry("app".to_owned()).or_insert_with(own);
    let node_id = Arc::from(format!("{}.{}", service.name.name, service.name.namespace));
    Registration {
        node_id,
        workload: Workload {
            identity: None,
            service: service.name.name.clone(),
            namespace: service.name.namespace.clone(),
            labels,
            address: std::net::Ipv4Addr::LOCALHOST.into(),
            inbound_port: port,
            ports: vec![port],
            instance: String::new(),
            zone: String::new(),
        },
    }
}

fn selector_of<'a>(index: &'a Index, service: &ServiceRef) -> Option<&'a BTreeMap<String, String>> {
    match &index.resources().get(&service.key())?.spec {
        Spec::MeshService(MeshService {
            discovery: MeshDiscovery::Workloads(workloads),
            ..
        }) => Some(&workloads.selector),
        Spec::Service(service) => Some(&service.selector),
        _ => None,
    }
}

/// A service takes the workloads of its namespace that have its name or that its selector matches.
fn takes(
    index: &Index,
    service: &ServiceRef,
    selector: &BTreeMap<String, String>,
    workload: &Workload,
) -> bool {
    workload.namespace == service.name.namespace
        && (workload.service == service.name.name || selects(selector, workload))
        && may_be(index, service, workload)
}

/// Labels are what a workload says of itself: who has proved who he is, is an endpoint of services that may be him.
fn may_be(index: &Index, service: &ServiceRef, workload: &Workload) -> bool {
    let Some(identity) = &workload.identity else {
        return true;
    };
    let account = identity.as_workload().map(|(_, account)| account);
    account.is_ok_and(|account| mesh_tls::accounts(index, service).contains(account))
}

/// Every question that the services of `resources` need answered, with the shortest time between look-ups asked for.
pub fn dns_questions(resources: &Resources) -> BTreeMap<DnsQuestion, std::time::Duration> {
    let mut questions = BTreeMap::new();
    for object in resources.iter() {
        if let Some((question, refresh)) = question_of(&object.spec) {
            let shortest = questions.entry(question).or_insert(refresh);
            *shortest = refresh.min(*shortest);
        }
    }
    questions
}

/// The DNS question that `service` needs answered, and the time between look-ups.
pub(crate) fn question(
    index: &Index,
    service: &ServiceRef,
) -> Option<(DnsQuestion, std::time::Duration)> {
    question_of(&index.resources().get(&service.key())?.spec)
}

fn question_of(spec: &Spec) -> Option<(DnsQuestion, std::time::Duration)> {
    match spec {
        Spec::MeshService(MeshService {
            discovery: MeshDiscovery::Dns(dns),
            ..
        }) => {
            let question = DnsQuestion {
                host: dns.host.clone(),
                srv: dns.record == RecordKind::Srv,
            };
            Some((question, dns.refresh.duration()))
        }
        Spec::Service(Service {
            external_name: Some(host),
            ..
        }) => {
            let question = DnsQuestion {
                host: host.clone(),
                srv: false,
            };
            Some((question, EXTERNAL_NAME_REFRESH))
        }
        _ => None,
    }
}

/// The EDS resource.
pub(crate) fn assignment(name: &str, endpoints: &[EndpointAt]) -> ClusterLoadAssignment {
    let mut localities: BTreeMap<(u32, &str), Vec<&EndpointAt>> = BTreeMap::new();
    for endpoint in endpoints {
        let locality = localities.entry((endpoint.priority, &endpoint.zone));
        locality.or_default().push(endpoint);
    }
    // xDS wants priorities without gaps, DNS does not know that.
    let priorities: std::collections::BTreeSet<u32> =
        endpoints.iter().map(|endpoint| endpoint.priority).collect();
    let localities = localities.into_iter().map(|((priority, zone), members)| {
        let rank = priorities.range(..priority).count();
        let weight = members
            .iter()
            .fold(0u32, |sum, it| sum.saturating_add(it.weight));
        LocalityLbEndpoints {
            // gRPC leaves a locality without a weight out (gRFC A27).
            load_balancing_weight: Some(u32_value(weight.max(1))),
            locality: Some(Locality {
                zone: zone.to_owned(),
                ..Locality::default()
            }),
            priority: u32::try_from(rank).unwrap_or(u32::MAX),
            lb_endpoints: members.into_iter().map(lb_endpoint).collect(),
            ..LocalityLbEndpoints::default()
        }
    });
    ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: localities.collect(),
        ..ClusterLoadAssignment::default()
    }
}

fn lb_endpoint(endpoint: &EndpointAt) -> LbEndpoint {
    let health = match endpoint.draining {
        true => HealthStatus::Draining,
        false => HealthStatus::Unknown,
    };
    LbEndpoint {
        health_status: health.into(),
        load_balancing_weight: Some(u32_value(endpoint.weight)),
        metadata: endpoint.mesh.then(mesh_tls::label),
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: Some(address(endpoint.address)),
            ..Endpoint::default()
        })),
    }
}

fn of_mesh_service(
    index: &Index,
    mesh: &MeshService,
    discovered: &Discovered,
    service: &ServiceRef,
) -> BTreeMap<u16, Vec<EndpointAt>> {
    mesh.ports
        .iter()
        .map(|port| {
            let endpoints = match &mesh.discovery {
                MeshDiscovery::Static(list) => {
                    list.endpoints.iter().map(|it| listed(it, port)).collect()
                }
                MeshDiscovery::Dns(dns) => {
                    let srv = dns.record == RecordKind::Srv;
                    resolved(discovered, &dns.host, srv, port.endpoint_port())
                }
                MeshDiscovery::Workloads(workloads) => {
                    registered(index, discovered, port.endpoint_port(), |workload| {
                        takes(index, service, &workloads.selector, workload)
                    })
                }
            };
            (port.port, endpoints)
        })
        .collect()
}

fn listed(
    endpoint: &weft_config::gateway_api::mesh_service::StaticEndpoint,
    port: &MeshPort,
) -> EndpointAt {
    EndpointAt {
        priority: 0,
        zone: endpoint.zone.clone().unwrap_or_default(),
        address: (
            endpoint.address,
            endpoint.port.unwrap_or(port.endpoint_port()),
        )
            .into(),
        weight: endpoint.weight,
        draining: false,
        mesh: false,
    }
}

fn resolved(discovered: &Discovered, host: &str, srv: bool, port: u16) -> Vec<EndpointAt> {
    let question = DnsQuestion {
        host: host.to_owned(),
        srv,
    };
    let records = discovered.dns.get(&question).map(|it| &it.records);
    records
        .into_iter()
        .flatten()
        .map(|record| EndpointAt {
            priority: record.priority.into(),
            zone: String::new(),
            address: (record.address, record.port.unwrap_or(port)).into(),
            weight: record.weight.max(1).into(),
            draining: false,
            mesh: false,
        })
        .collect()
}

/// The registered workloads that are members, as endpoints of a service port that leads to `port` of their applications.
fn registered(
    index: &Index,
    discovered: &Discovered,
    port: u16,
    is_member: impl Fn(&Workload) -> bool,
) -> Vec<EndpointAt> {
    let workloads = discovered.workloads.iter();
    workloads
        .filter(|it| is_member(&it.workload))
        .map(|registration| (&registration.workload, takes_tls(index, registration, port)))
        .map(|(workload, mesh)| EndpointAt {
            priority: 0,
            zone: workload.zone.clone(),
            address: (workload.address, workload.inbound_port).into(),
            weight: 1,
            draining: false,
            mesh,
        })
        .collect()
}

/// Whether other sidecars speak TLS to a workload.
fn takes_tls(index: &Index, registration: &Arc<Registration>, port: u16) -> bool {
    let workload = &registration.workload;
    let own = || ServiceName {
        namespace: workload.namespace.clone(),
        name: workload.service.clone(),
    };
    // What only has one port is called by whatever port leads there.
    let port = match workload.ports.as_slice() {
        [only] => *only,
        _ => port,
    };
    let members = std::slice::from_ref(registration);
    workload.identity.is_some()
        && authentication::mode(index, &own(), members, port) != MtlsMode::Disable
}

/// A label that is asked for must be there; a selector that asks for nothing selects nothing.
fn selects(selector: &BTreeMap<String, String>, workload: &Workload) -> bool {
    !selector.is_empty()
        && selector
            .iter()
            .all(|(key, value)| workload.labels.get(key) == Some(value))
}

fn of_service(
    index: &Index,
    spec: &Service,
    discovered: &Discovered,
    service: &ServiceRef,
) -> BTreeMap<u16, Vec<EndpointAt>> {
    spec.ports
        .iter()
        .map(|port| {
            let target = match port.target_port {
                Some(TargetPort::Number(number)) => number,
                _ => port.port,
            };
            let mut endpoints = registered(index, discovered, target, |workload| {
                takes(index, service, &spec.selector, workload)
            });
            for object in index.slices(&service.name) {
                if let Spec::EndpointSlice(slice) = &object.spec {
                    endpoints.extend(of_slice(slice, port));
                }
            }
            if let Some(host) = &spec.external_name {
                endpoints.extend(resolved(discovered, host, false, target));
            }
            (port.port, endpoints)
        })
        .collect()
}

fn of_slice(
    slice: &weft_config::gateway_api::EndpointSlice,
    port: &ServicePort,
) -> Vec<EndpointAt> {
    // A slice names its ports as the service does; an unnamed port is the only one.
    let name = port.name.as_deref().unwrap_or_default();
    let Some(number) = slice
        .ports
        .iter()
        .find(|it| it.name == name || (slice.ports.len() == 1 && it.name.is_empty()))
        .map(|it| it.port)
    else {
        return Vec::new();
    };
    let takes_traffic = |it: &&SliceEndpoint| {
        it.conditions.ready || (it.conditions.serving && it.conditions.terminating)
    };
    let endpoints = slice.endpoints.iter().filter(takes_traffic);
    endpoints
        .filter_map(|endpoint| {
            Some(EndpointAt {
                priority: 0,
                zone: endpoint.zone.clone().unwrap_or_default(),
                address: (*endpoint.addresses.first()?, number).into(),
                weight: 1,
                draining: endpoint.conditions.terminating,
                mesh: false,
            })
        })
        .collect()
}

/// Time between look-ups of an `ExternalName`.
const EXTERNAL_NAME_REFRESH: std::time::Duration = std::time::Duration::from_secs(30);
