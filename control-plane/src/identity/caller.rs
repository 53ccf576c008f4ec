//! Who is at the other end of a connection, as far as its handshake has proved it.

use std::net::SocketAddr;
use std::sync::Arc;

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use weft_config::spiffe::SpiffeId;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

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
#[derive(Debug)]
pub(crate) struct ClientCertificate {
    /// Whom it names.
    pub(crate) identity: SpiffeId,
    /// Its serial number in hexadecimal.
    pub(crate) serial: String,
    /// Its last second.
    pub(crate) not_after: Timestamp,
    /// It, and what was shown with it.
    pub(crate) chain: Vec<CertificateDer<'static>>,
}

impl ClientCertificate {
    /// Reads a verified certificate; `None`: it names no one SPIFFE id (X.509-SVID §2).
    pub(crate) fn read(chain: &[CertificateDer<'_>]) -> Option<Self> {
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
        })
    }
}
