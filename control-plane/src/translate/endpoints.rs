//! Where a service's endpoints are, whatever they come from.

mod members;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use weft_config::gateway_api::endpoint_slice::SliceEndpoint;
use weft_config::gateway_api::mesh_service::{DnsRecord as RecordKind, MeshDiscovery, MeshPort};
use weft_config::gateway_api::service::{ServicePort, TargetPort};
use weft_config::gateway_api::{MeshService, Resources, Service, ServiceRef, Spec};
use weft_config::spiffe::SpiffeId;
use weft_xds_proto::pb::envoy::config::core::v3::{HealthStatus, Locality};
use weft_xds_proto::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
};

pub(crate) use self::members::{has_sidecars, is_member, kept_out, likely_member};
use self::members::{registered, takes};
use super::discovered::{Discovered, DnsQuestion};
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
    /// Who it has proved to be; `None`: nobody was asked, or it is no workload that registered.
    pub identity: Option<SpiffeId>,
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
                    let port = port.endpoint_port();
                    registered(index, discovered, service, port, |workload| {
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
        identity: None,
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
            identity: None,
        })
        .collect()
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
            let mut endpoints = registered(index, discovered, service, target, |workload| {
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
                identity: None,
            })
        })
        .collect()
}

/// Time between look-ups of an `ExternalName`.
const EXTERNAL_NAME_REFRESH: std::time::Duration = std::time::Duration::from_secs(30);
