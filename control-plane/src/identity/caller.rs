//! Who is at the other end of a connection, as far as its handshake has proved it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use weft_config::spiffe::SpiffeId;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::bundle::TrustBundle;

/// The other end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// Where it is.
    pub(crate) address: Option<SocketAddr>,
    /// What it has shown.
    pub(crate) shown: Shown,
}

/// What a caller has shown of itself.
#[derive(Clone, Debug)]
pub(crate) enum Shown {
    /// Its connection has no TLS, so nobody was asked.
    Plain,
    /// It was asked, and showed no certificate.
    Nothing,
    /// This certificate, of which it has the key.
    Certificate(Arc<ClientCertificate>),
}

impl Caller {
    /// The certificate that it has shown.
    pub(crate) fn certificate(&self) -> Option<&Arc<ClientCertificate>> {
        match &self.shown {
            Shown::Certificate(certificate) => Some(certificate),
            Shown::Plain | Shown::Nothing => None,
        }
    }
}

/// A certificate that was verified in a handshake.
#[derive(Clone, Debug)]
pub(crate) struct ClientCertificate {
    /// Whom it names.
    pub(crate) identity: SpiffeId,
    /// Its serial number in hexadecimal.
    pub(crate) serial: String,
    /// Its last second.
    pub(crate) not_after: Timestamp,
    /// It, and what was shown with it.
    chain: Vec<CertificateDer<'static>>,
    /// Whom the mesh believes.
    trust: watch::Receiver<TrustBundle>,
}

impl ClientCertificate {
    /// Reads a verified certificate; `None`: it names no one SPIFFE id (X.509-SVID §2).
    pub(crate) fn read(
        chain: &[CertificateDer<'_>],
        trust: watch::Receiver<TrustBundle>,
    ) -> Option<Self> {
        let der = chain.first()?;
        let Ok(([], certificate)) = X509Certificate::from_der(der) else {
            return None;
        };
        let names = certificate.subject_alternative_name().ok()??.value;
        let mut uris = names.general_names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
        let (Some(uri), None) = (uris.next(), uris.next()) else {
            return None;
        };
        let not_after = certificate.validity().not_after.timestamp();
        let chain = chain.iter().map(|it| it.clone().into_owned());
        Some(Self {
            identity: SpiffeId::parse(uri).ok()?,
            serial: certificate.raw_serial_as_string().replace(':', ""),
            not_after: Timestamp::from_second(not_after).ok()?,
            chain: chain.collect(),
            trust,
        })
    }

    /// Whether it still is as good as it was in the handshake.
    ///
    /// # Errors
    /// If not, and why.
    pub(crate) fn check(&self, now: Timestamp) -> Result<(), CertificateLost> {
        if now > self.not_after {
            Err(CertificateLost::Expired)
        } else if !self.trust.borrow().believes(&self.chain, now) {
            Err(CertificateLost::NotTrusted)
        } else {
            Ok(())
        }
    }

    /// Waits until it no longer is.
    pub(crate) async fn lost(&self) -> CertificateLost {
        let mut trust = self.trust.clone();
        loop {
            trust.mark_unchanged();
            let now = Timestamp::now();
            if let Err(lost) = self.check(now) {
                return lost;
            }
            let left = self.not_after.duration_since(now);
            let left = Duration::try_from(left).unwrap_or_default() + SECOND;
            tokio::select! {
                // Nobody is left to say whom to trust: what is known stays.
                Ok(()) = trust.changed() => {}
                () = sleep_until(Instant::now() + left.min(LOOK_EVERY)) => {}
            }
        }
    }
}

/// A certificate is valid to the end of its last second.
const SECOND: Duration = Duration::from_secs(1);

/// Clocks of the system and of the process part when a machine is put to sleep: what is far off is looked at again.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Why a certificate is no longer as good as it was in the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CertificateLost {
    /// Its time is over.
    #[error("has expired since")]
    Expired,
    /// Its root was taken out of the bundle.
    #[error("leads to no root that is trusted now")]
    NotTrusted,
}
