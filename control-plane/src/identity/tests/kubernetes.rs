//! Service-account tokens of Kubernetes: whose they are, and why they are not believed.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;
use weft_config::jwt::{KeySetError, Refused};

use crate::identity::kubernetes::{Cluster, JwksError, JwtRefused, ServiceAccountToken};

use super::*;

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

struct Signer {
    name: &'static str,
    algorithm: Algorithm,
    key: EncodingKey,
}

fn ecdsa(name: &'static str) -> Signer {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let der = key.to_pkcs8v1().unwrap();
    Signer {
        name,
        algorithm: Algorithm::ES256,
        key: EncodingKey::from_ec_der(der.as_ref()),
    }
}

fn rsa(name: &'static str) -> Signer {
    let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = key.as_der().unwrap();
    // PKCS #8 puts 26 bytes before the PKCS #1 form that is asked for here.
    Signer {
        name,
        algorithm: Algorithm::RS256,
        key: EncodingKey::from_rsa_der(&der.as_ref()[26..]),
    }
}

impl Signer {
    fn jwk(&self) -> Jwk {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        jwk.common.key_id = Some(self.name.to_owned());
        jwk
    }

    fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(self.name.to_owned());
        encode(&header, claims, &self.key).unwrap()
    }
}

struct Case {
    folder: TempDir,
    cluster: Arc<Cluster>,
    _tasks: JoinSet<()>,
}

fn write(folder: &TempDir, signers: &[&Signer]) -> PathBuf {
    let keys = signers.iter().map(|it| it.jwk()).collect();
    let path = folder.path().join("jwks.json");
    fs::write(&path, serde_json::to_string(&JwkSet { keys }).unwrap()).unwrap();
    path
}

fn cluster(signers: &[&Signer]) -> Case {
    let folder = tempfile::tempdir().unwrap();
    let (cluster, follow) = Cluster::open(ISSUER, write(&folder, signers)).unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(follow);
    Case {
        folder,
        cluster,
        _tasks: tasks,
    }
}

impl Case {
    fn judge(&self, token: &str) -> Result<ServiceAccountToken, JwtRefused> {
        self.cluster.judge(token, &domain(), now())
    }
}

fn claims() -> Value {
    let now = now().as_second();
    json!({
        "iss": ISSUER, "aud": ["api", "weft"], "sub": "system:serviceaccount:default:reviews",
        "exp": now + 600, "nbf": now, "iat": now, "jti": "c0ffee",
        "kubernetes.io": {"namespace": "default"},
    })
}

fn with(field: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[field] = value;
    claims
}

#[tokio::test]
async fn a_token_of_the_cluster_proves_its_service_account() {
    let (es, rs) = (ecdsa("one"), rsa("two"));
    let case = cluster(&[&es, &rs]);
    for signer in [&es, &rs] {
        let found = case.judge(&signer.sign(&claims())).unwrap();
        assert_eq!((found.identity, found.id.as_str()), (id(), "c0ffee"));
        let one = case
            .judge(&signer.sign(&with("aud", json!("weft"))))
            .unwrap();
        assert_eq!(one.identity, id());
    }
}

#[tokio::test]
async fn each_claim_that_is_wrong_has_its_reason() {
    let signer = ecdsa("one");
    let case = cluster(&[&signer]);
    let now = now().as_second();
    let issuer = JwtRefused::Issuer {
        found: "other".to_owned(),
        expected: ISSUER.to_owned(),
    };
    let subject = |found: &str| JwtRefused::Subject {
        found: found.to_owned(),
    };
    let account = "system:serviceaccount:default";
    for (field, value, why) in [
        ("exp", json!(now), Refused::Expired.into()),
        ("exp", json!(-1), Refused::ExpiresKind.into()),
        ("exp", json!("tomorrow"), Refused::ExpiresKind.into()),
        ("exp", Value::Null, Refused::ExpiresKind.into()),
        ("nbf", json!(now + 61), Refused::NotYetValid.into()),
        ("iss", json!("other"), issuer),
        ("iss", Value::Null, Refused::IssuerKind.into()),
        ("aud", json!("api"), JwtRefused::Audience),
        ("aud", json!([]), JwtRefused::Audience),
        ("aud", Value::Null, Refused::AudienceKind.into()),
        ("sub", json!("admin"), subject("admin")),
        ("sub", json!(account), subject(account)),
        (
            "sub",
            json!("system:serviceaccount:a:b:c"),
            subject("system:serviceaccount:a:b:c"),
        ),
        (
            "sub",
            json!("system:serviceaccount:../a:b"),
            subject("system:serviceaccount:../a:b"),
        ),
    ] {
        let said = case.judge(&signer.sign(&with(field, value.clone())));
        assert_eq!(said, Err(why), "{field}: {value}");
    }
    case.judge(&signer.sign(&with("exp", json!(now + 1))))
        .unwrap();
    case.judge(&signer.sign(&with("nbf", json!(now + 60))))
        .unwrap();
}

