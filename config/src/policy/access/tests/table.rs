//! One condition at a time, on a request, on a plain one, and on a connection.

use serde_json::json;

use super::*;

/// Permission, whether it holds for the request, and for a plain connection.
fn permissions() -> Vec<(Value, bool, bool)> {
    let header = |name: &str, matcher: Value| {
        let mut header = json!({ "name": name });
        header
            .as_object_mut()
            .unwrap()
            .extend(matcher.as_object().unwrap().clone());
        json!({ "header": header })
    };
    let path = |matcher: Value| json!({ "url_path": { "path": matcher } });
    let exact = |text: &str| json!({ "string_match": { "exact": text } });
    vec![
        (json!({ "any": true }), true, true),
        (header(":method", exact("GET")), true, false),
        (header(":method", exact("get")), false, false),
        (header(":path", exact("/items?q=1")), true, false),
        (header(":authority", exact("shop.test:8080")), true, false),
        (header("host", exact("shop.test:8080")), true, false),
        (header("x-team", exact("red")), true, false),
        (header("X-Team", exact("red")), true, false),
        (
            header(
                "x-team",
                json!({ "string_match": { "exact": "blue" }, "invert_match": true }),
            ),
            true,
            false,
        ),
        (
            header(
                "x-none",
                json!({ "string_match": { "exact": "blue" }, "invert_match": true }),
            ),
            false,
            false,
        ),
        (
            header("x-none", json!({ "present_match": false })),
            true,
            true,
        ),
        (
            header(
                "x-none",
                json!({ "string_match": { "exact": "" }, "treat_missing_header_as_empty": true }),
            ),
            true,
            true,
        ),
        (path(json!({ "exact": "/items" })), true, false),
        (path(json!({ "prefix": "/item" })), true, false),
        (path(json!({ "suffix": "ems" })), true, false),
        (path(json!({ "exact": "/ITEMS" })), false, false),
        (
            path(json!({ "exact": "/ITEMS", "ignore_case": true })),
            true,
            false,
        ),
        (
            path(json!({ "safe_regex": { "regex": "/[a-z]+" } })),
            true,
            false,
        ),
        (
            path(json!({ "safe_regex": { "regex": "/[a-z]" } })),
            false,
            false,
        ),
        (
            json!({ "destination_ip": { "address_prefix": "10.9.0.0", "prefix_len": 16 } }),
            true,
            true,
        ),
        (
            json!({ "destination_ip": { "address_prefix": "10.8.0.0", "prefix_len": 16 } }),
            false,
            false,
        ),
        (json!({ "destination_port": 8080 }), true, true),
        (json!({ "destination_port": 0 }), false, false),
        (
            json!({ "destination_port_range": { "start": 8000, "end": 8081 } }),
            true,
            true,
        ),
        (
            json!({ "destination_port_range": { "start": 8000, "end": 8080 } }),
            false,
            false,
        ),
        (
            json!({ "requested_server_name": { "exact": "shop.test" } }),
            true,
            false,
        ),
        (
            json!({ "requested_server_name": { "exact": "" } }),
            false,
            true,
        ),
        (
            json!({ "not_rule": { "destination_port": 8080 } }),
            false,
            false,
        ),
        (
            json!({ "and_rules": { "rules": [{ "any": true }, { "destination_port": 1 }] } }),
            false,
            false,
        ),
        (
            json!({ "or_rules": { "rules": [{ "destination_port": 1 }, { "any": true }] } }),
            true,
            true,
        ),
    ]
}

