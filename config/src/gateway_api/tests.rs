//! Tests of reading objects: bad input first.

use std::time::Duration;

use super::*;
use crate::diag::Severity;

mod backend_tls;
mod hostile;
mod samples;

use samples::{CANARY, EVERYTHING};

/// The findings of a text, as printed.
fn findings(text: &str) -> Vec<String> {
    parse("f.yaml", text)
        .findings
        .iter()
        .map(|finding| finding.to_string())
        .collect()
}

fn only_object(text: &str) -> Object {
    let parsed = parse("f.yaml", text);
    assert!(parsed.findings.is_empty(), "{:#?}", findings(text));
    assert_eq!(parsed.documents.len(), 1);
    parsed.documents[0].object.as_ref().clone()
}

/// An HTTPRoute with `rule` as its only rule, in flow style.
fn route_with(rule: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: r}}\nspec:\n  parentRefs: [{{kind: Service, name: a}}]\n  rules:\n  - {rule}\n"
    )
}

fn mesh_service_with(spec: &str) -> String {
    format!(
        "apiVersion: mesh.weft.dev/v1alpha1\nkind: MeshService\nmetadata: {{name: a}}\nspec: {spec}\n"
    )
}

fn policy_with(kind: &str, spec: &str) -> String {
    format!(
        "apiVersion: mesh.weft.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: p}}\nspec: {{targetRefs: [{{group: mesh.weft.dev, kind: MeshService, name: a}}], {spec}}}\n"
    )
}

#[test]
fn an_unknown_field_is_refused_with_place_path_and_near_name() {
    let text = route_with("backendRef: [{name: a, port: 80}]");
    assert_eq!(
        findings(&text),
        ["f.yaml:7:5: spec.rules[0]: unknown field `backendRef`, did you mean `backendRefs`?"]
    );
}

