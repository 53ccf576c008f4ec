use serde_json::{Value, json};
use weft_xds_proto::pb::envoy::config::listener::v3 as pb;

use crate::diag::{Diagnostics, FieldPath};
use crate::listener::{
    AccessLogFormat, ChainAction, HttpConnectionManager, HttpFilter, HttpLimits, Listener,
    RouteSource, ServerHeader,
};
use crate::policy::access::OnRevoke;
use crate::testing::{findings, message};

const HTTP: &str = "type.googleapis.com/envoy.extensions.filters.http";

fn parse(mut value: Value) -> (Option<Listener>, Vec<String>) {
    value["name"] = json!("l");
    let proto: pb::Listener = message(value);
    let mut diag = Diagnostics::new();
    let listener = Listener::parse(&proto, &FieldPath::root(), &mut diag);
    (listener, findings(&diag))
}

fn router() -> Value {
    json!({ "name": "envoy.filters.http.router", "typed_config": { "@type": format!("{HTTP}.router.v3.Router") } })
}

fn hcm(further: Value) -> Value {
    let mut config = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "s", "rds": { "route_config_name": "r", "config_source": { "ads": {} } }, "http_filters": [router()],
    });
    for (name, value) in further.as_object().unwrap() {
        config[name] = value.clone();
    }
    config
}

fn chain(config: Value) -> Value {
    json!({ "filters": [{ "name": "f", "typed_config": config }] })
}

fn http(further: Value) -> (Option<HttpConnectionManager>, Vec<String>) {
    let (listener, found) = parse(json!({ "filter_chains": [chain(hcm(further))] }));
    let hcm = listener.map(|it| match &it.filter_chains[0].action {
        ChainAction::Http(hcm) => HttpConnectionManager::clone(hcm),
        ChainAction::Tcp(_) => panic!("not HTTP"),
    });
    (hcm, found)
}

#[test]
fn an_api_listener_is_not_bound() {
    let (listener, found) = parse(json!({ "api_listener": { "api_listener": hcm(json!({})) } }));
    assert_eq!(found, Vec::<String>::new());
    let listener = listener.unwrap();
    assert_eq!(listener.address, None);
    let Some(ChainAction::Http(hcm)) = listener.default_filter_chain.map(|it| it.action) else {
        panic!()
    };
    assert_eq!(hcm.routes, RouteSource::Rds("r".into()));
}

#[test]
fn limits_upgrades_and_logs_are_read() {
    let (hcm, found) = http(json!({
        "max_request_headers_kb": 96, "stream_idle_timeout": "0s", "common_http_protocol_options": { "max_headers_count": 7 },
        "http2_protocol_options": { "max_concurrent_streams": 9 },
        "upgrade_configs": [{ "upgrade_type": "WebSocket" }, { "upgrade_type": "CONNECT", "enabled": false }],
        "access_log": [{ "name": "a", "typed_config": { "@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
            "log_format": { "json_format": { "s": "%RESPONSE_CODE%" } } } }],
    }));
    assert_eq!(found, Vec::<String>::new());
    let hcm = hcm.unwrap();
    assert_eq!(
        (
            hcm.limits.header_bytes_max,
            hcm.limits.header_count_max,
            hcm.limits.http2.streams_max
        ),
        (96 * 1024, 7, 9)
    );
    assert!(hcm.limits.stream_idle_timeout.is_zero());
    assert_eq!(hcm.upgrades, ["websocket".into()]);
    assert_eq!(&*hcm.access_log[0].path, "/dev/stdout");
    assert_eq!(
        hcm.access_log[0].format,
        AccessLogFormat::JsonPattern([("s".to_owned(), "%RESPONSE_CODE%".to_owned())].into())
    );
}

