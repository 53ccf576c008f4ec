//! What finding a route costs, and that ten thousand hosts or routes cost about as much as ten.

use std::sync::Arc;

use divan::{Bencher, black_box};
use weft_config::diag::{Diagnostics, FieldPath};
use weft_config::route::{RequestHead, RouteTable};
use weft_xds_proto::pb::envoy::config::route::v3 as pb;

fn main() {
    divan::main();
}

struct Head {
    authority: String,
    path: String,
}

impl RequestHead for Head {
    fn method(&self) -> &[u8] {
        b"GET"
    }
    fn authority(&self) -> &[u8] {
        self.authority.as_bytes()
    }
    fn path_and_query(&self) -> &[u8] {
        self.path.as_bytes()
    }
    fn header(&self, _name: &str) -> Option<&[u8]> {
        None
    }
}

type Path = pb::route_match::PathSpecifier;

fn route(path: Path) -> pb::Route {
    pb::Route {
        r#match: Some(pb::RouteMatch {
            path_specifier: Some(path),
            ..Default::default()
        }),
        action: Some(pb::route::Action::Route(pb::RouteAction {
            cluster_specifier: Some(pb::route_action::ClusterSpecifier::Cluster("a".to_owned())),
            ..Default::default()
        })),
        ..Default::default()
    }
}

fn host(domain: String, routes: Vec<pb::Route>) -> pb::VirtualHost {
    pb::VirtualHost {
        name: domain.clone(),
        domains: vec![domain],
        routes,
        ..Default::default()
    }
}

fn table(virtual_hosts: Vec<pb::VirtualHost>) -> Arc<RouteTable> {
    let proto = pb::RouteConfiguration {
        name: "t".to_owned(),
        virtual_hosts,
        ..Default::default()
    };
    let mut diag = Diagnostics::new();
    let table = RouteTable::parse(&proto, &FieldPath::root(), &mut diag);
    Arc::new(table.expect("the table is sound"))
}

/// Finds each of 1,024 requests that are spread over the table, in turn.
fn find(bencher: Bencher<'_, '_>, table: Arc<RouteTable>, head: impl Fn(usize) -> Head) {
    let mut rng = fastrand::Rng::with_seed(1);
    let heads: Vec<Head> = (0..1024).map(|_| head(rng.usize(..))).collect();
    assert!(heads.iter().all(|head| table.find(head, 0).is_some()));
    let mut turn = heads.iter().cycle();
    bencher.bench_local(|| {
        let head = turn.next();
        head.and_then(|head| table.find(black_box(head), 0).map(|it| it.id))
    });
}

const SIZES: [usize; 3] = [10, 1_000, 10_000];

#[divan::bench(args = SIZES)]
fn exact_hosts(bencher: Bencher<'_, '_>, count: usize) {
    let name = |n: usize| format!("service-{n}.default.svc.cluster.local");
    let all = || vec![route(Path::Prefix("/".to_owned()))];
    let hosts = (0..count).map(|n| host(name(n), all())).collect();
    find(bencher, table(hosts), |n| Head {
        authority: name(n % count),
        path: "/index.html".to_owned(),
    });
}

#[divan::bench(args = SIZES)]
fn wildcard_hosts(bencher: Bencher<'_, '_>, count: usize) {
    let all = || vec![route(Path::Prefix("/".to_owned()))];
    let hosts = (0..count)
        .map(|n| host(format!("*.tenant-{n}.example.com"), all()))
        .collect();
    find(bencher, table(hosts), |n| Head {
        authority: format!("www.tenant-{}.example.com", n % count),
        path: "/index.html".to_owned(),
    });
}

#[divan::bench(args = SIZES)]
fn exact_paths(bencher: Bencher<'_, '_>, count: usize) {
    let path = |n: usize| format!("/api/v1/item-{n}");
    let routes = (0..count).map(|n| route(Path::Path(path(n)))).collect();
    find(bencher, table(vec![host("*".to_owned(), routes)]), |n| {
        Head {
            authority: "shop".to_owned(),
            path: format!("{}?q=1", path(n % count)),
        }
    });
}

#[divan::bench(args = SIZES)]
fn prefixes(bencher: Bencher<'_, '_>, count: usize) {
    let path = |n: usize| format!("/api/v1/item-{n}");
    let mut routes: Vec<_> = (0..count)
        .map(|n| route(Path::PathSeparatedPrefix(path(n))))
        .collect();
    routes.push(route(Path::Prefix("/".to_owned())));
    find(bencher, table(vec![host("*".to_owned(), routes)]), |n| {
        Head {
            authority: "shop".to_owned(),
            path: format!("{}/details?q=1", path(n % count)),
        }
    });
}

#[divan::bench(args = SIZES)]
fn expressions(bencher: Bencher<'_, '_>, count: usize) {
    let regex = |n: usize| weft_xds_proto::pb::envoy::r#type::matcher::v3::RegexMatcher {
        regex: format!("/users-{n}/[0-9]+/cart"),
        ..Default::default()
    };
    let routes = (0..count)
        .map(|n| route(Path::SafeRegex(regex(n))))
        .collect();
    find(bencher, table(vec![host("*".to_owned(), routes)]), |n| {
        Head {
            authority: "shop".to_owned(),
            path: format!("/users-{}/4711/cart", n % count),
        }
    });
}
