//! Which registered workloads are endpoints of a service.

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_config::gateway_api::mesh_service::MeshDiscovery;
use weft_config::gateway_api::{MeshService, MtlsMode, ServiceName, ServiceRef, Spec};

use super::EndpointAt;
use crate::translate::authentication;
use crate::translate::discovered::{Discovered, Registration, Workload};
use crate::translate::index::Index;
use crate::translate::leads::leads_to;
use crate::translate::mesh_tls;

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
            redirected: false,
            ports: vec![port],
            instance: String::new(),
            zone: String::new(),
        },
    }
}

/// Whether workloads with sidecars can be endpoints of `service`.
pub(crate) fn has_sidecars(index: &Index, service: &ServiceRef) -> bool {
    let external = match index.resources().get(&service.key()).map(|it| &it.spec) {
        Some(Spec::Service(spec)) => spec.external_name.is_some(),
        _ => false,
    };
    !external && selector_of(index, service).is_some()
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
pub(super) fn takes(
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

/// The registered workloads that are members, as endpoints of a port of `service` that leads to `port` of their applications.
pub(super) fn registered(
    index: &Index,
    discovered: &Discovered,
    service: &ServiceRef,
    port: u16,
    is_member: impl Fn(&Workload) -> bool,
) -> Vec<EndpointAt> {
    let mut sharing: BTreeMap<ServiceName, Vec<Arc<Registration>>> = BTreeMap::new();
    let mut takes_tls = |workload: &Workload| {
        let own = workload.called();
        let members = sharing
            .entry(own)
            .or_insert_with_key(|own| discovered.called(own).cloned().collect());
        takes_tls(index, workload, members, port)
    };
    let workloads = discovered.workloads.iter();
    workloads
        .filter(|it| is_member(&it.workload) && !is_stranger(index, service, it, port))
        .map(|registration| (&registration.workload, takes_tls(&registration.workload)))
        .map(|(workload, mesh)| EndpointAt {
            priority: 0,
            zone: workload.zone.clone(),
            address: (workload.address, called_on(workload, port)).into(),
            weight: 1,
            draining: false,
            mesh,
            identity: workload.identity.clone(),
        })
        .collect()
}

/// Whether other sidecars speak TLS to a workload, whose listener is that of all `members`.
fn takes_tls(index: &Index, workload: &Workload, members: &[Arc<Registration>], port: u16) -> bool {
    let port = own_port(workload, port);
    workload.identity.is_some()
        && authentication::mode(index, &workload.called(), members, port) != MtlsMode::Disable
}

/// Whether a workload that has proved nothing says that it is of a port that is for proven workloads alone: anybody can say so, and
/// others would speak to him in plain. What it calls itself and where it says that it listens may not make the port another.
fn is_stranger(
    index: &Index,
    service: &ServiceRef,
    registration: &Arc<Registration>,
    port: u16,
) -> bool {
    let workload = &registration.workload;
    let members = std::slice::from_ref(registration);
    let is_strict = |name: &ServiceName, port| {
        authentication::mode(index, name, members, port) == MtlsMode::Strict
    };
    let own = workload.called();
    workload.identity.is_none()
        && [port, own_port(workload, port)]
            .iter()
            .any(|port| is_strict(&service.name, *port) || is_strict(&own, *port))
}

/// The port on which others call a workload for `port` of its application: its sidecar's, unless that is where calls arrive anyway.
fn called_on(workload: &Workload, port: u16) -> u16 {
    if workload.redirected {
        own_port(workload, port)
    } else {
        workload.inbound_port
    }
}

/// What only has one port is called by whatever port leads there.
fn own_port(workload: &Workload, port: u16) -> u16 {
    match workload.ports.as_slice() {
        [only] => *only,
        _ => port,
    }
}

/// The workloads that say they are of `service` and are no endpoints of some port of it, because they have not proved who they are.
pub(crate) fn kept_out(
    index: &Index,
    discovered: &Discovered,
    service: &ServiceRef,
) -> Vec<(u16, Arc<Registration>)> {
    let leads = leads_to(index, service);
    let mut out = Vec::new();
    for registration in &discovered.workloads {
        if registration.workload.identity.is_some()
            || !is_member(index, service, &registration.workload)
        {
            continue;
        }
        let ports = leads.iter();
        let ports = ports.map(|lead| (lead.port, lead.target.unwrap_or(lead.port)));
        let strange =
            ports.filter(|(_, target)| is_stranger(index, service, registration, *target));
        out.extend(strange.map(|(port, _)| (port, Arc::clone(registration))));
    }
    out
}

/// A label that is asked for must be there; a selector that asks for nothing selects nothing.
fn selects(selector: &BTreeMap<String, String>, workload: &Workload) -> bool {
    !selector.is_empty()
        && selector
            .iter()
            .all(|(key, value)| workload.labels.get(key) == Some(value))
}
