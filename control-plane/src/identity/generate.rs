//! A new authority: a root, and an intermediate that signs.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use weft_config::spiffe::TrustDomain;

use super::issuer;
use super::material::Material;

/// How long a root lives.
const ROOT_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// How long an intermediate lives.
const INTERMEDIATE_LIFETIME: Duration = Duration::from_secs(5 * 365 * 24 * 3600);

/// How long before it was made an authority is valid already, for clocks that are behind.
const BACKDATED: SignedDuration = SignedDuration::from_hours(1);

/// Why an authority cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// The cryptographic library refuses.
    #[error("making keys and certificates")]
    Crypto(#[from] rcgen::Error),
    /// No random bytes, or a clock far off.
    #[error("the system has no random bytes, or a clock that is far off")]
    System,
}

/// A root and an intermediate below it, ECDSA P-256 both, with the keys of both.
pub(super) fn generate(
    trust_domain: &TrustDomain,
    now: Timestamp,
) -> Result<Material, GenerateError> {
    let root_key = KeyPair::generate()?;
    let root_params = params(trust_domain, "Weft root", 1, now, ROOT_LIFETIME)?;
    let root = root_params.self_signed(&root_key)?.pem();
    let root_key_text = root_key.serialize_pem();
    let key = KeyPair::generate()?;
    let below = params(
        trust_domain,
        "Weft intermediate",
        0,
        now,
        INTERMEDIATE_LIFETIME,
    )?;
    let issuer = Issuer::new(root_params, root_key);
    let certificate = below.signed_by(&key, &issuer)?.pem();
    Ok(Material {
        chain: format!("{certificate}{root}"),
        root,
        certificate,
        key: key.serialize_pem(),
        root_key: Some(root_key_text),
    })
}

fn params(
    trust_domain: &TrustDomain,
    name: &str,
    path_length: u8,
    now: Timestamp,
    lifetime: Duration,
) -> Result<CertificateParams, GenerateError> {
    let bounds = now
        .checked_sub(BACKDATED)
        .ok()
        .zip(now.checked_add(lifetime).ok());
    let (not_before, not_after) = bounds.ok_or(GenerateError::System)?;
    let mut params = issuer::blank(not_before, not_after).ok_or(GenerateError::System)?;
    let serial = params.serial_number.as_ref().map(issuer::serial_text);
    // Part of the serial number tells two authorities of one trust domain apart, by which verifiers find the issuer.
    let number: String = serial.iter().flat_map(|it| it.chars()).take(8).collect();
    let names = &mut params.distinguished_name;
    names.push(DnType::OrganizationName, trust_domain.as_str());
    names.push(DnType::CommonName, format!("{name} {number}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}
