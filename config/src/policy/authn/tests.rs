use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use weft_xds_proto::pb::envoy::extensions::filters::http::jwt_authn::v3 as pb;

use super::{JwtAuthn, KeySource, Place, Requirement};
use crate::diag::{Diagnostics, FieldPath};
use crate::testing::{findings, message};

/// A key that nobody has the other half of.
const JWKS: &str =
    r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

fn parse(value: Value) -> (Option<JwtAuthn>, Vec<String>) {
    let proto: pb::JwtAuthentication = message(value);
    let mut diag = Diagnostics::new();
    let filter = JwtAuthn::parse(&proto, &FieldPath::root(), &mut diag);
    let filter = filter.filter(|_| !diag.has_faults());
    (filter, findings(&diag))
}

fn local(more: Value) -> Value {
    let mut provider = json!({ "local_jwks": { "inline_string": JWKS } });
    for (name, value) in more.as_object().unwrap() {
        provider[name] = value.clone();
    }
    provider
}

fn faults_of(provider: Value) -> Vec<String> {
    parse(json!({ "providers": { "p": provider } })).1
}

#[test]
fn what_is_not_said_has_envoys_defaults() {
    let remote = json!({ "remote_jwks": { "http_uri": { "uri": "https://idp.test?x=1", "cluster": "idp", "timeout": "2s" } } });
    let (filter, found) = parse(json!({ "providers": { "b": remote, "a": local(json!({})) } }));
    assert_eq!(found, Vec::<String>::new());
    let filter = filter.unwrap();
    let [a, b] = &filter.providers[..] else {
        panic!()
    };
    assert_eq!((&*a.name, &*b.name), ("a", "b"));
    assert_eq!(
        (a.skew, a.issuer.as_deref(), a.forward),
        (Duration::from_secs(60), None, false)
    );
    assert_eq!(
        a.places[..],
        [Place::Bearer, Place::Parameter("access_token".into())]
    );
    let KeySource::Remote(keys) = &b.keys else {
        panic!()
    };
    assert_eq!(
        (&*keys.authority, &*keys.path, &*keys.cluster),
        ("idp.test", "/?x=1", "idp")
    );
    assert_eq!(
        (keys.timeout, keys.cache_duration, keys.retries_max),
        (Duration::from_secs(2), Duration::from_secs(600), 0)
    );
}

