//! Policies: targets that are not there, and policies that get in each other's way.

use super::references::near;
use super::{Remarks, spec};
use crate::diag::FieldPath;
use crate::gateway_api::mesh_service::MeshDiscovery;
use crate::gateway_api::precedence::route_rank;
use crate::gateway_api::{
    BackendTlsPolicy, Object, PolicyTarget, ServiceKind, ServiceName, ServiceRef, Spec, TargetKind,
};
use crate::spiffe::ROOT_NAMESPACE;

pub(super) fn check(found: &mut Remarks<'_>, object: &Object) {
    for (index, target) in object.spec.target_refs().iter().enumerate() {
        let path = spec().field("targetRefs").index(index);
        let key = target.key();
        if !found.resources.contains(&key) {
            found.warn_missing(object.key(), path.field("name"), &key, "");
            continue;
        }
        check_section(found, object, &path, target);
        if let Spec::AuthorizationPolicy(_) = &object.spec {
            check_enforced(found, object, &path, target);
            continue; // all of a kind hold together
        }
        if let Spec::AuthenticationPolicy(_) = &object.spec {
            check_enforced(found, object, &path, target);
            continue; // the strictest counts
        }
        if let Spec::BackendTlsPolicy(_) = &object.spec {
            check_outside(found, object, &path, target);
        }
        check_conflict(found, object, &path, target);
    }
    if let Spec::BackendTlsPolicy(policy) = &object.spec {
        check_roots(found, object, policy);
    }
    check_claims(found, object);
    if let Spec::FaultInjection(_) = &object.spec
        && !is_used(found, object)
        && !found.has_refused_route(&object.metadata.namespace)
    {
        let message =
            "no rule of this namespace names it in an ExtensionRef filter, so it has no effect";
        let path = FieldPath::root().field("metadata").field("name");
        found.warn(object.key(), path, message.to_owned());
    }
}

fn check_section(
    found: &mut Remarks<'_>,
    object: &Object,
    path: &FieldPath,
    target: &PolicyTarget,
) {
    let Some(section) = &target.section_name else {
        return;
    };
    let names = section_names(found, target);
    if !names.contains(section) {
        let what = if target.kind.is_service() {
            "port"
        } else {
            "rule"
        };
        let hint = near(section, names.iter().map(String::as_str));
        let message = format!("{} has no {what} named `{section}`{hint}", target.key());
        found.warn(object.key(), path.field("sectionName"), message);
    }
}

fn section_names(found: &Remarks<'_>, target: &PolicyTarget) -> Vec<String> {
    let kind = match target.kind {
        TargetKind::Service => ServiceKind::Service,
        TargetKind::MeshService => ServiceKind::MeshService,
        TargetKind::HttpRoute | TargetKind::GrpcRoute => {
            let object = found.resources.get(&target.key());
            return match object.map(|object| &object.spec) {
                Some(Spec::HttpRoute(route)) => {
                    route.rules.iter().filter_map(|r| r.name.clone()).collect()
                }
                Some(Spec::GrpcRoute(route)) => {
                    route.rules.iter().filter_map(|r| r.name.clone()).collect()
                }
                _ => Vec::new(),
            };
        }
    };
    let name = ServiceName {
        namespace: target.namespace.clone(),
        name: target.name.clone(),
    };
    let ports = found.resources.service_ports(&ServiceRef { kind, name });
    ports.into_iter().filter_map(|port| port.name).collect()
}

/// Two policies of one kind on the same target: the older one wins (GEP-713).
fn check_conflict(
    found: &mut Remarks<'_>,
    object: &Object,
    path: &FieldPath,
    target: &PolicyTarget,
) {
    let winner = found
        .resources
        .of_kind(object.kind())
        .filter(|other| other.spec.target_refs().contains(target))
        .min_by(|a, b| route_rank(&a.metadata).cmp(&route_rank(&b.metadata)));
    if let Some(winner) = winner
        && winner.key() != object.key()
    {
        let message = format!(
            "{} has the same target and wins, being older or first by name",
            winner.key()
        );
        found.warn(object.key(), path.clone(), message);
    }
}

