use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::policy::HeaderEdits;
use crate::route::{
    FilterOverrides, HeaderMatch, PathMatch, Pattern, QueryMatch, RouteAction, RouteMatch,
    StringMatch,
};

#[derive(Clone, Debug, Default)]
struct Head {
    method: String,
    authority: String,
    path: String,
    header: Option<String>,
}

impl RequestHead for Head {
    fn method(&self) -> &[u8] {
        self.method.as_bytes()
    }
    fn authority(&self) -> &[u8] {
        self.authority.as_bytes()
    }
    fn path_and_query(&self) -> &[u8] {
        self.path.as_bytes()
    }
    fn header(&self, name: &str) -> Option<&[u8]> {
        (name == "x").then_some(self.header.as_ref()?.as_bytes())
    }
}

fn get(authority: &str, path: &str) -> Head {
    Head {
        method: "GET".to_owned(),
        authority: authority.to_owned(),
        path: path.to_owned(),
        header: None,
    }
}

fn on(path: PathMatch) -> RouteMatch {
    RouteMatch {
        path,
        case_sensitive: true,
        headers: Vec::new(),
        query: Vec::new(),
        grpc: false,
        runtime_per_million: 1_000_000,
    }
}

fn host(name: &str, domains: &[&str], matches: Vec<RouteMatch>) -> VirtualHost {
    let route = |matches| Route {
        id: RouteId(0),
        name: "".into(),
        matches,
        action: RouteAction::Broken("".into()),
        request_headers: HeaderEdits::default(),
        response_headers: HeaderEdits::default(),
        overrides: FilterOverrides::default(),
    };
    VirtualHost {
        name: name.into(),
        domains: domains.iter().map(|it| Arc::from(*it)).collect(),
        routes: matches.into_iter().map(route).collect(),
    }
}

fn table(hosts: Vec<VirtualHost>) -> RouteTable {
    let mut diag = Diagnostics::new();
    RouteTable::build("t".into(), hosts, false, &FieldPath::root(), &mut diag)
        .unwrap_or_else(|| panic!("{:?}", diag.findings()))
}

fn everything() -> Vec<RouteMatch> {
    vec![on(PathMatch::Prefix("".into()))]
}

#[test]
fn the_best_domain_serves_a_host() {
    let table = table(vec![
        host("any", &["*"], everything()),
        host("suffix", &["*.shop.io"], everything()),
        host("longer", &["*.eu.shop.io", "*-eu.shop.io"], everything()),
        host("prefix", &["shop.*"], everything()),
        host("exact", &["Shop.io", "shop.io:8080"], everything()),
    ]);
    for (authority, expected) in [
        ("shop.io", "exact"),
        ("SHOP.IO", "exact"),
        ("shop.io:8080", "exact"),
        ("shop.io:81", "prefix"),
        ("shop.de", "prefix"),
        ("a.shop.io", "suffix"),
        ("a.eu.shop.io", "longer"),
        ("a-eu.shop.io", "longer"),
        (".shop.io", "any"),
        ("shop.", "any"),
        ("", "any"),
    ] {
        let found = table.virtual_host(authority.as_bytes()).map(|it| &*it.name);
        assert_eq!(found, Some(expected), "{authority}");
    }
    let long = format!("{}.shop.io", "a".repeat(1000));
    assert_eq!(
        &*table.virtual_host(long.as_bytes()).expect("any").name,
        "any"
    );
}

#[test]
fn the_port_is_ignored_where_asked() {
    let hosts = vec![host("a", &["a.io", "[::1]"], everything())];
    let mut diag = Diagnostics::new();
    let table = RouteTable::build("t".into(), hosts, true, &FieldPath::root(), &mut diag);
    let table = table.expect("sound");
    for authority in ["a.io", "a.io:80", "A.io:65535", "[::1]:80", "[::1]"] {
        assert!(
            table.virtual_host(authority.as_bytes()).is_some(),
            "{authority}"
        );
    }
    for authority in ["a.io:", "a.io:x", "::1:80", "b.io:80"] {
        assert!(
            table.virtual_host(authority.as_bytes()).is_none(),
            "{authority}"
        );
    }
}

#[test]
fn a_domain_that_stands_twice_is_a_fault() {
    for (first, second) in [
        ("a.io", "A.IO"),
        ("*", "*"),
        ("*.io", "*.IO"),
        ("a.*", "a.*"),
    ] {
        let hosts = vec![
            host("one", &[first], vec![]),
            host("two", &["x", second], vec![]),
        ];
        let mut diag = Diagnostics::new();
        let table = RouteTable::build("t".into(), hosts, false, &FieldPath::root(), &mut diag);
        assert!(table.is_none());
        let found = diag.findings()[0].to_string();
        let expected = format!(
            "virtual_hosts[1].domains[1]: {second:?} is already a domain of virtual host \"one\""
        );
        assert_eq!(found, expected);
    }
}

