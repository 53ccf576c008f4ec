//! What whoever trusts this mesh has to know: the roots of its authority.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};

use super::Authority;

/// The roots of a trust domain.
#[derive(Clone)]
pub struct TrustBundle {
    pem: Arc<str>,
    certificates: Arc<[CertificateDer<'static>]>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
}

impl TrustBundle {
    /// That of an authority.
    pub fn of(authority: &Authority) -> Self {
        let pem: String = authority.roots().concat();
        // They were read when the authority was judged, and are PEM that we have written.
        let read = CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok);
        let certificates: Arc<[_]> = read.collect();
        Self {
            verifier: verifier(&certificates),
            certificates,
            pem: pem.into(),
        }
    }

    /// PEM of all roots.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// DER of each.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// Whether a certificate that a client shows, with those that lead from it to a root, is to be believed.
    pub(crate) fn believes(&self, chain: &[CertificateDer<'_>], now: Timestamp) -> bool {
        let Some((leaf, between)) = chain.split_first() else {
            return false;
        };
        let now = u64::try_from(now.as_second()).unwrap_or_default();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
        // In doubt nobody gets in.
        let verifier = self.verifier.as_ref();
        verifier.is_some_and(|it| it.verify_client_cert(leaf, between, now).is_ok())
    }

    /// What judges clients in a handshake; without a root that can be read, none is asked for a certificate.
    pub(super) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        let none = WebPkiClientVerifier::no_client_auth;
        self.verifier.clone().unwrap_or_else(none)
    }
}

impl fmt::Debug for TrustBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let roots = self.certificates.len();
        f.debug_struct("TrustBundle")
            .field("roots", &roots)
            .finish_non_exhaustive()
    }
}

impl PartialEq for TrustBundle {
    fn eq(&self, other: &Self) -> bool {
        self.pem == other.pem // all else comes from it
    }
}

impl Eq for TrustBundle {}

/// Asks clients for a certificate and lets those in who have none; what is shown must lead to a root.
fn verifier(roots: &[CertificateDer<'static>]) -> Option<Arc<dyn ClientCertVerifier>> {
    let mut store = RootCertStore::empty();
    let (_, unreadable) = store.add_parsable_certificates(roots.iter().cloned());
    if unreadable > 0 {
        tracing::error!(
            unreadable,
            "roots that TLS cannot read: nobody is believed by them"
        );
    }
    let provider = Arc::new(default_provider());
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider);
    builder.allow_unauthenticated().build().ok()
}
