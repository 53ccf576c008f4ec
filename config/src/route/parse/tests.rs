use std::time::Duration;

use serde_json::{Value, json};
use weft_xds_proto::pb::envoy::config::route::v3::RouteConfiguration;

use crate::diag::{Diagnostics, FieldPath};
use crate::policy::HeaderAction;
use crate::route::{Forward, PathMatch, RouteAction, RouteTable};
use crate::testing::{findings, message};

fn parse(value: Value) -> (Option<RouteTable>, Vec<String>) {
    let proto: RouteConfiguration = message(value);
    let mut diag = Diagnostics::new();
    let table = RouteTable::parse(&proto, &FieldPath::root(), &mut diag);
    (table, findings(&diag))
}

/// A table of one host with these routes.
fn routes(routes: Value) -> (Option<RouteTable>, Vec<String>) {
    parse(
        json!({ "name": "t", "virtual_hosts": [{ "name": "h", "domains": ["*"], "routes": routes }] }),
    )
}

fn forward(table: &RouteTable, index: usize) -> &Forward {
    match &table.virtual_hosts[0].routes[index].action {
        RouteAction::Forward(forward) => forward,
        other => panic!("not forwarded: {other:?}"),
    }
}

#[test]
fn what_is_not_said_has_the_defaults_of_xds() {
    let (table, found) =
        routes(json!([{ "match": { "prefix": "/" }, "route": { "cluster": "a" } }]));
    assert_eq!(found, Vec::<String>::new());
    assert_eq!(*forward(&table.unwrap(), 0), Forward::to("a".into()));
}

#[test]
fn timeouts_and_retries_are_read() {
    let (table, found) = routes(json!([{ "match": { "path": "/a" }, "route": {
        "cluster": "a", "timeout": "0s", "idle_timeout": "3s",
        "max_stream_duration": { "grpc_timeout_header_max": "0s", "max_stream_duration": "5s" },
        "retry_policy": { "retry_on": "5xx,unavailable, retriable-status-codes,bogus", "num_retries": 3,
            "retriable_status_codes": [429], "per_try_timeout": "0.5s", "retry_back_off": { "base_interval": "0.1s" } } } }]));
    let table = table.unwrap();
    let forward = forward(&table, 0);
    assert_eq!(
        (forward.timeout, forward.idle_timeout),
        (None, Some(Duration::from_secs(3)))
    );
    assert_eq!(forward.max_stream_duration, Some(Duration::from_secs(5)));
    let grpc = forward.grpc_timeout.unwrap();
    assert_eq!(
        (grpc.max, grpc.timeout),
        (None, crate::route::RouteTimeout::Holds)
    );
    let retry = forward.retry.as_ref().unwrap();
    assert!(retry.on.any_5xx);
    assert_eq!(
        (
            retry.on.grpc_codes.as_slice(),
            retry.on.status_codes.as_slice()
        ),
        (&[14][..], &[429][..])
    );
    assert_eq!(
        (retry.retries_max, retry.per_try_timeout),
        (3, Some(Duration::from_millis(500)))
    );
    assert_eq!(
        (retry.backoff_base, retry.backoff_max),
        (Duration::from_millis(100), Duration::from_secs(1))
    );
    assert_eq!(
        found,
        [
            "warning: virtual_hosts[0].routes[0].route.retry_policy.retry_on: \"bogus\" is not known and never met"
        ]
    );
}

#[test]
fn a_route_that_cannot_be_read_answers_500_and_its_neighbours_work() {
    let (table, found) = routes(json!([
        { "match": { "safe_regex": { "regex": "/users/(" } }, "route": { "cluster": "a" } },
        { "match": { "prefix": "/" }, "route": { "cluster": "b" } },
    ]));
    let table = table.expect("the table stays");
    let broken = &table.virtual_hosts[0].routes[0];
    assert!(
        matches!(broken.action, RouteAction::Broken(_)),
        "{broken:?}"
    );
    // It takes the requests that it may have been meant for.
    assert_eq!(broken.matches.path, PathMatch::Prefix("/users/".into()));
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with(
            "warning: virtual_hosts[0].routes[0].match.safe_regex: not a regular expression: "
        ),
        "{found:?}"
    );
    forward(&table, 1);
}

#[test]
fn what_is_not_built_is_never_silently_passed() {
    for (what, action) in [
        ("cluster_header", json!({ "cluster_header": "x" })),
        (
            "request_mirror_policies",
            json!({ "cluster": "a", "request_mirror_policies": [{ "cluster": "b" }] }),
        ),
        (
            "metadata_match",
            json!({ "cluster": "a", "metadata_match": {} }),
        ),
        (
            "weights",
            json!({ "weighted_clusters": { "clusters": [{ "name": "a", "weight": 0 }] } }),
        ),
        (
            "weights",
            json!({ "weighted_clusters": { "clusters": [{ "name": "a", "weight": 4294967295u32 }, { "name": "b", "weight": 1 }] } }),
        ),
        ("timeout", json!({ "cluster": "a", "timeout": "-1s" })),
        (
            "group",
            json!({ "cluster": "a", "regex_rewrite": { "pattern": { "regex": "a" }, "substitution": "\\1" } }),
        ),
    ] {
        let (table, found) = routes(json!([{ "match": { "prefix": "/" }, "route": action }]));
        let action = table.expect("the table stays").virtual_hosts[0].routes[0]
            .action
            .clone();
        assert!(
            matches!(&action, RouteAction::Broken(why) if why.contains(what)),
            "{what}: {action:?}"
        );
        assert!(!found.is_empty());
    }
}

