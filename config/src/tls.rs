//! TLS contexts: how we present ourselves and whom we let in (xDS `DownstreamTlsContext`, `UpstreamTlsContext`).

mod parameters;
mod parse;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use self::parameters::{CipherSuite, KeyExchange, TlsParameters, TlsVersion};
use crate::secret::{TlsCertificate, Validation};

/// What a listener's filter chain does with TLS.
#[derive(Clone, Debug, PartialEq)]
pub struct DownstreamTls {
    /// Certificates, versions, whom to trust.
    pub common: TlsContext,
    /// Whether a connection without a certificate is refused. Default false.
    pub require_client_certificate: bool,
    /// Whether a connection that names no server is refused (`require_sni`). Default false.
    pub require_server_name: bool,
    /// How sessions may be resumed.
    pub resumption: ServerResumption,
    /// Bound on the handshake (`FilterChain.transport_socket_connect_timeout`). Above zero, default 10 s.
    pub handshake_timeout: Duration,
}

/// How a server lets sessions be resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerResumption {
    /// By tickets that it keeps nothing for.
    pub tickets: bool,
    /// By what it keeps; in TLS 1.3, tickets that are good once.
    pub stateful: bool,
}

impl Default for ServerResumption {
    fn default() -> Self {
        Self {
            tickets: true,
            stateful: true,
        }
    }
}

/// What a cluster does with TLS.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamTls {
    /// Certificates, versions, whom to trust.
    pub common: TlsContext,
    /// The name of the server that is sent; `None`: none is.
    pub server_name: Option<Arc<str>>,
    /// Whether the server's certificate must have the name that is sent (`auto_sni_san_validation`). Default false.
    pub check_server_name: bool,
    /// Sessions that are kept for resumption; 0: none. Default 1.
    pub sessions_max: u32,
}

/// What both sides have (`CommonTlsContext`).
#[derive(Clone, Debug, PartialEq)]
pub struct TlsContext {
    /// Versions, key exchange, cipher suites.
    pub parameters: TlsParameters,
    /// Our own certificates; the first that fits the name asked for, or the first of all.
    pub certificates: Vec<CertificateSource>,
    /// Whom to trust; `None`: peers are not judged, and a downstream's certificate is not asked for.
    pub validation: Option<ValidationSource>,
    /// Protocols that are spoken inside, by preference (ALPN, RFC 7301).
    pub alpn: Vec<Arc<str>>,
}

/// Where a certificate comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum CertificateSource {
    /// The context itself.
    Inline(Arc<TlsCertificate>),
    /// A secret of this name.
    Named(SecretName),
}

/// Where it comes from what peers are judged by.
#[derive(Clone, Debug, PartialEq)]
pub enum ValidationSource {
    /// The context itself.
    Inline(Arc<Validation>),
    /// A secret of this name.
    Named(SecretName),
    /// A secret of this name, added to what the context says.
    Combined(Arc<Validation>, SecretName),
}

/// A secret that is told under a name, by whom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretName {
    /// Who tells it.
    pub origin: SecretOrigin,
    /// Its name: `SdsSecretConfig.name`, or the `instance_name` of a certificate provider.
    pub name: Arc<str>,
}

/// Who tells a secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecretOrigin {
    /// The bootstrap (`static_resources.secrets`).
    Bootstrap,
    /// A certificate provider of the proxy's own: `default` is who the workload is in its mesh.
    Provider,
}

impl SecretName {
    /// A secret of the bootstrap.
    pub fn of_bootstrap(name: &str) -> Self {
        Self {
            origin: SecretOrigin::Bootstrap,
            name: name.into(),
        }
    }

    /// Who the workload is in its mesh: the certificate of this name and the roots that it trusts.
    pub fn of_workload() -> Self {
        Self {
            origin: SecretOrigin::Provider,
            name: WORKLOAD_PROVIDER.into(),
        }
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.origin {
            SecretOrigin::Bootstrap => write!(f, "secret {:?}", self.name),
            SecretOrigin::Provider => write!(f, "certificate provider {:?}", self.name),
        }
    }
}

/// The certificate provider that is the workload's own identity, as proxyless gRPC calls it (gRFC A29).
pub const WORKLOAD_PROVIDER: &str = "default";

/// Protocols by which sidecars know one another (ALPN): a TLS connection that offers one of them is the mesh's own and not the
/// application's. Each stands for itself, so that a server can tell by the ClientHello what will be spoken inside.
pub mod mesh_alpn {
    /// In the context of a cluster: its endpoints are sidecars.
    pub const MESH: &str = "weft";
    /// HTTP is spoken inside; offered beside `h2` or `http/1.1`, which is what is agreed on.
    pub const HTTP: &str = "weft-http";
    /// HTTP/2 of sidecars that tell one another how names were spelled in heads that came over HTTP/1; agreed on before `h2`.
    pub const HTTP2: &str = "weft-h2";
    /// Bytes that nobody looks into.
    pub const TCP: &str = "weft-tcp";
}

impl UpstreamTls {
    /// Whether it leads to sidecars, which speak HTTP/2 for an application that is known to speak HTTP/1.1.
    pub fn is_mesh(&self) -> bool {
        self.common
            .alpn
            .iter()
            .any(|name| **name == *mesh_alpn::MESH)
    }
}

impl CertificateSource {
    /// The secret that it names, if it names one.
    pub fn named(&self) -> Option<&SecretName> {
        match self {
            Self::Inline(_) => None,
            Self::Named(named) => Some(named),
        }
    }
}

impl ValidationSource {
    /// The secret that it names, if it names one.
    pub fn named(&self) -> Option<&SecretName> {
        match self {
            Self::Inline(_) => None,
            Self::Named(named) | Self::Combined(_, named) => Some(named),
        }
    }
}

impl TlsContext {
    /// Every secret that is named.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretName> {
        let certificates = self.certificates.iter();
        let validation = self.validation.iter();
        certificates
            .filter_map(CertificateSource::named)
            .chain(validation.filter_map(ValidationSource::named))
    }
}

#[cfg(test)]
mod tests;