#[test]
fn each_fault_is_told_with_its_place() {
    let remote = |more: Value| {
        let mut keys =
            json!({ "http_uri": { "uri": "http://a/", "cluster": "c", "timeout": "1s" } });
        for (name, value) in more.as_object().unwrap() {
            keys[name] = value.clone();
        }
        json!({ "remote_jwks": keys })
    };
    for (provider, wanted) in [
        (json!({}), "has neither remote_jwks nor local_jwks"),
        (
            json!({ "local_jwks": { "inline_string": "{}" } }),
            "local_jwks.inline_string: is no JSON Web Key Set (RFC 7517)",
        ),
        (
            json!({ "local_jwks": { "inline_string": r#"{"keys":[{"kty":"oct","k":"eA"}]}"# } }),
            "local_jwks.inline_string: has no key that tokens may be signed with: keys[0] is a shared secret (oct): whoever could verify could sign as well",
        ),
        (
            json!({ "local_jwks": { "environment_variable": "X" } }),
            "local_jwks.environment_variable: is not supported for keys",
        ),
        (
            json!({ "remote_jwks": {} }),
            "remote_jwks.http_uri: is missing",
        ),
        (
            remote(json!({ "http_uri": { "uri": "ftp://a/", "cluster": "c", "timeout": "1s" } })),
            "remote_jwks.http_uri.uri: must begin with http:// or https://, got \"ftp://a/\"",
        ),
        (
            remote(
                json!({ "http_uri": { "uri": "http://a@b/", "cluster": "c", "timeout": "1s" } }),
            ),
            "remote_jwks.http_uri.uri: is no address of keys: \"http://a@b/\"",
        ),
        (
            remote(json!({ "http_uri": { "uri": "http://a/", "timeout": "1s" } })),
            "remote_jwks.http_uri.cluster: must name a cluster",
        ),
        (
            remote(json!({ "http_uri": { "uri": "http://a/", "cluster": "c" } })),
            "remote_jwks.http_uri.timeout: is missing",
        ),
        (
            remote(json!({ "http_uri": { "uri": "http://a/", "cluster": "c", "timeout": "61s" } })),
            "remote_jwks.http_uri.timeout: must be at most 60s",
        ),
        (
            remote(json!({ "cache_duration": "0.5s" })),
            "remote_jwks.cache_duration: must be at least 1s, got 500ms",
        ),
        (
            remote(json!({ "retry_policy": { "num_retries": 11 } })),
            "remote_jwks.retry_policy.num_retries: must be at most 10, got 11",
        ),
        (
            remote(json!({ "retry_policy": { "retry_on": "5xx" } })),
            "remote_jwks.retry_policy.retry_on: is not supported for keys",
        ),
        (
            local(json!({ "failed_status_in_metadata": "x" })),
            "failed_status_in_metadata: is not supported yet",
        ),
        (
            local(json!({ "clear_route_cache": true })),
            "clear_route_cache: is not supported: the route is found before tokens are looked at",
        ),
        (
            local(json!({ "payload_in_metadata": "x", "header_in_metadata": "x" })),
            "header_in_metadata: must not be the name that the payload has (payload_in_metadata)",
        ),
        (
            local(json!({ "pad_forward_payload_header": true })),
            "pad_forward_payload_header: means nothing without forward_payload_header",
        ),
        (
            local(json!({ "forward_payload_header": "Host" })),
            "forward_payload_header: \"Host\" is written by the proxy and cannot be edited",
        ),
        (
            local(json!({ "from_headers": [{ "name": "a b" }] })),
            "from_headers[0].name: \"a b\" is not a header name",
        ),
        (
            local(json!({ "from_params": [""] })),
            "from_params[0]: must not be empty",
        ),
        (
            local(json!({ "claim_to_headers": [{ "header_name": "x-a" }] })),
            "claim_to_headers[0]: must have either claim_name or claim_path",
        ),
        (
            local(json!({ "clock_skew_seconds": 86_401 })),
            "clock_skew_seconds: must be at most 86400, got 86401",
        ),
        (
            local(json!({ "jwt_cache_config": { "jwt_cache_size": 10_001 } })),
            "jwt_cache_config.jwt_cache_size: must be at most 10000, got 10001",
        ),
    ] {
        let found = faults_of(provider);
        let separator = if wanted.starts_with("has neither") {
            ": "
        } else {
            "."
        };
        let wanted = format!("fault: providers[\"p\"]{separator}{wanted}");
        assert!(found.contains(&wanted), "{wanted}\n{found:#?}");
    }
}

#[test]
fn a_shared_secret_beside_good_keys_is_told_and_left_out() {
    let keys = JWKS.replace("]}", r#",{"kty":"oct","k":"c2VjcmV0"}]}"#);
    let found = faults_of(json!({ "local_jwks": { "inline_string": keys } }));
    let wanted = "warning: providers[\"p\"].local_jwks.inline_string: keys[1] is a shared secret (oct): whoever could verify could sign as well; it is not used";
    assert_eq!(found, [wanted]);
}

fn rule(requires: Value) -> (Option<Requirement>, Vec<String>) {
    let providers = json!({ "a": local(json!({})), "b": local(json!({})), "c": local(json!({})) });
    let rules = json!([{ "match": { "prefix": "/" }, "requires": requires }]);
    let (filter, found) = parse(json!({ "providers": providers, "rules": rules }));
    (filter.and_then(|it| it.rules[0].requires.clone()), found)
}

#[test]
fn requirements_name_providers_by_their_place() {
    let one = |provider| Requirement::Provider {
        provider,
        audiences: None,
    };
    let audiences: Box<[Arc<str>]> = ["x".into()].into();
    for (written, wanted) in [
        (json!({}), None),
        (json!({ "provider_name": "b" }), Some(one(1))),
        (
            json!({ "provider_and_audiences": { "provider_name": "c", "audiences": ["x"] } }),
            Some(Requirement::Provider {
                provider: 2,
                audiences: Some(audiences),
            }),
        ),
        (
            json!({ "requires_all": { "requirements": [{ "provider_name": "a" }, { "provider_name": "b" }] } }),
            Some(Requirement::All([one(0), one(1)].into())),
        ),
        (
            json!({ "allow_missing": {} }),
            Some(Requirement::AllowMissing([0, 1, 2].into())),
        ),
        // What lets pass comes last, and is about those beside it.
        (
            json!({ "requires_any": { "requirements": [{ "allow_missing": {} }, { "provider_name": "b" }] } }),
            Some(Requirement::Any(
                [one(1), Requirement::AllowMissing([1].into())].into(),
            )),
        ),
        (
            json!({ "requires_any": { "requirements": [{ "allow_missing": {} }, { "allow_missing_or_failed": {} }, { "provider_name": "b" }] } }),
            Some(Requirement::Any(
                [one(1), Requirement::AllowMissingOrFailed([1].into())].into(),
            )),
        ),
        (
            json!({ "requires_any": { "requirements": [{}, { "provider_name": "b" }] } }),
            None,
        ),
    ] {
        assert_eq!(rule(written.clone()), (wanted, Vec::new()), "{written}");
    }
}

#[test]
fn requirements_that_cannot_be_honoured_refuse_the_filter() {
    for (written, wanted) in [
        (
            json!({ "provider_name": "z" }),
            "fault: rules[0].requires.provider_name: there is no provider \"z\"",
        ),
        (
            json!({ "requires_any": { "requirements": [{ "provider_name": "a" }] } }),
            "fault: rules[0].requires.requires_any.requirements: must have at least two elements",
        ),
        (
            json!({ "extract_only_without_validation": {} }),
            "fault: rules[0].requires.extract_only_without_validation: is not supported: whoever likes could write such a token",
        ),
    ] {
        assert_eq!(
            rule(written.clone()),
            (None, vec![wanted.to_owned()]),
            "{written}"
        );
    }
    let mut deep = json!({ "provider_name": "a" });
    for _ in 0..16 {
        deep = json!({ "requires_all": { "requirements": [deep, { "provider_name": "b" }] } });
    }
    let (_, found) = rule(deep);
    assert!(
        found[0].ends_with("is one of more than 10000 requirements, or 16 deep"),
        "{found:?}"
    );
}

#[test]
fn rules_must_say_for_which_requests_they_are() {
    for (rule, wanted) in [
        (json!({}), "fault: rules[0].match: is missing"),
        (
            json!({ "match": { "prefix": "/" }, "requirement_name": "x" }),
            "fault: rules[0].requirement_name: there is no requirement \"x\" in requirement_map",
        ),
        (
            json!({ "match": { "prefix": "/", "cookies": [{ "name": "a", "string_match": { "exact": "b" } }] } }),
            "fault: rules[0].match.cookies: is not supported yet",
        ),
        (
            json!({ "match": { "prefix": "/", "runtime_fraction": { "default_value": { "numerator": 50 } } } }),
            "fault: rules[0].match.runtime_fraction: is not supported: a share of requests would get in",
        ),
    ] {
        let (filter, found) = parse(json!({ "rules": [rule] }));
        assert_eq!((filter, found), (None, vec![wanted.to_owned()]));
    }
    let (_, found) = parse(json!({ "filter_state_rules": { "name": "x" } }));
    assert_eq!(
        found,
        ["fault: filter_state_rules: is not supported: nothing here writes filter state"]
    );
}
