//! What an authority is made of, and whether it belongs together.

use std::fmt;

use jiff::Timestamp;
use rcgen::{Issuer, KeyPair, PublicKeyData};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::time::ASN1Time;

use super::pem;

/// Names of the files, as Istio's `cacerts` has them.
pub(super) const ROOT: &str = "root-cert.pem";
pub(super) const CERTIFICATE: &str = "ca-cert.pem";
pub(super) const KEY: &str = "ca-key.pem";
pub(super) const CHAIN: &str = "cert-chain.pem";
/// Ours: the key of a root that was made here.
pub(super) const ROOT_KEY: &str = "root-key.pem";

/// Certificates of one file.
const CERTIFICATES_MAX: usize = 16;

/// The texts that an authority is made of.
pub(super) struct Material {
    /// Roots, as PEM.
    pub(super) root: String,
    /// The certificate that signs.
    pub(super) certificate: String,
    /// Its key.
    pub(super) key: String,
    /// That certificate first, and what leads from it to a root.
    pub(super) chain: String,
    /// The root's key, where it was made here.
    pub(super) root_key: Option<String>,
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material").finish_non_exhaustive() // it has keys
    }
}

/// A file of an authority that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {fault}")]
pub struct Unusable {
    /// The file.
    pub file: &'static str,
    /// What is wrong with it.
    pub fault: MaterialFault,
}

/// What is wrong with a part of an authority.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MaterialFault {
    /// It is not what its name says.
    #[error("is no PEM of an X.509 certificate, or of several")]
    NotCertificates,
    /// More or fewer certificates than there may be.
    #[error("has {found} certificates, from 1 to {limit} are allowed")]
    Count {
        /// How many there are.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// Its time is over.
    #[error("the certificate of {subject} has expired at {not_after}")]
    Expired {
        /// Whose certificate.
        subject: String,
        /// Its last second.
        not_after: Timestamp,
    },
    /// Its time has not come.
    #[error("the certificate of {subject} is not valid before {not_before}")]
    NotYetValid {
        /// Whose certificate.
        subject: String,
        /// Its first second.
        not_before: Timestamp,
    },
    /// It may not sign certificates.
    #[error(
        "the certificate of {subject} is not one of a certificate authority (basic constraints, key usage)"
    )]
    NotAuthority {
        /// Whose certificate.
        subject: String,
    },
    /// Fewer certificates may be below it than are.
    #[error(
        "the certificate of {subject} allows {allowed} authorities below it, and there are {found}"
    )]
    PathLength {
        /// Whose certificate.
        subject: String,
        /// How many it allows.
        allowed: u32,
        /// How many there are.
        found: usize,
    },
    /// A root that somebody else signed.
    #[error("the certificate of {subject} is no root: it is not signed by itself")]
    NotRoot {
        /// Whose certificate.
        subject: String,
    },
    /// A chain that does not begin where it must.
    #[error("must begin with the certificate of ca-cert.pem")]
    Beginning,
    /// A certificate that the next one did not sign.
    #[error("the certificate of {subject} is not signed by {issuer}")]
    NotSigned {
        /// Whose certificate.
        subject: String,
        /// Who should have signed it.
        issuer: String,
    },
    /// The key cannot be read. Why is not said: nothing of a key is ever shown.
    #[error(
        "is no PEM of a private key that is understood (PKCS #8, SEC 1 or PKCS #1; ECDSA P-256, P-384 or RSA)"
    )]
    Key,
    /// The key is of another certificate.
    #[error("is not the key of the certificate in ca-cert.pem")]
    ForeignKey,
}

/// What was found to belong together.
pub(super) struct Checked {
    pub(super) issuer: Issuer<'static, KeyPair>,
    /// PEM of the certificates between a leaf and a root, in this order.
    pub(super) intermediates: Vec<String>,
    /// PEM of the root that the path ends in.
    pub(super) root: String,
    /// PEM of each root.
    pub(super) roots: Vec<String>,
    /// From when on all certificates of the path are valid.
    pub(super) not_before: Timestamp,
    /// Until when all of them are.
    pub(super) not_after: Timestamp,
}

/// Checks that everything belongs together and is valid `now`.
pub(super) fn check(material: &Material, now: Timestamp) -> Result<Checked, Unusable> {
    let roots = read(ROOT, &material.root, CERTIFICATES_MAX)?;
    let own = read(CERTIFICATE, &material.certificate, 1)?;
    let chain = read(CHAIN, &material.chain, CERTIFICATES_MAX)?;
    let roots = parse_all(ROOT, &roots)?;
    let own = parse_all(CERTIFICATE, &own)?;
    let chain = parse_all(CHAIN, &chain)?;
    for root in &roots {
        check_authority(ROOT, root, now)?;
        if !is_signed_by(root, root) {
            let subject = subject(root);
            return Err(unusable(ROOT, MaterialFault::NotRoot { subject }));
        }
    }
    let [own] = own.as_slice() else {
        return Err(unusable(CERTIFICATE, MaterialFault::NotCertificates));
    };
    check_authority(CERTIFICATE, own, now)?;
    if chain.first() != Some(own) {
        return Err(unusable(CHAIN, MaterialFault::Beginning));
    }
    let path = path(&chain, &roots, now)?;
    let issuer = issuer(&material.key, own)?;
    let validity = path.iter().map(|it| it.validity());
    let not_before = validity.clone().map(|it| time(it.not_before)).max();
    let not_after = validity.map(|it| time(it.not_after)).min();
    let between = path.iter().filter(|it| !roots.contains(it));
    Ok(Checked {
        issuer,
        intermediates: between.map(|it| pem::certificate(it.as_raw())).collect(),
        root: path
            .last()
            .map(|it| pem::certificate(it.as_raw()))
            .unwrap_or_default(),
        roots: roots
            .iter()
            .map(|it| pem::certificate(it.as_raw()))
            .collect(),
        not_before: not_before.unwrap_or(Timestamp::MIN),
        not_after: not_after.unwrap_or(Timestamp::MAX),
    })
}

