use serde_json::{Value, json};

use super::*;
use crate::diag::{Diagnostics, FieldPath};
use crate::testing::{findings, message};

fn parse(value: Value) -> (Option<Secret>, Vec<String>) {
    let mut diag = Diagnostics::new();
    let secret = Secret::parse(&message(value), &FieldPath::root(), &mut diag);
    (secret, findings(&diag))
}

fn validation(value: Value) -> (Option<Arc<Validation>>, Vec<String>) {
    let (secret, found) = parse(json!({ "name": "v", "validation_context": value }));
    let validation = secret.map(|secret| match secret.kind {
        SecretKind::Validation(validation) => validation,
        SecretKind::Certificate(_) => panic!("a certificate"),
    });
    (validation, found)
}

#[test]
fn keys_are_never_shown() {
    let key = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";
    let (secret, found) = parse(json!({ "name": "own", "tls_certificate": {
        "certificate_chain": { "filename": "/c" }, "private_key": { "inline_string": key },
    } }));
    let shown = format!("{secret:?} {found:?}");
    assert!(secret.is_some() && shown.contains("not shown"), "{shown}");
    assert!(
        !shown.contains("c2VjcmV0") && !shown.contains("secret\""),
        "{shown}"
    );
}

#[test]
fn what_is_no_pem_is_refused_without_repeating_it() {
    for (chain, key, faults) in [
        (
            json!({ "inline_string": "hunter2" }),
            json!({ "filename": "" }),
            &[
                "tls_certificate.certificate_chain: holds no certificate in PEM",
                "tls_certificate.private_key: filename must not be empty",
            ][..],
        ),
        (
            json!({ "filename": "/c" }),
            json!({ "inline_string": "hunter2" }),
            &["tls_certificate.private_key: holds no private key in PEM"],
        ),
        (
            json!({ "filename": "/c" }),
            json!({}),
            &["tls_certificate.private_key: says neither a file nor bytes"],
        ),
    ] {
        let (secret, found) = parse(json!({ "name": "own", "tls_certificate": {
            "certificate_chain": chain, "private_key": key,
        } }));
        assert!(secret.is_none());
        let faults: Vec<String> = faults.iter().map(|it| format!("fault: {it}")).collect();
        assert_eq!(found, faults);
    }
}

#[test]
fn names_without_anybody_who_vouches_for_them_are_refused() {
    let names = json!([{ "san_type": "URI", "matcher": { "exact": "spiffe://td/a" } }]);
    let (read, found) = validation(json!({ "match_typed_subject_alt_names": names }));
    assert!(read.is_none());
    assert_eq!(
        found,
        [
            "fault: validation_context.match_typed_subject_alt_names: are asked for, but nobody is named who must have signed them"
        ]
    );
    let roots = json!({ "filename": "/ca" });
    let (read, _) =
        validation(json!({ "trusted_ca": roots, "match_typed_subject_alt_names": names }));
    assert!(read.unwrap().judges());
    assert!(!Validation::default().judges());
}

#[test]
fn pins_are_sha256_as_openssl_writes_them() {
    let hex = (0..32).map(|at| format!("{at:02X}")).collect::<Vec<_>>();
    let (read, found) = validation(json!({
        "verify_certificate_hash": [hex.join(":"), hex.concat().to_lowercase()],
        "verify_certificate_spki": ["AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="],
    }));
    assert_eq!(found, Vec::<String>::new());
    let pin: [u8; 32] = std::array::from_fn(|at| at as u8);
    let read = read.unwrap();
    assert_eq!(read.certificate_sha256, [pin, pin]);
    assert_eq!(read.spki_sha256, [pin]);
    let (read, found) = validation(json!({ "verify_certificate_hash": ["00:11"] }));
    assert!(read.is_none());
    assert_eq!(
        found,
        ["fault: validation_context.verify_certificate_hash[0]: \"00:11\" is no SHA-256"]
    );
}

#[test]
fn a_wildcard_of_a_certificate_stands_for_one_label() {
    let wanted = |name: &str| SanMatch {
        kind: Some(SanKind::Dns),
        value: StringMatch::Exact(name.into()),
    };
    for (presented, name, fits) in [
        ("a.test", "A.test", true),
        ("*.test", "a.test", true),
        ("*.test", "a.b.test", false),
        ("*.test", ".test", false),
        ("*.test", "test", false),
        ("a*.test", "ab.test", false),
        ("a.test", "b.test", false),
    ] {
        assert_eq!(
            wanted(name).matches(SanKind::Dns, presented),
            fits,
            "{presented} {name}"
        );
    }
    assert!(!wanted("a.test").matches(SanKind::Uri, "a.test"));
}

#[test]
fn what_a_secret_tells_is_added_to_what_the_context_says() {
    let name = |name: &str| SanMatch {
        kind: None,
        value: StringMatch::Exact(name.into()),
    };
    let base = Validation {
        subject_alt_names: vec![name("a")],
        ..Validation::default()
    };
    let told = Validation {
        anchors: Some(TrustAnchors::System),
        subject_alt_names: vec![name("b")],
        allow_expired: true,
        ..Validation::default()
    };
    let both = base.with(&told);
    assert_eq!(both.anchors, Some(TrustAnchors::System));
    assert_eq!(both.subject_alt_names, [name("a"), name("b")]);
    assert!(both.allow_expired);
    assert_eq!(told.with(&Validation::default()), told);
}
