//! A new key, and the request to certify it.

use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use weft_config::secret::SecretBytes;
use weft_config::spiffe::SpiffeId;

/// A key, ECDSA on P-256, and a certificate signing request for it (PKCS #10, RFC 2986).
#[derive(Debug)]
pub(super) struct Request {
    /// PKCS #8 as PEM.
    pub(super) key: SecretBytes,
    /// PEM.
    pub(super) csr: String,
}

impl Request {
    /// Makes a key and asks for `id`.
    pub(super) fn new(id: &SpiffeId) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(id.to_string().try_into()?)];
        Ok(Self {
            csr: params.serialize_request(&key)?.pem()?,
            key: key.serialize_pem().as_bytes().into(),
        })
    }
}