#[test]
fn filters_that_are_not_known_answer_500_unless_optional() {
    let cors = |optional: bool| json!({ "name": "cors", "is_optional": optional, "typed_config": { "@type": format!("{HTTP}.cors.v3.Cors") } });
    let (hcm, found) = http(json!({ "http_filters": [cors(false), router()] }));
    assert!(matches!(
        &hcm.unwrap().filters[..],
        [HttpFilter::Unsupported { .. }]
    ));
    assert!(found[0].starts_with("warning: "), "{found:?}");
    let (hcm, _) = http(json!({ "http_filters": [cors(true), router()] }));
    assert!(hcm.unwrap().filters.is_empty());
}

#[test]
fn filters_that_decide_who_gets_in_are_refused_even_if_optional() {
    for name in ["rbac.v3.RBACPerRoute", "ext_authz.v3.ExtAuthz"] {
        let filter = json!({ "name": "f", "is_optional": true, "typed_config": { "@type": format!("{HTTP}.{name}") } });
        let (hcm, found) = http(json!({ "http_filters": [filter, router()] }));
        assert!(hcm.is_none());
        assert!(found[0].contains("decides who gets in"), "{found:?}");
    }
}

#[test]
fn rbac_stands_as_often_as_it_likes_and_cannot_be_switched_off() {
    let rbac = |name: &str, disabled: bool| json!({ "name": name, "disabled": disabled, "typed_config": { "@type": format!("{HTTP}.rbac.v3.RBAC"), "rules": {} } });
    let filters = json!([rbac("a", false), rbac("b.continuous", false), router()]);
    let (hcm, found) = http(json!({ "http_filters": filters }));
    let hcm = hcm.unwrap_or_else(|| panic!("{found:?}"));
    let revoked = hcm.filters.iter().map(|filter| match filter {
        HttpFilter::Access(filter) => filter.on_revoke,
        other => panic!("{other:?}"),
    });
    assert_eq!(
        revoked.collect::<Vec<_>>(),
        [OnRevoke::Keep, OnRevoke::Close]
    );
    let (hcm, found) = http(json!({ "http_filters": [rbac("a", true), router()] }));
    assert!(hcm.is_none());
    let rule = "http_filters[0].disabled: is not supported for this filter";
    assert!(found[0].ends_with(rule), "{found:?}");
}

#[test]
fn the_router_must_be_the_last_filter() {
    for filters in [json!([]), json!([router(), router()])] {
        let (hcm, found) = http(json!({ "http_filters": filters }));
        assert!(hcm.is_none());
        assert!(found[0].contains("router"), "{found:?}");
    }
}

#[test]
fn what_would_change_who_is_let_in_is_refused() {
    let tcp = json!({ "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "s", "cluster": "c" });
    let tls = json!({ "name": "tls", "typed_config": { "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext" } });
    let with = |name: &str, value: Value| {
        let mut chain = chain(tcp.clone());
        chain[name] = value;
        json!({ "filter_chains": [chain] })
    };
    let (listener, found) = parse(with("name", json!("x")));
    assert!(listener.is_some(), "{found:?}");
    let proxy_protocol = json!({ "name": "p", "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol" } });
    for (value, fault) in [
        (
            with("transport_socket", tls),
            "filter_chains[0].transport_socket.typed_config.common_tls_context: is missing",
        ),
        (
            with("filter_chain_match", json!({ "server_names": ["a*"] })),
            "filter_chains[0].filter_chain_match.server_names[0]: must be a name or \"*.\" and a domain, got \"a*\"",
        ),
        (
            json!({ "filter_chains": [chain(tcp.clone())], "listener_filters": [proxy_protocol] }),
            "listener_filters[0]: envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol is not supported yet",
        ),
        (
            json!({ "filter_chains": [chain(tcp.clone()), chain(tcp.clone())] }),
            "filter_chains[1].filter_chain_match: is the same as that of filter_chains[0]",
        ),
        (
            json!({ "filter_chains": [{ "filters": [] }] }),
            "filter_chains[0].filters: must not be empty",
        ),
        (json!({}), "filter_chains: must not be empty"),
    ] {
        let (listener, found) = parse(value);
        assert!(listener.is_none());
        assert_eq!(found, [format!("fault: {fault}")]);
    }
}

#[test]
fn an_access_log_format_that_cannot_be_compiled_is_refused_with_its_path() {
    let to_file = |format: Value| {
        json!({ "access_log": [{ "name": "a", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": "/dev/stdout", "log_format": format,
        } }] })
    };
    let (hcm, found) = http(to_file(json!({ "text_format": "%RESPONSE_CODE%" })));
    assert_eq!(hcm.unwrap().access_log.len(), 1, "{found:?}");
    for format in [
        json!({ "text_format": "%NO_SUCH_OPERATOR%" }),
        json!({ "json_format": { "a": "%RESPONSE_CODE" } }),
    ] {
        let (hcm, found) = http(to_file(format));
        assert!(hcm.is_none());
        let at = "filters[0].typed_config.access_log[0].typed_config: ";
        assert!(
            found[0].starts_with("fault: ") && found[0].contains(at),
            "{found:?}"
        );
    }
}

