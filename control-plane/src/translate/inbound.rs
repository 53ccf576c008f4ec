//! The inbound side of a registered sidecar: `inbound/NAMESPACE/SERVICE`, to the application beside it.

mod chains;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use weft_config::gateway_api::{AppProtocol, MtlsMode, Object, ServiceName, ServiceRef, Spec};
use weft_xds_proto::pb::envoy::config::core::v3::TrafficDirection;
use weft_xds_proto::pb::envoy::config::listener::v3::Listener;
use weft_xds_proto::pb::envoy::extensions::filters::listener::http_inspector::v3::HttpInspector;
use weft_xds_proto::pb::envoy::extensions::filters::listener::original_dst::v3::OriginalDst;
use weft_xds_proto::pb::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;

use self::chains::chains;
use super::access;
use super::authentication;
use super::discovered::{Registration, Workload};
use super::endpoints::{is_member, likely_member};
use super::index::Index;
use super::leads::leads_to;
use super::refused::{Refused, check};
use super::tokens;
use super::translator::reaches;
use crate::snapshot::proto::{address, duration, listener_filter};
use crate::snapshot::{INBOUND_PREFIX, Resource, ResourceType};

/// The inbound listeners of all registered workloads.
#[derive(Debug, Default)]
pub(crate) struct Inbound {
    listeners: BTreeMap<String, InboundListener>,
}

#[derive(Debug)]
struct InboundListener {
    service: ServiceName,
    ports: BTreeSet<u16>,
    /// Who looks for it.
    members: Vec<Arc<Registration>>,
    /// The last that proxies take; `None`: there never was one.
    good: Option<Arc<Resource>>,
    refused: Option<Refused>,
}

impl Inbound {
    /// Takes over a new set of workloads, where there is one, and makes the listeners of `changed` services anew, and those of
    /// namespaces where it changed `who` may call.
    pub(crate) fn update(
        &mut self,
        index: &Index,
        workloads: Option<&[Arc<Registration>]>,
        changed: &BTreeSet<ServiceName>,
        who: &BTreeSet<String>,
    ) {
        let mut due = BTreeSet::new();
        if let Some(workloads) = workloads {
            let wanted = wanted(workloads);
            self.listeners.retain(|name, _| wanted.contains_key(name));
            for (name, (service, ports, members)) in wanted {
                let same = |known: &InboundListener| {
                    // Labels say which policies are about them.
                    let guarded = index.access(&service.namespace).next().is_some()
                        || !index.authentication(&service.namespace).is_empty();
                    known.ports == ports && (!guarded || known.members == members)
                };
                if !self.listeners.get(&name).is_some_and(same) {
                    due.insert(name.clone());
                }
                let listener = self.listeners.entry(name).or_insert(InboundListener {
                    service,
                    ports: BTreeSet::new(),
                    members: Vec::new(),
                    good: None,
                    refused: None,
                });
                listener.ports = ports;
                listener.members = members;
            }
        }
        for (name, listener) in &mut self.listeners {
            let service = &listener.service;
            let concerned =
                changed.contains(service) || who.iter().any(|it| reaches(it, &service.namespace));
            if concerned || due.contains(name) {
                listener.make(index, name);
            }
        }
    }

    /// What proxies would refuse of the listeners in `namespaces`, were they made of `index`.
    pub(crate) fn judge(&self, index: &Index, namespaces: &BTreeSet<String>) -> Vec<Refused> {
        let concerned = self.listeners.iter().filter(|(_, it)| {
            namespaces
                .iter()
                .any(|from| reaches(from, &it.service.namespace))
        });
        concerned
            .filter_map(|(name, it)| check(&it.build(index, name)))
            .collect()
    }

    /// The listeners that are served.
    pub(crate) fn resources(&self) -> impl Iterator<Item = Arc<Resource>> {
        let listeners = self.listeners.values();
        listeners.filter_map(|listener| listener.good.clone())
    }

    /// Those that proxies would refuse.
    pub(crate) fn refused(&self) -> impl Iterator<Item = &Refused> {
        let listeners = self.listeners.values();
        listeners.filter_map(|listener| listener.refused.as_ref())
    }
}

impl InboundListener {
    fn build(&self, index: &Index, name: &str) -> Resource {
        listener(index, name, &self.service, &self.ports, &self.members)
    }

    fn make(&mut self, index: &Index, name: &str) {
        let made = self.build(index, name);
        self.refused = check(&made);
        let same = |old: &Arc<Resource>| old.version == made.version;
        if self.refused.is_none() && !self.good.as_ref().is_some_and(same) {
            self.good = Some(Arc::new(made));
        }
    }
}

/// The service of a listener, its ports, and who looks for it.
type Wanted = (ServiceName, BTreeSet<u16>, Vec<Arc<Registration>>);

/// The names of the listeners that `workloads` look for, with their service and ports.
fn wanted(workloads: &[Arc<Registration>]) -> BTreeMap<String, Wanted> {
    let mut wanted: BTreeMap<String, Wanted> = BTreeMap::new();
    for registration in workloads {
        let workload = &registration.workload;
        for name in names(workload) {
            let wanted = wanted.entry(name);
            let (_, ports, members) =
                wanted.or_insert((workload.called(), BTreeSet::new(), Vec::new()));
            ports.extend(&workload.ports);
            members.push(Arc::clone(registration));
        }
    }
    wanted
}

