//! Requests that ask for too much, that were tampered with, or that are none.

use rcgen::{
    BasicConstraints, CustomExtension, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519,
    PKCS_RSA_SHA256, RsaKeySize, SignatureAlgorithm,
};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use super::*;

/// A request with whatever `change` makes of it.
fn request(change: impl FnOnce(&mut CertificateParams)) -> CertificateSigningRequest {
    let mut params = CertificateParams::default();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    params.serialize_request(&key).unwrap()
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

#[test]
fn what_is_given_anyway_may_be_asked_for() {
    let authority = authority();
    for asked in [
        request(|_| {}),
        request(|it| it.subject_alt_names = vec![uri(ID)]),
        request(|it| it.is_ca = IsCa::ExplicitNoCa),
        request(|it| it.key_usages = vec![KeyUsagePurpose::DigitalSignature]),
        request(|it| {
            it.extended_key_usages = vec![
                ExtendedKeyUsagePurpose::ClientAuth,
                ExtendedKeyUsagePurpose::ServerAuth,
            ];
        }),
    ] {
        ask(&authority, &asked).unwrap();
    }
}

#[test]
fn whoever_asks_for_more_is_told_what() {
    let authority = authority();
    let unknown = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
    let table = [
        (
            request(|it| {
                it.subject_alt_names = vec![uri("spiffe://mesh.test/ns/default/sa/admin")]
            }),
            "to be \"spiffe://mesh.test/ns/default/sa/admin\"",
        ),
        (
            request(|it| {
                it.subject_alt_names = vec![uri("SPIFFE://mesh.test/ns/default/sa/reviews")]
            }),
            "to be",
        ),
        (
            request(|it| it.subject_alt_names = vec![uri(ID), uri(ID)]),
            "for the names",
        ),
        (
            request(|it| it.subject_alt_names = vec![uri(ID), dns("admin.test")]),
            "admin.test",
        ),
        (
            request(|it| it.subject_alt_names = vec![dns("admin.test")]),
            "admin.test",
        ),
        (
            request(|it| it.subject_alt_names = vec![SanType::IpAddress([10, 0, 0, 1].into())]),
            "for the names",
        ),
        (
            request(|it| it.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
            "to be a certificate authority",
        ),
        (
            request(|it| it.key_usages = vec![KeyUsagePurpose::KeyCertSign]),
            "for the key usage",
        ),
        (
            request(|it| {
                it.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign]
            }),
            "for the key usage",
        ),
        (
            request(|it| it.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning]),
            "extended key usage",
        ),
        (
            request(|it| it.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any]),
            "extended key usage",
        ),
        (
            request(|it| it.custom_extensions = vec![unknown]),
            "for the extension 1.2.3.4",
        ),
    ];
    for (asked, why) in table {
        let refused = ask(&authority, &asked).unwrap_err();
        let text = refused.to_string();
        assert!(matches!(refused, Refused::AsksForMore { .. }), "{text}");
        assert!(text.contains(why), "{text} does not say {why}");
        assert!(!refused.is_ours());
    }
}

#[test]
fn a_reason_repeats_no_more_than_a_line_of_what_was_asked() {
    let long = "a".repeat(4000) + "\n\u{7}";
    let asked = request(|it| it.subject_alt_names = vec![uri(&long)]);
    let text = ask(&authority(), &asked).unwrap_err().to_string();
    assert!(text.len() < 250 && !text.contains('\n'), "{text}");
}

#[test]
fn the_name_in_a_subject_is_not_taken_over() {
    let asked = request(|it| {
        it.distinguished_name
            .push(rcgen::DnType::CommonName, "admin");
    });
    let issued = ask(&authority(), &asked).unwrap();
    let leaf = der(&issued.chain[0]);
    assert!(!leaf.windows(5).any(|it| it == b"admin"));
}