#[test]
fn the_server_header_is_read_as_given() {
    let (hcm, _) = http(json!({}));
    let hcm = hcm.unwrap();
    assert_eq!(
        (&*hcm.server_name, hcm.server_header),
        ("weft", ServerHeader::Overwrite)
    );
    let given = json!({ "server_name": "x", "server_header_transformation": "PASS_THROUGH" });
    let hcm = http(given).0.unwrap();
    assert_eq!(
        (&*hcm.server_name, hcm.server_header),
        ("x", ServerHeader::PassThrough)
    );
    let (hcm, found) = http(json!({ "server_name": "a\r\nb" }));
    assert!(hcm.is_none());
    assert!(
        found[0].contains("server_name: is not a field value"),
        "{found:?}"
    );
}

#[test]
fn the_buffer_limit_of_a_listener_bounds_its_requests() {
    let limited = |bytes: u32| json!({ "filter_chains": [chain(hcm(json!({})))], "per_connection_buffer_limit_bytes": bytes });
    for (bytes, wanted) in [(1000, 1000), (0, HttpLimits::default().buffer_bytes_max)] {
        let (listener, found) = parse(limited(bytes));
        assert_eq!(found.is_empty(), bytes > 0, "{found:?}");
        let ChainAction::Http(hcm) = &listener.unwrap().filter_chains[0].action else {
            panic!("not HTTP")
        };
        assert_eq!(hcm.limits.buffer_bytes_max, wanted);
    }
}

#[test]
fn what_redirection_brings_is_asked_for_by_the_listener() {
    let source = |more: Value| {
        let kind =
            "type.googleapis.com/envoy.extensions.filters.listener.original_src.v3.OriginalSrc";
        let mut config = json!({ "@type": kind });
        for (name, value) in more.as_object().unwrap() {
            config[name] = value.clone();
        }
        let filter =
            json!({ "name": "envoy.filters.listener.original_src", "typed_config": config });
        let filters = json!([filter, { "name": "envoy.filters.listener.original_dst" }]);
        parse(
            json!({ "transparent": true, "listener_filters": filters, "filter_chains": [chain(hcm(json!({})))] }),
        )
    };
    let (listener, found) = source(json!({}));
    assert_eq!(found, Vec::<String>::new());
    let listener = listener.unwrap();
    assert!(listener.transparent && listener.original_src && listener.use_original_dst);
    assert!(listener.application_ports.is_empty());
    for (more, path) in [
        (json!({ "bind_port": true }), "bind_port"),
        (json!({ "mark": 1337 }), "mark"),
    ] {
        let (listener, found) = source(more);
        assert_eq!(listener, None);
        assert!(found[0].contains(path), "{found:?}");
    }
    let (listener, _) = parse(json!({ "filter_chains": [chain(hcm(json!({})))] }));
    let listener = listener.unwrap();
    assert!(!listener.transparent && !listener.original_src);
}