#[test]
fn faults_of_the_table_come_all_at_once() {
    let (table, found) = parse(json!({ "name": "t", "vhost_header": "x", "virtual_hosts": [
        { "name": "a", "domains": [], "require_tls": "ALL" },
        { "name": "b", "domains": ["b"], "routes": [{ "match": { "prefix": "/" } }] },
        { "name": "c", "domains": ["B"] },
    ] }));
    assert!(table.is_none());
    assert_eq!(
        found,
        [
            "fault: vhost_header: is not supported yet",
            "fault: virtual_hosts[0].require_tls: is not supported yet",
            "fault: virtual_hosts[0].domains: must not be empty",
            "fault: virtual_hosts[1].routes[0]: has no action",
            "fault: virtual_hosts[2].domains[0]: \"b\" is already a domain of virtual host \"b\"",
        ]
    );
}

/// `(name, value)` of the headers that a request ends up with that had none.
fn added(wins: bool) -> Vec<(String, String)> {
    let set = |value: &str| json!([{ "header": { "key": "x", "value": value }, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD" }]);
    let (table, found) = parse(json!({
        "name": "t", "most_specific_header_mutations_wins": wins, "request_headers_to_add": set("table"),
        "virtual_hosts": [{ "name": "h", "domains": ["*"], "request_headers_to_add": set("host"), "routes": [
            { "match": { "prefix": "/" }, "request_headers_to_add": set("route"), "route": { "weighted_clusters": { "clusters": [
                { "name": "a", "weight": 1, "request_headers_to_add": set("cluster") }] } } }] }],
    }));
    assert_eq!(found, Vec::<String>::new());
    let table = table.unwrap();
    let route = &table.virtual_hosts[0].routes[0];
    let cluster = &forward(&table, 0).clusters.clusters[0];
    let mut headers = Vec::new();
    for edit in route
        .request_headers
        .add
        .iter()
        .chain(&cluster.request_headers.add)
    {
        assert_eq!(edit.action, HeaderAction::Set);
        headers.retain(|(name, _)| *name != *edit.name);
        headers.push((edit.name.to_string(), edit.value.to_string()));
    }
    headers
}

#[test]
fn the_least_specific_edit_has_the_last_word_unless_told_otherwise() {
    assert_eq!(added(false), [("x".to_owned(), "table".to_owned())]);
    assert_eq!(added(true), [("x".to_owned(), "cluster".to_owned())]);
}

#[test]
fn substitutions_and_framing_headers_are_not_edited() {
    for (key, value, expected) in [
        ("x", "%REQ(y)%", "substitutions are not supported"),
        ("x", "a\r\nb: c", "control character"),
        ("x y", "1", "not a header name"),
        (":path", "/", "pseudo-headers cannot be edited"),
        ("Content-Length", "1", "written by the proxy"),
    ] {
        let (table, found) = routes(
            json!([{ "match": { "prefix": "/" }, "route": { "cluster": "a" },
            "request_headers_to_add": [{ "header": { "key": key, "value": value } }] }]),
        );
        assert!(matches!(
            table.unwrap().virtual_hosts[0].routes[0].action,
            RouteAction::Broken(_)
        ));
        assert!(found[0].contains(expected), "{found:?}");
    }
    let (table, _) = routes(
        json!([{ "match": { "prefix": "/" }, "route": { "cluster": "a" },
        "request_headers_to_add": [{ "header": { "key": "x", "value": "5%%" } }] }]),
    );
    assert_eq!(
        &*table.unwrap().virtual_hosts[0].routes[0]
            .request_headers
            .add[0]
            .value,
        "5%"
    );
}

#[test]
fn rate_limits_of_a_route_take_the_place_of_those_of_its_host() {
    let limit = |tokens: u32| {
        json!({ "envoy.filters.http.local_ratelimit": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": "l", "token_bucket": { "max_tokens": tokens, "fill_interval": "1s" },
        "filter_enabled": { "default_value": { "numerator": 100 } }, "filter_enforced": { "default_value": { "numerator": 100 } } } })
    };
    let (table, found) = parse(
        json!({ "name": "t", "virtual_hosts": [{ "name": "h", "domains": ["*"],
        "typed_per_filter_config": limit(1), "routes": [
            { "match": { "prefix": "/a" }, "route": { "cluster": "a" }, "typed_per_filter_config": limit(2) },
            { "match": { "prefix": "/b" }, "route": { "cluster": "a" } },
            { "match": { "prefix": "/c" }, "route": { "cluster": "a" }, "typed_per_filter_config": { "envoy.filters.http.local_ratelimit": {
                "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": true } } }] }] }),
    );
    assert_eq!(found, Vec::<String>::new());
    let table = table.unwrap();
    let tokens = |index: usize| {
        let limit = table.virtual_hosts[0].routes[index]
            .overrides
            .local_rate_limit
            .as_ref()
            .unwrap();
        limit.bucket.map(|it| it.max)
    };
    assert_eq!([tokens(0), tokens(1), tokens(2)], [Some(2), Some(1), None]);
}

#[test]
fn rbac_of_a_route_is_not_ignored() {
    let rbac = json!({ "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute" });
    let (_, found) = routes(
        json!([{ "match": { "prefix": "/" }, "route": { "cluster": "a" },
        "typed_per_filter_config": { "rbac": rbac } }]),
    );
    let rule = "RBAC of a route is not supported yet";
    assert!(found.iter().any(|it| it.contains(rule)), "{found:?}");
}