#[test]
fn every_bad_rule_is_refused_by_name() {
    let table = [
        (
            "backendRefs: [{name: a, port: 0}]",
            "must be from 1 to 65535, got 0",
        ),
        (
            "backendRefs: [{name: a, port: 65536}]",
            "must be from 1 to 65535, got 65536",
        ),
        (
            "backendRefs: [{name: a, port: '80'}]",
            "must be a whole number, got the text `80`; leave off its quotes",
        ),
        ("backendRefs: [{name: a}]", "port: is required"),
        (
            "backendRefs: [{name: a, port: 80, weight: -1}]",
            "must be from 0 to 1000000, got -1",
        ),
        (
            "backendRefs: [{name: a, port: 80, weight: 1000001}]",
            "must be from 0 to 1000000, got 1000001",
        ),
        (
            "backendRefs: [{name: a_b, port: 80}]",
            "must be a service's name",
        ),
        (
            "backendRefs: [{name: a.example.com, port: 80}]",
            "must be a service's name",
        ),
        (
            "backendRefs: [{name: a.x, namespace: y, port: 80}]",
            "is `y`, but the name `a.x` says `x`",
        ),
        (
            "backendRefs: [{kind: MeshService, name: a, port: 80}]",
            "add `group: mesh.weft.dev`",
        ),
        (
            "backendRefs: [{group: apps, kind: Service, name: a, port: 80}]",
            "Service is of the group ``, got `apps`",
        ),
        (
            "backendRefs: [{kind: service, name: a, port: 80}]",
            "did you mean `Service`?",
        ),
        ("backendRefs: a", "must be a list, got the text `a`"),
        ("matches: [{path: {value: a}}]", "must begin with `/`"),
        ("matches: [{path: {value: /a//b}}]", "must not contain `//`"),
        (
            "matches: [{path: {value: /a/../b}}]",
            "must not contain `/../`",
        ),
        (
            "matches: [{path: {value: /a%2Fb}}]",
            "must not contain `%2f`",
        ),
        (
            "matches: [{path: {type: Prefix, value: /}}]",
            "did you mean `PathPrefix`?",
        ),
        (
            "matches: [{path: {type: RegularExpression, value: '('}}]",
            "is not a regular expression: unclosed group",
        ),
        (
            "matches: [{path: {type: RegularExpression}}]",
            "a RegularExpression has a `value`",
        ),
        ("matches: [{method: get}]", "did you mean `GET`?"),
        (
            "matches: [{headers: [{name: 'a b', value: x}]}]",
            "must be a header name",
        ),
        (
            "matches: [{headers: [{name: ':path', value: x}]}]",
            "must be a header name",
        ),
        (
            "matches: [{headers: [{name: a, value: x}, {name: A, value: y}]}]",
            "the header `a` stands twice",
        ),
        (
            "matches: [{headers: [{name: a, value: 1}]}]",
            "put it in quotes",
        ),
        (
            "matches: [{queryParams: [{name: a}]}]",
            "value: is required",
        ),
        (
            "filters: [{type: RequestMirror, requestMirror: {}}]",
            "the filter RequestMirror is not supported yet",
        ),
        (
            "filters: [{type: CORS, cors: {}}]",
            "the filter CORS is not supported yet",
        ),
        ("filters: [{type: URLRewrite}]", "urlRewrite: is required"),
        (
            "filters: [{type: URLRewrite, urlRewrite: {}}]",
            "at least one of `hostname` and `path`",
        ),
        (
            "filters: [{type: UrlRewrite, urlRewrite: {hostname: a}}]",
            "did you mean `URLRewrite`?",
        ),
        (
            "filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: \"x\\r\\ny\"}]}}]",
            "must not contain control bytes",
        ),
        (
            "filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: [Host]}}]",
            "use a URLRewrite filter",
        ),
        (
            "filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: [Content-Length]}}]",
            "frames the message",
        ),
        (
            "filters: [{type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: a, value: b}], remove: [A]}}]",
            "the header `a` stands twice",
        ),
        (
            "filters: [{type: RequestRedirect, requestRedirect: {statusCode: 200}}]",
            "must be 301, 302, 303, 307 or 308, got 200",
        ),
        (
            "{filters: [{type: RequestRedirect, requestRedirect: {port: 1}}], backendRefs: [{name: a, port: 80}]}",
            "has no backends",
        ),
        (
            "{matches: [{path: {type: Exact, value: /a}}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]}",
            "needs all matches of its rule to be of the type PathPrefix",
        ),
        (
            "filters: [{type: ExtensionRef, extensionRef: {group: mesh.weft.dev, kind: RateLimitPolicy, name: a}}]",
            "its own `targetRefs`",
        ),
        (
            "timeouts: {request: 1}",
            "must be a duration with its unit, such as `2s` or `25ms`, got the number 1",
        ),
        ("timeouts: {request: 1.5s}", "must be a duration such as"),
        ("timeouts: {request: -1s}", "must be a duration such as"),
        ("timeouts: {request: 100000s}", "must be a duration such as"),
        (
            "timeouts: {request: 1s, backendRequest: 2s}",
            "must not be longer than `request` (1s), got 2s",
        ),
        ("retry: {codes: [200]}", "must be from 400 to 599, got 200"),
        ("retry: {attempts: 21}", "must be from 0 to 20, got 21"),
        ("retry: {backoff: 0s}", "must be from 1ms"),
        (
            "sessionPersistence: {type: Cookie}",
            "sessionPersistence: is not supported yet",
        ),
    ];
    for (rule, message) in table {
        let found = findings(&route_with(rule));
        assert_eq!(found.len(), 1, "{rule}: {found:#?}");
        assert!(found[0].contains(message), "{rule}: {found:#?}");
        assert!(parse("f", &route_with(rule)).documents.is_empty(), "{rule}");
    }
}

#[test]
fn bad_parents_are_refused_with_the_way_out() {
    let table = [
        ("{name: gw}", "names a Gateway, which a mesh does not have"),
        (
            "{group: gateway.networking.k8s.io, name: gw}",
            "a Gateway as parent is not supported",
        ),
        (
            "{kind: Gateway, name: gw}",
            "a Gateway as parent is not supported",
        ),
        (
            "{kind: MeshServise, name: a}",
            "did you mean `MeshService`?",
        ),
        (
            "{kind: Service, name: a, port: 70000}",
            "must be from 1 to 65535",
        ),
    ];
    for (parent, message) in table {
        let text = route_with("{}").replace("{kind: Service, name: a}", parent);
        let found = findings(&text);
        assert_eq!(found.len(), 1, "{parent}: {found:#?}");
        assert!(found[0].contains(message), "{parent}: {found:#?}");
    }
}

