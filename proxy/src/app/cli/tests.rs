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
        ("http://a:1", Ok(("a", 1))),
        ("http://a", Ok(("a", 15_010))),
        ("http://a/", Ok(("a", 15_010))),
        ("http://[::1]:7", Ok(("::1", 7))),
        ("http://[::1]", Ok(("::1", 15_010))),
        ("https://a:1", Err(())),
        ("a:1", Err(())),
        ("http://:1", Err(())),
        ("http://a:0", Err(())),
        ("http://a:70000", Err(())),
        ("http://a/path", Err(())),
    ];
    for (url, want) in table {
        let got = control_plane(url);
        let got = got
            .as_ref()
            .map(|(host, port)| (host.as_str(), *port))
            .map_err(|_| ());
        assert_eq!(got, want, "{url}");
    }
}
