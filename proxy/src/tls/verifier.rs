//! What rustls asks of us during a handshake.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::EndEntityCert;

use super::error::Refusal;
use super::slot::{Certificate, Slot};
use super::trust::{Side, Trust};

/// Judges the certificate of whoever is at the other end, by what lies in the slot at that moment.
#[derive(Debug)]
pub(super) struct Verifier {
    /// `None`: peers are not judged.
    trust: Option<Arc<Slot<Trust>>>,
    /// Whether a downstream must show a certificate.
    required: bool,
    /// Whether the upstream's certificate must have the name that was asked for.
    check_server_name: bool,
    hints: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    pub(super) fn of_downstream(
        trust: Arc<Slot<Trust>>,
        required: bool,
        provider: &CryptoProvider,
    ) -> Self {
        let hints = trust.current().map(|trust| trust.hints.clone());
        Self {
            trust: Some(trust),
            required,
            check_server_name: false,
            hints: hints.unwrap_or_default(),
            algorithms: provider.signature_verification_algorithms,
        }
    }

    pub(super) fn of_upstream(
        trust: Option<Arc<Slot<Trust>>>,
        check_server_name: bool,
        provider: &CryptoProvider,
    ) -> Self {
        Self {
            trust,
            required: true,
            check_server_name,
            hints: Vec::new(),
            algorithms: provider.signature_verification_algorithms,
        }
    }

    fn judge(
        &self,
        side: Side,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Refusal> {
        let Some(slot) = &self.trust else {
            return Ok(());
        };
        // In doubt nobody gets in.
        let trust = slot.current().ok_or(Refusal::NoTrust)?;
        trust.judge(side, end_entity, intermediates, now)
    }
}

/// How signatures of a handshake are verified, which does not depend on the side.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(message, certificate, signed, &self.algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, certificate, signed, &self.algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.algorithms.supported_schemes()
        }
    };
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.judge(Side::Downstream, end_entity, intermediates, now)?;
        Ok(ClientCertVerified::assertion())
    }

    signatures!();
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judge(Side::Upstream, end_entity, intermediates, now)?;
        if self.check_server_name {
            let parsed = EndEntityCert::try_from(end_entity).map_err(|_| Refusal::Malformed)?;
            let named = parsed.verify_is_valid_for_subject_name(server_name);
            named.map_err(|_| Refusal::WrongName)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    signatures!();
}

/// Our own certificates: the first whose names have the one asked for, or the first that there is.
#[derive(Debug)]
pub(super) struct OwnCertificates {
    pub(super) slots: Vec<Arc<Slot<Certificate>>>,
    pub(super) require_server_name: bool,
}

impl OwnCertificates {
    /// The one that a server shows.
    fn for_name(&self, wanted: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let mut first = None;
        for certificate in self.slots.iter().filter_map(|slot| slot.current()) {
            let named = wanted.is_some_and(|wanted| certificate.is_for(wanted));
            if named || wanted.is_none() {
                return Some(certificate.key.clone());
            }
            first.get_or_insert_with(|| certificate.key.clone());
        }
        first
    }
}

impl ResolvesServerCert for OwnCertificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if self.require_server_name && hello.server_name().is_none() {
            return None;
        }
        self.for_name(hello.server_name())
    }
}

impl rustls::client::ResolvesClientCert for OwnCertificates {
    fn resolve(
        &self,
        _root_hints: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.for_name(None)
    }

    fn has_certs(&self) -> bool {
        !self.slots.is_empty()
    }
}
