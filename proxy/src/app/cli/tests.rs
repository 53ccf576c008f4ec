use super::*;

fn parse(args: &[&str]) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("weft-proxy").chain(args.iter().copied()))
}

#[test]
fn the_simple_start_says_all_that_mesh_mode_needs() {
    let cli = parse(&[
        "--control-plane",
        "http://cp.example:15010",
        "--service",
        "reviews",
        "--label",
        "version=v2",
        "--label",
        "app=reviews",
        "--app-port",
        "9080",
        "--app-port",
        "9081",
        "--address",
        "192.0.2.1",
    ])
    .unwrap();
    let Source::Mesh(mesh) = cli.run.config().unwrap().source else {
        panic!("not mesh mode");
    };
    assert_eq!(mesh.control_plane_host, "cp.example");
    assert_eq!(mesh.control_plane_port, 15_010);
    assert_eq!(mesh.namespace, "default");
    assert_eq!(mesh.labels.get("version").map(String::as_str), Some("v2"));
    assert_eq!(mesh.app_ports, [9080, 9081]);
    assert_eq!(mesh.outbound_listen.to_string(), "127.0.0.1:15001");
    assert_eq!(mesh.inbound_listen.to_string(), "0.0.0.0:15006");
}

#[test]
fn the_access_log_is_off_unless_asked_for_and_written_as_the_log_is() {
    let log = |more: &[&str]| {
        let mut args = vec!["--control-plane", "http://a:1", "--service", "s"];
        args.extend_from_slice(more);
        match parse(&args).unwrap().run.config().unwrap().source {
            Source::Mesh(mesh) => mesh
                .access_log
                .map(|log| (log.path.to_string(), log.format)),
            Source::Bootstrap(_) => panic!("not mesh mode"),
        }
    };
    assert_eq!(log(&[]), None);
    assert_eq!(
        log(&["--access-log", "-"]),
        Some(("/dev/stdout".to_owned(), AccessLogFormat::Text))
    );
    assert_eq!(
        log(&["--access-log", "/tmp/access", "--log-format", "json"]),
        Some(("/tmp/access".to_owned(), AccessLogFormat::Json))
    );
}

#[test]
fn wrong_usage_is_told_from_refusal() {
    for args in [
        &["--service"][..],
        &["--app-port", "0"],
        &["--control-plane", "http://a:1"],
        &[
            "--control-plane",
            "http://a:1",
            "--service",
            "s",
            "--bootstrap",
            "f",
        ],
        &["--bootstrap", "f", "--service", "s"],
        &["--bootstrap", "f", "--label", "a=b"],
        &["--bootstrap", "f", "--app-port", "80"],
        &["--bootstrap", "f", "--address", "10.0.0.1"],
        &["--label", "novalue"],
        &["--drain-time", "5 parsecs"],
        &["--drain-time", "45"],
        &["--memory-max", "0"],
        &["--memory-max", "64MB"],
        &["--connections-max", "0"],
        &["--header-bytes-max", "16Mi"],
        &["--header-count-max", "0"],
        &["--buffer-bytes-max", "1"],
        &["--detection-timeout", "0s"],
        &["--bootstrap", "f", "--header-bytes-max", "1Ki"],
        &["--bootstrap", "f", "--header-count-max", "1"],
        &["--bootstrap", "f", "--buffer-bytes-max", "64Ki"],
        &["--bootstrap", "f", "--detection-timeout", "1s"],
        &["--bootstrap", "f", "--access-log", "-"],
        &["--access-log", ""],
    ] {
        assert!(parse(args).is_err(), "{args:?}");
    }
    let neither = parse(&[]).unwrap().run.config();
    assert!(matches!(neither, Err(CliError::Usage(_))), "{neither:?}");
    let missing = parse(&["--bootstrap", "/nonexistent/file"])
        .unwrap()
        .run
        .config();
    assert!(matches!(missing, Err(CliError::Refused(_))), "{missing:?}");
}

