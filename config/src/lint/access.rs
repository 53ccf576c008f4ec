//! Policies of callers that nobody enforces, that others make void, or that no call can meet.

use super::{Remarks, spec};
use crate::diag::FieldPath;
use crate::gateway_api::authentication_policy::Keys;
use crate::gateway_api::authorization_policy::{
    AccessOperation, AccessRule, AccessSource, Action, Wildcard,
};
use crate::gateway_api::resources::PortView;
use crate::gateway_api::{
    AppProtocol, AuthenticationPolicy, AuthorizationPolicy, Kind, MtlsMode, Object, ObjectKey,
    PolicyTarget, ServiceKind, ServiceName, ServiceRef, Spec,
};
use crate::spiffe::{ROOT_NAMESPACE, SpiffeId};

pub(super) fn check(found: &mut Remarks<'_>, object: &Object) {
    match &object.spec {
        Spec::AuthorizationPolicy(policy) => {
            check_reach(found, object);
            check_rules(found, object, policy);
        }
        Spec::AuthenticationPolicy(policy) => {
            check_reach(found, object);
            check_stricter(found, object, policy);
            check_tokens(found, object, policy);
        }
        _ => {}
    }
}

/// A policy for a whole namespace in which there is no service.
fn check_reach(found: &mut Remarks<'_>, object: &Object) {
    let here = object.metadata.namespace.as_str();
    let is_there = |it: &ServiceRef| here == ROOT_NAMESPACE || it.name.namespace == here;
    let mut refused = found.refused.iter();
    let unread = refused.any(|it| matches!(it.kind, Kind::Service | Kind::MeshService));
    if object.spec.target_refs().is_empty() && !unread && !services(found).iter().any(is_there) {
        let message = match here {
            ROOT_NAMESPACE => "there is no service in the mesh, so it has no effect".to_owned(),
            here => format!("there is no service in the namespace `{here}`, so it has no effect"),
        };
        let path = FieldPath::root().field("metadata").field("namespace");
        found.warn(object.key(), path, message);
    }
}

/// Of two that say it of the same, the stricter counts.
fn check_stricter(found: &mut Remarks<'_>, object: &Object, policy: &AuthenticationPolicy) {
    let Some(mtls) = &policy.mtls else { return };
    let here = &object.metadata.namespace;
    let same = |other: &AuthenticationPolicy| match policy.target_refs.as_slice() {
        [] => other.target_refs.is_empty(),
        own => other.target_refs.iter().any(|it| own.contains(it)),
    };
    let mut others = found.resources.authentication_policies();
    let stricter = others.find_map(|(meta, other)| {
        let mode = other.mtls.as_ref()?.mode;
        let counts = meta.namespace == *here && mode > mtls.mode && same(other);
        counts.then(|| (meta.name.clone(), mode))
    });
    if let Some((name, mode)) = stricter {
        let key = ObjectKey::new(Kind::AuthenticationPolicy, here, &name);
        let message = format!(
            "{key} says {} of the same, which is stricter and counts",
            word(mode)
        );
        found.warn(object.key(), spec().field("mtls").field("mode"), message);
    }
}

/// Tokens on ports where nobody sees them, and keys of a service that is not there.
fn check_tokens(found: &mut Remarks<'_>, object: &Object, policy: &AuthenticationPolicy) {
    let Some(jwt) = &policy.jwt else { return };
    for (index, target) in policy.target_refs.iter().enumerate() {
        let ports = ports_of(found, target);
        if is_bytes(&ports) {
            let message = match jwt.required {
                true => "carries bytes, which bring no token: it takes nothing",
                false => "carries bytes: nobody looks at tokens there",
            };
            let path = spec().field("targetRefs").index(index);
            let message = format!("{} {message}", target.key());
            found.warn(object.key(), path, message);
        }
    }
    for (index, provider) in jwt.providers.iter().enumerate() {
        let Keys::Uri(uri) = &provider.keys else {
            continue;
        };
        let Some(service) = service_of(uri, &object.metadata.namespace) else {
            continue;
        };
        if found.resources.find_service(&service).is_none() {
            let providers = spec().field("jwt").field("providers");
            let path = providers.index(index).field("jwksUri");
            let key = ObjectKey::new(Kind::MeshService, &service.namespace, &service.name);
            found.warn_missing(object.key(), path, &key, "; keys cannot be fetched");
        }
    }
}