#[test]
fn domains_with_stars_elsewhere_are_faults() {
    for domain in ["", "a*b", "*a*", "**"] {
        let mut diag = Diagnostics::new();
        let hosts = vec![host("one", &[domain], vec![])];
        let table = RouteTable::build("t".into(), hosts, false, &FieldPath::root(), &mut diag);
        assert!(table.is_none(), "{domain}");
    }
}

#[test]
fn routes_are_numbered_through_all_hosts() {
    let two = || {
        vec![
            on(PathMatch::Exact("/a".into())),
            on(PathMatch::Exact("/b".into())),
        ]
    };
    let table = table(vec![
        host("a", &["a"], two()),
        host("none", &["n"], vec![]),
        host("b", &["b"], two()),
    ]);
    let found = table.find(&get("b", "/b"), 0).expect("it is there");
    assert_eq!(found.id, RouteId(3));
    assert_eq!(table.route(RouteId(3)), Some(found));
    assert_eq!(table.route(RouteId(4)), None);
}

#[test]
fn query_parameters_are_compared_as_sent() {
    let mut matches = on(PathMatch::Prefix("/".into()));
    matches.query = vec![QueryMatch {
        name: "q".into(),
        value: StringMatch::Exact("1".into()),
    }];
    let table = table(vec![host("a", &["*"], vec![matches])]);
    for (path, found) in [
        ("/?q=1", true),
        ("/?a=2&q=1#q=2", true),
        ("/?q=1&q=2", true),
        ("/?q=2&q=1", false),
        ("/?qq=1", false),
        ("/?q", false),
        ("/", false),
        ("/#?q=1", false),
    ] {
        assert_eq!(table.find(&get("a", path), 0).is_some(), found, "{path}");
    }
}

#[test]
fn a_missing_header_meets_no_condition_on_its_value() {
    let condition = |value: StringMatch, invert, missing_is_empty| {
        let mut matches = on(PathMatch::Prefix("/".into()));
        matches.headers = vec![HeaderMatch {
            name: "x".into(),
            value,
            invert,
            missing_is_empty,
        }];
        matches
    };
    let exact = || StringMatch::Exact("1".into());
    for (matches, absent, one, two) in [
        (condition(exact(), false, false), false, true, false),
        (condition(exact(), true, false), false, false, true),
        (condition(exact(), true, true), true, false, true),
        (
            condition(StringMatch::Present, false, false),
            false,
            true,
            true,
        ),
        (
            condition(StringMatch::Present, true, false),
            true,
            false,
            false,
        ),
        (
            condition(StringMatch::Range(0, 2), false, false),
            false,
            true,
            false,
        ),
    ] {
        let wanted = matches.headers[0].clone();
        let table = table(vec![host("a", &["*"], vec![matches])]);
        for (header, found) in [(None, absent), (Some("1"), one), (Some("2"), two)] {
            let head = Head {
                header: header.map(str::to_owned),
                ..get("a", "/")
            };
            assert_eq!(
                table.find(&head, 0).is_some(),
                found,
                "{wanted:?} {header:?}"
            );
        }
    }
}

#[test]
fn connect_without_a_path_goes_to_connect_routes_alone() {
    let table = table(vec![host(
        "a",
        &["*"],
        vec![on(PathMatch::Prefix("".into())), on(PathMatch::Connect)],
    )]);
    let connect = Head {
        method: "CONNECT".to_owned(),
        ..get("a:80", "")
    };
    assert_eq!(table.find(&connect, 0).map(|it| it.id), Some(RouteId(1)));
    assert_eq!(
        table.find(&get("a", "/"), 0).map(|it| it.id),
        Some(RouteId(0))
    );
}

#[test]
fn a_share_of_the_requests_is_about_that_share() {
    let mut matches = on(PathMatch::Prefix("/".into()));
    matches.runtime_per_million = 250_000;
    let table = table(vec![host("a", &["*"], vec![matches])]);
    let mut rng = fastrand::Rng::with_seed(7);
    let taken = (0..10_000)
        .filter(|_| table.find(&get("a", "/"), rng.u64(..)).is_some())
        .count();
    assert!((2_300..2_700).contains(&taken), "{taken}");
}

