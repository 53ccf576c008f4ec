//! Why there is no encrypted connection.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError, OtherError};

/// What is wrong with a peer's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// It cannot be read.
    Malformed,
    /// It has expired, or one that signed it has.
    Expired,
    /// It is not valid yet, or one that signed it is not.
    NotYetValid,
    /// Nobody signed it but itself.
    SelfSigned,
    /// Nobody who is trusted signed it.
    UnknownIssuer,
    /// It is an authority's, which is not for a peer to show.
    CaUsedAsLeaf,
    /// Its SPIFFE id is of a trust domain that is not trusted, or it has none.
    WrongTrustDomain,
    /// None of its names is one that will do.
    WrongName,
    /// It is not one of those that are pinned.
    NotPinned,
    /// It was revoked.
    Revoked,
    /// It is not for this side of a connection (extended key usage).
    WrongPurpose,
    /// A signature does not hold.
    BadSignature,
    /// There is nothing to judge it by: what names whom to trust has not come or cannot be read.
    NoTrust,
}

impl Refusal {
    /// One word, for logs and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Malformed => "certificate_malformed",
            Self::Expired => "certificate_expired",
            Self::NotYetValid => "certificate_not_yet_valid",
            Self::SelfSigned => "certificate_self_signed",
            Self::UnknownIssuer => "certificate_unknown_issuer",
            Self::CaUsedAsLeaf => "certificate_of_an_authority",
            Self::WrongTrustDomain => "certificate_wrong_trust_domain",
            Self::WrongName => "certificate_wrong_name",
            Self::NotPinned => "certificate_not_pinned",
            Self::Revoked => "certificate_revoked",
            Self::WrongPurpose => "certificate_wrong_purpose",
            Self::BadSignature => "certificate_bad_signature",
            Self::NoTrust => "no_trust",
        }
    }

    /// What of a certificate's chain does not hold.
    pub(super) fn of(error: &webpki::Error) -> Self {
        use webpki::Error as E;
        match error {
            E::CertExpired { .. } | E::InvalidCertValidity => Self::Expired,
            E::CertNotValidYet { .. } => Self::NotYetValid,
            E::CertRevoked => Self::Revoked,
            E::UnknownRevocationStatus | E::CrlExpired { .. } => Self::Revoked,
            E::CaUsedAsEndEntity => Self::CaUsedAsLeaf,
            E::RequiredEkuNotFoundContext(_) => Self::WrongPurpose,
            E::InvalidSignatureForPublicKey => Self::BadSignature,
            E::BadDer | E::BadDerTime | E::TrailingData(_) | E::MalformedExtensions => {
                Self::Malformed
            }
            E::UnsupportedCertVersion | E::ExtensionValueInvalid => Self::Malformed,
            _ => Self::UnknownIssuer,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "its certificate cannot be read",
            Self::Expired => "its certificate has expired",
            Self::NotYetValid => "its certificate is not valid yet",
            Self::SelfSigned => "its certificate is signed by itself alone",
            Self::UnknownIssuer => "its certificate is signed by nobody who is trusted",
            Self::CaUsedAsLeaf => "its certificate is an authority's",
            Self::WrongTrustDomain => "its certificate is of no trust domain that is trusted",
            Self::WrongName => "its certificate has no name that will do",
            Self::NotPinned => "its certificate is none of those that are pinned",
            Self::Revoked => "its certificate was revoked, or no list says that it was not",
            Self::WrongPurpose => "its certificate is not for this side of a connection",
            Self::BadSignature => "a signature of its certificate does not hold",
            Self::NoTrust => "nothing says yet whom to trust",
        })
    }
}

impl std::error::Error for Refusal {}

/// rustls carries reasons of others behind a pointer, and chooses the alert by its own ones: those that have one of their own.
impl From<Refusal> for rustls::Error {
    fn from(refusal: Refusal) -> Self {
        Self::InvalidCertificate(match refusal {
            Refusal::Malformed => CertificateError::BadEncoding,
            Refusal::Expired => CertificateError::Expired,
            Refusal::NotYetValid => CertificateError::NotValidYet,
            Refusal::UnknownIssuer => CertificateError::UnknownIssuer,
            Refusal::Revoked => CertificateError::Revoked,
            Refusal::WrongPurpose => CertificateError::InvalidPurpose,
            Refusal::BadSignature => CertificateError::BadSignature,
            Refusal::WrongName => CertificateError::NotValidForName,
            Refusal::NotPinned => CertificateError::ApplicationVerificationFailure,
            other => CertificateError::Other(OtherError(Arc::new(other))),
        })
    }
}

