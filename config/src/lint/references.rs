//! References of routes: services, ports, grants, filters, weights.

use super::{Remarks, parents_of, rule_path, spec};
use crate::diag::FieldPath;
use crate::gateway_api::{BackendRef, ExtensionRef, Kind, Object, ObjectKey, ServiceRef, Spec};

pub(super) fn check(found: &mut Remarks<'_>, object: &Object) {
    check_parents(found, object);
    for rule in rules(object) {
        let path = rule.path.field("backendRefs");
        for (index, backend) in rule.backends.iter().enumerate() {
            let path = path.index(index);
            check_service(
                found,
                object,
                &path,
                &backend.service,
                "its requests are answered 500",
            );
            check_port(
                found,
                object,
                &path.field("port"),
                &backend.service,
                backend.port,
            );
        }
        if !rule.backends.is_empty() && rule.backends.iter().all(|backend| backend.weight == 0) {
            let message =
                "all weights are 0: every request of this rule is answered 500".to_owned();
            found.warn(object.key(), path, message);
        }
        for (index, reference) in rule.extensions {
            check_extension(
                found,
                object,
                &rule.path.field("filters").index(index),
                reference,
            );
        }
    }
}

/// The services and filters that the rules of a route name.
pub(super) fn named_by(object: &Object) -> impl Iterator<Item = ObjectKey> {
    let namespace = object.metadata.namespace.clone();
    rules(object).into_iter().flat_map(move |rule| {
        let backends = rule.backends.into_iter().map(|it| it.service.key());
        let named = |name: &str| ObjectKey::new(Kind::FaultInjection, &namespace, name);
        let filters = rule.extensions.into_iter();
        let filters: Vec<ObjectKey> = filters.map(|(_, it)| named(&it.name)).collect();
        backends.chain(filters).collect::<Vec<_>>()
    })
}

/// What all routes' rules have in common.
struct RuleView<'o> {
    path: FieldPath,
    backends: Vec<&'o BackendRef>,
    extensions: Vec<(usize, &'o ExtensionRef)>,
}

fn rules(object: &Object) -> Vec<RuleView<'_>> {
    match &object.spec {
        Spec::HttpRoute(route) => (0..)
            .zip(&route.rules)
            .map(|(index, rule)| RuleView {
                path: rule_path(index),
                backends: rule.backend_refs.iter().map(|b| &b.backend).collect(),
                extensions: (0..)
                    .zip(&rule.filters)
                    .filter_map(|(index, filter)| Some((index, filter.extension()?)))
                    .collect(),
            })
            .collect(),
        Spec::GrpcRoute(route) => (0..)
            .zip(&route.rules)
            .map(|(index, rule)| RuleView {
                path: rule_path(index),
                backends: rule.backend_refs.iter().map(|b| &b.backend).collect(),
                extensions: (0..)
                    .zip(&rule.filters)
                    .filter_map(|(index, filter)| Some((index, filter.extension()?)))
                    .collect(),
            })
            .collect(),
        Spec::TcpRoute(route) => (0..)
            .zip(&route.rules)
            .map(|(index, rule)| RuleView {
                path: rule_path(index),
                backends: rule.backend_refs.iter().collect(),
                extensions: Vec::new(),
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn check_parents(found: &mut Remarks<'_>, object: &Object) {
    for (index, parent) in parents_of(object).iter().enumerate() {
        let path = spec().field("parentRefs").index(index);
        if !check_service(
            found,
            object,
            &path,
            &parent.service,
            "the route has no effect",
        ) {
            continue;
        }
        if let Some(port) = parent.port {
            check_port(found, object, &path.field("port"), &parent.service, port);
        }
        let ports = found.resources.service_ports(&parent.service);
        if let Some(section) = &parent.section_name
            && !ports.iter().any(|port| port.name.as_ref() == Some(section))
        {
            let names = ports.iter().filter_map(|port| port.name.as_deref());
            let hint = near(section, names);
            let message = format!("{} has no port named `{section}`{hint}", parent.service);
            found.warn(object.key(), path.field("sectionName"), message);
        }
        if matches!(object.kind(), Kind::HttpRoute | Kind::GrpcRoute) {
            let opaque = ports.iter().find(|port| {
                parent.port.is_none_or(|number| number == port.port)
                    && parent
                        .section_name
                        .as_ref()
                        .is_none_or(|name| port.name.as_ref() == Some(name))
                    && port.app_protocol == crate::gateway_api::AppProtocol::Tcp
            });
            if let Some(port) = opaque {
                let message = format!(
                    "port {} of {} carries opaque bytes (`appProtocol`), so requests on it are not routed",
                    port.port, parent.service
                );
                found.warn(object.key(), path, message);
            }
        }
    }
}

/// Whether the service is there; if not, or if a grant is missing, that is noted.
fn check_service(
    found: &mut Remarks<'_>,
    object: &Object,
    path: &FieldPath,
    service: &ServiceRef,
    consequence: &str,
) -> bool {
    let key = service.key();
    if !found.resources.contains(&key) {
        let consequence = format!("; {consequence}");
        found.warn_missing(object.key(), path.field("name"), &key, &consequence);
        return false;
    }
    let namespace = &object.metadata.namespace;
    // Traffic may always go back to where it was going.
    let is_parent = parents_of(object).iter().any(|it| it.service == *service);
    if !is_parent
        && !found
            .resources
            .permits_reference(object.kind(), namespace, &key)
    {
        let message = format!(
            "{} is in another namespace, and no ReferenceGrant there lets {}s of `{namespace}` refer to it; {consequence}",
            service,
            object.kind()
        );
        found.warn(object.key(), path.field("namespace"), message);
    }
    true
}

fn check_port(
    found: &mut Remarks<'_>,
    object: &Object,
    path: &FieldPath,
    service: &ServiceRef,
    port: u16,
) {
    let ports = found.resources.service_ports(service);
    if ports.is_empty() || ports.iter().any(|view| view.port == port) {
        return;
    }
    let has = ports
        .iter()
        .map(|view| view.port.to_string())
        .collect::<Vec<_>>()
        .join(", ");
    found.warn(
        object.key(),
        path.clone(),
        format!("{service} has no port {port}, it has {has}"),
    );
}

fn check_extension(
    found: &mut Remarks<'_>,
    object: &Object,
    path: &FieldPath,
    reference: &ExtensionRef,
) {
    let key = ObjectKey::new(
        Kind::FaultInjection,
        &object.metadata.namespace,
        &reference.name,
    );
    if !found.resources.contains(&key) {
        let path = path.field("extensionRef").field("name");
        found.warn_missing(object.key(), path, &key, "; the rule answers 500");
    }
}

/// `, did you mean …`, where a name is near.
pub(super) fn near<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    match crate::diag::near_name(wrong, names) {
        Some(name) => format!(", did you mean `{name}`?"),
        None => String::new(),
    }
}
