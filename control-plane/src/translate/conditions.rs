//! Gateway API's status of a route: for each parent whether it is accepted and whether its references hold.

use serde::Serialize;
use utoipa::ToSchema;
use weft_config::gateway_api::resources::PortView;
use weft_config::gateway_api::{BackendRef, Object, ParentRef, Resources, Spec};

use super::backend;
use super::index;
use super::unit;

/// The status of one route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct RouteStatus {
    /// By parent, as written.
    pub parents: Vec<ParentStatus>,
}

/// The status of a route with one parent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParentStatus {
    /// The parent.
    #[schema(value_type = Object)]
    pub parent_ref: ParentRef,
    /// Always `mesh.weft.dev/control-plane`.
    pub controller_name: &'static str,
    /// `Accepted` and `ResolvedRefs`.
    pub conditions: Vec<Condition>,
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Condition {
    /// `Accepted` or `ResolvedRefs`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// `True` or `False`.
    pub status: &'static str,
    /// One word of Gateway API's.
    pub reason: &'static str,
    /// A sentence for people.
    pub message: String,
}

/// The status of `route` among `resources`; `None` for what is not a route.
pub fn route_status(resources: &Resources, route: &Object) -> Option<RouteStatus> {
    route.kind().is_route().then(|| RouteStatus {
        parents: index::parents(&route.spec)
            .iter()
            .map(|parent| ParentStatus {
                parent_ref: parent.clone(),
                controller_name: "mesh.weft.dev/control-plane",
                conditions: vec![
                    accepted(resources, route, parent),
                    resolved(resources, route),
                ],
            })
            .collect(),
    })
}

fn accepted(resources: &Resources, route: &Object, parent: &ParentRef) -> Condition {
    let refuse = |reason, message: String| Condition {
        kind: "Accepted",
        status: "False",
        reason,
        message,
    };
    if !resources.contains(&parent.service.key()) {
        return refuse(
            "NoMatchingParent",
            format!("{} does not exist", parent.service),
        );
    }
    let ports = resources.service_ports(&parent.service);
    let mut matching = ports.iter().filter(|port| {
        let section = parent.section_name.as_ref();
        parent.port.is_none_or(|wanted| wanted == port.port)
            && section.is_none_or(|wanted| port.name.as_ref() == Some(wanted))
    });
    let Some(port) = matching.next() else {
        let message = format!("{} has no such port", parent.service);
        return refuse("NoMatchingParent", message);
    };
    let fits = |port: &PortView| unit::carries(route.kind(), port.app_protocol);
    if !fits(port) && !matching.any(fits) {
        let message = format!(
            "no port of {} speaks what a {} routes",
            parent.service,
            route.kind()
        );
        return refuse("NoMatchingParent", message);
    }
    Condition {
        kind: "Accepted",
        status: "True",
        reason: "Accepted",
        message: match route.metadata.namespace == parent.service.name.namespace {
            true => format!("attached to {}", parent.service),
            false => format!(
                "attached to {} for downstreams in namespace {}",
                parent.service, route.metadata.namespace
            ),
        },
    }
}

fn resolved(resources: &Resources, route: &Object) -> Condition {
    let faults: Vec<_> = backends(&route.spec)
        .into_iter()
        .filter_map(|it| backend::check(resources, route, it).err())
        .collect();
    let missing = index::extensions(route)
        .into_iter()
        .find(|key| !resources.contains(key));
    match (faults.first(), missing) {
        (Some(fault), _) => Condition {
            kind: "ResolvedRefs",
            status: "False",
            reason: fault.reason(),
            message: faults
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; "),
        },
        (None, Some(key)) => Condition {
            kind: "ResolvedRefs",
            status: "False",
            reason: "InvalidKind",
            message: format!("{key} does not exist"),
        },
        (None, None) => Condition {
            kind: "ResolvedRefs",
            status: "True",
            reason: "ResolvedRefs",
            message: "every backend exists and may be referred to".to_owned(),
        },
    }
}

fn backends(spec: &Spec) -> Vec<&BackendRef> {
    match spec {
        Spec::HttpRoute(route) => {
            let refs = route.rules.iter().flat_map(|rule| &rule.backend_refs);
            refs.map(|it| &it.backend).collect()
        }
        Spec::GrpcRoute(route) => {
            let refs = route.rules.iter().flat_map(|rule| &rule.backend_refs);
            refs.map(|it| &it.backend).collect()
        }
        Spec::TcpRoute(route) => route
            .rules
            .iter()
            .flat_map(|rule| &rule.backend_refs)
            .collect(),
        _ => Vec::new(),
    }
}
