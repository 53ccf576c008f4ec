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
    check(&question, &index, &[], None, &place)
}

fn decided(policy: &str, rule: usize, file: &str) -> DecidedBy {
    DecidedBy {
        policy: policy.to_owned(),
        rule: Some(rule),
        name: (policy == "default/readers" && rule == 0).then(|| "web".to_owned()),
        unmet: Vec::new(),
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
    let mut others =
        [0, 1].map(|rule| decided("default/readers", rule, &format!("readers#{rule}")));
    others[0].unmet = vec!["to[0].paths".to_owned()];
    others[1].unmet = vec!["from[0].identities".to_owned()];
    assert_eq!(verdict.others, others);
}

/// What of the rules of a policy that allows this call of `db:80` does not meet.
fn unmet(rules: &str, question: &serde_json::Value) -> Vec<String> {
    let mesh = format!(
        "{MESH}---\napiVersion: mesh.weft.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {{name: db}}\nspec: {{rules: {rules}}}\n"
    );
    let verdict = ask_of(&mesh, question).expect("a verdict");
    assert!(!verdict.allowed, "{verdict:?}");
    verdict
        .others
        .iter()
        .flat_map(|it| it.unmet.clone())
        .collect()
}

#[test]
fn each_rule_that_could_have_allowed_it_says_what_it_asks_for() {
    let from = serde_json::json!({ "identity": SHOP });
    let call = serde_json::json!({ "from": from, "to": "db", "port": 80, "method": "PUT" });
    let cases = [
        // A rule for the application's port, where the service's is meant, and one for another port.
        ("[{to: [{ports: [8080]}]}]", &call, vec!["to[0].ports"]),
        (
            "[{from: [{namespaces: [ops], addresses: [10.0.0.0/8]}]}]",
            &call,
            vec!["from[0].namespaces", "from[0].addresses"],
        ),
        (
            "[{from: [{namespaces: [ops]}, {namespaces: [shop]}], to: [{methods: [GET]}]}]",
            &call,
            vec!["to[0].methods"],
        ),
        (
            "[{from: [{notNamespaces: [shop]}], to: [{notMethods: [PUT], paths: [/]}]}]",
            &call,
            vec!["from[0].notNamespaces", "to[0].notMethods"],
        ),
        (
            "[{when: [{claim: sub, values: ['*']}]}]",
            &call,
            vec!["when[0] (sub)"],
        ),
        ("[]", &call, vec![]),
    ];
    for (rules, question, expected) in cases {
        assert_eq!(unmet(rules, question), expected, "{rules}");
    }
}

#[test]
fn a_policy_of_the_root_namespace_is_one_of_every_namespace() {
    let mesh = format!(
        "{MESH}---\napiVersion: mesh.weft.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {{name: deny, namespace: weft-system}}\n\
         spec: {{action: Deny, rules: [{{from: [{{namespaces: [shop]}}]}}]}}\n"
    );
    let question = serde_json::json!({ "from": { "identity": SHOP }, "to": "db", "port": 80 });
    let verdict = ask_of(&mesh, &question).expect("a verdict");
    assert!(!verdict.allowed);
    assert_eq!(verdict.rule, Some(decided("weft-system/deny", 0, "deny#0")));
    assert!(ask(&question).expect("a verdict").allowed);
}

#[test]
fn where_no_sidecar_judges_everybody_gets_in_whatever_policies_say() {
    let outside = format!(
        "{MESH}---\napiVersion: mesh.weft.dev/v1alpha1\nkind: MeshService\nmetadata: {{name: api}}\nspec: {{ports: [{{port: 80}}], discovery: \
         {{dns: {{host: a}}}}}}\n---\napiVersion: mesh.weft.dev/v1alpha1\nkind: AuthenticationPolicy\nmetadata: {{name: strict}}\nspec: {{mtls: \
         {{mode: STRICT}}}}\n"
    );
    let question = serde_json::json!({ "from": {}, "to": "api" });
    let verdict = ask_of(&outside, &question).expect("a verdict");
    assert!(
        verdict.allowed && verdict.reason.contains("nobody judges"),
        "{verdict:?}"
    );
}

#[test]
fn an_identity_of_another_trust_domain_ends_at_the_handshake() {
    let parsed = parse("mesh.yaml", MESH);
    let index = Index::new(parsed.documents.into_iter().map(|it| it.object).collect());
    let question = serde_json::json!({ "from": { "identity": SHOP }, "to": "db", "port": 80 });
    let question: Question = serde_json::from_value(question).expect("a question");
    for (domain, allowed) in [("td", true), ("other", false)] {
        let domain = TrustDomain::parse(domain).expect("a domain");
        let verdict = check(&question, &index, &[], Some(&domain), &|_, _| None);
        let verdict = verdict.expect("a verdict");
        assert_eq!(verdict.allowed, allowed, "{verdict:?}");
    }
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
        let notes = ask_of(&mesh, &known).expect("a verdict").notes;
        assert_eq!(notes.len(), usize::from(mode == "DISABLE"), "{notes:?}");
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
