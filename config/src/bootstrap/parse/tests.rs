use crate::bootstrap::{Bootstrap, ConfigSource};
use crate::cluster::{Discovery, UpstreamProtocol};
use crate::diag::Diagnostics;
use crate::listener::{ChainAction, RouteSource};
use crate::testing::findings;

const STATIC: &str = r#"
node: { id: one, cluster: shop }
admin:
  address: { socket_address: { address: 127.0.0.1, port_value: 9901 } }
static_resources:
  listeners:
  - name: http
    address: { socket_address: { address: 127.0.0.1, port_value: 10000 } }
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          route_config:
            name: local
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: { prefix: "/" }
                route: { cluster: origin, timeout: 1.5s }
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  - name: tcp
    address: { socket_address: { address: "::1", port_value: 10001 } }
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: tcp
          cluster: origin
  clusters:
  - name: origin
    connect_timeout: 0.25s
    type: STATIC
    load_assignment:
      cluster_name: origin
      endpoints:
      - lb_endpoints:
        - endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: 8080 } } }
"#;

fn parse(text: &str) -> (Option<Bootstrap>, Vec<String>) {
    let mut diag = Diagnostics::new();
    let bootstrap = Bootstrap::parse_file(text, "boot.yaml", &mut diag);
    (bootstrap, findings(&diag))
}

#[test]
fn static_listeners_and_clusters_are_read() {
    let (bootstrap, found) = parse(STATIC);
    assert_eq!(found, Vec::<String>::new());
    let bootstrap = bootstrap.expect("it is sound");
    assert_eq!(bootstrap.node.id, "one");
    assert_eq!(bootstrap.admin, Some("127.0.0.1:9901".parse().unwrap()));
    assert_eq!(
        bootstrap.listeners[1].address,
        Some("[::1]:10001".parse().unwrap())
    );
    let ChainAction::Http(hcm) = &bootstrap.listeners[0].filter_chains[0].action else {
        panic!("not HTTP")
    };
    assert!(matches!(&hcm.routes, RouteSource::Inline(table) if table.routes().count() == 1));
    assert!(
        matches!(&bootstrap.clusters[0].discovery, Discovery::Static(set) if set.localities.len() == 1)
    );
}

#[test]
fn json_is_read_like_yaml() {
    let text = r#"{"node": {"id": "one"}, "staticResources": {"clusters": [
        {"name": "a", "type": "STRICT_DNS", "loadAssignment": {"clusterName": "a", "endpoints": [{"lbEndpoints": [
            {"endpoint": {"address": {"socketAddress": {"address": "a.example", "portValue": 80}}}}]}]}}]}}"#;
    let (bootstrap, found) = parse(text);
    assert_eq!(found, Vec::<String>::new());
    let clusters = bootstrap.expect("it is sound").clusters;
    assert!(
        matches!(&clusters[0].discovery, Discovery::StrictDns(dns) if &*dns.endpoints[0].target.host == "a.example")
    );
}

#[test]
fn the_ads_server_is_found_through_its_cluster() {
    let text = r#"
node: { id: one, cluster: c }
dynamic_resources:
  ads_config:
    api_type: DELTA_GRPC
    transport_api_version: V3
    grpc_services: [{ envoy_grpc: { cluster_name: control } }]
  lds_config: { ads: {}, resource_api_version: V3 }
  cds_config: { path_config_source: { path: /etc/cds.yaml } }
static_resources:
  clusters:
  - name: control
    type: STRICT_DNS
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: { http2_protocol_options: {} }
    load_assignment:
      cluster_name: control
      endpoints:
      - lb_endpoints:
        - endpoint: { address: { socket_address: { address: weft, port_value: 15010 } } }
"#;
    let (bootstrap, found) = parse(text);
    assert_eq!(found, Vec::<String>::new());
    let bootstrap = bootstrap.expect("it is sound");
    let dynamic = bootstrap.dynamic.expect("there are dynamic resources");
    assert_eq!(dynamic.lds, Some(ConfigSource::Ads));
    assert_eq!(
        dynamic.cds,
        Some(ConfigSource::Path("/etc/cds.yaml".into()))
    );
    let ads = dynamic.ads.expect("there is an ADS server");
    assert!(ads.delta);
    assert_eq!(ads.clusters, ["control".into()]);
    assert_eq!(bootstrap.clusters[0].protocol, UpstreamProtocol::Http2);
}

#[test]
fn unknown_fields_and_wrong_values_come_all_at_once_with_their_places() {
    let text = "node: { id: one }\nstatic_resources:\n  listenrs: []\n  clusters:\n  - name: 5\n    connect_timeout: soon\n    lb_policy: BEST\n";
    let (bootstrap, found) = parse(text);
    assert!(bootstrap.is_none());
    assert_eq!(
        found,
        [
            "fault: boot.yaml:3:3: static_resources.listenrs: envoy.config.bootstrap.v3.Bootstrap.StaticResources has no such field, did you mean \"listeners\"?",
            "fault: boot.yaml:5:5: static_resources.clusters[0].name: expected a string, got 5",
            "fault: boot.yaml:6:5: static_resources.clusters[0].connect_timeout: expected a duration in seconds as in \"1.5s\", got \"soon\"",
            "fault: boot.yaml:7:5: static_resources.clusters[0].lb_policy: expected one of ROUND_ROBIN, LEAST_REQUEST, RING_HASH, RANDOM, MAGLEV, CLUSTER_PROVIDED, LOAD_BALANCING_POLICY_CONFIG, got \"BEST\"",
        ]
    );
}

