use std::net::SocketAddr;
use std::sync::Arc;

use weft_config::listener::{ChainAction, Detection, Direction, FilterChain, Listener, TcpProxy};

use super::*;
use crate::detect::Protocol;
use crate::snapshot::LastUse;
use crate::snapshot::views::{ChainKind, TcpView};
use crate::telemetry::{Metrics, Scope};

fn cidr(text: &str) -> Cidr {
    let (address, length) = text.split_once('/').unwrap();
    Cidr {
        address: address.parse().unwrap(),
        length: length.parse().unwrap(),
    }
}

/// A listener whose chains are named and match as told.
fn listener(chains: &[(&str, FilterChainMatch)], default: Option<&str>) -> ListenerView {
    let proxy = Arc::new(TcpProxy {
        stat_prefix: "t".into(),
        clusters: vec![],
        idle_timeout: Default::default(),
        connect_attempts_max: 1,
        access_log: vec![],
    });
    let scope = Scope::build(&Metrics::new(), &"l".into(), Direction::Inbound, &[]).unwrap();
    let chain = |name: &str, matches: FilterChainMatch| FilterChain {
        name: name.into(),
        matches,
        tls: None,
        access: Vec::new(),
        action: ChainAction::Tcp(proxy.clone()),
    };
    let view = |name: &str| ChainView {
        name: name.into(),
        tls: None,
        access: Vec::new(),
        kind: ChainKind::Tcp(Arc::new(TcpView {
            proxy: proxy.clone(),
            clusters: vec![],
            scope: scope.clone(),
        })),
    };
    ListenerView {
        config: Arc::new(Listener {
            name: "l".into(),
            address: None,
            direction: Direction::Inbound,
            use_original_dst: true,
            transparent: false,
            original_src: false,
            application_ports: Arc::default(),
            detection: Detection::default(),
            filter_chains: chains
                .iter()
                .map(|(name, m)| chain(name, m.clone()))
                .collect(),
            default_filter_chain: default.map(|name| chain(name, FilterChainMatch::default())),
            connections_max: None,
        }),
        chains: chains.iter().map(|(name, _)| view(name)).collect(),
        default_chain: default.map(view),
        on_demand: None,
        last_use: Arc::new(LastUse::default()),
    }
}

fn facts(destination: &str, peer: &str, protocol: Option<Protocol>) -> ConnectionFacts {
    ConnectionFacts {
        listener: "l".into(),
        peer: peer.parse::<SocketAddr>().unwrap(),
        local: "127.0.0.1:15001".parse().unwrap(),
        original_dst: Some(destination.parse().unwrap()),
        beside: None,
        direction: Direction::Inbound,
        hello: (protocol == Some(Protocol::Tls)).then(Arc::default),
        protocol,
        tls: None,
    }
}

fn matches() -> FilterChainMatch {
    FilterChainMatch::default()
}

#[test]
fn the_most_specific_chain_takes_a_connection_criterion_by_criterion() {
    let view = listener(
        &[
            ("any", matches()),
            (
                "port",
                FilterChainMatch {
                    destination_port: Some(8080),
                    ..matches()
                },
            ),
            (
                "port and net",
                FilterChainMatch {
                    destination_port: Some(8080),
                    destination_prefixes: vec![cidr("10.0.0.0/8")],
                    ..matches()
                },
            ),
            (
                "host",
                FilterChainMatch {
                    destination_prefixes: vec![cidr("10.1.1.1/32")],
                    ..matches()
                },
            ),
            (
                "net",
                FilterChainMatch {
                    destination_prefixes: vec![cidr("10.1.0.0/16")],
                    ..matches()
                },
            ),
            (
                "tls",
                FilterChainMatch {
                    transport_protocol: "tls".into(),
                    ..matches()
                },
            ),
            (
                "h2c",
                FilterChainMatch {
                    application_protocols: vec!["h2c".into()],
                    ..matches()
                },
            ),
            (
                "friend",
                FilterChainMatch {
                    source_prefixes: vec![cidr("192.0.2.0/24")],
                    ..matches()
                },
            ),
        ],
        Some("default"),
    );
    for (destination, peer, protocol, want) in [
        ("203.0.113.1:80", "198.51.100.1:1", None, "any"),
        ("203.0.113.1:8080", "198.51.100.1:1", None, "port"),
        ("10.1.1.1:8080", "198.51.100.1:1", None, "port and net"),
        ("10.1.1.1:80", "198.51.100.1:1", None, "host"),
        ("10.1.2.1:80", "198.51.100.1:1", None, "net"),
        (
            "203.0.113.1:80",
            "198.51.100.1:1",
            Some(Protocol::Tls),
            "tls",
        ),
        (
            "203.0.113.1:80",
            "198.51.100.1:1",
            Some(Protocol::Http2),
            "h2c",
        ),
        ("203.0.113.1:80", "192.0.2.9:1", None, "friend"),
        ("203.0.113.1:80", "192.0.2.9:1", Some(Protocol::Tls), "tls"),
    ] {
        let found = view
            .find_chain(&facts(destination, peer, protocol))
            .unwrap();
        assert_eq!(
            &*found.name, want,
            "{destination} from {peer} speaking {protocol:?}"
        );
    }
}

#[test]
fn there_is_no_way_back_to_a_less_specific_chain() {
    let view = listener(
        &[
            ("any", matches()),
            (
                "port from a friend",
                FilterChainMatch {
                    destination_port: Some(8080),
                    source_prefixes: vec![cidr("192.0.2.0/24")],
                    ..matches()
                },
            ),
        ],
        Some("default"),
    );
    let found = view
        .find_chain(&facts("203.0.113.1:8080", "198.51.100.1:1", None))
        .unwrap();
    assert_eq!(&*found.name, "default");
}

#[test]
fn without_a_match_and_a_default_a_connection_is_refused() {
    let view = listener(
        &[(
            "port",
            FilterChainMatch {
                destination_port: Some(1),
                ..matches()
            },
        )],
        None,
    );
    assert!(
        view.find_chain(&facts("203.0.113.1:2", "198.51.100.1:1", None))
            .is_none()
    );
}