#[test]
fn bad_services_are_refused() {
    let table = [
        (
            "{ports: [], discovery: {static: {endpoints: []}}}",
            "must have from 1 to 64 entries, got 0",
        ),
        (
            "{ports: [{port: 1}], discovery: {}}",
            "exactly one of `static`, `dns` and `workloads`",
        ),
        (
            "{ports: [{port: 1}], discovery: {static: {endpoints: []}, dns: {host: a}}}",
            "exactly one of",
        ),
        (
            "{ports: [{port: 1}, {port: 1}], discovery: {dns: {host: a}}}",
            "the port `1` stands twice",
        ),
        (
            "{ports: [{port: 1, appProtocol: htp}], discovery: {dns: {host: a}}}",
            "did you mean `http`?",
        ),
        (
            "{ports: [{port: 1}], discovery: {static: {endpoints: [{address: localhost}]}}}",
            "must be an IP address",
        ),
        (
            "{ports: [{port: 1}], discovery: {static: {endpoints: [{address: 127.0.0.1, weight: 0}]}}}",
            "must be from 1 to 1000000, got 0",
        ),
        (
            "{ports: [{port: 1}], discovery: {static: {endpoints: [{address: 127.0.0.1}, {address: 127.0.0.1}]}}}",
            "stands twice",
        ),
        (
            "{ports: [{port: 1}], discovery: {dns: {host: a, refresh: 10ms}}}",
            "must be from 1s to 1h, got 10ms",
        ),
        (
            "{ports: [{port: 1}], discovery: {dns: {host: a, refresh: 10}}}",
            "must be a duration with its unit, such as `2s` or `25ms`, got the number 10",
        ),
        (
            "{ports: [{port: 1}], discovery: {workloads: {selector: {}}}}",
            "would select every workload",
        ),
        (
            "{ports: [{port: 1}], discovery: {workloads: {selector: {app: 1}}}}",
            "put it in quotes",
        ),
        (
            "{ports: [{port: 1}], addresses: [10.0.0.0/8], discovery: {dns: {host: a}}}",
            "must be an IP address",
        ),
    ];
    for (spec, message) in table {
        let found = findings(&mesh_service_with(spec));
        assert_eq!(found.len(), 1, "{spec}: {found:#?}");
        assert!(found[0].contains(message), "{spec}: {found:#?}");
    }
}

#[test]
fn bad_policies_are_refused() {
    let table = [
        (
            "TrafficPolicy",
            "loadBalancer: {type: RingHash}",
            "the load balancer RingHash is not supported yet",
        ),
        (
            "TrafficPolicy",
            "loadBalancer: {type: LeastRequests}",
            "did you mean `LeastRequest`?",
        ),
        (
            "TrafficPolicy",
            "loadBalancer: {type: Random, choices: 3}",
            "unknown field `choices`",
        ),
        (
            "TrafficPolicy",
            "healthChecks: []",
            "healthChecks: is not supported yet",
        ),
        (
            "TrafficPolicy",
            "locality: {}",
            "locality: is not supported yet",
        ),
        (
            "TrafficPolicy",
            "sessionAffinity: {}",
            "sessionAffinity: is not supported yet",
        ),
        (
            "TrafficPolicy",
            "circuitBreakers: {maxConnections: 0}",
            "must be from 1 to 4294967295, got 0",
        ),
        (
            "TrafficPolicy",
            "outlierDetection: {baseEjectionTime: 2s, maxEjectionTime: 1s}",
            "must not be below `baseEjectionTime` (2s), got 1s",
        ),
        (
            "TrafficPolicy",
            "outlierDetection: {maxEjectionPercent: 101}",
            "must be from 0 to 100, got 101",
        ),
        (
            "TrafficPolicy",
            "timeouts: {connect: 0s}",
            "must be from 1ms",
        ),
        (
            "TrafficPolicy",
            "retry: {conditions: [5XX]}",
            "did you mean `5xx`?",
        ),
        (
            "TrafficPolicy",
            "retry: {grpcCodes: [OK]}",
            "must be one of CANCELLED",
        ),
        (
            "TrafficPolicy",
            "connection: {keepalive: {time: 1500ms}}",
            "must be whole seconds, got 1s500ms",
        ),
        (
            "RateLimitPolicy",
            "global: {}, local: {requests: 1}",
            "global: is not supported yet",
        ),
        (
            "RateLimitPolicy",
            "local: {}",
            "must have `requests`, or `rules` that have",
        ),
        ("RateLimitPolicy", "local: {requests: 0}", "must be from 1"),
        (
            "RateLimitPolicy",
            "local: {requests: 1, interval: 0s}",
            "must be from 1ms",
        ),
        (
            "RateLimitPolicy",
            "local: {requests: 1}, statusCode: 200",
            "must be from 400 to 599, got 200",
        ),
        (
            "RateLimitPolicy",
            "local: {rules: [{by: [], requests: 1}]}",
            "must have from 1 to 8 entries",
        ),
        (
            "RateLimitPolicy",
            "local: {requests: 1}, enforcedPercent: 101",
            "must be from 0 to 100 percent, got 101",
        ),
        (
            "FaultInjection",
            "delay: {duration: 1s}",
            "does not attach by itself",
        ),
    ];
    for (kind, spec, message) in table {
        let found = findings(&policy_with(kind, spec));
        assert_eq!(found.len(), 1, "{kind} {spec}: {found:#?}");
        assert!(found[0].contains(message), "{kind} {spec}: {found:#?}");
    }
}