/// The names under which a workload finds its listener: `inbound/NAMESPACE/SERVICE`, which has the ports of all workloads
/// of the service, and `inbound/NAMESPACE/SERVICE/PORT-PORT…`, which has its own alone. A sidecar that is dialled on its
/// inbound port, without an original destination, can tell ports apart only where there is one.
fn names(workload: &Workload) -> Vec<String> {
    let ports: BTreeSet<u16> = workload.ports.iter().copied().collect();
    if ports.is_empty() {
        return Vec::new();
    }
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    let all = format!(
        "{INBOUND_PREFIX}{}/{}",
        workload.namespace, workload.service
    );
    vec![format!("{all}/{}", ports.join("-")), all]
}

/// The listener `name` of workloads of `service`, whose applications listen on `ports`.
fn listener(
    index: &Index,
    name: &str,
    service: &ServiceName,
    ports: &BTreeSet<u16>,
    members: &[Arc<Registration>],
) -> Resource {
    let single = ports.len() == 1;
    let mut detects = false;
    let mut tells_tls = false;
    let mut filter_chains = Vec::new();
    for port in ports {
        let mode = authentication::mode(index, service, members, *port);
        tells_tls |= mode != MtlsMode::Disable;
        let protocol = protocol(index, service, *port, single);
        detects |= protocol == AppProtocol::Detect;
        let mut chains = chains(*port, protocol, single, mode);
        access::protect(&mut chains, index, service, members, *port);
        tokens::demand(&mut chains, index, service, members, *port);
        filter_chains.extend(chains);
    }
    let mut listener_filters = vec![listener_filter(
        "envoy.filters.listener.original_dst",
        &OriginalDst::default(),
    )];
    if tells_tls {
        listener_filters.push(listener_filter(
            "envoy.filters.listener.tls_inspector",
            &TlsInspector::default(),
        ));
    }
    if detects {
        listener_filters.push(listener_filter(
            "envoy.filters.listener.http_inspector",
            &HttpInspector::default(),
        ));
    }
    let listener = Listener {
        name: name.to_owned(),
        address: Some(address(SocketAddr::from((
            Ipv4Addr::UNSPECIFIED,
            INBOUND_PORT,
        )))),
        traffic_direction: TrafficDirection::Inbound.into(),
        listener_filters,
        // Where the server speaks first a client is silent until it did. One that still is belongs to no sidecar.
        listener_filters_timeout: Some(duration(DETECTION_TIMEOUT)),
        continue_on_listener_filters_timeout: true,
        filter_chains,
        ..Listener::default()
    };
    Resource::new(ResourceType::Listener, name, &listener)
}

/// What the application speaks on `port`: what the service of its name says of the port that leads there.
fn protocol(index: &Index, service: &ServiceName, port: u16, single: bool) -> AppProtocol {
    let Some(found) = index.services().get(service) else {
        return AppProtocol::Detect;
    };
    let ports = leads_to(index, found);
    let exact = ports.iter().find(|lead| lead.target == Some(port));
    match (exact, ports.as_slice()) {
        (Some(lead), _) => lead.protocol,
        // With one port on either side there is no doubt which leads where.
        (None, [only]) if single => only.protocol,
        _ => AppProtocol::Detect,
    }
}

/// The listener of the workloads that are called by `service`, whose applications listen on `port` at least. Where none of `workloads` is
/// one, it is that of one which has registered under the service's name with what it selects.
pub fn preview(
    index: &Index,
    service: &ServiceRef,
    workloads: &[Arc<Registration>],
    port: u16,
) -> Resource {
    let (name, members) = called_by(index, service, workloads, port);
    let mut ports: BTreeSet<u16> = members
        .iter()
        .flat_map(|it| it.workload.ports.iter().copied())
        .collect();
    ports.insert(port);
    listener(index, "preview", &name, &ports, &members)
}

/// The workloads that are called by `service`, with the name that they registered under.
pub(crate) fn called_by(
    index: &Index,
    service: &ServiceRef,
    workloads: &[Arc<Registration>],
    port: u16,
) -> (ServiceName, Vec<Arc<Registration>>) {
    let mut called = workloads
        .iter()
        .filter(|it| is_member(index, service, &it.workload));
    let name = match called.next() {
        Some(member) => ServiceName {
            namespace: member.workload.namespace.clone(),
            name: member.workload.service.clone(),
        },
        None => service.name.clone(),
    };
    let of_name = |it: &&Arc<Registration>| {
        it.workload.namespace == name.namespace && it.workload.service == name.name
    };
    let mut members: Vec<_> = workloads.iter().filter(of_name).cloned().collect();
    if members.is_empty() {
        members.push(Arc::new(likely_member(index, service, port)));
    }
    (name, members)
}

/// What proxies would refuse of one policy alone, on either kind of chain.
pub(crate) fn trial(policy: &Object) -> Option<Refused> {
    let mut filter_chains = chains(1, AppProtocol::Detect, true, MtlsMode::Disable);
    for chain in &mut filter_chains {
        access::protect_by(policy, chain);
        if let Spec::AuthenticationPolicy(said) = &policy.spec
            && let Some(jwt) = &said.jwt
        {
            tokens::demand_by(policy, jwt, chain);
        }
    }
    let listener = Listener {
        name: "trial".to_owned(),
        filter_chains,
        ..Listener::default()
    };
    check(&Resource::new(ResourceType::Listener, "trial", &listener))
}

/// How long the first bytes are waited for. A sidecar sends its ClientHello at once, but the network may be slow.
const DETECTION_TIMEOUT: Duration = Duration::from_secs(5);

/// Said for form's sake: a sidecar binds where its own flag says.
const INBOUND_PORT: u16 = 15006;
