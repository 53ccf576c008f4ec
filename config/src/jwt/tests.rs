mod keys;
mod laws;
mod signing;

use std::time::Duration;

use serde_json::{Value, json};

use self::signing::{Signer, part, set};
use super::{Algorithm, Expected, KeySet, Refused, TOKEN_BYTES_MAX, Token};

const NOW: u64 = 1_800_000_000;

fn claims() -> Value {
    json!({ "iss": "https://issuer", "sub": "alice", "aud": ["web", "api"], "exp": NOW + 600, "nbf": NOW - 10 })
}

fn judge(keys: &KeySet, token: &str, audiences: &[&str]) -> Result<(), Refused> {
    let token = Token::read(token.as_bytes())?;
    let audiences: Vec<_> = audiences.iter().map(|it| (*it).into()).collect();
    let expected = Expected {
        issuer: Some("https://issuer"),
        audiences: &audiences,
        subjects: None,
        skew: Duration::from_secs(60),
        require_expiration: false,
        lifetime_max: None,
    };
    token.claims.check(&expected, NOW)?;
    keys.verify(&token)
}

#[test]
fn each_algorithm_holds_with_its_key_and_with_no_other() {
    let signers: Vec<Signer> = Algorithm::ALL.into_iter().map(Signer::new).collect();
    for signer in &signers {
        let token = signer.token(&json!({}), &claims());
        for other in &signers {
            let keys = set(&[other.jwk(json!({}))]);
            let wanted = match (signer.same_key(other), signer.is_rsa() && other.is_rsa()) {
                (true, _) => Ok(()),
                (false, true) => Err(Refused::Signature),
                (false, false) => Err(Refused::NoKey),
            };
            let (name, with) = (signer.algorithm.name(), other.algorithm.name());
            assert_eq!(
                judge(&keys, &token, &["web"]),
                wanted,
                "{name} with the key of {with}"
            );
        }
    }
}

