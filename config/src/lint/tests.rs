//! Tests of what is judged between objects.

use super::*;
use crate::gateway_api::parse;

const SERVICES: &str = "
apiVersion: mesh.weft.dev/v1alpha1
kind: MeshService
metadata: {name: reviews}
spec: {ports: [{name: http, port: 9080, appProtocol: http}, {name: raw, port: 1, appProtocol: tcp}], discovery: {dns: {host: a}}}
---
apiVersion: mesh.weft.dev/v1alpha1
kind: MeshService
metadata: {name: reviews, namespace: other}
spec: {ports: [{port: 9080}], discovery: {dns: {host: a}}}
";

fn judged(text: &str) -> Vec<String> {
    let parsed = parse("f", &format!("{text}\n---{SERVICES}"));
    assert!(!parsed.has_faults(), "{:#?}", parsed.findings);
    let found = lint_documents(&parsed.documents, &parsed.refused, &Resources::new());
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_written_down_with_a_fault_is_not_missing() {
    let fault = "apiVersion: mesh.weft.dev/v1alpha1\nkind: FaultInjection\nmetadata: {name: f}\nspec: {delay: {duration: 1s}}\n---\n";
    let broken = [
        // A service with a fault, and a route that refers to it.
        SERVICES.replacen("port: 9080", "port: 0", 1) + "---\n" + &route("r", "{}"),
        // A route with a fault, and a fault injection that it may have used.
        format!("{SERVICES}---\n{fault}{}", route("r", "{matches: 1}")),
    ];
    for text in broken {
        let parsed = parse("f", &text);
        assert!(parsed.has_faults());
        let found = lint_documents(&parsed.documents, &parsed.refused, &Resources::new());
        assert!(found.is_empty(), "{found:#?}");
    }
}

/// Whatever changes, judging what it concerns finds all that judging everything finds anew.
#[test]
fn what_a_change_brings_about_is_among_what_it_concerns() {
    let backend =
        "backendRefs: [{group: mesh.weft.dev, kind: MeshService, name: reviews.other, port: 9080}]";
    let filter = "filters: [{type: ExtensionRef, extensionRef: {group: mesh.weft.dev, kind: FaultInjection, name: f}}]";
    let policy = |name: &str| {
        format!(
            "apiVersion: mesh.weft.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{name: {name}}}\nspec: {{targetRefs: [{{group: mesh.weft.dev, kind: MeshService, name: reviews}}], timeouts: {{request: 1s}}}}\n"
        )
    };
    let grant = "apiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\nmetadata: {name: g, namespace: other}\nspec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}], to: [{group: mesh.weft.dev, kind: MeshService}]}\n";
    let fault = "apiVersion: mesh.weft.dev/v1alpha1\nkind: FaultInjection\nmetadata: {name: f}\nspec: {delay: {duration: 1s}}\n";
    let objects = [
        route("a", &format!("{{{backend}, {filter}}}")),
        route("b", "{}"),
        policy("p"),
        policy("q"),
        grant.to_owned(),
        fault.to_owned(),
        tls_policy("roots"),
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: roots}\n".to_owned(),
        authentication("a", "default", &format!("mtls: {{mode: STRICT}}, jwt: {}", keys("idp"))),
        authentication("b", "default", "mtls: {mode: DISABLE}"),
        authentication("c", "weft-system", "mtls: {mode: DISABLE}"),
        authorization("d", "default", "rules: [{from: [{namespaces: [a]}], to: [{ports: [7]}]}]"),
        authorization("e", "weft-system", "rules: [{from: [{namespaces: [a]}], when: [{claim: a, values: [b]}]}]"),
        authorization("f", "empty", "rules: [{}]"),
        "apiVersion: mesh.weft.dev/v1alpha1\nkind: MeshService\nmetadata: {name: idp}\nspec: {ports: [{port: 7}], discovery: {dns: {host: a}}}\n".to_owned(),
        SERVICES.to_owned(),
    ];
    let parsed = parse("f", &objects.join("---\n"));
    assert!(!parsed.has_faults(), "{:#?}", parsed.findings);
    let keys: Vec<ObjectKey> = parsed.documents.iter().map(|it| it.object.key()).collect();
    let whole: Resources = parsed.documents.into_iter().map(|it| it.object).collect();
    for key in keys {
        let rest = whole.iter().filter(|it| it.key() != key);
        let rest: Resources = rest.map(Arc::clone).collect();
        for (before, after) in [(&whole, &rest), (&rest, &whole)] {
            let known = lint(before);
            let mut new = lint(after);
            new.retain(|remark| !known.contains(remark));
            let concern = Concern::of(&[key.clone()].into(), &[before, after]);
            let told = lint_concerned(after, &concern);
            for remark in new {
                assert!(told.contains(&remark), "{key}: {remark:#?} is not told");
            }
        }
    }
}