/// The service of the mesh that keys are fetched from; `None`: it may be somebody else.
fn service_of(uri: &str, namespace: &str) -> Option<ServiceName> {
    let authority = uri.strip_prefix("http://")?.split(['/', '?']).next()?;
    let host = authority.split(':').next()?;
    let domain = crate::gateway_api::names::DEFAULT_CLUSTER_DOMAIN;
    let of_mesh = !host.contains('.') || host.ends_with(&format!(".svc.{domain}"));
    let is_ip = host.parse::<std::net::IpAddr>().is_ok() || authority.starts_with('[');
    (of_mesh && !is_ip && host != "localhost")
        .then(|| ServiceName::qualify(host, namespace, domain))?
}

fn check_rules(found: &mut Remarks<'_>, object: &Object, policy: &AuthorizationPolicy) {
    let ports = ports_about(found, object, policy);
    let plain = policy.action == Action::Allow
        && !ports.is_empty()
        && ports.iter().all(|(service, port)| {
            mode_of(found, service, port.name.as_deref()) == MtlsMode::Disable
        });
    for (index, rule) in policy.rules.iter().enumerate() {
        let path = spec().field("rules").index(index);
        if plain && needs_identity(rule) {
            let message =
                "mTLS is DISABLE there, so nobody can show who he is and this matches nobody";
            found.warn(object.key(), path.field("from"), message.to_owned());
        }
        for (number, operation) in rule.to.iter().enumerate() {
            let path = path.field("to").index(number);
            check_operation(found, object, &path, policy.action, operation, &ports);
        }
        for (number, source) in rule.from.iter().enumerate() {
            check_identities(found, object, &path.field("from").index(number), source);
        }
    }
}

fn check_operation(
    found: &mut Remarks<'_>,
    object: &Object,
    path: &FieldPath,
    action: Action,
    operation: &AccessOperation,
    ports: &[(ServiceName, PortView)],
) {
    let meant =
        |view: &&PortView| operation.ports.is_empty() || operation.ports.contains(&view.port);
    let views = || ports.iter().map(|(_, view)| view);
    let meant: Vec<&PortView> = views().filter(meant).collect();
    let bytes = !meant.is_empty() && meant.iter().all(|it| it.app_protocol == AppProtocol::Tcp);
    if action == Action::Allow && operation.is_of_http() && bytes {
        let message = "is about ports that carry bytes, which have no methods, paths, hosts or headers: it lets nobody in";
        found.warn(object.key(), path.clone(), message.to_owned());
    }
    for (field, list) in [
        ("ports", &operation.ports),
        ("notPorts", &operation.not_ports),
    ] {
        for (index, port) in list.iter().enumerate() {
            if ports.is_empty() || views().any(|view| view.port == *port) {
                continue;
            }
            let mut known: Vec<u16> = views().map(|view| view.port).collect();
            known.sort_unstable();
            known.dedup();
            let known: Vec<String> = known.iter().take(8).map(u16::to_string).collect();
            let message = format!(
                "no service that it is about lists the port {port}; ports are those of services: {}",
                known.join(", ")
            );
            found.warn(object.key(), path.field(field).index(index), message);
        }
    }
}

/// An id without a path is that of a trust domain, which no workload has.
fn check_identities(
    found: &mut Remarks<'_>,
    object: &Object,
    path: &FieldPath,
    source: &AccessSource,
) {
    let lists = [
        ("identities", &source.identities),
        ("notIdentities", &source.not_identities),
    ];
    for (field, list) in lists {
        for (index, wildcard) in list.iter().enumerate() {
            let Wildcard::Exact(text) = wildcard else {
                continue;
            };
            if SpiffeId::parse(text).is_ok_and(|id| id.path().is_empty()) {
                let message = format!(
                    "`{text}` is a trust domain and no workload; write `{text}/*` for all of its workloads"
                );
                found.warn(object.key(), path.field(field).index(index), message);
            }
        }
    }
}