#[tokio::test]
async fn only_a_key_of_the_cluster_signs_and_only_for_what_it_is() {
    let (signer, stranger, rs) = (ecdsa("one"), ecdsa("one"), rsa("two"));
    let case = cluster(&[&signer]);
    let refused = case.judge(&stranger.sign(&claims()));
    assert_eq!(
        refused,
        Err(Refused::Signature.into()),
        "of another with its name"
    );
    let refused = case.judge(&rs.sign(&claims()));
    assert_eq!(refused, Err(Refused::NoKey.into()));

    let good = signer.sign(&claims());
    let parts: Vec<&str> = good.split('.').collect();
    let head = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let unsigned = format!("{}.{}.", head(&json!({"alg": "none"})), parts[1]);
    let named = |alg: &str| head(&json!({"alg": alg, "kid": "one"}));
    assert_eq!(case.judge(&unsigned), Err(Refused::Algorithm.into()));
    for (alg, why) in [
        ("HS256", Refused::Algorithm),
        ("nOnE", Refused::Algorithm),
        ("RS512", Refused::NoKey),
        ("ES384", Refused::NoKey),
        ("EdDSA", Refused::NoKey),
    ] {
        let token = format!("{}.{}.{}", named(alg), parts[1], parts[2]);
        assert_eq!(case.judge(&token), Err(why.into()), "{alg}");
    }
    // A public key is no secret: whoever signs with it as one is not believed.
    let secret = EncodingKey::from_secret(signer.jwk().common.key_id.unwrap().as_bytes());
    let forged = encode(&Header::new(Algorithm::HS256), &claims(), &secret).unwrap();
    assert_eq!(case.judge(&forged), Err(Refused::Algorithm.into()));
    let critical = head(&json!({"alg": "ES256", "kid": "one", "crit": ["b64"], "b64": false}));
    let token = format!("{critical}.{}.{}", parts[1], parts[2]);
    assert_eq!(case.judge(&token), Err(Refused::Critical.into()));

    let more = URL_SAFE_NO_PAD.encode(with("sub", json!("system:serviceaccount:a:b")).to_string());
    let altered = format!("{}.{more}.{}", parts[0], parts[2]);
    assert_eq!(case.judge(&altered), Err(Refused::Signature.into()));
    for nonsense in ["", ".", "..", "a.b.c", &good[..good.len() / 2], "é.é.é"] {
        assert!(case.judge(nonsense).is_err(), "{nonsense}");
    }
}

#[tokio::test]
async fn a_token_without_the_name_of_a_key_is_tried_with_all_of_its_kind() {
    let (one, two, three) = (ecdsa("one"), ecdsa("two"), ecdsa("three"));
    let token = encode(&Header::new(Algorithm::ES256), &claims(), &one.key).unwrap();
    cluster(&[&one]).judge(&token).unwrap();
    cluster(&[&two, &one]).judge(&token).unwrap();
    let refused = cluster(&[&two, &three]).judge(&token);
    assert_eq!(refused, Err(Refused::Signature.into()));
}

#[tokio::test(start_paused = true)]
async fn keys_that_are_replaced_are_taken_and_bad_ones_are_not() {
    let (old, new) = (ecdsa("old"), ecdsa("new"));
    let case = cluster(&[&old]);
    let soon = Duration::from_secs(2);
    let path = case.folder.path().join("jwks.json");
    fs::write(&path, "{").unwrap();
    tokio::time::advance(soon).await;
    case.judge(&old.sign(&claims())).unwrap();
    write(&case.folder, &[&new]);
    let end = tokio::time::Instant::now() + 2 * soon;
    while case.judge(&new.sign(&claims())).is_err() {
        assert!(tokio::time::Instant::now() < end, "not taken in time");
        tokio::time::sleep_until(tokio::time::Instant::now() + soon / 8).await;
    }
    assert!(case.judge(&old.sign(&claims())).is_err());
}

#[test]
fn a_file_without_a_key_that_can_be_used_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    let open = || Cluster::open(ISSUER, path.clone()).map(drop);
    assert!(matches!(open(), Err(JwksError::Io { .. })));
    for (text, no_key) in [
        ("", false),
        ("[]", false),
        ("{\"keys\": []}", true),
        (
            "{\"keys\": [{\"kty\": \"oct\", \"k\": \"c2VjcmV0\"}]}",
            true,
        ),
    ] {
        fs::write(&path, text).unwrap();
        let Err(JwksError::NoKeys { source, .. }) = open() else {
            panic!("{text}");
        };
        assert_eq!(matches!(source, KeySetError::NoKey(_)), no_key, "{text}");
    }
}