#[test]
fn bad_faults_are_refused() {
    let table = [
        ("{}", "at least one of `delay` and `abort`"),
        ("{delay: {duration: 0s}}", "must be from 1ms to 1h, got 0s"),
        (
            "{abort: {}}",
            "exactly one of `httpStatus` and `grpcStatus`",
        ),
        (
            "{abort: {httpStatus: 600}}",
            "must be from 200 to 599, got 600",
        ),
        ("{abort: {grpcStatus: 0}}", "must be from 1 to 16, got 0"),
        (
            "{abort: {grpcStatus: UNAVAILBLE}}",
            "did you mean `UNAVAILABLE`?",
        ),
        (
            "{abort: {httpStatus: 503, percent: 0.00001}}",
            "must have at most four decimals",
        ),
    ];
    for (spec, message) in table {
        let text = format!(
            "apiVersion: mesh.weft.dev/v1alpha1\nkind: FaultInjection\nmetadata: {{name: f}}\nspec: {spec}\n"
        );
        let found = findings(&text);
        assert_eq!(found.len(), 1, "{spec}: {found:#?}");
        assert!(found[0].contains(message), "{spec}: {found:#?}");
    }
}

#[test]
fn a_policy_for_a_route_cannot_speak_of_clusters() {
    let text = policy_with(
        "TrafficPolicy",
        "loadBalancer: {type: Random}, timeouts: {request: 1s, connect: 1s}",
    )
    .replace(
        "group: mesh.weft.dev, kind: MeshService",
        "group: gateway.networking.k8s.io, kind: HTTPRoute",
    );
    let found = findings(&text);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].contains("`loadBalancer` applies to services"));
    assert!(found[1].contains("`timeouts.connect` applies to services"));
}

#[test]
fn bad_heads_of_documents_are_refused() {
    let table = [
        (
            "kind: HTTPRoute\nmetadata: {name: a}\nspec: {}",
            "apiVersion: is required",
        ),
        (
            "apiVersion: v1\nmetadata: {name: a}\nspec: {}",
            "kind: is required",
        ),
        (
            "apiVersion: v1\nkind: HTTPRote\nmetadata: {name: a}",
            "did you mean `HTTPRoute`?",
        ),
        (
            "apiVersion: mesh.weft.dev/v1alpha1\nkind: Canary\nmetadata: {name: a}",
            "the kind Canary is known but not supported by this version yet",
        ),
        (
            "apiVersion: mesh.weft.dev/v1alpha1\nkind: TelemetryPolicy\nmetadata: {name: a}",
            "known but not supported by this version yet",
        ),
        (
            "apiVersion: gateway.networking.k8s.io/v1\nkind: TLSRoute\nmetadata: {name: a}",
            "known but not supported by this version yet",
        ),
        (
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: a}",
            "configures gateways",
        ),
        ("- a", "must be a map, got a list"),
        ("hello", "must be a map, got the text `hello`"),
    ];
    for (text, message) in table {
        let found = findings(text);
        assert!(
            found.iter().any(|found| found.contains(message)),
            "{text}: {found:#?}"
        );
    }
    let metadata = [
        ("{}", "name: is required"),
        ("{name: A}", "must be a DNS-1123 label"),
        ("{name: a, namespace: a.b}", "must be a DNS-1123 label"),
        (
            "{name: a, labels: {x: 1}}",
            "metadata.labels[\"x\"]: must be text, got the number 1",
        ),
        ("{name: a, labels: {'-x': a}}", "a key is a name"),
        ("{name: a, labels: {x: 'a b'}}", "a label's value"),
        (
            "{name: a, creationTimestamp: yesterday}",
            "must be a time in UTC",
        ),
        ("{name: a, lables: {}}", "did you mean `labels`?"),
    ];
    for (metadata, message) in metadata {
        let text = mesh_service_with("{ports: [{port: 1}], discovery: {dns: {host: a}}}")
            .replace("metadata: {name: a}", &format!("metadata: {metadata}"));
        let found = findings(&text);
        assert_eq!(found.len(), 1, "{metadata}: {found:#?}");
        assert!(found[0].contains(message), "{metadata}: {found:#?}");
    }
}

#[test]
fn without_metadata_the_rest_is_read_all_the_same() {
    let text = mesh_service_with("{ports: [{port: 0}], discovery: {dns: {host: a}}}")
        .replace("metadata: {name: a}\n", "");
    let found = findings(&text);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].contains("metadata: is required"), "{found:#?}");
    assert!(found[1].contains("must be from 1 to 65535"), "{found:#?}");
}

