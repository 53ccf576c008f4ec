use weft_config::cluster::DnsFamily;
use weft_config::endpoint::{DnsTarget, Locality};

use super::*;

fn name(host: &str, port: u16) -> DnsEndpoint {
    DnsEndpoint {
        target: DnsTarget {
            host: host.into(),
            port,
        },
        locality: Locality::default(),
        priority: 0,
        weight: 1,
        socket_labels: Default::default(),
    }
}

fn answer(addresses: &[&str], ttl_seconds: u64) -> Option<Answer> {
    Some(Answer {
        addresses: addresses.iter().map(|it| it.parse().unwrap()).collect(),
        ttl: Some(Duration::from_secs(ttl_seconds)),
    })
}

fn sockets(set: &EndpointSet) -> Vec<String> {
    let endpoints = set.localities.iter().flat_map(|it| &it.endpoints);
    endpoints
        .map(|endpoint| match &endpoint.address {
            Address::Socket(socket) => socket.to_string(),
            Address::Pipe(path) => path.to_string(),
        })
        .collect()
}

#[test]
fn a_turned_answer_makes_the_same_endpoints() {
    let names = [name("a.test", 80)];
    let one = endpoints(&names, &[answer(&["10.0.0.2", "10.0.0.1"], 5)], Take::All);
    let other = endpoints(&names, &[answer(&["10.0.0.1", "10.0.0.2"], 5)], Take::All);
    assert_eq!(one, other);
    assert_eq!(sockets(&one), ["10.0.0.1:80", "10.0.0.2:80"]);
}

#[test]
fn logical_dns_takes_the_first_answer_only() {
    let names = [name("a.test", 80)];
    let set = endpoints(&names, &[answer(&["10.0.0.2", "10.0.0.1"], 5)], Take::First);
    assert_eq!(sockets(&set), ["10.0.0.2:80"]);
}

#[test]
fn a_name_without_an_answer_leaves_its_neighbours() {
    let names = [name("a.test", 80), name("b.test", 81)];
    let set = endpoints(&names, &[None, answer(&["10.0.0.1"], 5)], Take::All);
    assert_eq!(sockets(&set), ["10.0.0.1:81"]);
}

#[test]
fn the_ttl_counts_only_where_asked_for_and_failures_back_off() {
    let mut dns = DnsCluster {
        endpoints: vec![],
        refresh: Duration::from_secs(5),
        respect_ttl: false,
        family: DnsFamily::Auto,
    };
    let last = [answer(&["10.0.0.1"], 60)];
    assert_eq!(pause(&dns, &last, 0), Duration::from_secs(5));
    dns.respect_ttl = true;
    assert_eq!(pause(&dns, &last, 0), Duration::from_secs(60));
    assert_eq!(
        pause(&dns, &[answer(&["10.0.0.1"], 0)], 0),
        Duration::from_secs(5)
    );
    let second = pause(&dns, &last, 2).as_secs_f64();
    assert!((7.5..=12.5).contains(&second), "{second}");
    let late = pause(&dns, &last, 30).as_secs_f64();
    assert!((22.5..=37.5).contains(&late), "{late}");
}