fn authentication(name: &str, namespace: &str, spec: &str) -> String {
    format!(
        "apiVersion: mesh.weft.dev/v1alpha1\nkind: AuthenticationPolicy\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{{spec}}}\n"
    )
}

fn authorization(name: &str, namespace: &str, spec: &str) -> String {
    authentication(name, namespace, spec).replace("AuthenticationPolicy", "AuthorizationPolicy")
}

/// Tokens whose keys are fetched from this host.
fn keys(host: &str) -> String {
    format!("{{providers: [{{issuer: i, jwksUri: 'http://{host}/keys'}}]}}")
}

/// A service of sidecars, in a namespace of its own.
const SIDECARS: &str = "
apiVersion: mesh.weft.dev/v1alpha1
kind: MeshService
metadata: {name: web, namespace: shop}
spec: {ports: [{name: http, port: 80, targetPort: 8080, appProtocol: http}, {name: raw, port: 1, appProtocol: tcp}], discovery: {workloads: {selector: {app: web}}}}
---
";

#[test]
fn policies_of_callers_that_have_no_effect_say_so() {
    let target = "targetRefs: [{group: mesh.weft.dev, kind: MeshService, name: web}], ";
    let raw = target.replace("web}", "web, sectionName: raw}");
    let authn = |spec: &str| authentication("p", "shop", spec);
    let authz = |spec: &str| authorization("p", "shop", spec);
    let two = |spec: &str| {
        format!(
            "{}---\n{}",
            authn(spec),
            authentication("q", "shop", &spec.replace("DISABLE", "STRICT"))
        )
    };
    let plain = |spec: &str| {
        format!(
            "{}---\n{}",
            authentication("q", "shop", "mtls: {mode: DISABLE}"),
            authz(spec)
        )
    };
    let outside = target.replace("web", "reviews");
    let table = [
        (authentication("p", "default", &format!("{outside}mtls: {{mode: STRICT}}")), "register no sidecar, and nobody else enforces this"),
        (two("mtls: {mode: DISABLE}"), "AuthenticationPolicy shop/q says STRICT of the same, which is stricter and counts"),
        (two(&format!("{target}mtls: {{mode: DISABLE}}")), "AuthenticationPolicy shop/q says STRICT of the same"),
        (authentication("p", "empty", "mtls: {mode: STRICT}"), "there is no service in the namespace `empty`"),
        (authorization("p", "empty", "rules: [{}]"), "there is no service in the namespace `empty`"),
        (plain("rules: [{from: [{namespaces: [a]}]}]"), "mTLS is DISABLE there"),
        (authz(&format!("{raw}rules: [{{to: [{{methods: [GET]}}]}}]")), "it lets nobody in"),
        (authz("rules: [{to: [{ports: [1], methods: [GET]}]}]"), "it lets nobody in"),
        (authz("rules: [{to: [{ports: [8080]}]}]"), "lists the port 8080; ports are those of services: 1, 80"),
        (authz("rules: [{from: [{identities: ['spiffe://cluster.local']}]}]"), "write `spiffe://cluster.local/*`"),
        (authn(&format!("{raw}jwt: {}", keys("idp.example"))), "carries bytes: nobody looks at tokens there"),
        (authn(&format!("jwt: {}", keys("idp"))), "there is no MeshService shop/idp; keys cannot be fetched"),
        (authn(&format!("jwt: {}", keys("idp.shop.svc.cluster.local:80"))), "there is no MeshService shop/idp"),
        (
            "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {name: t, namespace: shop}\nspec:\n  targetRefs: [{group: \
             mesh.weft.dev, kind: MeshService, name: web}]\n  validation: {hostname: a.test, wellKnownCACertificates: System}\n".to_owned(),
            "spoken to over the mesh's own TLS",
        ),
    ];
    for (text, message) in table {
        let found = judged(&format!("{text}---{SIDECARS}"));
        assert_eq!(found.len(), 1, "{text}: {found:#?}");
        assert!(found[0].contains(message), "{text}: {found:#?}");
    }
}