#[test]
fn two_of_which_there_may_be_one_are_a_fault_with_its_place() {
    let text = r#"
static_resources:
  clusters:
  - name: a
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config:
          http_protocol_options: {}
          http2_protocol_options: {}
"#;
    let (bootstrap, found) = parse(text);
    assert!(bootstrap.is_none());
    let [found] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert!(found.starts_with("fault: boot.yaml:"), "{found}");
    assert!(
        found.contains("explicit_http_config.http")
            && found.contains(": cannot stand beside \"http"),
        "{found}"
    );
    let one = text.replace(
        "          http_protocol_options: {}\n",
        "          http_protocol_options: null\n",
    );
    assert_eq!(parse(&one).1, Vec::<String>::new(), "null is nothing");
}

#[test]
fn faults_of_the_model_carry_their_places_too() {
    let text = STATIC.replace("connect_timeout: 0.25s", "connect_timeout: -1s");
    let (bootstrap, found) = parse(&text);
    assert!(bootstrap.is_none());
    assert_eq!(
        found,
        [
            "fault: boot.yaml:38:5: static_resources.clusters[0].connect_timeout: must not be negative, got -1s"
        ]
    );
}

#[test]
fn a_duplicate_key_is_a_fault() {
    let (bootstrap, found) = parse("node: { id: a }\nnode: { id: b }\n");
    assert!(bootstrap.is_none());
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("boot.yaml:2"), "{found:?}");
}

#[test]
fn towers_of_brackets_dashes_and_aliases_are_refused() {
    let bomb: String = (0..40).fold("a0: &a0 [x]\n".to_owned(), |text, n| {
        format!("{text}a{}: &a{} [*a{n},*a{n},*a{n},*a{n}]\n", n + 1, n + 1)
    });
    for text in [
        "[".repeat(100_000),
        "- ".repeat(100_000),
        bomb,
        "? ".repeat(100_000),
    ] {
        let (bootstrap, found) = parse(&text);
        assert!(bootstrap.is_none());
        assert_eq!(found.len(), 1);
    }
}

#[test]
fn what_would_open_a_door_if_ignored_is_refused() {
    let text = STATIC.replace(
        "    connect_timeout: 0.25s\n",
        "    transport_socket:\n      name: envoy.transport_sockets.tls\n      typed_config:\n        \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext\n",
    );
    let (bootstrap, found) = parse(&text);
    assert!(bootstrap.is_none());
    assert_eq!(
        found,
        [
            "fault: boot.yaml:40:7: static_resources.clusters[0].transport_socket.typed_config.common_tls_context: is missing"
        ]
    );
}

#[test]
fn a_cluster_that_ads_names_and_nobody_defines_is_a_fault() {
    let text = "dynamic_resources: { ads_config: { api_type: GRPC, grpc_services: [{ envoy_grpc: { cluster_name: x } }] } }";
    let (bootstrap, found) = parse(text);
    assert!(bootstrap.is_none());
    assert!(
        found[0].ends_with("\"x\" is not among the static clusters"),
        "{found:?}"
    );
}

/// A bootstrap whose one cluster takes its certificate from `source`; `dynamic` stands beside the static resources.
fn with_secret_from(source: &str, dynamic: &str) -> (Option<Bootstrap>, Vec<String>) {
    parse(&format!(
        "static_resources: {{ clusters: [{{ name: agent, type: STATIC, transport_socket: {{ name: tls, typed_config: {{ \
         '@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, common_tls_context: {{ \
         tls_certificate_sds_secret_configs: [{{ name: own, sds_config: {source} }}] }} }} }} }}] }}\n{dynamic}"
    ))
}

#[test]
fn a_secret_from_somebody_whom_the_bootstrap_does_not_know_is_a_fault() {
    let server = |cluster: &str| {
        format!(
            "{{ api_config_source: {{ api_type: GRPC, grpc_services: [{{ envoy_grpc: {{ cluster_name: {cluster} }} }}] }} }}"
        )
    };
    for (source, fault) in [
        (
            "{ ads: {} }".to_owned(),
            "secret \"own\" from ADS: ads is wanted, but there is no ads_config",
        ),
        (
            server("agen"),
            "secret \"own\" from cluster \"agen\": \"agen\" is not among the static clusters, did you mean \"agent\"?",
        ),
    ] {
        let (bootstrap, found) = with_secret_from(&source, "");
        assert!(bootstrap.is_none());
        assert!(
            found[0].contains("static_resources.clusters[0]") && found[0].ends_with(fault),
            "{found:?}"
        );
    }
    let ads = "dynamic_resources: { ads_config: { api_type: GRPC, grpc_services: [{ envoy_grpc: { cluster_name: agent } }] } }";
    for (source, dynamic) in [(server("agent"), ""), ("{ ads: {} }".to_owned(), ads)] {
        let (bootstrap, found) = with_secret_from(&source, dynamic);
        assert!(bootstrap.is_some(), "{found:?}");
    }
}

#[test]
fn every_bootstrap_of_the_manual_is_read_without_a_finding() {
    let manual = include_str!("../../../../docs/CONFIG.md");
    let blocks = manual.split("```yaml bootstrap\n").skip(1);
    let blocks: Vec<&str> = blocks.filter_map(|it| it.split("```").next()).collect();
    assert_eq!(blocks.len(), 1);
    for block in blocks {
        let (bootstrap, found) = parse(block);
        assert!(bootstrap.is_some() && found.is_empty(), "{found:?}");
    }
}