#[test]
fn a_wrong_api_version_names_the_right_one() {
    let text = route_with("{}").replace("k8s.io/v1\n", "k8s.io/v2\n");
    let found = findings(&text);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].contains("`gateway.networking.k8s.io/v1` or `gateway.networking.k8s.io/v1beta1`, got `gateway.networking.k8s.io/v2`"));
}

#[test]
fn all_faults_of_all_documents_come_at_once_and_good_ones_are_kept() {
    let text = format!(
        "{}---\n{}---\n{}---\na: [\n---\n{}",
        route_with(
            "{timeouts: {request: x}, retry: {attempts: 99}, backendRefs: [{name: a, port: 0}]}"
        ),
        mesh_service_with("{ports: [{port: 1}], discovery: {dns: {host: a}}}"),
        mesh_service_with("{ports: [{port: 0}], discovery: {dns: {}}}"),
        mesh_service_with("{ports: [{port: 0}], discovery: {dns: {host: b}}}"),
    );
    let parsed = parse("f", &text);
    let lines: Vec<u32> = parsed
        .findings
        .iter()
        .map(|finding| finding.location.as_ref().expect("from a file").line)
        .collect();
    assert_eq!(parsed.findings.len(), 7, "{:#?}", findings(&text));
    assert!(lines.is_sorted(), "{lines:?}");
    assert_eq!(parsed.documents.len(), 1);
    assert!(parsed.has_faults());
}

#[test]
fn hostnames_of_a_mesh_route_are_a_warning() {
    let text = route_with("{}").replace("spec:\n", "spec:\n  hostnames: [a.example.com]\n");
    let parsed = parse("f", &text);
    assert_eq!(parsed.findings.len(), 1);
    assert_eq!(parsed.findings[0].severity, Severity::Warning);
    assert_eq!(parsed.documents.len(), 1);
}

#[test]
fn the_canary_of_the_product_page_is_read() {
    let parsed = parse("canary.yaml", CANARY);
    assert!(parsed.findings.is_empty(), "{:#?}", parsed.findings);
    let keys: Vec<String> = parsed
        .documents
        .iter()
        .map(|document| document.object.key().to_string())
        .collect();
    assert_eq!(
        keys,
        [
            "MeshService default/reviews",
            "MeshService default/reviews-v2",
            "HTTPRoute default/reviews"
        ]
    );
    let Spec::HttpRoute(route) = &parsed.documents[2].object.spec else {
        panic!("the third is a route")
    };
    let rule = &route.rules[0];
    assert_eq!(rule.matches, [http_route::HttpMatch::default()]);
    let weights: Vec<u32> = rule.backend_refs.iter().map(|b| b.backend.weight).collect();
    assert_eq!(weights, [90, 10]);
    let request = rule.timeouts.request.map(Span::duration);
    assert_eq!(request, Some(Duration::from_secs(2)));
}

#[test]
fn every_kind_survives_the_way_to_json_and_back() {
    let parsed = parse("all.yaml", EVERYTHING);
    assert!(parsed.findings.is_empty(), "{:#?}", findings(EVERYTHING));
    for document in &parsed.documents {
        let json = document.object.to_json();
        let again = parse_json(&json).unwrap_or_else(|found| panic!("{json:#}: {found:#?}"));
        assert_eq!(again, *document.object, "{json:#}");
        let printed = serde_json::to_string_pretty(&json).expect("values print");
        assert_eq!(only_object(&printed), again, "JSON is read as text too");
    }
    for kind in Kind::ALL {
        assert!(
            parsed.documents.iter().any(|d| d.object.kind() == kind),
            "{kind} is in the samples"
        );
    }
}

#[test]
fn a_list_counts_as_its_items() {
    let one = mesh_service_with("{ports: [{port: 1}], discovery: {dns: {host: a}}}");
    let indented = one.replace('\n', "\n  ");
    let list = format!(
        "apiVersion: v1\nkind: List\nitems:\n- {indented}\n- {}",
        indented.replace("name: a}", "name: b}")
    );
    let parsed = parse("f", &list);
    assert!(parsed.findings.is_empty(), "{:#?}", parsed.findings);
    assert_eq!(parsed.documents.len(), 2);
}