/// The certificates from the one that signs up to its root.
fn path<'a, 'b>(
    chain: &'a [X509Certificate<'b>],
    roots: &'a [X509Certificate<'b>],
    now: Timestamp,
) -> Result<Vec<&'a X509Certificate<'b>>, Unusable> {
    let mut path: Vec<&X509Certificate<'_>> = Vec::new();
    for certificate in chain {
        check_authority(CHAIN, certificate, now)?;
        if let Some(below) = path.last() {
            check_signed_by(below, certificate)?;
        }
        check_path_length(CHAIN, certificate, path.len())?;
        path.push(certificate);
    }
    let Some(last) = path.last() else {
        return Err(unusable(CHAIN, MaterialFault::Beginning));
    };
    if roots.contains(last) {
        return Ok(path);
    }
    let Some(root) = roots.iter().find(|root| is_signed_by(last, root)) else {
        return Err(unusable(
            CHAIN,
            MaterialFault::NotSigned {
                subject: subject(last),
                issuer: format!("a root in {ROOT}"),
            },
        ));
    };
    check_path_length(ROOT, root, path.len())?;
    path.push(root);
    Ok(path)
}

fn issuer(key: &str, own: &X509Certificate<'_>) -> Result<Issuer<'static, KeyPair>, Unusable> {
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).ok();
    let key = key.and_then(|key| KeyPair::try_from(&key).ok());
    let key = key.ok_or_else(|| unusable(KEY, MaterialFault::Key))?;
    if key.der_bytes() != own.public_key().subject_public_key.data.as_ref() {
        return Err(unusable(KEY, MaterialFault::ForeignKey));
    }
    Issuer::from_ca_cert_der(&CertificateDer::from(own.as_raw()), key)
        .map_err(|_| unusable(CERTIFICATE, MaterialFault::NotCertificates))
}

fn read(
    file: &'static str,
    text: &str,
    limit: usize,
) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let all = CertificateDer::pem_slice_iter(text.as_bytes()).take(CERTIFICATES_MAX + 1);
    let all: Result<Vec<_>, _> = all.collect();
    let all = all.map_err(|_| unusable(file, MaterialFault::NotCertificates))?;
    match all.len() {
        found if found == 0 || found > limit => {
            Err(unusable(file, MaterialFault::Count { found, limit }))
        }
        _ => Ok(all),
    }
}

fn parse_all<'a>(
    file: &'static str,
    ders: &'a [CertificateDer<'static>],
) -> Result<Vec<X509Certificate<'a>>, Unusable> {
    let parse = |der: &'a CertificateDer<'static>| match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(unusable(file, MaterialFault::NotCertificates)),
    };
    ders.iter().map(parse).collect()
}

/// Whether a certificate is one of an authority, and valid.
fn check_authority(
    file: &'static str,
    certificate: &X509Certificate<'_>,
    now: Timestamp,
) -> Result<(), Unusable> {
    let subject = subject(certificate);
    let not_before = time(certificate.validity().not_before);
    let not_after = time(certificate.validity().not_after);
    // RFC 5280 §4.2.1.3: an authority without this extension may sign anything.
    let usage = certificate.key_usage().ok();
    let may_sign = usage.is_some_and(|it| it.is_none_or(|it| it.value.key_cert_sign()));
    let fault = if now < not_before {
        MaterialFault::NotYetValid {
            subject,
            not_before,
        }
    } else if now > not_after {
        MaterialFault::Expired { subject, not_after }
    } else if !certificate.is_ca() || !may_sign {
        MaterialFault::NotAuthority { subject }
    } else {
        return Ok(());
    };
    Err(unusable(file, fault))
}

/// Whether as many authorities may be below a certificate as are (RFC 5280 §4.2.1.9).
fn check_path_length(
    file: &'static str,
    certificate: &X509Certificate<'_>,
    found: usize,
) -> Result<(), Unusable> {
    let constraints = certificate.basic_constraints().ok().flatten();
    match constraints.and_then(|it| it.value.path_len_constraint) {
        Some(allowed) if usize::try_from(allowed).is_ok_and(|allowed| allowed < found) => {
            Err(unusable(
                file,
                MaterialFault::PathLength {
                    subject: subject(certificate),
                    allowed,
                    found,
                },
            ))
        }
        _ => Ok(()),
    }
}

fn check_signed_by(
    certificate: &X509Certificate<'_>,
    issuer: &X509Certificate<'_>,
) -> Result<(), Unusable> {
    match is_signed_by(certificate, issuer) {
        true => Ok(()),
        false => Err(unusable(
            CHAIN,
            MaterialFault::NotSigned {
                subject: subject(certificate),
                issuer: subject(issuer),
            },
        )),
    }
}

fn is_signed_by(certificate: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> bool {
    certificate.issuer().as_raw() == issuer.subject().as_raw()
        && certificate
            .verify_signature(Some(issuer.public_key()))
            .is_ok()
}

fn subject(certificate: &X509Certificate<'_>) -> String {
    certificate.subject().to_string()
}

fn time(time: ASN1Time) -> Timestamp {
    Timestamp::from_second(time.timestamp()).unwrap_or(Timestamp::MAX) // years from 0 to 9999
}

fn unusable(file: &'static str, fault: MaterialFault) -> Unusable {
    Unusable { file, fault }
}