#[test]
fn policies_of_callers_that_have_an_effect_say_nothing() {
    let authz = |spec: &str| authorization("p", "shop", spec);
    for text in [
        authentication("p", "shop", "mtls: {mode: STRICT}")
            + "---\n"
            + &authentication("q", "shop", "mtls: {mode: STRICT}"),
        authentication("p", "weft-system", "mtls: {mode: DISABLE}")
            + "---\n"
            + &authentication("q", "shop", "mtls: {mode: STRICT}")
            + "---\n"
            + &authz("rules: [{from: [{namespaces: [a]}]}]"),
        authorization("p", "weft-system", "rules: [{}]"),
        authz("rules: [{to: [{ports: [80], methods: [GET]}, {ports: [1]}]}]"),
        authz("action: Deny, rules: [{to: [{ports: [1], methods: [GET]}]}]"),
        authz("rules: [{from: [{identities: ['spiffe://cluster.local/*', '*']}]}]"),
        authentication("p", "shop", &format!("jwt: {}", keys("idp.example"))),
        authentication("p", "shop", &format!("jwt: {}", keys("127.0.0.1"))),
    ] {
        let found = judged(&format!("{text}---{SIDECARS}"));
        assert_eq!(found, Vec::<String>::new(), "{text}");
    }
}

#[test]
fn callers_of_another_trust_domain_are_told_by_entry() {
    let own = crate::spiffe::TrustDomain::parse("cluster.local").unwrap();
    let rules = "rules: [{from: [{identities: ['*', 'spiffe://cluster.local/*', 'spiffe://td/*'], trustDomains: [cluster.local, other]}, \
                 {notIdentities: ['spiffe://td/*'], notTrustDomains: [other]}]}]";
    let parsed = parse("f", &authorization("p", "shop", rules));
    let found = foreign_callers(&parsed.documents[0].object, &own);
    let paths: Vec<String> = found
        .iter()
        .map(|it| it.finding.path.as_str().to_owned())
        .collect();
    let from = "spec.rules[0].from[0]";
    assert_eq!(
        paths,
        [
            format!("{from}.identities[2]"),
            format!("{from}.trustDomains[1]")
        ]
    );
}

fn tls_policy(roots: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {{name: t}}\nspec:\n  targetRefs: [{{group: mesh.weft.dev, kind: MeshService, name: reviews}}]\n  validation: {{hostname: a.test, caCertificateRefs: [{{group: \"\", kind: ConfigMap, name: {roots}}}]}}\n"
    )
}

fn route(name: &str, rule: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}}}\nspec:\n  parentRefs: [{{group: mesh.weft.dev, kind: MeshService, name: reviews, port: 9080}}]\n  rules:\n  - {rule}\n"
    )
}

#[test]
fn what_dangles_is_named_with_the_near_name() {
    let backend = |fields: &str| {
        route(
            "r",
            &format!("backendRefs: [{{group: mesh.weft.dev, kind: MeshService, {fields}}}]"),
        )
    };
    let table = [
        (backend("name: review, port: 9080"), "there is no MeshService default/review, did you mean `reviews`"),
        (backend("name: reviews, port: 9081"), "MeshService default/reviews has no port 9081, it has 9080, 1"),
        (backend("name: reviews.other, port: 9080"), "no ReferenceGrant there lets HTTPRoutes of `default` refer to it"),
        (backend("name: reviews, port: 9080, weight: 0"), "all weights are 0"),
        (route("r", "backendRefs: [{name: reviews, port: 9080}]"), "there is no Service default/reviews, but there is a MeshService default/reviews"),
        (route("r", "{}").replace("port: 9080", "port: 1"), "carries opaque bytes"),
        (route("r", "{}").replace("port: 9080", "sectionName: htp"), "has no port named `htp`, did you mean `http`?"),
        (route("r", "{}").replace("name: reviews", "name: revews"), "did you mean `reviews`; the route has no effect"),
        (
            route("r", "filters: [{type: ExtensionRef, extensionRef: {group: mesh.weft.dev, kind: FaultInjection, name: x}}]"),
            "there is no FaultInjection default/x",
        ),
        (tls_policy("roots"), "there is no ConfigMap default/roots; calls fail"),
        (
            tls_policy("roots") + "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: roots}\ndata: {other: a}",
            "ConfigMap default/roots has no `ca.crt`; calls fail",
        ),
        (
            "apiVersion: mesh.weft.dev/v1alpha1\nkind: FaultInjection\nmetadata: {name: f}\nspec: {delay: {duration: 1s}}".to_owned(),
            "no rule of this namespace names it",
        ),
        (
            "apiVersion: mesh.weft.dev/v1alpha1\nkind: MeshService\nmetadata: {name: e}\nspec: {ports: [{port: 1}], discovery: {static: {endpoints: []}}}".to_owned(),
            "the service has no endpoints",
        ),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: e}\nspec: {ports: [{port: 1}]}".to_owned(),
            "no selector and no EndpointSlice",
        ),
        (
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: e, labels: {kubernetes.io/service-name: x}}\naddressType: IPv4".to_owned(),
            "there is no Service default/x",
        ),
    ];
    for (text, message) in table {
        let found = judged(&text);
        assert_eq!(found.len(), 1, "{text}: {found:#?}");
        assert!(found[0].contains(message), "{text}: {found:#?}");
        assert!(found[0].starts_with("f:"), "{found:#?}");
    }
}