/// Whether nobody without an identity can be meant.
fn needs_identity(rule: &AccessRule) -> bool {
    let needs = |it: &AccessSource| {
        let named = !it.identities.is_empty() || !it.not_identities.is_empty();
        let domains = !it.trust_domains.is_empty() || !it.not_trust_domains.is_empty();
        named || domains || !it.namespaces.is_empty() || !it.not_namespaces.is_empty()
    };
    !rule.from.is_empty() && rule.from.iter().all(needs)
}

/// The services, a `MeshService` before a `Service` of the same name.
fn services(found: &Remarks<'_>) -> Vec<ServiceRef> {
    let kinds = [Kind::MeshService, Kind::Service].into_iter();
    let all = kinds.flat_map(|kind| found.resources.of_kind(kind));
    let names = all.map(|it| ServiceName {
        namespace: it.metadata.namespace.clone(),
        name: it.metadata.name.clone(),
    });
    names
        .filter_map(|name| found.resources.find_service(&name))
        .collect()
}

/// Every port that a policy is about, with its service.
fn ports_about(
    found: &Remarks<'_>,
    object: &Object,
    policy: &AuthorizationPolicy,
) -> Vec<(ServiceName, PortView)> {
    if !policy.target_refs.is_empty() {
        let targets = policy.target_refs.iter();
        let ports = targets.flat_map(|target| {
            let service = ServiceName {
                namespace: target.namespace.clone(),
                name: target.name.clone(),
            };
            let ports = ports_of(found, target).into_iter();
            ports.map(move |port| (service.clone(), port))
        });
        return ports.collect();
    }
    let here = object.metadata.namespace.as_str();
    let all = services(found).into_iter();
    let here = all.filter(|it| here == ROOT_NAMESPACE || it.name.namespace == here);
    let ports = here.flat_map(|service| {
        let ports = found.resources.service_ports(&service).into_iter();
        ports.map(move |port| (service.name.clone(), port))
    });
    ports.collect()
}

/// The ports that a target names.
fn ports_of(found: &Remarks<'_>, target: &PolicyTarget) -> Vec<PortView> {
    let service = ServiceRef {
        kind: match target.kind.kind() {
            Kind::MeshService => ServiceKind::MeshService,
            _ => ServiceKind::Service,
        },
        name: ServiceName {
            namespace: target.namespace.clone(),
            name: target.name.clone(),
        },
    };
    let mut ports = found.resources.service_ports(&service);
    if target.section_name.is_some() {
        ports.retain(|port| port.name == target.section_name);
    }
    ports
}

fn is_bytes(ports: &[PortView]) -> bool {
    !ports.is_empty() && ports.iter().all(|it| it.app_protocol == AppProtocol::Tcp)
}

/// What a port takes, by what is written of it, its service, its namespace and the mesh: the closest, and of those the strictest.
fn mode_of(found: &Remarks<'_>, service: &ServiceName, port: Option<&str>) -> MtlsMode {
    let policies = found.resources.authentication_policies();
    let said = policies.filter_map(|(meta, policy)| {
        let mode = policy.mtls.as_ref()?.mode;
        let closeness = match policy.target_refs.as_slice() {
            [] if meta.namespace == service.namespace => 1,
            [] if meta.namespace == ROOT_NAMESPACE => 0,
            targets => {
                let named = targets
                    .iter()
                    .filter(|it| it.namespace == service.namespace && it.name == service.name);
                let close = named.filter_map(|it| match it.section_name.as_deref() {
                    None => Some(2),
                    Some(section) => (port == Some(section)).then_some(3),
                });
                close.max()?
            }
        };
        Some((closeness, mode))
    });
    said.max().map_or_else(MtlsMode::default, |(_, mode)| mode)
}

fn word(mode: MtlsMode) -> &'static str {
    match mode {
        MtlsMode::Strict => "STRICT",
        MtlsMode::Permissive => "PERMISSIVE",
        MtlsMode::Disable => "DISABLE",
    }
}
