//! The TLS contexts of a resource, and what of them concerns more than handshakes.

use super::{AwaitedSecret, CertificateSource, TlsContext};
use crate::cluster::Cluster;
use crate::listener::Listener;
use crate::resource::Resource;
use crate::secret::{DataSource, SecretKind, TlsCertificate};

impl Listener {
    /// The contexts of its chains.
    pub fn tls_contexts(&self) -> impl Iterator<Item = &TlsContext> {
        let chains = self.filter_chains.iter().chain(&self.default_filter_chain);
        chains
            .filter_map(|chain| chain.tls.as_ref())
            .map(|tls| &tls.common)
    }

    /// The secrets that it is told while the proxy runs.
    pub fn awaited_secrets(&self) -> impl Iterator<Item = &AwaitedSecret> {
        self.tls_contexts().flat_map(|it| &it.awaited)
    }
}

impl Cluster {
    /// Its contexts, for whichever endpoints.
    pub fn tls_contexts(&self) -> impl Iterator<Item = &TlsContext> {
        let matched = self.socket_matches.iter().filter_map(|it| it.tls.as_ref());
        self.tls.iter().chain(matched).map(|tls| &tls.common)
    }

    /// The secrets that it is told while the proxy runs.
    pub fn awaited_secrets(&self) -> impl Iterator<Item = &AwaitedSecret> {
        self.tls_contexts().flat_map(|it| &it.awaited)
    }
}

impl Resource {
    /// Whether a private key stands in it, rather than where one is.
    pub fn has_private_key(&self) -> bool {
        match self {
            Self::Listener(listener) => listener.tls_contexts().any(TlsContext::has_private_key),
            Self::Cluster(cluster) => cluster.tls_contexts().any(TlsContext::has_private_key),
            Self::Secret(secret) => match &secret.kind {
                SecretKind::Certificate(certificate) => certificate.has_private_key(),
                SecretKind::Validation(_) => false,
            },
            Self::Route(_) | Self::Endpoints(..) => false,
        }
    }
}

impl TlsContext {
    fn has_private_key(&self) -> bool {
        self.certificates.iter().any(|source| match source {
            CertificateSource::Inline(certificate) => certificate.has_private_key(),
            CertificateSource::Named(_) => false,
        })
    }
}

impl TlsCertificate {
    fn has_private_key(&self) -> bool {
        matches!(self.key, DataSource::Inline(_))
    }
}
