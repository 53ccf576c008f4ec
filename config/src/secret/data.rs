//! Where bytes are, and bytes that nobody is to see.

use std::fmt;
use std::sync::Arc;

use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use weft_xds_proto::pb::envoy::config::core::v3 as core;

/// Where bytes are (`DataSource`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataSource {
    /// In a file, looked at again when it changes.
    File(Arc<str>),
    /// In the configuration itself.
    Inline(SecretBytes),
    /// In an environment variable, of the time when the process started.
    Environment(Arc<str>),
}

/// Bytes that no log and no page shows.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretBytes(Arc<[u8]>);

impl SecretBytes {
    /// The bytes themselves.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for SecretBytes {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} bytes, not shown)", self.0.len())
    }
}

/// What the bytes of a source must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pem {
    Certificates,
    PrivateKey,
    RevocationLists,
}

/// More than any bundle of roots has; a machine's own are some 250 KiB.
const INLINE_BYTES_MAX: usize = 4 * 1024 * 1024;

impl DataSource {
    /// Reads a source; what stands in the configuration itself must be `pem`.
    pub(super) fn parse(proto: &core::DataSource, pem: Pem) -> Result<Self, String> {
        use core::data_source::Specifier;
        let inline = |bytes: &[u8]| {
            if bytes.len() > INLINE_BYTES_MAX {
                return Err(format!(
                    "must be at most {INLINE_BYTES_MAX} bytes, got {}",
                    bytes.len()
                ));
            }
            pem.check(bytes)?;
            Ok(Self::Inline(bytes.into()))
        };
        match &proto.specifier {
            Some(Specifier::Filename(name)) if name.is_empty() => {
                Err("filename must not be empty".to_owned())
            }
            Some(Specifier::Filename(name)) => Ok(Self::File(name.as_str().into())),
            Some(Specifier::InlineBytes(bytes)) => inline(bytes),
            Some(Specifier::InlineString(text)) => inline(text.as_bytes()),
            Some(Specifier::EnvironmentVariable(name)) if name.is_empty() => {
                Err("environment_variable must not be empty".to_owned())
            }
            Some(Specifier::EnvironmentVariable(name)) => {
                Ok(Self::Environment(name.as_str().into()))
            }
            None => Err("says neither a file nor bytes".to_owned()),
        }
    }
}

impl Pem {
    /// Whether `bytes` hold what they must. No message repeats a byte of them.
    fn check(self, bytes: &[u8]) -> Result<(), String> {
        match self {
            Self::Certificates => at_least_one::<CertificateDer<'_>>(bytes, "certificate"),
            Self::PrivateKey => PrivateKeyDer::from_pem_slice(bytes)
                .map(drop)
                .map_err(|_| "holds no private key in PEM".to_owned()),
            Self::RevocationLists => {
                at_least_one::<CertificateRevocationListDer<'_>>(bytes, "revocation list")
            }
        }
    }
}

/// What is wrong with PEM. The library's own words repeat lines of it, and who knows what stands in them.
pub fn pem_fault(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no end".to_owned(),
        pem::Error::IllegalSectionStart { .. } => "a section does not begin as one does".to_owned(),
        other => other.to_string(),
    }
}

fn at_least_one<T: PemObject>(bytes: &[u8], what: &str) -> Result<(), String> {
    let mut count = 0;
    for section in T::pem_slice_iter(bytes) {
        section.map_err(|error| format!("is not PEM: {}", pem_fault(&error)))?;
        count += 1;
    }
    match count {
        0 => Err(format!("holds no {what} in PEM")),
        _ => Ok(()),
    }
}
