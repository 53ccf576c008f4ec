//! TLS contexts: how we present ourselves and whom we let in (xDS `DownstreamTlsContext`, `UpstreamTlsContext`).

mod contexts;
mod named;
mod parameters;
mod parse;

use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::named::check_watched;
pub use self::named::{
    AdsServer, AwaitedSecret, SdsServer, SecretHolds, SecretName, SecretOrigin, WantedSecret,
};
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
    /// The secrets among these that are told while the proxy runs.
    pub awaited: Vec<AwaitedSecret>,
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

#[cfg(test)]
mod tests;
