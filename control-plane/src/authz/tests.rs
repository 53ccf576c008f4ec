use std::sync::Arc;

use weft_config::gateway_api::parse;

use super::*;

const MESH: &str = "
apiVersion: mesh.weft.dev/v1alpha1
kind: MeshService
metadata: {name: reviews}
spec: {ports: [{port: 9080, appProtocol: http}], discovery: {workloads: {selector: {app: reviews}}}}
---
apiVersion: mesh.weft.dev/v1alpha1
kind: MeshService
metadata: {name: reviews-v2}
spec: {ports: [{port: 9080, appProtocol: http}], discovery: {workloads: {selector: {app: reviews, version: v2}}}}
---
apiVersion: mesh.weft.dev/v1alpha1
kind: MeshService
metadata: {name: db}
spec: {ports: [{port: 5432, appProtocol: tcp}, {port: 80, appProtocol: http}], discovery: {workloads: {selector: {app: db}}}}
---
apiVersion: mesh.weft.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: readers}
spec:
  targetRefs: [{group: mesh.weft.dev, kind: MeshService, name: reviews}]
  rules:
  - {name: web, from: [{namespaces: [shop]}], to: [{methods: [GET], paths: ['/reviews/*']}]}
  - {from: [{identities: ['spiffe://td/ns/ops/*']}]}
---
apiVersion: mesh.weft.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: secrets}
spec:
  action: Deny
  rules: [{to: [{paths: ['/reviews/secret*']}]}]
---
apiVersion: mesh.weft.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: trial}
spec:
  mode: DryRun
  action: Deny
  rules: [{to: [{headers: [{name: x-old}]}]}]
";

fn ask(question: &serde_json::Value) -> Result<Verdict, AuthzError> {
    ask_of(MESH, question)
}

fn ask_of(mesh: &str, question: &serde_json::Value) -> Result<Verdict, AuthzError> {
    let parsed = parse("mesh.yaml", mesh);
    assert!(!parsed.has_faults(), "{:?}", parsed.findings);
    let objects = parsed.documents.iter().map(|it| Arc::clone(&it.object));
    let index = Index::new(objects.collect());
    let question: Question = serde_json::from_value(question.clone()).expect("a question");
    let place = |object: &Object, rule: usize| Some(format!("{}#{rule}", object.metadata.name));
    check(&question, &index, &[], &place)
}

fn decided(policy: &str, rule: usize, file: &str) -> DecidedBy {
    DecidedBy {
        policy: policy.to_owned(),
        rule: Some(rule),
        file: Some(file.to_owned()),
    }
}

const SHOP: &str = "spiffe://td/ns/shop/sa/web";

#[test]
fn the_rule_that_decides_is_named_with_its_place() {
    let of = |from: &str, path: &str| {
        let question =
            serde_json::json!({ "from": { "identity": from }, "to": "reviews", "path": path });
        ask(&question).expect("a verdict")
    };
    let verdict = of(SHOP, "/x/..//reviews/1?a=b");
    assert!(verdict.allowed);
    assert_eq!(
        verdict.rule,
        Some(decided("default/readers", 0, "readers#0"))
    );
    assert_eq!(verdict.judged, "GET reviews:9080 /reviews/1?a=b");
    assert_eq!(verdict.dry_run, ["allowed, no rule matched"]);
    let verdict = of("spiffe://td/ns/ops/sa/a", "/anything");
    assert_eq!(
        verdict.rule,
        Some(decided("default/readers", 1, "readers#1"))
    );
    let verdict = of("spiffe://td/ns/ops/sa/a", "/reviews/secrets");
    assert!(!verdict.allowed);
    assert_eq!(
        verdict.rule,
        Some(decided("default/secrets", 0, "secrets#0"))
    );
    let verdict = of(SHOP, "/admin");
    assert!(!verdict.allowed);
    assert_eq!(verdict.rule, None);
    let others = [
        decided("default/readers", 1, "readers#1"),
        decided("default/readers", 0, "readers#0"),
    ];
    assert_eq!(verdict.others, others);
}

#[test]
fn a_service_that_selects_the_same_workloads_is_judged_by_their_policies() {
    let question = serde_json::json!({ "from": {}, "to": "reviews-v2.default", "port": 9080 });
    assert!(!ask(&question).expect("a verdict").allowed);
}

