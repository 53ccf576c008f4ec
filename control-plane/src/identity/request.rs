//! Reading a certificate signing request (PKCS #10, RFC 2986).
//!
//! Nothing but its public key goes into a certificate. What else it asks for is either what its sender gets anyway, or a
//! reason to refuse: who asks for more than he may have errs, or tries.

use rcgen::SubjectPublicKeyInfo;
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use weft_config::spiffe::SpiffeId;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::extensions::{
    BasicConstraints, ExtendedKeyUsage, GeneralName, KeyUsage, ParsedExtension,
};
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_SHA1WITHRSA,
    OID_SHA1_WITH_RSA,
};
use x509_parser::prelude::{FromDer, X509Extension};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo as RequestedKey;

use super::Refused;

/// Bytes of a request: an RSA key of 8192 bits with its signature takes four thousand as PEM.
const BYTES_MAX: usize = 16 * 1024;

/// Bits of an RSA key.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Characters of what a request asks for that are repeated in the reason.
const REPEATED_MAX: usize = 200;

/// The public key of a request, as PEM or DER, whose sender has the private one and asks for nothing that `identity` may
/// not have.
pub(super) fn read(request: &[u8], identity: &SpiffeId) -> Result<SubjectPublicKeyInfo, Refused> {
    if request.len() > BYTES_MAX {
        return Err(Refused::TooLong {
            bytes: request.len(),
            limit: BYTES_MAX,
        });
    }
    let der = der(request)?;
    let Ok(([], request)) = X509CertificationRequest::from_der(&der) else {
        return Err(Refused::NotARequest);
    };
    let info = &request.certification_request_info;
    check_key(&info.subject_pki)?;
    let algorithm = &request.signature_algorithm.algorithm;
    if *algorithm == OID_PKCS1_SHA1WITHRSA || *algorithm == OID_SHA1_WITH_RSA {
        return Err(Refused::WeakSignature);
    }
    request
        .verify_signature()
        .map_err(|_| Refused::NoPossession)?;
    for attribute in info.iter_attributes() {
        if let ParsedCriAttribute::ExtensionRequest(asked) = attribute.parsed_attribute() {
            for extension in &asked.extensions {
                check_extension(extension, identity)?;
            }
        }
    }
    SubjectPublicKeyInfo::from_der(info.subject_pki.raw).map_err(|_| Refused::Key)
}

fn der(request: &[u8]) -> Result<Vec<u8>, Refused> {
    if !request.trim_ascii_start().starts_with(b"-----") {
        return Ok(request.to_vec());
    }
    let mut all = CertificateSigningRequestDer::pem_slice_iter(request);
    match (all.next(), all.next()) {
        (Some(Ok(one)), None) => Ok(one.to_vec()),
        _ => Err(Refused::NotARequest),
    }
}

/// ECDSA on P-256 or P-384, or RSA from 2048 bits on.
fn check_key(key: &RequestedKey<'_>) -> Result<(), Refused> {
    let curve = key.algorithm.parameters.as_ref();
    let curve = curve.and_then(|it| it.as_oid().ok());
    let taken = match key.parsed() {
        Ok(PublicKey::EC(_)) => {
            key.algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY
                && curve.is_some_and(|it| it == OID_EC_P256 || it == OID_NIST_EC_P384)
        }
        Ok(PublicKey::RSA(rsa)) => RSA_BITS.contains(&bits(rsa.modulus)),
        _ => false,
    };
    match taken {
        true => Ok(()),
        false => Err(Refused::Key),
    }
}

/// Bits of a number in big-endian bytes.
fn bits(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let first = number
        .get(zeros)
        .map_or(8, |byte| byte.leading_zeros() as usize);
    ((number.len() - zeros) * 8).saturating_sub(first)
}

/// Refuses an extension that asks for anything but what the certificate will say anyway.
fn check_extension(extension: &X509Extension<'_>, identity: &SpiffeId) -> Result<(), Refused> {
    match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => {
            check_names(&names.general_names, identity)
        }
        ParsedExtension::BasicConstraints(BasicConstraints { ca: false, .. }) => Ok(()),
        ParsedExtension::BasicConstraints(_) => {
            Err(asks("to be a certificate authority".to_owned()))
        }
        ParsedExtension::KeyUsage(usage) if signs_alone(usage) => Ok(()),
        ParsedExtension::KeyUsage(usage) => Err(asks(format!(
            "for the key usage \"{usage}\", where digitalSignature alone is given"
        ))),
        ParsedExtension::ExtendedKeyUsage(usage) if is_tls_alone(usage) => Ok(()),
        ParsedExtension::ExtendedKeyUsage(_) => Err(asks(
            "for an extended key usage other than serverAuth and clientAuth".to_owned(),
        )),
        _ => Err(asks(format!("for the extension {}", extension.oid))),
    }
}

fn check_names(names: &[GeneralName<'_>], identity: &SpiffeId) -> Result<(), Refused> {
    match names {
        [GeneralName::URI(uri)] if *uri == identity.to_string() => Ok(()),
        [GeneralName::URI(uri)] => Err(asks(format!("to be {uri:?}"))),
        names => {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            let names = format!("{:?}", names.join(", "));
            Err(asks(format!("for the names {names}")))
        }
    }
}

fn signs_alone(usage: &KeyUsage) -> bool {
    usage.flags & !1 == 0 // bit 0 is digitalSignature (RFC 5280 §4.2.1.3)
}

fn is_tls_alone(usage: &ExtendedKeyUsage<'_>) -> bool {
    let further = [
        usage.any,
        usage.code_signing,
        usage.email_protection,
        usage.time_stamping,
        usage.ocsp_signing,
    ];
    !further.contains(&true) && usage.other.is_empty()
}

fn asks(what: String) -> Refused {
    let what = what.chars().take(REPEATED_MAX).collect();
    Refused::AsksForMore { what }
}
