//! Which backends of a rule can be sent to, and with what weight.

use weft_config::gateway_api::{BackendRef, Kind, Object, Resources};

use super::index;

/// Why a backend cannot be sent to; the reasons of Gateway API's `ResolvedRefs` condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BackendFault {
    /// There is no such service.
    #[error("{0} does not exist")]
    NotFound(String),
    /// The service has no such port.
    #[error("{service} has no port {port}")]
    NoPort {
        /// The service.
        service: String,
        /// The port.
        port: u16,
    },
    /// It is in another namespace, which has not granted it.
    #[error(
        "no ReferenceGrant in namespace {namespace} permits {kind}s of {from} to refer to {to}"
    )]
    NotPermitted {
        /// The kind of route.
        kind: Kind,
        /// The route's namespace.
        from: String,
        /// The backend.
        to: String,
        /// The backend's namespace.
        namespace: String,
    },
}

impl BackendFault {
    /// Gateway API's reason.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::NotFound(_) | Self::NoPort { .. } => "BackendNotFound",
            Self::NotPermitted { .. } => "RefNotPermitted",
        }
    }
}

/// Whether `route` can send to `backend`. Back to a service that it is attached to it always can: that is where its downstreams
/// were going.
///
/// # Errors
/// If it cannot.
pub(crate) fn check(
    resources: &Resources,
    route: &Object,
    backend: &BackendRef,
) -> Result<(), BackendFault> {
    let key = backend.service.key();
    let namespace = &route.metadata.namespace;
    let is_parent = index::parents(&route.spec)
        .iter()
        .any(|parent| parent.service == backend.service);
    if !is_parent && !resources.permits_reference(route.kind(), namespace, &key) {
        return Err(BackendFault::NotPermitted {
            kind: route.kind(),
            from: namespace.clone(),
            to: key.to_string(),
            namespace: key.namespace,
        });
    }
    if !resources.contains(&key) {
        return Err(BackendFault::NotFound(key.to_string()));
    }
    let ports = resources.service_ports(&backend.service);
    match ports.iter().any(|port| port.port == backend.port) {
        true => Ok(()),
        false => Err(BackendFault::NoPort {
            service: key.to_string(),
            port: backend.port,
        }),
    }
}
