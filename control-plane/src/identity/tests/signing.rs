//! What a certificate says, by the word of those who have to believe it.

use std::path::Path;
use std::process::Command;

use rustls_pki_types::UnixTime;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::*;

fn issued(authority: &Authority, lifetime: Option<Duration>) -> Issued {
    let key = KeyPair::generate().unwrap();
    let request = request_for(&key, vec![uri(ID)]);
    authority
        .sign(request.der(), &id(), lifetime, now())
        .unwrap()
}

/// Verifies as a proxy does, at a time in seconds from `now`.
fn verify(issued: &Issued, authority: &Authority, at: i64, usage: KeyUsage) -> bool {
    let ders: Vec<_> = issued.chain.iter().map(|it| der(it)).collect();
    let root = der(&authority.roots()[0]);
    let anchors = [anchor_from_trusted_cert(&root).unwrap()];
    let at = Duration::from_secs(u64::try_from(now().as_second() + at).unwrap());
    let algorithms = [webpki::aws_lc_rs::ECDSA_P256_SHA256];
    let leaf = EndEntityCert::try_from(&ders[0]).unwrap();
    let at = UnixTime::since_unix_epoch(at);
    leaf.verify_for_usage(&algorithms, &anchors, &ders[1..], at, usage, None, None)
        .is_ok()
}

#[test]
fn a_certificate_is_verified_by_rustls_on_both_sides_of_a_connection() {
    let authority = authority();
    let issued = issued(&authority, None);
    assert_eq!(issued.chain.len(), 2, "a leaf and an intermediate");
    for usage in [KeyUsage::client_auth(), KeyUsage::server_auth()] {
        assert!(verify(&issued, &authority, 0, usage));
    }
    let other = self::authority();
    assert!(!verify(&issued, &other, 0, KeyUsage::client_auth()));
}

#[test]
fn a_certificate_is_valid_from_a_minute_ago_for_a_day() {
    let authority = authority();
    let issued = issued(&authority, None);
    let day = 24 * 3600;
    for (at, valid) in [(-61, false), (-60, true), (day, true), (day + 1, false)] {
        let found = verify(&issued, &authority, at, KeyUsage::client_auth());
        assert_eq!(found, valid, "{at} s from now");
    }
}

#[test]
fn a_certificate_says_one_name_and_may_sign_nothing() {
    let issued = issued(&authority(), None);
    let leaf = der(&issued.chain[0]);
    let (rest, leaf) = X509Certificate::from_der(&leaf).unwrap();
    assert!(rest.is_empty());
    assert_eq!(leaf.subject().iter().count(), 0);
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    assert!(names.critical, "for the subject is empty");
    assert_eq!(names.value.general_names, [GeneralName::URI(ID)]);
    let usage = leaf.key_usage().unwrap().unwrap();
    assert!(usage.critical && usage.value.flags == 1);
    let extended = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.server_auth && extended.client_auth && extended.other.is_empty());
    assert!(!leaf.is_ca());
    let serial = leaf.raw_serial_as_string().replace(':', "");
    assert_eq!((serial.len(), &serial), (32, &issued.serial));
    let known = leaf.extensions().iter().all(|it| {
        let it = it.parsed_extension();
        !it.unsupported() && !matches!(it, ParsedExtension::ParseError { .. })
    });
    assert!(known);
}

#[test]
fn two_certificates_of_one_key_have_two_serial_numbers() {
    let authority = authority();
    let key = KeyPair::generate().unwrap();
    let request = request_for(&key, Vec::new());
    let serial = || ask(&authority, &request).unwrap().serial;
    assert_ne!(serial(), serial());
}

#[test]
fn a_lifetime_is_what_is_asked_for_up_to_the_bound() {
    let lifetimes = Lifetimes {
        default: 2 * HOUR,
        max: 10 * HOUR,
        ..Lifetimes::default()
    };
    let authority = Authority::in_memory(domain(), lifetimes, now()).unwrap();
    for (asked, got) in [
        (None, 2 * HOUR),
        (Some(HOUR), HOUR),
        (Some(10 * HOUR), 10 * HOUR),
        (Some(11 * HOUR), 10 * HOUR),
        (Some(Duration::MAX), 10 * HOUR),
    ] {
        let issued = issued(&authority, asked);
        assert_eq!(issued.not_after, now() + got, "{asked:?}");
    }
}

#[test]
fn a_certificate_does_not_outlive_its_authority() {
    let authority = authority();
    let end = authority.not_after();
    let key = KeyPair::generate().unwrap();
    let request = request_for(&key, Vec::new());
    let sign = |at| authority.sign(request.der(), &id(), Some(48 * HOUR), at);
    let issued = sign(end - HOUR).unwrap();
    assert_eq!(issued.not_after, end);
    for outside in [end, end + HOUR, now() - 2 * HOUR] {
        let refused = sign(outside).unwrap_err();
        assert!(matches!(refused, Refused::AuthorityOutOfTime { .. }));
        assert!(refused.is_ours());
    }
}

#[test]
fn openssl_verifies_what_was_issued() {
    let found = Command::new("openssl").arg("version").output().is_ok();
    if !found && std::env::var_os("WEFT_REQUIRE_PEERS").is_none() {
        eprintln!("skipped: there is no openssl");
        return;
    }
    let now = Timestamp::now(); // openssl has its own clock
    let authority = Authority::in_memory(domain(), Lifetimes::default(), now).unwrap();
    let key = KeyPair::generate().unwrap();
    let request = request_for(&key, vec![uri(ID)]);
    let issued = authority.sign(request.der(), &id(), None, now).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let root = write("root.pem", &authority.roots()[0]);
    let between = write("between.pem", &issued.chain[1]);
    let leaf = write("leaf.pem", &issued.chain[0]);
    for purpose in ["sslclient", "sslserver"] {
        let said = openssl(
            &["verify", "-x509_strict", "-purpose", purpose, "-CAfile"],
            &[&root, Path::new("-untrusted"), &between, &leaf],
        );
        assert!(said.contains("leaf.pem: OK"), "{said}");
    }
    let said = openssl(
        &["x509", "-noout", "-serial", "-ext", "subjectAltName", "-in"],
        &[&leaf],
    );
    assert!(said.contains(&format!("URI:{ID}")), "{said}");
    assert!(said.contains(&issued.serial.to_uppercase()), "{said}");
}

fn openssl(words: &[&str], paths: &[&Path]) -> String {
    let output = Command::new("openssl").args(words).args(paths).output();
    let output = output.unwrap();
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}
