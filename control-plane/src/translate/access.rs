//! Who may call: an `AuthorizationPolicy` becomes RBAC on the inbound side of the workloads that it is about.
//!
//! Those who deny come first, then one filter of all those who allow. A policy is about the workloads of a service when it names the
//! service, one that selects any of them, or nothing in their namespace or the root namespace: the listener is the same for all workloads of one name, and
//! in doubt a rule holds.

mod explain;
mod filters;
mod rules;

use std::sync::Arc;

use weft_config::gateway_api::authorization_policy::{Action, Mode, OnRevoke};
use weft_config::gateway_api::{
    AuthorizationPolicy, Object, PolicyTarget, ServiceKind, ServiceName, ServiceRef, Spec,
    TargetKind,
};
use weft_xds_proto::pb::envoy::config::listener::v3::FilterChain;
use weft_xds_proto::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;

pub(crate) use self::explain::unmet;
use self::filters::Gate;
use super::discovered::{Registration, Workload};
use super::endpoints::is_member;
use super::index::Index;
use super::leads::{called, leads_to};

/// What is spoken on a filter chain, as far as rules may ask for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    Http,
    Tcp,
}

/// A policy about one port of an application.
pub(crate) struct PolicyOnPort<'a> {
    /// The object.
    pub(crate) object: &'a Object,
    /// What it says.
    pub(crate) policy: &'a AuthorizationPolicy,
    /// The ports of the service that lead there, by which rules call it.
    pub(crate) ports: Vec<u16>,
}

/// Puts those who may not call out of `chains`, which lead to `port` of the workloads called `service`.
pub(crate) fn protect(
    chains: &mut [FilterChain],
    index: &Index,
    service: &ServiceName,
    members: &[Arc<Registration>],
    port: u16,
) {
    let applied = policies_on(index, service, members, port);
    if applied.is_empty() {
        return;
    }
    let name = format!("{}/{}", service.namespace, service.name);
    for chain in chains {
        filters::insert(chain, |layer| gates(&applied, layer), &name);
    }
}

/// Puts `filter` before all others of a chain where requests are told apart.
pub(super) fn insert_http(chain: &mut FilterChain, filter: &HttpFilter) {
    filters::insert_http(chain, filter);
}

/// Lets nobody in where bytes are passed on.
pub(super) fn close_to_bytes(chain: &mut FilterChain, service: &str) {
    let nobody = |layer| match layer {
        Layer::Tcp => vec![Gate {
            action: Action::Allow,
            rules: Some(Vec::new()),
            shadow: None,
            on_revoke: OnRevoke::Keep,
        }],
        Layer::Http => Vec::new(),
    };
    filters::insert(chain, nobody, service);
}

/// The gates of one policy alone, to see whether proxies take them.
pub(crate) fn protect_by(object: &Object, chain: &mut FilterChain) {
    let Spec::AuthorizationPolicy(policy) = &object.spec else {
        return;
    };
    let every_port = policy.rules.iter().flat_map(|rule| &rule.to);
    let ports = every_port.flat_map(|to| to.ports.iter().copied()).collect();
    let applied = [PolicyOnPort {
        object,
        policy,
        ports,
    }];
    filters::insert(chain, |layer| gates(&applied, layer), "trial");
}

/// The policies about `port` of the workloads called `service`.
pub(crate) fn policies_on<'a>(
    index: &'a Index,
    service: &ServiceName,
    members: &[Arc<Registration>],
    port: u16,
) -> Vec<PolicyOnPort<'a>> {
    let policies = index.access(&service.namespace);
    let policies = policies.filter_map(|object| match &object.spec {
        Spec::AuthorizationPolicy(policy) => Some((&**object, policy)),
        _ => None,
    });
    let own = || index.services().get(service);
    policies
        .filter_map(|(object, policy)| {
            if policy.target_refs.is_empty() {
                let ports = own().map_or_else(|| vec![port], |own| called(index, own, port));
                return Some(PolicyOnPort {
                    object,
                    policy,
                    ports,
                });
            }
            let mut ports: Vec<u16> = Vec::new();
            for target in &policy.target_refs {
                ports.extend(ports_of_target(index, target, service, members, port));
            }
            (!ports.is_empty()).then_some(PolicyOnPort {
                object,
                policy,
                ports,
            })
        })
        .collect()
}

/// The ports of the target by which `port` of the workloads is called; none where the target is not about it.
pub(super) fn ports_of_target(
    index: &Index,
    target: &PolicyTarget,
    service: &ServiceName,
    members: &[Arc<Registration>],
    port: u16,
) -> Vec<u16> {
    let named = ServiceRef {
        kind: match target.kind {
            TargetKind::MeshService => ServiceKind::MeshService,
            _ => ServiceKind::Service,
        },
        name: ServiceName {
            namespace: target.namespace.clone(),
            name: target.name.clone(),
        },
    };
    let selects = |workload: &Workload| is_member(index, &named, workload);
    let about = named.name == *service || members.iter().any(|it| selects(&it.workload));
    match &target.section_name {
        _ if !about => Vec::new(),
        None => called(index, &named, port),
        Some(section) => {
            let leads = leads_to(index, &named).into_iter();
            let leads = leads.filter(|lead| lead.name.as_ref() == Some(section));
            let leads = leads.filter(|lead| lead.may_lead_to(port));
            leads.map(|lead| lead.port).collect()
        }
    }
}

/// The gates that the policies make, in order.
fn gates(applied: &[PolicyOnPort<'_>], layer: Layer) -> Vec<Gate> {
    let of = |action: Action, mode: Mode| {
        let some =
            move |it: &&PolicyOnPort<'_>| it.policy.action == action && it.policy.mode == mode;
        applied.iter().filter(some)
    };
    let rules = |policies: &mut dyn Iterator<Item = &PolicyOnPort<'_>>| {
        let mut found: Vec<_> = policies
            .flat_map(|it| rules::policies(it.object, it.policy, &it.ports, layer))
            .collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found
    };
    let closes = |it: &&PolicyOnPort<'_>| it.policy.on_revoke == OnRevoke::Close;
    let mut gates = Vec::new();
    let kept = rules(&mut of(Action::Deny, Mode::Enforce).filter(|it| !closes(it)));
    let dry = rules(&mut of(Action::Deny, Mode::DryRun));
    gates.extend(Gate::deny(kept, dry, OnRevoke::Keep));
    let cut = rules(&mut of(Action::Deny, Mode::Enforce).filter(closes));
    gates.extend(Gate::deny(cut, Vec::new(), OnRevoke::Close));
    let obeyed = of(Action::Allow, Mode::Enforce).next().is_some();
    let tried = of(Action::Allow, Mode::DryRun).next().is_some();
    let allow = rules(&mut of(Action::Allow, Mode::Enforce));
    // What would be if those were obeyed too.
    let shadow =
        rules(&mut of(Action::Allow, Mode::Enforce).chain(of(Action::Allow, Mode::DryRun)));
    let on_revoke = match of(Action::Allow, Mode::Enforce).any(|it| closes(&it)) {
        true => OnRevoke::Close,
        false => OnRevoke::Keep,
    };
    if obeyed || tried {
        gates.push(Gate {
            action: Action::Allow,
            rules: obeyed.then_some(allow),
            shadow: tried.then_some(shadow),
            on_revoke,
        });
    }
    gates
}