/// Principal, whether it holds for the request, and for a plain connection.
fn principals() -> Vec<(Value, bool, bool)> {
    let named = |matcher: Value| json!({ "authenticated": { "principal_name": matcher } });
    vec![
        (json!({ "any": true }), true, true),
        (json!({ "authenticated": {} }), true, false),
        (
            named(json!({ "exact": "spiffe://td/ns/a/sa/web" })),
            true,
            false,
        ),
        (
            named(json!({ "exact": "spiffe://td/ns/a/sa/we" })),
            false,
            false,
        ),
        (named(json!({ "prefix": "spiffe://td/ns/a/" })), true, false),
        (
            named(json!({ "prefix": "spiffe://td/ns/ab/" })),
            false,
            false,
        ),
        (named(json!({ "exact": "CN=web" })), true, false),
        (
            named(json!({ "safe_regex": { "regex": ".*" } })),
            true,
            false,
        ),
        (
            json!({ "source_ip": { "address_prefix": "10.1.0.0", "prefix_len": 16 } }),
            true,
            true,
        ),
        (
            json!({ "direct_remote_ip": { "address_prefix": "10.1.2.3", "prefix_len": 32 } }),
            true,
            true,
        ),
        (
            json!({ "direct_remote_ip": { "address_prefix": "192.0.2.7", "prefix_len": 32 } }),
            false,
            false,
        ),
        (
            json!({ "remote_ip": { "address_prefix": "192.0.2.7", "prefix_len": 32 } }),
            true,
            true,
        ),
        (
            json!({ "remote_ip": { "address_prefix": "2001:db8::", "prefix_len": 32 } }),
            false,
            false,
        ),
        (
            json!({ "url_path": { "path": { "exact": "/items" } } }),
            true,
            false,
        ),
        (
            json!({ "header": { "name": "x-team", "string_match": { "exact": "red" } } }),
            true,
            false,
        ),
        (json!({ "not_id": { "authenticated": {} } }), false, true),
        (
            json!({ "and_ids": { "ids": [{ "any": true }, { "authenticated": {} }] } }),
            true,
            false,
        ),
        (
            json!({ "or_ids": { "ids": [{ "authenticated": {} }, { "remote_ip": { "address_prefix": "0.0.0.0" } }] } }),
            true,
            true,
        ),
        (
            claim(
                &["payload", "iss"],
                json!({ "string_match": { "prefix": "https://" } }),
            ),
            true,
            false,
        ),
        (
            claim(
                &["payload", "iss"],
                json!({ "string_match": { "exact": "https://other" } }),
            ),
            false,
            false,
        ),
        (
            claim(
                &["payload", "groups"],
                json!({ "list_match": { "one_of": { "string_match": { "exact": "ops" } } } }),
            ),
            true,
            false,
        ),
        (
            claim(
                &["payload", "groups"],
                json!({ "string_match": { "exact": "ops" } }),
            ),
            false,
            false,
        ),
        (
            claim(
                &["payload", "age"],
                json!({ "double_match": { "exact": 41.0 } }),
            ),
            true,
            false,
        ),
        (
            claim(
                &["payload", "age"],
                json!({ "double_match": { "range": { "start": 41.0, "end": 42.0 } } }),
            ),
            true,
            false,
        ),
        (
            claim(
                &["payload", "age"],
                json!({ "double_match": { "range": { "start": 40.0, "end": 41.0 } } }),
            ),
            false,
            false,
        ),
        (
            claim(&["payload", "admin"], json!({ "bool_match": true })),
            true,
            false,
        ),
        (
            claim(&["payload", "admin"], json!({ "bool_match": false })),
            false,
            false,
        ),
        (
            claim(&["payload", "none"], json!({ "null_match": {} })),
            true,
            false,
        ),
        (
            claim(&["payload", "none"], json!({ "present_match": true })),
            true,
            false,
        ),
        (
            claim(&["payload", "gone"], json!({ "present_match": true })),
            false,
            false,
        ),
        (
            claim(&["other", "iss"], json!({ "present_match": true })),
            false,
            false,
        ),
        (
            claim(
                &["payload", "iss", "deeper"],
                json!({ "present_match": true }),
            ),
            false,
            false,
        ),
    ]
}

fn claim(path: &[&str], value: Value) -> Value {
    let path: Vec<Value> = path.iter().map(|key| json!({ "key": key })).collect();
    json!({ "metadata": { "filter": "envoy.filters.http.jwt_authn", "path": path, "value": value } })
}

fn check(condition: &Value, rules: &AccessRules, on_request: bool, on_connection: bool) {
    let (allowed, matched) = request().judged(rules);
    assert_eq!(allowed, on_request, "request, {condition}");
    assert_eq!(matched.is_some(), on_request, "{condition}");
    let (allowed, _) = request().plain().connection().judged(rules);
    assert_eq!(allowed, on_connection, "connection, {condition}");
}