#[test]
fn what_an_api_server_adds_is_accepted() {
    let text = "apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: shop
  uid: 6f1c
  resourceVersion: '17'
  generation: 3
  creationTimestamp: '2026-01-31T23:59:59Z'
  managedFields: [{manager: kubectl}]
spec:
  type: LoadBalancer
  clusterIP: 10.0.0.1
  clusterIPs: [10.0.0.1]
  ipFamilies: [IPv4]
  ipFamilyPolicy: SingleStack
  internalTrafficPolicy: Cluster
  sessionAffinity: None
  selector: {app: web}
  ports:
  - {name: http-web, port: 80, targetPort: web, nodePort: 30080, protocol: TCP}
  - {name: db, port: 3306, targetPort: 3306, appProtocol: mysql}
status: {loadBalancer: {ingress: [{ip: 1.2.3.4}]}}
";
    let Spec::Service(service) = only_object(text).spec else {
        panic!("a service")
    };
    assert_eq!(
        service.ports[0].app_protocol,
        AppProtocol::Http,
        "by its name"
    );
    assert_eq!(service.ports[1].app_protocol, AppProtocol::Tcp);
    assert_eq!(service.cluster_ips.addresses().len(), 1);
}

#[test]
fn all_forms_of_a_name_are_the_same_service() {
    for name in [
        "reviews",
        "reviews.default",
        "reviews.default.svc",
        "reviews.default.svc.cluster.local",
    ] {
        let text = route_with(&format!("backendRefs: [{{name: {name}, port: 80}}]"));
        let Spec::HttpRoute(route) = only_object(&text).spec else {
            panic!("a route")
        };
        let service = &route.rules[0].backend_refs[0].backend.service;
        assert_eq!(service.to_string(), "Service default/reviews", "{name}");
    }
}

#[test]
fn names_outside_the_mesh_do_not_qualify() {
    let qualify = |text: &str| ServiceName::qualify(text, "ns", "cluster.local");
    for text in [
        "",
        ".",
        "a.b.c",
        "a.b.svc.other",
        "a.b.svc.cluster.local.x",
        "-a",
        "a..svc",
        "10.0.0.1",
        "a_b",
    ] {
        assert_eq!(qualify(text), None, "{text}");
    }
    let host = |text: &str| qualify(text).map(|name| name.host("cluster.local"));
    assert_eq!(host("A"), Some("a.ns.svc.cluster.local".to_owned()));
    assert_eq!(
        host("a.b.SVC.cluster.local."),
        Some("a.b.svc.cluster.local".to_owned())
    );
}

#[test]
fn durations_are_read_and_written() {
    for bad in [
        "",
        "1",
        "s",
        "1d",
        "1.5s",
        "-1s",
        " 1s",
        "1s ",
        "1h1m1s1ms1s",
        "123456s",
        "1µs",
    ] {
        assert!(Span::parse(bad).is_err(), "{bad}");
    }
    for (text, millis, written) in [
        ("0s", 0, "0s"),
        ("25ms", 25, "25ms"),
        ("1500ms", 1500, "1s500ms"),
        ("1h30m", 5_400_000, "1h30m"),
        ("2s", 2000, "2s"),
        ("99999h", 359_996_400_000, "99999h"),
    ] {
        let span = Span::parse(text).unwrap_or_else(|message| panic!("{text}: {message}"));
        assert_eq!(span.duration(), Duration::from_millis(millis));
        assert_eq!(span.to_string(), written);
    }
}

#[test]
fn a_source_locates_what_it_has_and_the_nearest_of_what_it_has_not() {
    let parsed = parse("f.yaml", CANARY);
    let source = &parsed.documents[2].source;
    let rules = crate::diag::FieldPath::root()
        .field("spec")
        .field("rules")
        .index(0);
    let weight = rules.field("backendRefs").index(1).field("weight");
    assert_eq!(source.locate(&weight).to_string(), "f.yaml:23:79");
    let timeouts = source.locate(&rules.field("timeouts"));
    assert_eq!(
        source.locate(&rules.field("timeouts").field("idle")),
        timeouts
    );
}

#[test]
fn every_example_of_the_manual_is_read_without_a_finding() {
    let manual = include_str!("../../../docs/CONFIG.md");
    let blocks: Vec<&str> = manual
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    let mut seen = Vec::new();
    for block in blocks {
        let parsed = parse("docs/CONFIG.md", block);
        assert!(
            parsed.findings.is_empty(),
            "{block}\n{:#?}",
            findings(block)
        );
        seen.extend(
            parsed
                .documents
                .iter()
                .map(|document| document.object.kind()),
        );
    }
    for kind in Kind::ALL {
        assert!(seen.contains(&kind), "{kind} has an example");
    }
}

