use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::time::Instant;
use weft_config::diag::{Diagnostics, FieldPath};
use weft_config::jwt::{KeySet, Refused};
use weft_xds_proto::json::{Descriptors, from_json};

use super::*;
use crate::http::head::Head;

const WALL: u64 = 1_800_000_000;

struct Signer(Ed25519KeyPair, &'static str);

fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Signer {
    fn new(name: &'static str) -> Self {
        Self(Ed25519KeyPair::generate().unwrap(), name)
    }

    fn keys(&self) -> String {
        let x = encoded(self.0.public_key().as_ref());
        json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": self.1, "x": x }] }).to_string()
    }

    fn token(&self, claims: &Value) -> String {
        let head = encoded(
            json!({ "alg": "EdDSA", "kid": self.1 })
                .to_string()
                .as_bytes(),
        );
        let signed = format!("{head}.{}", encoded(claims.to_string().as_bytes()));
        format!(
            "{signed}.{}",
            encoded(self.0.sign(signed.as_bytes()).as_ref())
        )
    }
}

fn gate(ring: &KeyRing, metrics: &Metrics, written: Value) -> JwtGate {
    drop(Descriptors::load());
    let proto = from_json(&written).unwrap_or_else(|errors| panic!("{errors:#?}"));
    let mut diag = Diagnostics::new();
    let config = JwtAuthn::parse(&proto, &FieldPath::root(), &mut diag);
    let config = config.unwrap_or_else(|| panic!("{diag:?}"));
    JwtGate::new(Arc::new(config), ring, metrics)
}

fn remote() -> Value {
    json!({ "http_uri": { "uri": "http://keys/", "cluster": "keys", "timeout": "1s" } })
}

fn rule(requires: Value) -> Value {
    json!([{ "match": { "prefix": "/" }, "requires": requires }])
}

fn bearer(tokens: &[&str]) -> Head {
    let mut head = Head::request(b"GET", b"a", b"/");
    for token in tokens {
        head.add(b"Authorization", format!("Bearer {token}").as_bytes());
    }
    head
}

struct Case {
    gate: JwtGate,
    cache: TokenCache,
    wall: u64,
    since: Instant,
    patient: bool,
}

impl Case {
    fn new(gate: JwtGate) -> Self {
        let since = Instant::now();
        Self {
            gate,
            cache: TokenCache::default(),
            wall: WALL,
            since,
            patient: true,
        }
    }

    fn judge(&mut self, head: &Head) -> Opinion<'_> {
        let Needs::Tokens(requirement) = self.gate.needs(head, None) else {
            return Opinion::Pass(Accepted::new());
        };
        let judging = Judging {
            head,
            wall: self.wall,
            since: self.since,
            patient: self.patient,
            cache: &mut self.cache,
        };
        self.gate.judge(requirement, judging)
    }

    /// `Ok`: how many tokens were accepted.
    fn verdict(&mut self, head: &Head) -> Result<usize, String> {
        match self.judge(head) {
            Opinion::Pass(accepted) => Ok(accepted.len()),
            Opinion::Wait(..) => Err("wait".to_owned()),
            Opinion::Refused(why) => Err(why.to_string()),
        }
    }
}

fn refused<T>(why: Refused) -> Result<T, String> {
    Err(why.to_string())
}

#[test]
fn a_remembered_token_is_still_judged_by_the_time_and_by_the_keys() {
    let (ring, metrics) = (KeyRing::new(), Metrics::new());
    let signer = Signer::new("a");
    let providers = json!({ "p": { "issuer": "i", "remote_jwks": remote() } });
    let mut case = Case::new(gate(
        &ring,
        &metrics,
        json!({ "providers": providers, "rules": rule(json!({ "provider_name": "p" })) }),
    ));
    let keys = case.gate.issuers[0].keys.clone();
    let set = |signer: &Signer| Some(Arc::new(KeySet::read(signer.keys().as_bytes()).unwrap()));
    keys.tried(case.since, set(&signer));
    let head = bearer(&[&signer.token(&json!({ "iss": "i", "exp": WALL + 10 }))]);
    for _ in 0..3 {
        assert_eq!(case.verdict(&head), Ok(1));
    }
    let counts = |case: &Case| {
        (
            case.gate.stats.verified.get(),
            case.gate.stats.remembered.get(),
        )
    };
    assert_eq!(counts(&case), (1, 2));
    // Equal keys that come again leave it remembered.
    keys.tried(case.since, set(&signer));
    assert_eq!(case.verdict(&head), Ok(1));
    assert_eq!(counts(&case), (1, 3));
    case.wall = WALL + 71;
    assert_eq!(case.verdict(&head), refused(Refused::Expired));
    case.wall = WALL;
    keys.tried(case.since + Duration::from_secs(1), set(&Signer::new("b")));
    assert_eq!(case.verdict(&head), refused(Refused::NoKey));
}

