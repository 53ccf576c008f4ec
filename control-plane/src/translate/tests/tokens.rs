//! Whose tokens: policies become a filter before those who ask what tokens say, on the listeners that they are about.

use weft_config::diag::{Diagnostics, FieldPath};
use weft_config::listener::{ChainAction, HttpFilter, Listener};
use weft_config::policy::authn::{JwtAuthn, KeySource, Requirement};
use weft_xds_proto::pb::envoy::config::listener::v3 as pb;

use super::*;

const KEYS: &str =
    r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

fn policy(name: &str, namespace: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: mesh.weft.dev/v1alpha1\nkind: AuthenticationPolicy\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
    )
}

/// A provider that says `issuer`.
fn provider(issuer: &str) -> String {
    format!("{{issuer: {issuer}, jwks: '{KEYS}'}}")
}

fn to_reviews(jwt: &str) -> String {
    format!(
        "{{targetRefs: [{{group: mesh.weft.dev, kind: MeshService, name: reviews}}], jwt: {jwt}}}"
    )
}

fn inbound(policies: &str) -> Listener {
    let yaml = service("reviews", "app: reviews") + policies;
    let snapshot = snapshot(&yaml, vec![workload("reviews", "v1", 1)]);
    let listener: pb::Listener = read(
        &snapshot,
        ResourceType::Listener,
        "inbound/default/reviews/8080",
    );
    let mut diag = Diagnostics::new();
    let listener = Listener::parse(&listener, &FieldPath::root(), &mut diag);
    listener.unwrap_or_else(|| panic!("{:?}", diag.findings()))
}

/// The filter of tokens on each chain of requests, which must be the first; `None`: there is none.
fn filters(listener: &Listener) -> Vec<Option<Arc<JwtAuthn>>> {
    let chains = listener.filter_chains.iter();
    let https = chains.filter_map(|chain| match &chain.action {
        ChainAction::Http(hcm) => Some(hcm),
        ChainAction::Tcp(_) => None,
    });
    https
        .map(|hcm| {
            let at = hcm
                .filters
                .iter()
                .position(|it| matches!(it, HttpFilter::Jwt(_)));
            assert!(at.is_none_or(|at| at == 0), "{at:?}");
            match hcm.filters.first() {
                Some(HttpFilter::Jwt(filter)) => Some(filter.clone()),
                _ => None,
            }
        })
        .collect()
}

fn issuers(policies: &str) -> (Vec<String>, bool) {
    let found = filters(&inbound(policies));
    assert!(
        !found.is_empty() && found.windows(2).all(|it| it[0] == it[1]),
        "{found:?}"
    );
    let Some(filter) = found.into_iter().next().flatten() else {
        return (Vec::new(), false);
    };
    let mut issuers: Vec<String> = filter
        .providers
        .iter()
        .filter_map(|it| Some(it.issuer.as_deref()?.to_owned()))
        .collect();
    issuers.sort();
    let required = !matches!(filter.rules[0].requires, Some(Requirement::AllowMissing(_)));
    (issuers, required)
}

#[test]
fn what_is_closest_counts_and_of_the_same_all_together() {
    let jwt = |issuer: &str, required: bool| {
        format!(
            "{{required: {required}, providers: [{}]}}",
            provider(issuer)
        )
    };
    let mesh = policy(
        "m",
        "weft-system",
        &format!("{{jwt: {}}}", jwt("mesh", true)),
    );
    let here = policy("n", "default", &format!("{{jwt: {}}}", jwt("here", false)));
    let strict = policy("s", "default", "{mtls: {mode: STRICT}}");
    let one = policy("a", "default", &to_reviews(&jwt("one", false)));
    let two = policy("b", "default", &to_reviews(&jwt("two", true)));
    let of = |issuers: &[&str], required| {
        (
            issuers
                .iter()
                .map(|it| (*it).to_owned())
                .collect::<Vec<_>>(),
            required,
        )
    };
    assert_eq!(issuers(""), of(&[], false));
    assert_eq!(issuers(&strict), of(&[], false));
    assert_eq!(issuers(&mesh), of(&["mesh"], true));
    assert_eq!(
        issuers(&format!("{mesh}{here}{strict}")),
        of(&["here"], false)
    );
    assert_eq!(issuers(&format!("{mesh}{here}{one}")), of(&["one"], false));
    assert_eq!(
        issuers(&format!("{mesh}{here}{one}{two}")),
        of(&["one", "two"], true)
    );
}