#[test]
fn aliases_cannot_make_much_of_a_long_text() {
    let long = "x".repeat(1 << 20);
    let many = vec!["*a"; 1000].join(",");
    let nested = format!("{}\"{long}\"{}", "[&a ".repeat(60), "]".repeat(60));
    for text in [
        format!("a: &a \"{long}\"\nb: [{many}]\n"),
        format!("a: &a {{b: \"{long}\"}}\nb: [{many}]\n"),
        nested,
    ] {
        let found = findings(&text);
        let rule = "what aliases stand for has at most 16777216 bytes";
        assert!(found.len() == 1 && found[0].ends_with(rule), "{found:?}");
    }
}

#[test]
fn bad_authorization_policies_are_refused() {
    let table = [
        ("{}", "rules: is required"),
        (
            "{action: Deny, rules: []}",
            "a policy that denies must have a rule",
        ),
        ("{action: Alow, rules: []}", "did you mean `Allow`?"),
        (
            "{mode: Dry, rules: []}",
            "must be one of Enforce, DryRun, got `Dry`",
        ),
        (
            "{rules: [{form: []}]}",
            "unknown field `form`, did you mean `from`?",
        ),
        (
            "{rules: [{from: []}]}",
            "must have from 1 to 32 entries, got 0",
        ),
        ("{rules: [{from: [{}]}]}", "says nothing of the caller"),
        ("{rules: [{to: [{}]}]}", "says nothing of the call"),
        (
            "{rules: [{to: [{paths: []}]}]}",
            "must have from 1 to 64 entries, got 0",
        ),
        (
            "{rules: [{to: [{paths: [admin]}]}]}",
            "must begin with `/` or `*`",
        ),
        ("{rules: [{to: [{paths: [//admin]}]}]}", "can never be met"),
        (
            "{rules: [{to: [{paths: ['/a/../b']}]}]}",
            "can never be met",
        ),
        (
            "{rules: [{to: [{paths: ['/%61dmin']}]}]}",
            "can never be met",
        ),
        (
            "{rules: [{to: [{paths: ['/a?b']}]}]}",
            "without `?` and `#`",
        ),
        (
            "{rules: [{to: [{paths: ['/a*b']}]}]}",
            "at most one `*`, at its beginning or its end",
        ),
        (
            "{rules: [{to: [{methods: [get]}]}]}",
            "must be a method in capitals, got `get`",
        ),
        (
            "{rules: [{to: [{hosts: [A.test]}]}]}",
            "must be a host in lower case",
        ),
        (
            "{rules: [{to: [{hosts: ['a.test:80']}]}]}",
            "must be a host in lower case without port",
        ),
        (
            "{rules: [{to: [{headers: [{name: Host}]}]}]}",
            "`host` is what `hosts` are for",
        ),
        (
            "{rules: [{to: [{ports: [0]}]}]}",
            "must be from 1 to 65535, got 0",
        ),
        (
            "{rules: [{from: [{identities: [td/ns/a]}]}]}",
            "must begin with spiffe://",
        ),
        (
            "{rules: [{from: [{identities: ['spiffe://td/ns/a/sa/web*']}]}]}",
            "must have its `*` behind a `/`",
        ),
        (
            "{rules: [{from: [{identities: ['spiffe://TD/x']}]}]}",
            "is no SPIFFE id",
        ),
        (
            "{rules: [{from: [{trustDomains: [TD]}]}]}",
            "a trust domain has a-z",
        ),
        (
            "{rules: [{from: [{addresses: [10.0.0.1/8]}]}]}",
            "has bits behind its length; write `10.0.0.0/8`",
        ),
        (
            "{rules: [{from: [{addresses: [10.0.0.0/33]}]}]}",
            "must be an IP address, or a range",
        ),
        (
            "{rules: [{name: a}, {name: a}]}",
            "the rule `a` stands twice",
        ),
        (
            "{targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: r}], rules: []}",
            "must be one of Service, MeshService, got `HTTPRoute`",
        ),
    ];
    for (spec, message) in table {
        let text = format!(
            "apiVersion: mesh.weft.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {{name: p}}\nspec: {spec}\n"
        );
        let found = findings(&text);
        assert_eq!(found.len(), 1, "{spec}: {found:#?}");
        assert!(found[0].contains(message), "{spec}: {found:#?}");
    }
}