#[test]
fn keys_are_waited_for_once_and_never_without_patience() {
    let (ring, metrics) = (KeyRing::new(), Metrics::new());
    let (signer, newer) = (Signer::new("a"), Signer::new("b"));
    let providers = json!({ "p": { "remote_jwks": remote() } });
    let mut case = Case::new(gate(
        &ring,
        &metrics,
        json!({ "providers": providers, "rules": rule(json!({ "provider_name": "p" })) }),
    ));
    let keys = case.gate.issuers[0].keys.clone();
    let head = bearer(&[&signer.token(&json!({}))]);
    assert_eq!(case.verdict(&head), Err("wait".to_owned()));
    case.patient = false;
    assert_eq!(case.verdict(&head), refused(Refused::Fetch));
    case.patient = true;
    // The first attempt has failed: nobody waits for the second one.
    keys.tried(case.since, None);
    assert_eq!(case.verdict(&head), refused(Refused::Fetch));
    let before = case.since - Duration::from_secs(1);
    let set = |signer: &Signer| Some(Arc::new(KeySet::read(signer.keys().as_bytes()).unwrap()));
    keys.tried(before, set(&signer));
    assert_eq!(case.verdict(&head), Ok(1));
    // A key that is not known may have come since.
    let head = bearer(&[&newer.token(&json!({}))]);
    assert_eq!(case.verdict(&head), Err("wait".to_owned()));
    keys.tried(case.since, set(&signer));
    assert_eq!(case.verdict(&head), refused(Refused::NoKey));
    // While the source is away the keys before stay.
    keys.tried(before, None);
    assert_eq!(case.verdict(&bearer(&[&signer.token(&json!({}))])), Ok(1));
    keys.tried(case.since, set(&newer));
    assert_eq!(case.verdict(&head), Ok(1));
}

#[test]
fn every_token_in_a_place_must_hold() {
    let (ring, metrics) = (KeyRing::new(), Metrics::new());
    let (good, bad) = (Signer::new("a"), Signer::new("a"));
    let providers = json!({ "p": { "local_jwks": { "inline_string": good.keys() } } });
    for (requires, missing, failed) in [
        (
            json!({ "provider_name": "p" }),
            refused(Refused::Missing),
            refused(Refused::Signature),
        ),
        (
            json!({ "allow_missing": {} }),
            Ok(0),
            refused(Refused::Signature),
        ),
        (json!({ "allow_missing_or_failed": {} }), Ok(0), Ok(1)),
    ] {
        let mut case = Case::new(gate(
            &ring,
            &metrics,
            json!({ "providers": providers, "rules": rule(requires.clone()) }),
        ));
        let (good, bad) = (good.token(&json!({})), bad.token(&json!({})));
        assert_eq!(case.verdict(&bearer(&[&good])), Ok(1), "{requires}");
        assert_eq!(case.verdict(&bearer(&[])), missing, "{requires}");
        assert_eq!(case.verdict(&bearer(&[&good, &bad])), failed, "{requires}");
        assert_eq!(case.verdict(&bearer(&[&bad, &good])), failed, "{requires}");
        let many = vec![good.as_str(); 17];
        let many = case.verdict(&bearer(&many));
        assert_eq!(
            many.is_ok(),
            requires.get("allow_missing_or_failed").is_some(),
            "{requires}"
        );
    }
}

#[test]
fn of_several_providers_the_reason_that_says_most_is_told() {
    let (ring, metrics) = (KeyRing::new(), Metrics::new());
    let (a, b) = (Signer::new("a"), Signer::new("b"));
    let provider = |issuer: &str, signer: &Signer| json!({ "issuer": issuer, "local_jwks": { "inline_string": signer.keys() } });
    let providers = json!({ "a": provider("a", &a), "b": provider("b", &b) });
    let any = json!({ "requires_any": { "requirements": [{ "provider_name": "a" }, { "provider_name": "b" }] } });
    let mut case = Case::new(gate(
        &ring,
        &metrics,
        json!({ "providers": providers, "rules": rule(any) }),
    ));
    let mut of = |token: &str| case.verdict(&bearer(&[token]));
    assert_eq!(of(&a.token(&json!({ "iss": "a" }))), Ok(1));
    assert_eq!(of(&b.token(&json!({ "iss": "b" }))), Ok(1));
    assert_eq!(
        of(&b.token(&json!({ "iss": "a" }))),
        refused(Refused::NoKey)
    );
    assert_eq!(
        of(&a.token(&json!({ "iss": "c" }))),
        refused(Refused::Issuer)
    );
    assert_eq!(
        of(&a.token(&json!({ "iss": "a", "exp": 1 }))),
        refused(Refused::Expired)
    );
}

#[test]
fn equal_sources_share_their_keys_and_what_is_inline_is_kept_by_nobody() {
    let ring = KeyRing::new();
    let metrics = Metrics::new();
    let written = json!({ "providers": { "a": { "remote_jwks": remote() }, "b": { "remote_jwks": remote() }, "c": { "local_jwks": { "inline_string": Signer::new("a").keys() } } } });
    let first = gate(&ring, &metrics, written.clone());
    let second = gate(&ring, &metrics, written);
    assert!(Arc::ptr_eq(&first.issuers[0].keys, &first.issuers[1].keys));
    assert!(Arc::ptr_eq(&first.issuers[0].keys, &second.issuers[0].keys));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    assert_eq!(runtime.block_on(ring.added()).len(), 1);
}