#[test]
fn each_permission_holds_for_what_it_says() {
    for (permission, on_request, on_connection) in permissions() {
        let rules = rules(one("ALLOW", &permission, &json!({ "any": true })));
        check(&permission, &rules, on_request, on_connection);
    }
}

#[test]
fn each_principal_holds_for_what_it_says() {
    for (principal, on_request, on_connection) in principals() {
        let rules = rules(one("ALLOW", &json!({ "any": true }), &principal));
        check(&principal, &rules, on_request, on_connection);
    }
}

#[test]
fn what_denies_keeps_out_whom_it_matches_and_nobody_else() {
    for (permission, matches, _) in permissions() {
        let rules = rules(one("DENY", &permission, &json!({ "any": true })));
        let policy = matches.then(|| "p".to_owned());
        assert_eq!(request().judged(&rules), (!matches, policy), "{permission}");
    }
}

#[test]
fn once_there_are_rules_that_allow_the_rest_is_denied() {
    assert_eq!(request().judged(&rules(json!({}))), (false, None));
    assert_eq!(
        request().judged(&rules(json!({ "action": "DENY" }))),
        (true, None)
    );
    let log = one(
        "LOG",
        &json!({ "destination_port": 1 }),
        &json!({ "any": true }),
    );
    assert_eq!(request().judged(&rules(log)), (true, None));
}

#[test]
fn the_first_policy_by_name_that_matches_is_named() {
    let any = json!({ "permissions": [{ "any": true }], "principals": [{ "any": true }] });
    let none =
        json!({ "permissions": [{ "destination_port": 1 }], "principals": [{ "any": true }] });
    let rules = rules(json!({ "policies": { "c": any, "b": any, "a": none } }));
    assert_eq!(request().judged(&rules), (true, Some("b".to_owned())));
}

#[test]
fn a_policy_needs_one_of_its_principals_and_one_of_its_permissions() {
    let of = |permissions: Value, principals: Value| {
        rules(
            json!({ "policies": { "p": { "permissions": permissions, "principals": principals } } }),
        )
    };
    let (yes, no) = (
        json!({ "any": true }),
        json!({ "not_rule": { "any": true } }),
    );
    let not = json!({ "not_id": { "any": true } });
    for (permissions, principals, allowed) in [
        (json!([no, yes]), json!([not, yes]), true),
        (json!([no, no]), json!([yes]), false),
        (json!([yes]), json!([not]), false),
    ] {
        assert_eq!(request().judged(&of(permissions, principals)).0, allowed);
    }
}

#[test]
fn any_name_of_a_certificate_is_a_principal_and_the_subject_too() {
    let mut case = request();
    case.names = vec![
        (SanKind::Dns, "web.test".into()),
        (SanKind::Ip, "10.1.2.3".into()),
        (SanKind::Uri, "spiffe://td/one".into()),
        (SanKind::Uri, "spiffe://td/two".into()),
    ];
    for (name, is) in [
        ("spiffe://td/two", true),
        ("web.test", true),
        ("CN=web", true),
        ("10.1.2.3", false),
        ("", false),
    ] {
        let principal = json!({ "authenticated": { "principal_name": { "exact": name } } });
        let rules = rules(one("ALLOW", &json!({ "any": true }), &principal));
        assert_eq!(case.judged(&rules).0, is, "{name}");
    }
}

#[test]
fn connect_has_no_path_that_could_match() {
    let mut case = request();
    case.head = Some(Head {
        method: "CONNECT",
        authority: "shop.test:443",
        path: "",
        headers: vec![],
    });
    let path = json!({ "url_path": { "path": { "safe_regex": { "regex": ".*" } } } });
    assert!(
        !case
            .judged(&rules(one("ALLOW", &path, &json!({ "any": true }))))
            .0
    );
}

#[test]
fn an_ipv4_peer_on_an_ipv6_socket_is_an_ipv4_peer() {
    let mut case = request();
    (case.source, case.remote) = ("::ffff:10.1.2.3", "::ffff:10.1.2.3");
    for field in ["direct_remote_ip", "remote_ip"] {
        let principal = json!({ field: { "address_prefix": "10.0.0.0", "prefix_len": 8 } });
        assert!(
            case.judged(&rules(one("ALLOW", &json!({ "any": true }), &principal)))
                .0,
            "{field}"
        );
    }
}
