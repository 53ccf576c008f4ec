//! What cannot be honoured refuses the rules.

use serde_json::json;

use super::super::parse::{CONDITIONS_MAX, DEPTH_MAX};
use super::*;

fn refused(value: Value) -> Vec<String> {
    let (rules, found) = read(value);
    assert!(rules.is_none(), "read although {found:?}");
    found
}

#[test]
fn conditions_that_would_be_ignored_are_faults() {
    let any = json!({ "any": true });
    let extension = json!({ "name": "x" });
    for (permission, rule) in [
        (
            json!({ "matcher": extension }),
            "matcher: is not supported yet",
        ),
        (
            json!({ "uri_template": extension }),
            "uri_template: is not supported yet",
        ),
        (json!({ "any": false }), "any: must be true"),
        (json!({}), ": has no rule"),
        (json!({ "and_rules": {} }), "and_rules: must not be empty"),
        (
            json!({ "or_rules": { "rules": [{}] } }),
            "or_rules.rules[0]: has no rule",
        ),
        (
            json!({ "not_rule": { "not_rule": {} } }),
            "not_rule.not_rule: has no rule",
        ),
        (
            json!({ "header": { "name": ":protocol", "present_match": true } }),
            "header: \":protocol\" is not supported; :method, :path, :authority, :scheme are",
        ),
        (
            json!({ "url_path": { "path": { "prefix": "/a?b" } } }),
            "url_path: \"/a?b\" has a query or a fragment, which is not looked at",
        ),
        (
            json!({ "url_path": { "path": { "safe_regex": { "regex": "(" } } } }),
            "url_path: not a regular expression: unclosed group",
        ),
        (
            json!({ "destination_port": 65536 }),
            "destination_port: must be at most 65535, got 65536",
        ),
        (
            json!({ "destination_port_range": { "start": 2, "end": 2 } }),
            "destination_port_range: must begin at a port and end at a later one, at most 65536, got 2 to 2",
        ),
        (
            json!({ "destination_ip": { "address_prefix": "a" } }),
            "destination_ip: \"a\" is not an IP address",
        ),
        (
            json!({ "metadata": { "filter": "envoy.filters.http.x", "path": [{ "key": "a" }], "value": { "present_match": true } } }),
            "metadata: nothing here writes metadata of \"envoy.filters.http.x\"; envoy.filters.http.jwt_authn is what there is",
        ),
        (
            json!({ "sourced_metadata": { "metadata_source": "ROUTE" } }),
            "sourced_metadata: metadata_source: only DYNAMIC is supported",
        ),
    ] {
        let at = "fault: policies[\"p\"].permissions[0]";
        let dot = if rule.starts_with(':') { "" } else { "." };
        assert_eq!(
            refused(one("ALLOW", &permission, &any)),
            [format!("{at}{dot}{rule}")]
        );
    }
    for (principal, rule) in [
        (
            json!({ "filter_state": { "key": "a", "string_match": { "exact": "a" } } }),
            "filter_state: is not supported yet",
        ),
        (
            json!({ "custom": extension }),
            "custom: is not supported yet",
        ),
        (
            json!({ "authenticated": { "principal_name": {} } }),
            "authenticated: has no match_pattern",
        ),
        (
            json!({ "remote_ip": { "address_prefix": "::", "prefix_len": 129 } }),
            "remote_ip: prefix_len must be at most 128, got 129",
        ),
    ] {
        let at = "fault: policies[\"p\"].principals[0]";
        assert_eq!(
            refused(one("DENY", &any, &principal)),
            [format!("{at}.{rule}")]
        );
    }
}

#[test]
fn every_fault_of_all_policies_is_told_at_once() {
    let found = refused(json!({ "action": "DENY", "policies": {
        "b": { "permissions": [{ "any": true }], "principals": [], "condition": { "const_expr": { "bool_value": true } } },
        "a": { "permissions": [{}, { "any": false }], "principals": [{}] } } }));
    assert_eq!(
        found,
        [
            "fault: policies[\"a\"].permissions[0]: has no rule",
            "fault: policies[\"a\"].permissions[1].any: must be true",
            "fault: policies[\"a\"].principals[0]: has no identifier",
            "fault: policies[\"b\"].condition: is not supported",
            "fault: policies[\"b\"].principals: must not be empty",
        ]
    );
}

#[test]
fn rules_have_a_greatest_depth_and_a_greatest_number() {
    let nested = |depth: usize| {
        (1..depth).fold(
            json!({ "any": true }),
            |inner, _| json!({ "not_rule": inner }),
        )
    };
    let any = json!({ "any": true });
    let (good, _) = read(one("ALLOW", &nested(DEPTH_MAX), &any));
    assert!(good.is_some());
    let found = refused(one("ALLOW", &nested(DEPTH_MAX + 1), &any));
    assert!(
        found[0].ends_with("is more than 32 conditions deep"),
        "{found:?}"
    );

    let many = |count: usize| {
        let permissions = vec![json!({ "any": true }); count];
        json!({ "policies": { "p": { "permissions": permissions, "principals": [any] } } })
    };
    assert!(read(many(CONDITIONS_MAX - 1)).0.is_some());
    let found = refused(many(CONDITIONS_MAX + 5));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].ends_with("there are more than 10000 conditions"),
        "{found:?}"
    );
}

#[test]
fn rules_for_connections_ask_for_no_header() {
    use weft_xds_proto::pb::envoy::extensions::filters::network::rbac::v3::Rbac;

    let header = json!({ "header": { "name": "x-team", "present_match": false } });
    let any = json!({ "any": true });
    for field in ["rules", "shadow_rules"] {
        let nested = json!({ "or_rules": { "rules": [any, { "not_rule": header }] } });
        let proto: Rbac = message(json!({ field: one("DENY", &nested, &any) }));
        let mut diag = Diagnostics::new();
        crate::policy::access::AccessFilter::parse_network(&proto, &FieldPath::root(), &mut diag);
        let rule = "has a condition on a header, and connections have none";
        assert_eq!(findings(&diag), [format!("fault: {field}: {rule}")]);
    }
}
