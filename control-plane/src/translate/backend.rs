//! Which backends of a rule can be sent to, and with what weight.

use weft_config::gateway_api::{BackendRef, Kind, Resources};

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

/// Whether a route of `kind` in `namespace` can send to `backend`.
///
/// # Errors
/// If it cannot.
pub(crate) fn check(
    resources: &Resources,
    kind: Kind,
    namespace: &str,
    backend: &BackendRef,
) -> Result<(), BackendFault> {
    let key = backend.service.key();
    if !resources.permits_reference(kind, namespace, &key) {
        return Err(BackendFault::NotPermitted {
            kind,
            from: namespace.to_owned(),
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