#[test]
fn a_port_of_bytes_is_judged_as_a_connection() {
    let question = serde_json::json!({ "from": {}, "to": "db", "port": 5432 });
    let verdict = ask(&question).expect("a verdict");
    // The path means nothing there, so the denial is one of everybody.
    assert!(
        !verdict.allowed && verdict.judged.starts_with("connection to "),
        "{verdict:?}"
    );
    let question =
        serde_json::json!({ "from": {}, "to": "db", "port": 80, "headers": { "x-old": ["1"] } });
    let verdict = ask(&question).expect("a verdict");
    assert!(verdict.allowed && verdict.rule.is_none(), "{verdict:?}");
    assert_eq!(verdict.dry_run, ["denied by default/trial/rules[0]"]);
}

#[test]
fn what_cannot_be_judged_says_why() {
    for (question, why) in [
        (
            serde_json::json!({ "from": {}, "to": "nobody" }),
            "there is no service",
        ),
        (
            serde_json::json!({ "from": {}, "to": "db" }),
            "say which port of",
        ),
        (
            serde_json::json!({ "from": {}, "to": "db", "port": 1 }),
            "has no port 1; it has 5432, 80",
        ),
        (
            serde_json::json!({ "from": {}, "to": "reviews", "path": "/../a" }),
            "leads above the root",
        ),
    ] {
        let error = ask(&question).expect_err("no verdict").to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn what_a_caller_shows_counts_where_it_is_taken_and_is_demanded_where_it_is_strict() {
    let mtls = |mode: &str| {
        format!(
            "{MESH}---\napiVersion: mesh.weft.dev/v1alpha1\nkind: AuthenticationPolicy\nmetadata: {{name: mtls}}\nspec: {{mtls: {{mode: \
             {mode}}}}}\n"
        )
    };
    let stranger = serde_json::json!({ "from": { "address": "10.0.0.1" }, "to": "db", "port": 80 });
    let known =
        serde_json::json!({ "from": { "identity": "spiffe://td/ns/ops/sa/a" }, "to": "reviews" });
    for (mode, stranger_gets_in, known_gets_in) in [
        ("PERMISSIVE", true, true),
        ("STRICT", false, true),
        ("DISABLE", true, false),
    ] {
        let mesh = mtls(mode);
        let allowed = |question| ask_of(&mesh, question).expect("a verdict").allowed;
        assert_eq!(allowed(&stranger), stranger_gets_in, "{mode}");
        assert_eq!(allowed(&known), known_gets_in, "{mode}");
    }
}

#[test]
fn claims_count_where_tokens_are_looked_at_and_a_token_is_needed_where_it_is_demanded() {
    let keys = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let tokens = |jwt: &str| {
        format!(
            "{MESH}---\napiVersion: mesh.weft.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {{name: admins}}\nspec: {{targetRefs: [{{group: \
             mesh.weft.dev, kind: MeshService, name: db, sectionName: http}}], rules: [{{when: [{{claim: realm.role, values: [admin]}}]}}]}}\n{jwt}"
        )
        .replace("{port: 80, appProtocol: http}", "{port: 80, name: http, appProtocol: http}")
    };
    let jwt = |required: bool| {
        format!(
            "---\napiVersion: mesh.weft.dev/v1alpha1\nkind: AuthenticationPolicy\nmetadata: {{name: users}}\nspec: {{jwt: {{required: {required}, \
             providers: [{{issuer: i, jwks: '{keys}'}}]}}}}\n"
        )
    };
    let admin = serde_json::json!({ "from": {}, "to": "db", "port": 80, "claims": { "realm.role": ["admin"] } });
    let user = serde_json::json!({ "from": {}, "to": "db", "port": 80, "claims": { "realm.role": ["user"] } });
    let nobody = serde_json::json!({ "from": {}, "to": "db", "port": 80 });
    for (mesh, allowed) in [
        (tokens(""), [false, false, false]),
        (tokens(&jwt(false)), [true, false, false]),
        (tokens(&jwt(true)), [true, false, false]),
    ] {
        let asked =
            [&admin, &user, &nobody].map(|it| ask_of(&mesh, it).expect("a verdict").allowed);
        assert_eq!(asked, allowed, "{mesh}");
    }
    let verdict = ask_of(&tokens(&jwt(true)), &nobody).expect("a verdict");
    assert!(verdict.reason.contains("demands a token"), "{verdict:?}");
}
