//! Asking the mesh's authority for a certificate (`istio.v1.auth.IstioCertificateService`).

use std::time::Duration;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;
use weft_config::spiffe::SpiffeId;
use weft_xds_proto::istio::IstioCertificateRequest;
use weft_xds_proto::istio::istio_certificate_service_client::IstioCertificateServiceClient;

use crate::telemetry::IdentityResult;
use crate::tls::PeerCertificate;

/// Bound on an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of an answer: a chain has some 10 KiB.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// What the authority signed.
#[derive(Debug)]
pub(super) struct Signed {
    /// PEM: our certificate, then those that lead to a root.
    pub(super) chain: String,
    /// What it says.
    pub(super) certificate: PeerCertificate,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotSigned {
    /// The authority said no.
    #[error("the authority refused: {:?}: {}", .0.code(), .0.message())]
    Refused(tonic::Status),
    /// It was not reached, or did not answer.
    #[error("the authority was not reached: {0}")]
    Unreachable(String),
    /// There is nothing to ask it with.
    #[error("the authority was not asked: {0}")]
    NotAsked(String),
    /// It sent something else.
    #[error("the authority sent a certificate that is of no use: {0}")]
    Unusable(String),
}

impl NotSigned {
    /// How it is counted.
    pub(super) fn result(&self) -> IdentityResult {
        match self {
            Self::Refused(_) => IdentityResult::Refused,
            Self::Unreachable(_) => IdentityResult::Unreachable,
            Self::NotAsked(_) | Self::Unusable(_) => IdentityResult::Unusable,
        }
    }
}

/// Asks for a certificate for the key of `csr`. `token` says who asks; without one the connection does.
pub(super) async fn sign(
    channel: Channel,
    csr: String,
    token: Option<&[u8]>,
    id: &SpiffeId,
) -> Result<Signed, NotSigned> {
    let mut request = tonic::Request::new(IstioCertificateRequest {
        csr,
        validity_duration: 0,
        metadata: None,
    });
    request.set_timeout(ANSWER_WITHIN);
    if let Some(token) = token {
        let bearer = [b"Bearer ", token.trim_ascii()].concat();
        let mut bearer = AsciiMetadataValue::try_from(bearer.as_slice()).map_err(|_| {
            NotSigned::NotAsked("the token has characters that no token has".to_owned())
        })?;
        bearer.set_sensitive(true);
        request.metadata_mut().insert("authorization", bearer);
    }
    let mut client =
        IstioCertificateServiceClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
    let answer = client.create_certificate(request).await;
    let answer = answer.map_err(|status| match status.code() {
        tonic::Code::Unavailable | tonic::Code::DeadlineExceeded | tonic::Code::Cancelled => {
            NotSigned::Unreachable(status.message().to_owned())
        }
        _ => NotSigned::Refused(status),
    })?;
    read(&answer.into_inner().cert_chain, id).map_err(NotSigned::Unusable)
}

/// The chain of an answer, which ends in its root; that is not shown to anybody.
fn read(chain: &[String], id: &SpiffeId) -> Result<Signed, String> {
    let mut certificates = Vec::new();
    for entry in chain {
        for der in CertificateDer::pem_slice_iter(entry.as_bytes()) {
            certificates.push(der.map_err(|error| format!("not PEM: {error}"))?);
        }
    }
    let first = certificates.first().ok_or("there is none")?;
    let certificate = PeerCertificate::read(first).ok_or("it cannot be read")?;
    match certificate.spiffe_id() {
        Some(found) if found == *id => {}
        Some(found) => return Err(format!("it is for {found}, not for {id}")),
        None => return Err("it has no SPIFFE id".to_owned()),
    }
    let is_root = |der: &CertificateDer<'_>| {
        PeerCertificate::read(der).is_none_or(|it| it.subject == it.issuer)
    };
    if certificates.len() > 1 && certificates.last().is_some_and(is_root) {
        certificates.pop();
    }
    Ok(Signed {
        chain: certificates.iter().map(pem).collect(),
        certificate,
    })
}

fn pem(der: &CertificateDer<'_>) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for line in text.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}