#[test]
fn bytes_get_in_nowhere_where_tokens_are_looked_at() {
    let closed = |policy: &str| {
        let listener = inbound(policy);
        let chains = listener
            .filter_chains
            .iter()
            .filter(|it| matches!(it.action, ChainAction::Tcp(_)));
        let closed: Vec<bool> = chains
            .map(|chain| {
                chain
                    .access
                    .iter()
                    .any(|it| it.rules.as_ref().is_some_and(|it| it.policies.is_empty()))
            })
            .collect();
        assert!(!closed.is_empty());
        closed
    };
    for required in [true, false] {
        let jwt = format!("{{required: {required}, providers: [{}]}}", provider("one"));
        let all = closed(&policy("a", "default", &to_reviews(&jwt)));
        assert!(all.iter().all(|it| *it), "{required}");
    }
    assert!(closed("").iter().all(|it| !*it));
}

#[test]
fn keys_are_fetched_from_a_service_of_the_mesh_or_from_whoever_has_the_name() {
    let of = |uri: &str| {
        let jwt = format!("{{providers: [{{issuer: i, jwksUri: '{uri}'}}]}}");
        let yaml = service("reviews", "app: reviews")
            + &service("idp", "app: idp")
            + &policy("a", "default", &to_reviews(&jwt));
        let snapshot = snapshot(&yaml, vec![workload("reviews", "v1", 1)]);
        let listener: pb::Listener = read(
            &snapshot,
            ResourceType::Listener,
            "inbound/default/reviews/8080",
        );
        let listener =
            Listener::parse(&listener, &FieldPath::root(), &mut Diagnostics::new()).unwrap();
        let filter = filters(&listener)[0].clone().unwrap();
        let KeySource::Remote(keys) = &filter.providers[0].keys else {
            panic!()
        };
        let cluster: weft_xds_proto::pb::envoy::config::cluster::v3::Cluster =
            read(&snapshot, ResourceType::Cluster, &keys.cluster);
        assert_eq!(cluster.name, *keys.cluster);
        (
            cluster.eds_cluster_config.map(|it| it.service_name),
            cluster.transport_socket.is_some(),
        )
    };
    let (port, _) = service("idp", "app: idp")
        .split_once("port: ")
        .map(|(_, it)| it.split_once([',', '}']).unwrap())
        .map(|(port, rest)| (port.to_owned(), rest.len()))
        .unwrap();
    assert_eq!(
        of(&format!("http://idp:{port}/keys")),
        (Some(format!("idp.default.svc.cluster.local:{port}")), false)
    );
    assert_eq!(of(&format!("http://idp.other:{port}/keys")), (None, false));
    assert_eq!(of("http://idp.example/keys"), (None, false));
    assert_eq!(of("https://idp.example/keys"), (None, true));
}

#[test]
fn equal_policies_make_equal_bytes() {
    let providers: Vec<String> = (0..16).map(|it| provider(&format!("i{it}"))).collect();
    let yaml = service("reviews", "app: reviews")
        + &policy(
            "a",
            "default",
            &to_reviews(&format!("{{providers: [{}]}}", providers.join(", "))),
        );
    let version = || {
        let snapshot = snapshot(&yaml, vec![workload("reviews", "v1", 1)]);
        let name = "inbound/default/reviews/8080";
        snapshot
            .find(ResourceType::Listener, name, &NodeView::default())
            .map(|it| it.version.clone())
    };
    let first = version();
    assert!(first.is_some());
    for _ in 0..10 {
        assert_eq!(version(), first);
    }
}