#[test]
fn what_an_authentication_policy_cannot_mean_is_refused_with_its_place() {
    let keys = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let provider = |more: &str| format!("{{jwt: {{providers: [{{issuer: i, {more}}}]}}}}");
    let with_keys = |more: &str| provider(&format!("jwks: '{keys}', {more}"));
    for (spec, message) in [
        ("{}".to_owned(), "must have mtls or jwt"),
        (
            "{jwt: {providers: []}}".to_owned(),
            "must have from 1 to 16 entries",
        ),
        (
            "{jwt: {providers: [{jwksUri: 'http://a/'}]}}".to_owned(),
            "spec.jwt.providers[0].issuer: is required",
        ),
        (provider(""), "must have either jwksUri or jwks"),
        (
            with_keys("jwksUri: 'http://a/'"),
            "must have either jwksUri or jwks",
        ),
        (
            provider("jwksUri: 'ftp://a/'"),
            "must begin with http:// or https://",
        ),
        (provider("jwks: '{}'"), "is no JSON Web Key Set"),
        (
            provider("jwks: '{\"keys\":[{\"kty\":\"oct\",\"k\":\"eA\"}]}'"),
            "is a shared secret (oct)",
        ),
        (
            with_keys("fromHeaders: [{name: 'a b'}]"),
            "is not a header name",
        ),
        (with_keys("outputPayloadToHeader: Host"), "cannot be edited"),
        (
            with_keys("outputClaimToHeaders: [{header: x-a, claim: a..b}]"),
            "must be a claim's name",
        ),
        (with_keys("audience: x"), "unknown field"),
        (
            format!(
                "{{jwt: {{providers: [{{issuer: i, jwks: '{keys}'}}, {{issuer: i, jwks: '{keys}'}}]}}}}"
            ),
            "the issuer `i` stands twice",
        ),
    ] {
        let text = format!(
            "apiVersion: mesh.weft.dev/v1alpha1\nkind: AuthenticationPolicy\nmetadata: {{name: p}}\nspec: {spec}\n"
        );
        let found = findings(&text);
        assert!(
            found.iter().any(|it| it.contains(message)),
            "{spec}: {found:#?}"
        );
    }
}

#[test]
fn what_stands_twice_or_is_of_a_wrong_kind_is_told_at_its_own_place() {
    let policy = |targets: &str| {
        let text = format!(
            "apiVersion: mesh.weft.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {{name: p}}\nspec:\n  rules: [{{}}]\n  targetRefs:\n{targets}"
        );
        let parsed = parse("f", &text);
        let findings: Vec<String> = parsed.findings.iter().map(ToString::to_string).collect();
        findings.join("\n")
    };
    let web = "  - {group: mesh.weft.dev, kind: MeshService, name: web}\n";
    let said = policy(&format!("{web}{web}"));
    assert!(
        said.starts_with("f:8:5: ") && said.contains("stands twice"),
        "{said}"
    );
    let route = "  - {group: gateway.networking.k8s.io, kind: HTTPRoute, name: web}\n";
    let said = policy(&format!("{web}{route}"));
    assert!(said.starts_with("f:8:"), "{said}");
    assert!(
        said.contains("must be one of Service, MeshService, got `HTTPRoute`"),
        "{said}"
    );
}

#[test]
fn names_that_istio_has_for_it_are_answered_with_ours() {
    let rule = |rule: &str| {
        format!(
            "apiVersion: mesh.weft.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {{name: p}}\nspec: {{rules: [{rule}]}}\n"
        )
    };
    for (text, own) in [
        (rule("{from: [{source: {principals: [a]}}]}"), "here that is `identities`"),
        (rule("{from: [{principals: [a]}]}"), "here that is `identities`"),
        (rule("{to: [{operation: {methods: [GET]}}]}"), "here that is `methods`"),
        (rule("{from: [{ipBlocks: [10.0.0.0/8]}]}"), "here that is `addresses`"),
        (
            "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: p}\nspec: {}\n".to_owned(),
            "here that is `AuthenticationPolicy`",
        ),
    ] {
        let parsed = parse("f", &text);
        let told = parsed.findings.iter().any(|it| it.message.contains(own));
        assert!(told, "{text}: {:#?}", parsed.findings);
    }
}

#[test]
fn a_token_does_not_write_what_proxies_say() {
    let policy = |header: &str| {
        format!(
            "apiVersion: mesh.weft.dev/v1alpha1\nkind: AuthenticationPolicy\nmetadata: {{name: p}}\nspec: {{jwt: {{providers: [{{issuer: i, jwksUri: \
             'https://i/k', outputClaimToHeaders: [{{header: '{header}', claim: sub}}]}}]}}}}\n"
        )
    };
    for header in [
        "x-forwarded-client-cert",
        "X-Forwarded-For",
        "x-weft-spelling",
        "x-envoy-attempt-count",
        "host",
        ":authority",
        "content-length",
        "connection",
        "via",
    ] {
        assert!(parse("f", &policy(header)).has_faults(), "{header}");
    }
    for header in ["x-user", "authorization", "x-forwarder"] {
        assert!(!parse("f", &policy(header)).has_faults(), "{header}");
    }
}