#[test]
fn explain_says_why_earlier_routes_did_not_match() {
    let mut by_header = on(PathMatch::Prefix("/".into()));
    by_header.headers = vec![HeaderMatch {
        name: "x".into(),
        value: StringMatch::Exact("1".into()),
        invert: false,
        missing_is_empty: false,
    }];
    let routes = vec![
        on(PathMatch::Exact("/a".into())),
        by_header,
        on(PathMatch::SegmentPrefix("/b".into())),
    ];
    let table = table(vec![host("a", &["*"], routes)]);
    let head = get("a", "/b/c");
    let explanation = table.explain(&head, 0);
    assert_eq!(explanation.route, table.find(&head, 0));
    let why: Vec<_> = explanation
        .refused
        .iter()
        .map(|it| it.why.to_string())
        .collect();
    assert_eq!(why, ["the path is not /a", "the header x is not \"1\""]);
}

/// Domains, paths and expressions over few letters, so that they collide.
fn a_text() -> impl Strategy<Value = String> {
    "[aAb/]{0,4}"
}

fn a_path_match() -> impl Strategy<Value = PathMatch> {
    let regex = prop_oneof![
        "/[ab]{0,2}[.]?[*]?",
        "(a|/)[*][ab/]{0,2}",
        "/[ab]{0,2}[\\^$]?/?[+]?",
        "/a\\\\[./]b[?]?",
        "[(][?]i[)]/[ab]{0,2}",
    ];
    prop_oneof![
        a_text().prop_map(|it| PathMatch::Exact(format!("/{it}").into())),
        a_text().prop_map(|it| PathMatch::Prefix(format!("/{it}").into())),
        Just(PathMatch::Prefix("".into())),
        a_text().prop_map(|it| PathMatch::SegmentPrefix(
            format!("/{}", it.trim_end_matches('/')).into()
        )),
        regex
            .prop_filter_map("no expression", |it| Pattern::whole(&it).ok())
            .prop_map(PathMatch::Regex),
        Just(PathMatch::Connect),
    ]
}

prop_compose! {
    fn a_match()(path in a_path_match(), case_sensitive in any::<bool>(), header in prop::option::of("[ab]")) -> RouteMatch {
        RouteMatch {
            case_sensitive,
            headers: header.into_iter().map(|it| HeaderMatch {
                name: "x".into(),
                value: StringMatch::Exact(it.into()),
                invert: false,
                missing_is_empty: false,
            }).collect(),
            ..on(path)
        }
    }
}

prop_compose! {
    fn a_head()(
        method in prop_oneof![9 => Just("GET"), 1 => Just("CONNECT")],
        authority in "[aAb.]{0,4}(:80)?",
        path in prop_oneof![9 => "/[aAb/]{0,6}([?]a)?", 1 => ""],
        header in prop::option::of("[ab]"),
    ) -> Head {
        Head { method: method.to_owned(), authority, path, header }
    }
}

/// As the documentation says it: every domain and every route is looked at.
fn naive<'t>(hosts: &'t [VirtualHost], head: &Head) -> Option<&'t Route> {
    let authority = head.authority.to_ascii_lowercase();
    let rank = |domain: &str| match (domain.strip_prefix('*'), domain.strip_suffix('*')) {
        (Some(""), _) => Some((0, 0)),
        (Some(end), _) => {
            (authority.len() > end.len() && authority.ends_with(end)).then_some((2, end.len()))
        }
        (_, Some(start)) => (authority.len() > start.len() && authority.starts_with(start))
            .then_some((1, start.len())),
        _ => (authority == domain).then_some((3, 0)),
    };
    let ranked = hosts
        .iter()
        .filter_map(|host| Some((host.domains.iter().filter_map(|it| rank(it)).max()?, host)));
    let (_, host) = ranked.max_by_key(|(rank, _)| *rank)?;
    host.routes
        .iter()
        .find(|route| route.matches.mismatch(head, 0).is_none())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_index_finds_what_looking_at_every_route_finds(
        hosts in prop::collection::vec((prop::collection::hash_set("[*]?[ab.]{0,3}[*]?", 1..4), prop::collection::vec(a_match(), 0..24)), 1..5),
        heads in prop::collection::vec(a_head(), 40),
    ) {
        let mut seen = std::collections::HashSet::new();
        let hosts: Vec<_> = hosts
            .into_iter()
            .map(|(domains, matches)| {
                let sound = |it: &&str| !it.is_empty() && (it.matches('*').count() == 1 || !it.contains('*'));
                let fresh: Vec<_> = domains.iter().map(String::as_str).filter(sound).filter(|it| seen.insert((*it).to_owned())).collect();
                host("h", &fresh, matches)
            })
            .collect();
        let table = table(hosts);
        for head in &heads {
            let expected = naive(&table.virtual_hosts, head);
            prop_assert_eq!(table.find(head, 0).map(|it| it.id), expected.map(|it| it.id), "{:?}", head);
            prop_assert_eq!(table.explain(head, 0).route.map(|it| it.id), expected.map(|it| it.id));
        }
    }
}
