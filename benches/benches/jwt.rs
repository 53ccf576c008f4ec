//! What a token costs a request: remembered by its worker, or with its signature.

use std::sync::Arc;

use divan::{AllocProfiler, Bencher, black_box};
use jsonwebtoken::Algorithm;
use tokio::time::Instant;
use weft_config::diag::{Diagnostics, FieldPath};
use weft_config::policy::authn::JwtAuthn;
use weft_proxy::http::head::Head;
use weft_proxy::policy::jwt::{Judging, JwtGate, KeyRing, Needs, Opinion, TokenCache};
use weft_proxy::telemetry::Metrics;
use weft_tests::tokens::{Signer, key_set};
use weft_xds_proto::json::from_json;

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

const WALL: u64 = 1_800_000_000;

fn main() {
    divan::main();
}

fn case(algorithm: Algorithm) -> (JwtGate, Head) {
    let signer = Signer::new("a", algorithm).expect("a key");
    let keys = key_set(&[&signer]).expect("a set");
    let claims = serde_json::json!({ "iss": "i", "sub": "alice", "aud": "web", "exp": WALL + 600, "realm": { "role": "admin" } });
    let provider = serde_json::json!({ "issuer": "i", "audiences": ["web"], "local_jwks": { "inline_string": keys },
        "payload_in_metadata": "payload", "claim_to_headers": [{ "header_name": "x-user", "claim_name": "sub" }] });
    let rules =
        serde_json::json!([{ "match": { "prefix": "/" }, "requires": { "provider_name": "p" } }]);
    let filter = from_json(&serde_json::json!({ "providers": { "p": provider }, "rules": rules }))
        .expect("a filter");
    let mut diag = Diagnostics::new();
    let filter = JwtAuthn::parse(&filter, &FieldPath::root(), &mut diag).expect("a filter");
    let gate = JwtGate::new(Arc::new(filter), &KeyRing::new(), &Metrics::new());
    let mut head = Head::request(b"GET", b"a.test", b"/items?q=1");
    for at in 0..12 {
        head.add(format!("x-field-{at}").as_bytes(), b"some value of a field");
    }
    let token = signer.sign(&claims).expect("a token");
    head.add(b"authorization", format!("Bearer {token}").as_bytes());
    (gate, head)
}

fn judge(gate: &JwtGate, head: &Head, since: Instant, cache: &mut TokenCache) -> bool {
    let Needs::Tokens(requirement) = gate.needs(head, None) else {
        return false;
    };
    let judging = Judging {
        head,
        wall: WALL,
        since,
        patient: false,
        cache,
    };
    matches!(gate.judge(requirement, judging), Opinion::Pass(_))
}

#[divan::bench(args = ["ES256", "RS256"])]
fn remembered(bencher: Bencher<'_, '_>, name: &str) {
    let (gate, head) = case(name.parse().expect("an algorithm"));
    let (mut cache, since) = (TokenCache::default(), Instant::now());
    assert!(judge(&gate, &head, since, &mut cache));
    bencher.bench_local(|| assert!(judge(black_box(&gate), &head, since, &mut cache)));
}

#[divan::bench(args = ["ES256", "RS256"])]
fn with_its_signature(bencher: Bencher<'_, '_>, name: &str) {
    let (gate, head) = case(name.parse().expect("an algorithm"));
    let since = Instant::now();
    bencher.bench_local(|| {
        assert!(judge(
            black_box(&gate),
            &head,
            since,
            &mut TokenCache::default()
        ))
    });
}