#[test]
fn each_wrong_token_has_its_own_reason() {
    let signer = Signer::new(Algorithm::Es256);
    let keys = set(&[signer.jwk(json!({ "kid": "a" }))]);
    let head = |more: Value| signer.token(&more, &claims());
    let body = |more: Value| {
        let mut all = claims();
        for (name, value) in more.as_object().unwrap() {
            all[name] = value.clone();
        }
        signer.token(&json!({}), &all)
    };
    let good = head(json!({ "kid": "a" }));
    let parts: Vec<&str> = good.split('.').collect();
    let [h, p, s] = parts[..] else { panic!() };
    let forged = part(&json!({ "iss": "https://issuer", "sub": "mallory" }));
    let twice = part_of(r#"{"iss":"https://issuer","sub":"a","sub":"b"}"#);
    let deep = part_of(&format!("{}1{}", "{\"a\":".repeat(17), "}".repeat(17)));
    let huge = body(json!({ "x": "y".repeat(TOKEN_BYTES_MAX) }));
    for (why, token, wanted) in [
        ("good", good.clone(), Ok(())),
        ("no name of a key", head(json!({})), Ok(())),
        ("nothing", String::new(), Err(Refused::Form)),
        ("two parts", format!("{h}.{p}"), Err(Refused::Form)),
        ("four parts", format!("{good}.x"), Err(Refused::Form)),
        (
            "a header that is no Base64",
            format!("a b.{p}.{s}"),
            Err(Refused::HeaderBase64),
        ),
        (
            "a padded header",
            format!("{h}=.{p}.{s}"),
            Err(Refused::HeaderBase64),
        ),
        (
            "a header that is no JSON",
            format!("{}.{p}.{s}", part_of("{")),
            Err(Refused::HeaderJson),
        ),
        (
            "a header that is a list",
            format!("{}.{p}.{s}", part_of("[]")),
            Err(Refused::HeaderJson),
        ),
        (
            "a header with a name twice",
            format!("{}.{p}.{s}", part_of(r#"{"alg":"none","alg":"ES256"}"#)),
            Err(Refused::HeaderJson),
        ),
        (
            "no algorithm",
            format!("{}.{p}.{s}", part(&json!({}))),
            Err(Refused::NoAlgorithm),
        ),
        (
            "alg none",
            format!("{}.{p}.", part(&json!({ "alg": "none" }))),
            Err(Refused::Algorithm),
        ),
        (
            "alg nOnE",
            format!("{}.{p}.", part(&json!({ "alg": "nOnE" }))),
            Err(Refused::Algorithm),
        ),
        (
            "a shared secret",
            format!("{}.{p}.{s}", part(&json!({ "alg": "HS256" }))),
            Err(Refused::Algorithm),
        ),
        (
            "a kid that is a number",
            head(json!({ "kid": 1 })),
            Err(Refused::KeyId),
        ),
        (
            "an unknown kid",
            head(json!({ "kid": "b" })),
            Err(Refused::NoKey),
        ),
        (
            "critical headers",
            head(json!({ "crit": ["b64"], "b64": false })),
            Err(Refused::Critical),
        ),
        (
            "a payload that is no Base64",
            format!("{h}.%.{s}"),
            Err(Refused::PayloadBase64),
        ),
        (
            "a payload that is no JSON",
            format!("{h}.{}.{s}", part_of("1")),
            Err(Refused::PayloadJson),
        ),
        (
            "a claim twice",
            format!("{h}.{twice}.{s}"),
            Err(Refused::PayloadJson),
        ),
        (
            "too deep",
            format!("{h}.{deep}.{s}"),
            Err(Refused::PayloadJson),
        ),
        (
            "bytes behind the payload",
            format!("{h}.{}.{s}", part_of("{} {}")),
            Err(Refused::PayloadJson),
        ),
        (
            "an issuer that is a number",
            body(json!({ "iss": 1 })),
            Err(Refused::IssuerKind),
        ),
        (
            "a subject that is a list",
            body(json!({ "sub": [] })),
            Err(Refused::SubjectKind),
        ),
        (
            "an audience that is an object",
            body(json!({ "aud": {} })),
            Err(Refused::AudienceKind),
        ),
        (
            "an audience with a number",
            body(json!({ "aud": ["web", 1] })),
            Err(Refused::AudienceKind),
        ),
        (
            "an end that is a text",
            body(json!({ "exp": "soon" })),
            Err(Refused::ExpiresKind),
        ),
        (
            "an end before 1970",
            body(json!({ "exp": -1 })),
            Err(Refused::ExpiresKind),
        ),
        (
            "a beginning that is a text",
            body(json!({ "nbf": "now" })),
            Err(Refused::NotBeforeKind),
        ),
        (
            "iat that is a text",
            body(json!({ "iat": "now" })),
            Err(Refused::IssuedAtKind),
        ),
        (
            "jti that is a number",
            body(json!({ "jti": 1 })),
            Err(Refused::IdKind),
        ),
        (
            "a signature that is no Base64",
            format!("{h}.{p}.*"),
            Err(Refused::SignatureBase64),
        ),
        (
            "another issuer",
            body(json!({ "iss": "https://issuer/" })),
            Err(Refused::Issuer),
        ),
        (
            "no issuer",
            body_without("iss", &signer),
            Err(Refused::Issuer),
        ),
        (
            "expired at the bound",
            body(json!({ "exp": NOW - 60 })),
            Ok(()),
        ),
        (
            "expired",
            body(json!({ "exp": NOW - 61 })),
            Err(Refused::Expired),
        ),
        (
            "expired at zero",
            body(json!({ "exp": 0 })),
            Err(Refused::Expired),
        ),
        (
            "early at the bound",
            body(json!({ "nbf": NOW + 60 })),
            Ok(()),
        ),
        (
            "early",
            body(json!({ "nbf": NOW + 61 })),
            Err(Refused::NotYetValid),
        ),
        (
            "parts of a second",
            body(json!({ "exp": NOW as f64 + 0.5 })),
            Ok(()),
        ),
        (
            "meant for others",
            body(json!({ "aud": "WEB" })),
            Err(Refused::Audience),
        ),
        (
            "meant for nobody",
            body_without("aud", &signer),
            Err(Refused::Audience),
        ),
        (
            "a payload that was changed",
            format!("{h}.{forged}.{s}"),
            Err(Refused::Audience),
        ),
        (
            "a signature cut off",
            format!("{h}.{p}."),
            Err(Refused::Signature),
        ),
        ("huge", huge, Err(Refused::TooLarge)),
    ] {
        assert_eq!(judge(&keys, &token, &["web"]), wanted, "{why}");
    }
    // Changed in nothing that is looked at before the signature.
    let mut other = claims();
    other["sub"] = json!("mallory");
    let token = format!("{h}.{}.{s}", part(&other));
    assert_eq!(judge(&keys, &token, &["web"]), Err(Refused::Signature));
}

fn part_of(text: &str) -> String {
    signing::encoded(text.as_bytes())
}

fn body_without(name: &str, signer: &Signer) -> String {
    let mut all = claims();
    all.as_object_mut().unwrap().remove(name);
    signer.token(&json!({}), &all)
}

#[test]
fn a_public_key_is_no_shared_secret() {
    let rsa = Signer::new(Algorithm::Rs256);
    let keys = set(&[rsa.jwk(json!({ "kid": "a" }))]);
    let signed = format!(
        "{}.{}",
        part(&json!({ "alg": "HS256", "kid": "a" })),
        part(&claims())
    );
    // What a library that takes the header's word would be shown: HMAC with the public key, in the forms it comes in.
    for secret in rsa.public_forms() {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret);
        let tag = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
        let token = format!("{signed}.{}", signing::encoded(tag.as_ref()));
        assert_eq!(judge(&keys, &token, &["web"]), Err(Refused::Algorithm));
    }
}

#[test]
fn a_token_without_an_end_is_taken_unless_one_is_asked_for() {
    let of = |exp: Option<u64>| {
        let mut all = claims();
        all["exp"] = json!(exp);
        if exp.is_none() {
            all.as_object_mut().unwrap().remove("exp");
        }
        let token = format!("{}.{}.", part(&json!({ "alg": "ES256" })), part(&all));
        Token::read(token.as_bytes()).unwrap().claims
    };
    let expected = Expected {
        issuer: None,
        audiences: &[],
        subjects: None,
        skew: Duration::ZERO,
        require_expiration: false,
        lifetime_max: None,
    };
    assert_eq!(of(None).check(&expected, NOW), Ok(()));
    let ends = Expected {
        require_expiration: true,
        ..expected
    };
    assert_eq!(of(None).check(&ends, NOW), Err(Refused::Lifetime));
    assert_eq!(of(Some(NOW)).check(&ends, NOW), Ok(()));
    let soon = Expected {
        lifetime_max: Some(Duration::from_secs(60)),
        ..expected
    };
    assert_eq!(of(None).check(&soon, NOW), Err(Refused::Lifetime));
    assert_eq!(of(Some(NOW + 60)).check(&soon, NOW), Ok(()));
    assert_eq!(of(Some(NOW + 61)).check(&soon, NOW), Err(Refused::Lifetime));
}