#[test]
fn a_grant_lets_a_route_cross_namespaces() {
    let grant = "---\napiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\nmetadata: {name: g, namespace: other}\nspec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}], to: [{group: mesh.weft.dev, kind: MeshService}]}\n";
    let text = route(
        "r",
        "backendRefs: [{group: mesh.weft.dev, kind: MeshService, name: reviews.other, port: 9080}]",
    );
    assert_eq!(judged(&text).len(), 1);
    assert_eq!(judged(&format!("{text}{grant}")), Vec::<String>::new());
}

#[test]
fn a_consumer_route_meets_no_route_of_the_service_and_may_go_back_to_it() {
    let own = route("r", "matches: [{path: {type: PathPrefix, value: /}}]");
    let back = "backendRefs: [{group: mesh.weft.dev, kind: MeshService, name: reviews.default, port: 9080}]";
    let consumer = route("c", back)
        .replace("{name: c}", "{name: c, namespace: shop}")
        .replace("name: reviews, port", "name: reviews.default, port");
    assert_eq!(
        judged(&format!("{own}---\n{consumer}")),
        Vec::<String>::new()
    );
}

#[test]
fn of_two_equal_matches_the_older_route_wins_then_the_first_by_name() {
    let two = format!("{}---\n{}", route("a", "{}"), route("b", "{}"));
    let found = judged(&two);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(
        found[0].contains("`spec.rules[0]` of HTTPRoute default/a takes all these requests first")
    );
    assert!(found[0].starts_with("f:15:"), "at b: {found:#?}");
    let older = two.replace(
        "{name: b}",
        "{name: b, creationTimestamp: '2020-01-01T00:00:00Z'}",
    );
    assert!(judged(&older)[0].contains("HTTPRoute default/b takes all these requests first"));
}

#[test]
fn a_rule_that_another_always_beats_is_shadowed() {
    let shadowed = route(
        "a",
        "matches: [{path: {type: RegularExpression, value: '/.*'}}]\n  - matches: [{path: {value: /x}}]",
    );
    let found = judged(&shadowed);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].contains("spec.rules[1].matches[0]: never used"));
    let fine = route(
        "a",
        "matches: [{path: {value: /}}]\n  - matches: [{path: {value: /x}}]\n  - matches: [{method: GET}]",
    );
    assert_eq!(judged(&fine), Vec::<String>::new());
}

#[test]
fn policies_on_one_target_conflict_and_missing_targets_dangle() {
    let policy = |name: &str, target: &str| {
        format!(
            "apiVersion: mesh.weft.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{name: {name}}}\nspec: {{targetRefs: [{{group: mesh.weft.dev, kind: MeshService, {target}}}], loadBalancer: {{type: Random}}}}\n---\n"
        )
    };
    let found = judged(&(policy("a", "name: reviews") + &policy("b", "name: reviews")));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].contains("TrafficPolicy default/a has the same target and wins"));
    assert!(judged(&policy("a", "name: rewiews"))[0].contains("did you mean `reviews`?"));
    assert!(
        judged(&policy("a", "name: reviews, sectionName: htt"))[0].contains("did you mean `http`?")
    );
}

#[test]
fn an_object_that_stands_twice_is_a_fault() {
    let found = judged(&format!("{}---\n{}", route("a", "{}"), route("a", "{}")));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(
        found[0].contains("HTTPRoute default/a stands already at f:3:12"),
        "{found:#?}"
    );
}
