//! What is taken for a key, and for which tokens.

use serde_json::{Value, json};

use super::signing::{Signer, set};
use super::{claims, judge};
use crate::jwt::{Algorithm, JWKS_BYTES_MAX, KeySet, KeySetError, Refused};

#[test]
fn keys_that_tokens_may_not_be_signed_with_are_passed_over_and_told() {
    let good = Signer::new(Algorithm::EdDsa).jwk(json!({}));
    let ec = Signer::new(Algorithm::Es256);
    let changed = |more: Value| ec.jwk(more);
    for (key, why) in [
        (
            json!({ "kty": "oct", "k": "c2VjcmV0" }),
            "is a shared secret (oct): whoever could verify could sign as well",
        ),
        (json!({ "kty": "PQ" }), "is of an unknown kind \"PQ\""),
        (json!({ "alg": "ES256" }), "is no key (RFC 7517 §4)"),
        (json!([]), "is no key (RFC 7517 §4)"),
        (
            changed(json!({ "use": "enc" })),
            "is not for signatures (use)",
        ),
        (
            changed(json!({ "key_ops": ["sign"] })),
            "is not for verifying (key_ops)",
        ),
        (
            changed(json!({ "alg": "RS256" })),
            "says alg \"RS256\", which its kind does not allow",
        ),
        (
            changed(json!({ "alg": "HS256" })),
            "says alg \"HS256\", which its kind does not allow",
        ),
        (
            changed(json!({ "crv": "P-384" })),
            "x must have 48 bytes, got 32",
        ),
        (
            changed(json!({ "crv": "secp256k1" })),
            "has an unknown curve \"secp256k1\"",
        ),
        (
            changed(json!({ "kty": "OKP" })),
            "has an unknown curve \"P-256\"",
        ),
        (
            changed(json!({ "y": "AAAA" })),
            "y must have 32 bytes, got 3",
        ),
        (
            changed(json!({ "y": ec.jwk(json!({}))["x"] })),
            "is no point of P-256",
        ),
        (json!({ "kty": "RSA", "e": "AQAB" }), "has no n"),
        (
            json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB" }),
            "is RSA of 17 bits, and 2048 to 8192 are taken",
        ),
        (
            json!({ "kty": "RSA", "n": "AAAA", "e": "AQAB" }),
            "n is zero",
        ),
    ] {
        let written = json!({ "keys": [good, key] }).to_string();
        let keys = KeySet::read(written.as_bytes()).unwrap();
        let told: Vec<_> = keys.passed_over().iter().map(ToString::to_string).collect();
        assert_eq!(told, [format!("keys[1] {why}")]);
        let alone = KeySet::read(json!({ "keys": [key] }).to_string().as_bytes());
        assert!(matches!(alone, Err(KeySetError::NoKey(Some(_)))), "{why}");
    }
}

#[test]
fn a_set_is_bounded_and_must_be_one() {
    let read = |text: &str| KeySet::read(text.as_bytes());
    for text in ["", "[]", "{}", r#"{"keys":{}}"#] {
        assert_eq!(read(text), Err(KeySetError::NotKeys), "{text}");
    }
    assert_eq!(read(r#"{"keys":[]}"#), Err(KeySetError::NoKey(None)));
    let key = Signer::new(Algorithm::EdDsa).jwk(json!({}));
    let of = |count| json!({ "keys": vec![key.clone(); count] }).to_string();
    assert_eq!(read(&of(100)).unwrap().len(), 100);
    assert_eq!(read(&of(101)), Err(KeySetError::TooMany(101)));
    let long = " ".repeat(JWKS_BYTES_MAX) + &of(1);
    assert_eq!(read(&long), Err(KeySetError::TooLarge));
}

#[test]
fn of_many_keys_without_a_name_sixteen_are_tried() {
    let signers: Vec<Signer> = (0..17).map(|_| Signer::new(Algorithm::EdDsa)).collect();
    let keys: Vec<Value> = signers.iter().map(|it| it.jwk(json!({}))).collect();
    let keys = set(&keys);
    let judged = |at: usize| judge(&keys, &signers[at].token(&json!({}), &claims()), &[]);
    assert_eq!((judged(15), judged(16)), (Ok(()), Err(Refused::Signature)));
}

#[test]
fn an_rsa_key_that_names_an_algorithm_is_for_that_alone() {
    let (pkcs, pss) = (Signer::new(Algorithm::Rs256), Signer::new(Algorithm::Ps256));
    let keys = set(&[pkcs.jwk(json!({ "alg": "PS256", "kid": "a" }))]);
    assert_eq!(
        judge(&keys, &pkcs.token(&json!({}), &claims()), &[]),
        Err(Refused::NoKey)
    );
    let keys = set(&[pss.jwk(json!({ "alg": "PS256" }))]);
    assert_eq!(
        judge(&keys, &pss.token(&json!({ "kid": "any" }), &claims()), &[]),
        Ok(())
    );
}