/// Without the roots that it names nobody is trusted.
fn check_roots(found: &mut Remarks<'_>, object: &Object, policy: &BackendTlsPolicy) {
    let refs = spec().field("validation").field("caCertificateRefs");
    for (index, reference) in policy.validation.ca_refs.iter().enumerate() {
        let key = reference.key(&object.metadata.namespace);
        let path = refs.index(index).field("name");
        match found.resources.get(&key).map(|it| &it.spec) {
            Some(Spec::ConfigMap(map)) if map.data.ca.is_some() => {}
            Some(_) => {
                let message = format!("{key} has no `ca.crt`; calls fail");
                found.warn(object.key(), path, message);
            }
            None => found.warn_missing(object.key(), path, &key, "; calls fail"),
        }
    }
}

/// It is the sidecar beside an endpoint that judges: others let everybody in.
fn check_enforced(
    found: &mut Remarks<'_>,
    object: &Object,
    path: &FieldPath,
    target: &PolicyTarget,
) {
    let service = found.resources.get(&target.key()).map(|it| &it.spec);
    let outside = match service {
        Some(Spec::MeshService(mesh)) => !matches!(mesh.discovery, MeshDiscovery::Workloads(_)),
        Some(Spec::Service(service)) => service.external_name.is_some(),
        _ => false,
    };
    if outside {
        let message = format!(
            "{} has endpoints that register no sidecar, and nobody else enforces this",
            target.key()
        );
        found.warn(object.key(), path.field("name"), message);
    }
}

/// Sidecars speak to one another over TLS of their own.
fn check_outside(
    found: &mut Remarks<'_>,
    object: &Object,
    path: &FieldPath,
    target: &PolicyTarget,
) {
    if let Some(Spec::MeshService(mesh)) = found.resources.get(&target.key()).map(|it| &it.spec)
        && let MeshDiscovery::Workloads(_) = mesh.discovery
    {
        let message = format!(
            "{} has workloads with sidecars, which are spoken to over the mesh's own TLS, whatever this says",
            target.key()
        );
        found.warn(object.key(), path.field("name"), message);
    }
}

/// What tokens say is known where somebody says whose tokens count.
fn check_claims(found: &mut Remarks<'_>, object: &Object) {
    let Spec::AuthorizationPolicy(policy) = &object.spec else {
        return;
    };
    let here = &object.metadata.namespace;
    let mut said = found.resources.authentication_policies();
    let everywhere = here == ROOT_NAMESPACE && policy.target_refs.is_empty();
    let known = said.any(|(meta, said)| {
        let about = everywhere || meta.namespace == *here || meta.namespace == ROOT_NAMESPACE;
        about && said.jwt.is_some()
    });
    for (index, _) in (0..)
        .zip(&policy.rules)
        .filter(|(_, rule)| !known && !rule.when.is_empty())
    {
        let message =
            "no AuthenticationPolicy here names an issuer of tokens (jwt), so this matches nobody";
        let path = spec().field("rules").index(index).field("when");
        found.warn(object.key(), path, message.to_owned());
    }
}

fn is_used(found: &Remarks<'_>, object: &Object) -> bool {
    let name = &object.metadata.name;
    let here = &object.metadata.namespace;
    let http = found.resources.http_routes().any(|(meta, route)| {
        let mut filters = route.rules.iter().flat_map(|rule| &rule.filters);
        meta.namespace == *here
            && filters.any(|filter| filter.extension().is_some_and(|it| it.name == *name))
    });
    http || found.resources.grpc_routes().any(|(meta, route)| {
        let mut filters = route.rules.iter().flat_map(|rule| &rule.filters);
        meta.namespace == *here
            && filters.any(|filter| filter.extension().is_some_and(|it| it.name == *name))
    })
}
