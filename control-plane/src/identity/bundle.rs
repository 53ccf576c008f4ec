//! What whoever trusts this mesh has to know: the roots of its authority.

use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::Authority;

/// The roots of a trust domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustBundle {
    pem: Arc<str>,
    certificates: Arc<[CertificateDer<'static>]>,
}

impl TrustBundle {
    /// That of an authority.
    pub fn of(authority: &Authority) -> Self {
        let pem: String = authority.roots().concat();
        // They were read when the authority was judged, and are PEM that we have written.
        let read = CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok);
        Self {
            certificates: read.collect(),
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
}
