//! Reading references.

use super::{Fields, Item, Reader, check, suggestion};
use crate::gateway_api::names::{DEFAULT_CLUSTER_DOMAIN, ServiceName, is_dns_label};
use crate::gateway_api::object::{GATEWAY_GROUP, Kind, MESH_GROUP};
use crate::gateway_api::policy_target::{PolicyTarget, TargetKind};
use crate::gateway_api::reference::{BackendRef, ExtensionRef, ParentRef, ServiceKind, ServiceRef};
use crate::yaml::shorten;

/// `parentRefs`, required.
pub(crate) fn parent_refs(cx: &mut Reader<'_>, fields: &mut Fields<'_>) -> Vec<ParentRef> {
    let Some(list) = fields.require(cx, "parentRefs") else {
        return Vec::new();
    };
    let parents = list.each(cx, 1, 32, parent_ref);
    check::unique(cx, &list, &parents, "the parent", |parent| {
        let port = parent.port.map_or("*".to_owned(), |port| port.to_string());
        let section = parent.section_name.as_deref().unwrap_or("*");
        Some(format!("{} port {port} section {section}", parent.service))
    });
    parents
}

fn parent_ref(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<ParentRef> {
    let mut fields = item.fields(cx)?;
    let group = fields.get("group");
    let kind = fields.get("kind");
    let is_gateway = match (&group, &kind) {
        (_, Some(kind)) => kind.meaning() == Some(crate::yaml::Meaning::Text("Gateway")),
        (Some(group), None) => group.meaning() == Some(crate::yaml::Meaning::Text(GATEWAY_GROUP)),
        (None, None) => {
            fields.fault(
                cx,
                "without `group` and `kind` this names a Gateway, which a mesh does not have: add `kind: Service` with `group: \"\"`, or `kind: MeshService` with `group: mesh.weft.dev`",
            );
            return None;
        }
    };
    if is_gateway {
        fields.fault(
            cx,
            "a Gateway as parent is not supported: in a mesh the parent is the Service or MeshService whose traffic is routed",
        );
        return None;
    }
    let service = service_ref(cx, &mut fields, group, kind);
    let port = fields.get("port").and_then(|item| item.port(cx));
    let section_name = fields
        .get("sectionName")
        .and_then(|item| check::section(cx, &item));
    fields.finish(cx);
    Some(ParentRef {
        service: service?,
        port,
        section_name,
    })
}

/// A backend without filters of its own.
pub(crate) fn backend_ref(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<BackendRef> {
    let mut fields = item.fields(cx)?;
    let backend = backend_fields(cx, &mut fields);
    fields.finish(cx);
    backend
}

/// The fields that every kind of backend has.
pub(crate) fn backend_fields(cx: &mut Reader<'_>, fields: &mut Fields<'_>) -> Option<BackendRef> {
    let group = fields.get("group");
    let kind = fields.get("kind");
    let service = service_ref(cx, fields, group, kind);
    let port = fields.require(cx, "port").and_then(|item| item.port(cx));
    let weight = fields
        .get("weight")
        .and_then(|item| item.number(cx, 0, WEIGHT_MAX));
    Some(BackendRef {
        service: service?,
        port: port?,
        weight: weight.unwrap_or(1),
    })
}

fn service_ref(
    cx: &mut Reader<'_>,
    fields: &mut Fields<'_>,
    group: Option<Item<'_>>,
    kind: Option<Item<'_>>,
) -> Option<ServiceRef> {
    let service_kind = match &kind {
        Some(item) => service_kind(cx, item),
        None => Some(ServiceKind::Service),
    };
    if let (Some(kind), Some(group)) = (service_kind, &group) {
        check_group(cx, group, kind.name(), kind.group());
    }
    if let (Some(ServiceKind::MeshService), None) = (service_kind, &group) {
        fields.fault(
            cx,
            "a MeshService is of the group `mesh.weft.dev`: add `group: mesh.weft.dev`",
        );
    }
    let namespace = fields
        .get("namespace")
        .and_then(|item| check::label(cx, &item).map(|name| (name, item)));
    let name_item = fields.require(cx, "name")?;
    let text = name_item.text(cx)?;
    let home = namespace
        .as_ref()
        .map_or_else(|| cx.namespace.clone(), |(name, _)| name.clone());
    let Some(name) = ServiceName::qualify(text, &home, DEFAULT_CLUSTER_DOMAIN) else {
        name_item.fault(
            cx,
            format!(
                "must be a service's name (`reviews`, `reviews.default` or `reviews.default.svc.cluster.local`), got `{}`",
                shorten(text)
            ),
        );
        return None;
    };
    if let Some((given, item)) = &namespace
        && *given != name.namespace
    {
        item.fault(
            cx,
            format!(
                "is `{given}`, but the name `{text}` says `{}`",
                name.namespace
            ),
        );
    }
    Some(ServiceRef {
        kind: service_kind?,
        name,
    })
}

fn service_kind(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<ServiceKind> {
    item.choice(
        cx,
        &[
            ("Service", ServiceKind::Service),
            ("MeshService", ServiceKind::MeshService),
        ],
    )
}

/// The group that is given must be that of the kind; `core` is the empty one.
fn check_group(cx: &mut Reader<'_>, item: &Item<'_>, kind: &str, group: &str) {
    let Some(text) = item.text(cx) else { return };
    let given = if text == "core" { "" } else { text };
    if given != group {
        item.fault(
            cx,
            format!("{kind} is of the group `{group}`, got `{}`", shorten(text)),
        );
    }
}

/// `extensionRef` of a filter.
pub(crate) fn extension_ref(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<ExtensionRef> {
    let mut fields = item.fields(cx)?;
    if let Some(group) = fields.require(cx, "group") {
        check_group(cx, &group, "FaultInjection", MESH_GROUP);
    }
    if let Some(kind) = fields.require(cx, "kind") {
        match kind.text(cx) {
            Some("FaultInjection") | None => {}
            Some("RateLimitPolicy") => {
                kind.fault(cx, "a RateLimitPolicy attaches by its own `targetRefs`, with the rule's name as `sectionName`");
            }
            Some(other) => {
                let hint = suggestion(other, ["FaultInjection"]);
                kind.fault(
                    cx,
                    format!("must be FaultInjection, got `{}`{hint}", shorten(other)),
                );
            }
        }
    }
    let name = fields
        .require(cx, "name")
        .and_then(|item| check::subdomain(cx, &item));
    fields.finish(cx);
    Some(ExtensionRef {
        group: MESH_GROUP.to_owned(),
        kind: Kind::FaultInjection.name().to_owned(),
        name: name?,
    })
}

/// `targetRefs`, required.
pub(crate) fn target_refs(cx: &mut Reader<'_>, fields: &mut Fields<'_>) -> Vec<PolicyTarget> {
    targets_of(cx, fields, &TargetKind::ALL)
}

/// `targetRefs` of a policy that attaches to services alone.
pub(crate) fn service_target_refs(
    cx: &mut Reader<'_>,
    fields: &mut Fields<'_>,
) -> Vec<PolicyTarget> {
    targets_of(cx, fields, &[TargetKind::Service, TargetKind::MeshService])
}

fn targets_of(
    cx: &mut Reader<'_>,
    fields: &mut Fields<'_>,
    kinds: &[TargetKind],
) -> Vec<PolicyTarget> {
    if let Some(item) = fields.get("targetRef") {
        item.fault(cx, "is a list here: write `targetRefs: [{…}]`");
    }
    let Some(list) = fields.require(cx, "targetRefs") else {
        return Vec::new();
    };
    let targets = list.each(cx, 1, 16, |cx, item| target_ref(cx, item, kinds));
    check::unique(cx, &list, &targets, "the target", |target| {
        let section = target.section_name.as_deref().unwrap_or("*");
        Some(format!(
            "{} {} section {section}",
            target.kind.kind(),
            target.name
        ))
    });
    targets
}

fn target_ref(cx: &mut Reader<'_>, item: &Item<'_>, kinds: &[TargetKind]) -> Option<PolicyTarget> {
    let mut fields = item.fields(cx)?;
    let choices = kinds.iter().map(|kind| (kind.kind().name(), *kind));
    let choices: Vec<(&'static str, TargetKind)> = choices.collect();
    let kind = fields.require(cx, "kind");
    let kind = kind.and_then(|item| item.choice(cx, &choices));
    let group = fields.require(cx, "group");
    if let (Some(kind), Some(group)) = (kind, &group) {
        check_group(cx, group, kind.kind().name(), kind.kind().group());
    }
    if let Some(item) = fields.get("namespace") {
        item.fault(
            cx,
            "a policy attaches only within its own namespace; leave this out",
        );
    }
    let name = fields
        .require(cx, "name")
        .and_then(|item| target_name(cx, &item, kind));
    let section_name = fields
        .get("sectionName")
        .and_then(|item| check::section(cx, &item));
    fields.finish(cx);
    Some(PolicyTarget {
        kind: kind?,
        namespace: cx.namespace.clone(),
        name: name?,
        section_name,
    })
}

/// A target's name; services may be named in any of their forms.
fn target_name(cx: &mut Reader<'_>, item: &Item<'_>, kind: Option<TargetKind>) -> Option<String> {
    if !kind.is_some_and(TargetKind::is_service) {
        return check::subdomain(cx, item);
    }
    let text = item.text(cx)?;
    let home = cx.namespace.clone();
    match ServiceName::qualify(text, &home, DEFAULT_CLUSTER_DOMAIN) {
        Some(name) if name.namespace == home => Some(name.name),
        Some(name) => {
            item.fault(
                cx,
                format!("a policy attaches only within its own namespace `{home}`, got `{name}`"),
            );
            None
        }
        None => {
            let got = shorten(text);
            item.fault(cx, format!("must be a service's name, got `{got}`"));
            None
        }
    }
}

/// A group and kind of a `ReferenceGrant`; any kinds, since grants may concern other controllers.
pub(crate) fn group_and_kind(
    cx: &mut Reader<'_>,
    fields: &mut Fields<'_>,
) -> Option<(String, String)> {
    let group = fields.require(cx, "group").and_then(|item| {
        item.parsed(cx, |text| match text {
            "" | "core" => Ok(String::new()),
            text if text.split('.').all(is_dns_label) => Ok(text.to_owned()),
            text => Err(format!("must be an API group, got `{}`", shorten(text))),
        })
    });
    let kind = fields.require(cx, "kind").and_then(|item| {
        item.parsed(cx, |text| {
            let fits = text.len() <= 63
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && text.starts_with(|c: char| c.is_ascii_alphabetic());
            match fits {
                true => Ok(text.to_owned()),
                false => Err(format!("must be a kind, got `{}`", shorten(text))),
            }
        })
    });
    Some((group?, kind?))
}

const WEIGHT_MAX: u32 = 1_000_000;