#[test]
fn control_plane_urls_are_read_or_refused() {
    let table = [
        ("http://a:1", Some((false, "a", 1))),
        ("http://a", Some((false, "a", 15_010))),
        ("http://a/", Some((false, "a", 15_010))),
        ("http://[::1]:7", Some((false, "::1", 7))),
        ("http://[::1]", Some((false, "::1", 15_010))),
        ("https://a:1", Some((true, "a", 1))),
        ("https://a", Some((true, "a", 15_012))),
        ("a:1", None),
        ("ftp://a:1", None),
        ("http://:1", None),
        ("http://a:0", None),
        ("http://a:70000", None),
        ("http://a/path", None),
    ];
    for (url, want) in table {
        let got = control_plane(url);
        let got = got.as_ref().map(|it| (it.tls, it.host.as_str(), it.port));
        assert_eq!(got.ok(), want, "{url}");
    }
}

#[test]
fn a_join_token_is_sent_in_the_clear_to_the_same_machine_alone() {
    let sent = |url: &str| {
        let token = ["--join-token", "t", "--trust-bundle", "/roots"];
        let all = [&["--control-plane", url, "--service", "s"], &token[..]].concat();
        parse(&all).unwrap().run.config().map(drop)
    };
    for url in [
        "http://127.0.0.9",
        "http://[::1]:1",
        "http://LocalHost",
        "https://a.test",
    ] {
        sent(url).unwrap();
    }
    for url in [
        "http://192.0.2.5:15010",
        "http://localhost.test",
        "http://[2001:db8::1]",
    ] {
        let refused = sent(url).unwrap_err().to_string();
        assert!(refused.contains("must be https://"), "{refused}");
    }
}

#[test]
fn an_identity_takes_a_token_and_somebody_to_trust() {
    let config = |more: &[&str]| {
        let all = [&["--control-plane", "https://a", "--service", "s"], more].concat();
        match parse(&all).unwrap().run.config().map(|it| it.source) {
            Ok(Source::Mesh(mesh)) => Ok(mesh.identity.unwrap()),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    };
    for more in [
        &[][..],
        &["--join-token", "t"],
        &["--join-token", " ", "--trust-bundle", "/roots"],
        &["--trust-bundle", "/roots"],
    ] {
        config(more).unwrap_err();
    }
    let roots = ["--trust-bundle", "/roots", "--join-token-file", "/token"];
    let plain = config(&roots).unwrap();
    assert_eq!(
        plain.id.to_string(),
        "spiffe://cluster.local/ns/default/sa/s"
    );
    assert_eq!(
        plain.control_plane.to_string(),
        "spiffe://cluster.local/ns/weft-system/sa/weft"
    );
    let named = [
        "--trust-domain",
        "td",
        "--service-account",
        "b",
        "--namespace",
        "n",
    ];
    let named = config(&[&roots[..], &named].concat()).unwrap();
    assert_eq!(named.id.to_string(), "spiffe://td/ns/n/sa/b");
}

#[test]
fn bounds_are_configuration_in_mesh_mode() {
    let mesh = ["--control-plane", "http://a", "--service", "s"];
    let flags = [
        "--memory-max=64Mi",
        "--connections-max=500",
        "--header-bytes-max=8Ki",
        "--header-count-max=20",
        "--buffer-bytes-max=16Ki",
        "--detection-timeout=250ms",
    ];
    let cli = parse(&[&mesh[..], &flags[..]].concat()).unwrap();
    let config = cli.run.config().unwrap();
    let overload = &config.overload;
    assert_eq!(overload.memory_bytes_max, NonZero::new(64 << 20));
    assert_eq!(overload.connections_max, NonZero::new(500));
    assert!(!overload.triggers.is_empty());
    let Source::Mesh(mesh) = config.source else {
        panic!("not mesh mode");
    };
    let outbound = &mesh.outbound()[0];
    assert_eq!(outbound.detection.timeout, Duration::from_millis(250));
    let chain = outbound.default_filter_chain.as_ref().unwrap();
    let weft_config::listener::ChainAction::Http(hcm) = &chain.action else {
        panic!("not HTTP");
    };
    assert_eq!(hcm.limits.header_bytes_max, 8 << 10);
    assert_eq!(hcm.limits.header_count_max, 20);
    assert_eq!(hcm.limits.buffer_bytes_max, 16 << 10);
}

#[test]
fn the_command_line_goes_before_the_bootstrap() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bootstrap.yaml");
    let heap =
        "type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig";
    let text = format!(
        "overload_manager: {{resource_monitors: [{{name: heap, typed_config: {{'@type': {heap}, max_heap_size_bytes: 5}}}}]}}"
    );
    std::fs::write(&file, text).unwrap();
    let bootstrap = ["--bootstrap", file.to_str().unwrap()];
    let budget = |flags: &[&str]| {
        let cli = parse(&[&bootstrap[..], flags].concat()).unwrap();
        cli.run.config().unwrap().overload.memory_bytes_max
    };
    assert_eq!(budget(&[]), NonZero::new(5));
    assert_eq!(budget(&["--memory-max", "1Ki"]), NonZero::new(1024));
    assert_eq!(budget(&["--memory-max", "none"]), None);
}