/// The reason within an error of rustls, where it is one of ours.
fn refusal_in(error: &CertificateError) -> Refusal {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => Refusal::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            Refusal::NotYetValid
        }
        CertificateError::UnknownIssuer => Refusal::UnknownIssuer,
        CertificateError::Revoked => Refusal::Revoked,
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            Refusal::WrongPurpose
        }
        CertificateError::BadSignature => Refusal::BadSignature,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Refusal::WrongName
        }
        CertificateError::ApplicationVerificationFailure => Refusal::NotPinned,
        // The library has no other way to hand a reason through.
        CertificateError::Other(OtherError(inner)) => inner
            .downcast_ref::<Refusal>()
            .copied()
            .unwrap_or(Refusal::Malformed),
        _ => Refusal::Malformed,
    }
}

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// It took too long.
    #[error("the TLS handshake took longer than {0:?}")]
    Timeout(Duration),
    /// The peer went away.
    #[error("the peer ended the connection during the TLS handshake")]
    Closed,
    /// The socket failed.
    #[error("during the TLS handshake: {0}")]
    Io(#[from] io::Error),
    /// The peer is not who it should be.
    #[error("the peer was refused: {0}")]
    Refused(Refusal),
    /// A session was resumed whose peer's certificate has expired since. It is forgotten: another attempt makes a whole handshake.
    #[error("the peer was refused: its certificate has expired since the session began")]
    Stale,
    /// The peer showed no certificate where one is required.
    #[error("the peer showed no certificate")]
    NoCertificate,
    /// The peer refused us.
    #[error("the peer refused the connection with the TLS alert {0:?}")]
    Alert(AlertDescription),
    /// We have no certificate to show.
    #[error("there is no certificate to show: {0}")]
    NotReady(Arc<str>),
    /// Anything else: what was sent is no TLS, or there is no version, suite, group or protocol that both sides take.
    #[error("TLS: {0}")]
    Protocol(rustls::Error),
}

impl HandshakeError {
    /// One word, for logs and metrics: one of [`TLS_RESULTS`](crate::telemetry::TLS_RESULTS).
    pub fn word(&self) -> &'static str {
        match self {
            Self::Timeout(_) => "timeout",
            Self::Closed => "closed",
            Self::Io(_) => "io",
            Self::Refused(refusal) => refusal.word(),
            Self::Stale => Refusal::Expired.word(),
            Self::NoCertificate => "no_certificate",
            Self::Alert(_) => "alert",
            Self::NotReady(_) => "not_ready",
            Self::Protocol(_) => "protocol",
        }
    }
}

impl From<rustls::Error> for HandshakeError {
    fn from(error: rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(error) => Self::Refused(refusal_in(&error)),
            rustls::Error::NoCertificatesPresented => Self::NoCertificate,
            rustls::Error::AlertReceived(alert) => Self::Alert(alert),
            error => Self::Protocol(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::TLS_RESULTS;

    #[test]
    fn every_reason_is_counted() {
        use Refusal as R;
        let refusals = [
            R::Malformed,
            R::Expired,
            R::NotYetValid,
            R::SelfSigned,
            R::UnknownIssuer,
            R::CaUsedAsLeaf,
            R::WrongTrustDomain,
            R::WrongName,
            R::NotPinned,
            R::Revoked,
            R::WrongPurpose,
            R::BadSignature,
            R::NoTrust,
        ];
        let others = [
            HandshakeError::Timeout(Duration::ZERO),
            HandshakeError::Closed,
            HandshakeError::Io(io::ErrorKind::Other.into()),
            HandshakeError::NoCertificate,
            HandshakeError::Alert(AlertDescription::BadCertificate),
            HandshakeError::NotReady("".into()),
            HandshakeError::Protocol(rustls::Error::DecryptError),
        ];
        let mut words = vec!["ok", "resumed"];
        words.extend(others.iter().map(HandshakeError::word));
        words.extend(refusals.map(Refusal::word));
        words.sort_unstable();
        let mut counted = TLS_RESULTS.to_vec();
        counted.sort_unstable();
        assert_eq!(words, counted);
    }
}
