//! Secrets: certificates with their keys, and what peers are judged by (xDS `Secret`).
//!
//! Nothing is read from disk here: a [`DataSource`] says where bytes are. Bytes that are written in the configuration itself
//! are looked at, so that what is no PEM is refused with its place.

mod data;
mod parse;
mod validation;

use std::sync::Arc;

pub use self::data::{DataSource, SecretBytes, pem_fault};
use crate::route::StringMatch;
use crate::spiffe::TrustDomain;

/// The name of the secret that says whom a mesh trusts, as Istio's agents ask for it.
pub const ROOT_CA: &str = "ROOTCA";

/// A named secret.
#[derive(Clone, Debug, PartialEq)]
pub struct Secret {
    /// Its name; TLS contexts refer to it.
    pub name: Arc<str>,
    /// What it holds.
    pub kind: SecretKind,
}

/// What a secret holds.
#[derive(Clone, Debug, PartialEq)]
pub enum SecretKind {
    /// A certificate with its key.
    Certificate(Arc<TlsCertificate>),
    /// What peers are judged by.
    Validation(Arc<Validation>),
}

/// A certificate chain and its private key (`TlsCertificate`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsCertificate {
    /// PEM: the certificate first, then its intermediates.
    pub chain: DataSource,
    /// PEM: PKCS #8, PKCS #1 or SEC1.
    pub key: DataSource,
}

/// What a peer's certificate must be (`CertificateValidationContext`).
///
/// With neither anchors nor pins any certificate will do, or none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Validation {
    /// Who must have signed it; `None`: nobody in particular.
    pub anchors: Option<TrustAnchors>,
    /// One of these must be among its subject alternative names; empty: any.
    pub subject_alt_names: Vec<SanMatch>,
    /// SHA-256 of the subject public key info, of which one must be its own; empty: any.
    pub spki_sha256: Vec<[u8; 32]>,
    /// SHA-256 of the whole certificate, of which one must be its own; empty: any. Either list will do where both are given.
    pub certificate_sha256: Vec<[u8; 32]>,
    /// PEM of revocation lists.
    pub revoked: Option<DataSource>,
    /// Whether the list of the certificate's own issuer is all that is asked (`only_verify_leaf_cert_crl`).
    pub revoked_leaf_only: bool,
    /// Whether one that has expired will do. Default false.
    pub allow_expired: bool,
    /// Whether peers get in whose certificate does not hold; what was found is still noted (`ACCEPT_UNTRUSTED`).
    pub accept_untrusted: bool,
}

/// Who a certificate must be signed by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustAnchors {
    /// These, in PEM.
    Pem(DataSource),
    /// Those of this machine (`system_root_certs`).
    System,
    /// By the trust domain of its SPIFFE id (`SPIFFECertValidatorConfig`): one that is not listed is refused.
    Spiffe(Vec<TrustBundle>),
}

/// The roots of one trust domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustBundle {
    /// The trust domain: `cluster.local`.
    pub trust_domain: TrustDomain,
    /// Its roots in PEM.
    pub roots: DataSource,
}

/// A subject alternative name that will do.
#[derive(Clone, Debug, PartialEq)]
pub struct SanMatch {
    /// Which kind of name; `None`: any kind.
    pub kind: Option<SanKind>,
    /// What it must be. A DNS name of the certificate that begins with `*.` stands for one label where an exact name is wanted.
    pub value: StringMatch,
}

/// Kinds of subject alternative names (RFC 5280 §4.2.1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SanKind {
    /// A host name.
    Dns,
    /// A URI: a SPIFFE id is one.
    Uri,
    /// A mail address.
    Email,
    /// An IP address, written out.
    Ip,
}

impl SanMatch {
    /// Whether a name of this kind will do.
    pub fn matches(&self, kind: SanKind, name: &str) -> bool {
        if self.kind.is_some_and(|wanted| wanted != kind) {
            return false;
        }
        match &self.value {
            StringMatch::Exact(exact) if kind == SanKind::Dns => dns_matches(name, exact),
            value => value.matches(name.as_bytes()),
        }
    }
}

/// RFC 9525 §6.3: a wildcard is the whole leftmost label, and stands for exactly one.
fn dns_matches(presented: &str, wanted: &str) -> bool {
    match presented.strip_prefix("*.") {
        Some(parent) => wanted
            .split_once('.')
            .is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(parent)),
        None => presented.eq_ignore_ascii_case(wanted),
    }
}

impl DataSource {
    /// What it is called in messages and on pages.
    pub fn place(&self) -> String {
        match self {
            Self::File(path) => path.to_string(),
            Self::Inline(_) => "the configuration".to_owned(),
            Self::Environment(name) => format!("environment variable {name}"),
        }
    }
}

impl Validation {
    /// Where it comes from, in messages and on pages.
    pub fn place(&self) -> String {
        match &self.anchors {
            Some(TrustAnchors::Pem(source)) => source.place(),
            Some(TrustAnchors::System) => "the system's trust store".to_owned(),
            Some(TrustAnchors::Spiffe(bundles)) => {
                let places: Vec<String> = bundles.iter().map(|it| it.roots.place()).collect();
                places.join(", ")
            }
            None => "the configuration".to_owned(),
        }
    }

    /// Whether a peer must show a certificate at all for this to have anything to judge.
    pub fn judges(&self) -> bool {
        self.anchors.is_some()
            || !self.spki_sha256.is_empty()
            || !self.certificate_sha256.is_empty()
            || !self.subject_alt_names.is_empty()
    }

    /// This one with everything that `told` says added (`combined_validation_context`): lists are joined, and what `told` has
    /// takes the place of what was here.
    pub fn with(&self, told: &Self) -> Self {
        let joined = |a: &[[u8; 32]], b: &[[u8; 32]]| a.iter().chain(b).copied().collect();
        let names = self.subject_alt_names.iter();
        Self {
            anchors: told.anchors.clone().or_else(|| self.anchors.clone()),
            subject_alt_names: names.chain(&told.subject_alt_names).cloned().collect(),
            spki_sha256: joined(&self.spki_sha256, &told.spki_sha256),
            certificate_sha256: joined(&self.certificate_sha256, &told.certificate_sha256),
            revoked: told.revoked.clone().or_else(|| self.revoked.clone()),
            revoked_leaf_only: self.revoked_leaf_only || told.revoked_leaf_only,
            allow_expired: self.allow_expired || told.allow_expired,
            accept_untrusted: self.accept_untrusted || told.accept_untrusted,
        }
    }
}

#[cfg(test)]
mod tests;