fn mesh_of(more: &[&str]) -> MeshConfig {
    let args = [
        "--control-plane",
        "http://127.0.0.1:15010",
        "--service",
        "a",
        "--app-port",
        "80",
    ];
    let cli = parse(&[&args[..], more].concat()).unwrap();
    let Source::Mesh(mesh) = cli.run.config().unwrap().source else {
        panic!("not mesh mode");
    };
    *mesh
}

#[test]
fn redirection_is_listened_for_on_both_families_and_only_when_it_is_said() {
    let plain = mesh_of(&[]);
    assert_eq!(plain.outbound().len(), 1);
    assert_eq!(plain.unknown(), None);
    assert!(!plain.inbound().transparent);
    let tproxy = mesh_of(&[
        "--redirection",
        "tproxy",
        "--inbound-listen",
        "192.0.2.1:15006",
    ]);
    assert!(tproxy.inbound().transparent && tproxy.inbound().original_src);
    assert_eq!(tproxy.inbound_listen.to_string(), "192.0.2.1:15006");
    let redirect = mesh_of(&["--redirection", "redirect"]);
    assert!(!redirect.inbound().transparent);
    let listens: Vec<String> = redirect
        .outbound()
        .iter()
        .filter_map(|listener| Some(listener.address?.to_string()))
        .collect();
    if crate::redirect::uses_ipv6() {
        assert_eq!(redirect.inbound_listen.to_string(), "[::]:15006");
        assert_eq!(listens, ["127.0.0.1:15001", "[::1]:15001"]);
    } else {
        assert_eq!(redirect.inbound_listen.to_string(), "0.0.0.0:15006");
        assert_eq!(listens, ["127.0.0.1:15001"]);
    }
}

#[test]
fn what_nobody_knows_goes_on_or_nowhere_as_the_policy_says() {
    use weft_config::cluster::Discovery;
    use weft_config::listener::{ChainAction, RouteSource};
    for (policy, routes) in [("ALLOW_ANY", 1), ("REGISTRY_ONLY", 0)] {
        let mesh = mesh_of(&["--outbound-policy", policy, "--redirection", "redirect"]);
        let cluster = mesh.outbound_policy.cluster();
        let original = cluster.discovery == Discovery::OriginalDst;
        assert_eq!(original, routes == 1, "{policy}");
        let unknown = mesh.unknown().unwrap();
        assert_eq!(unknown.address, None);
        let ChainAction::Http(hcm) = &unknown.filter_chains[0].action else {
            panic!("not HTTP");
        };
        let RouteSource::Inline(table) = &hcm.routes else {
            panic!("not inline");
        };
        assert_eq!(table.virtual_hosts.len(), routes, "{policy}");
        let other = &unknown.default_filter_chain.as_ref().unwrap().action;
        let ChainAction::Tcp(tcp) = other else {
            panic!("not TCP");
        };
        assert_eq!(tcp.clusters, [(cluster.name.clone(), 1)]);
    }
}