#[test]
fn a_request_changed_in_what_is_signed_or_in_the_signature_is_refused() {
    let authority = authority();
    let key = KeyPair::generate().unwrap();
    let good = request_for(&key, vec![uri(ID)]).der().to_vec();
    authority.sign(&good, &id(), None, now()).unwrap();
    let (_, parsed) = X509CertificationRequest::from_der(&good).unwrap();
    let signed = parsed.certification_request_info.raw.len();
    let signature = parsed.signature_value.data.len();
    let header = good.len() - signed - signature - ALGORITHM_AND_HEADER_BYTES;
    let changed = (header..header + signed).chain(good.len() - signature..good.len());
    for place in changed {
        for flip in [1, 0x80] {
            let mut bad = good.clone();
            bad[place] ^= flip;
            let signed = authority.sign(&bad, &id(), None, now());
            assert!(signed.is_err(), "byte {place} flipped by {flip:#x}");
        }
    }
}

/// Between what is signed and the signature: the algorithm, and the header of a bit string.
const ALGORITHM_AND_HEADER_BYTES: usize = 12 + 3;

#[test]
fn what_is_cut_short_or_goes_on_is_no_request() {
    let authority = authority();
    let asked = request(|_| {});
    let der = asked.der().to_vec();
    let pem = asked.pem().unwrap();
    let refused = |bytes: &[u8]| authority.sign(bytes, &id(), None, now()).unwrap_err();
    for end in 0..der.len() {
        assert_eq!(refused(&der[..end]), Refused::NotARequest, "{end}");
    }
    let longer = [der.as_slice(), &[0]].concat();
    assert_eq!(refused(&longer), Refused::NotARequest);
    let key = KeyPair::generate().unwrap().serialize_pem();
    for text in [
        "",
        "-----BEGIN",
        &pem.repeat(2),
        &key,
        &pem[..pem.len() / 2],
    ] {
        assert_eq!(refused(text.as_bytes()), Refused::NotARequest);
    }
    let too_long = vec![0x30; 16 * 1024 + 1];
    assert!(matches!(
        refused(&too_long),
        Refused::TooLong { bytes: 16385, .. }
    ));
}

#[test]
fn a_key_that_is_not_ones_own_is_refused() {
    let authority = authority();
    let (own, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let request = request_for(&own, Vec::new()).der().to_vec();
    let public = own.public_key_raw();
    let place = request.windows(public.len()).position(|it| it == public);
    let place = place.unwrap();
    let mut forged = request;
    forged[place..place + public.len()].copy_from_slice(other.public_key_raw());
    let refused = authority.sign(&forged, &id(), None, now()).unwrap_err();
    assert_eq!(refused, Refused::NoPossession);
}

#[test]
fn keys_that_every_peer_understands_are_taken_and_no_others() {
    let authority = authority();
    let sign = |algorithm: &'static SignatureAlgorithm| {
        let key = KeyPair::generate_for(algorithm).unwrap();
        ask(&authority, &request_for(&key, Vec::new()))
    };
    for good in [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384] {
        sign(good).unwrap();
    }
    for bad in [&PKCS_ECDSA_P521_SHA512, &PKCS_ED25519] {
        assert_eq!(sign(bad), Err(Refused::Key));
    }
    let rsa = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    ask(&authority, &request_for(&rsa, Vec::new())).unwrap();
}

/// Made with `openssl req -new -newkey rsa:1024 -nodes -subj / -sha256`.
const RSA_1024: &str = include_str!("rsa-1024.csr");

/// Made with `openssl req -new -newkey rsa:2048 -nodes -subj / -sha1`.
const SHA_1: &str = include_str!("sha-1.csr");

#[test]
fn weak_keys_and_weak_signatures_are_refused() {
    let authority = authority();
    for (asked, why) in [(RSA_1024, Refused::Key), (SHA_1, Refused::WeakSignature)] {
        let signed = authority.sign(asked.as_bytes(), &id(), None, now());
        assert_eq!(signed, Err(why));
    }
}

#[test]
fn names_of_other_meshes_and_of_no_workload_are_not_given() {
    let authority = authority();
    let asked = request(|_| {}).der().to_vec();
    let sign = |name: &str| {
        let name = SpiffeId::parse(name).unwrap();
        authority.sign(&asked, &name, None, now()).unwrap_err()
    };
    let foreign = sign("spiffe://other.test/ns/default/sa/reviews");
    assert!(matches!(foreign, Refused::ForeignTrustDomain { .. }));
    for other in ["spiffe://mesh.test", "spiffe://mesh.test/admin"] {
        assert!(
            matches!(sign(other), Refused::NotAWorkload { .. }),
            "{other}"
        );
    }
}
