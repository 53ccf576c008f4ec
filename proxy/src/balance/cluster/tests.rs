use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use proptest::prelude::*;
use weft_config::cluster::{Balancer, OutlierDetection, UpstreamProtocol};
use weft_config::endpoint::{Address, Endpoint, LocalityEndpoints};
use weft_config::http2::Http2Options;

use super::*;
use crate::tls::Secrets;

fn config(balancer: Balancer, outlier: Option<OutlierDetection>) -> config::Cluster {
    config::Cluster {
        name: "c".into(),
        discovery: Discovery::Eds {
            service_name: "c".into(),
        },
        balancer,
        connect_timeout: Duration::from_secs(5),
        protocol: UpstreamProtocol::Http1,
        http2: Http2Options::default(),
        circuit_breakers: config::CircuitBreakers::default(),
        outlier_detection: outlier,
        idle_timeout: Duration::ZERO,
        requests_per_connection_max: 0,
        panic_threshold_percent: 50,
        tcp_keepalive: None,
        tls: None,
        socket_matches: Vec::new(),
    }
}

fn address(n: usize) -> Address {
    Address::Socket(SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 80)))
}

fn endpoint(n: usize, weight: u32, health: Health) -> Endpoint {
    Endpoint {
        address: address(n),
        weight,
        health,
        hostname: "".into(),
        metadata: Default::default(),
        socket_labels: Default::default(),
    }
}

fn locality(priority: u32, weight: u32, endpoints: Vec<Endpoint>) -> LocalityEndpoints {
    LocalityEndpoints {
        locality: Locality::default(),
        priority,
        weight,
        endpoints,
    }
}

fn set(localities: Vec<LocalityEndpoints>) -> EndpointSet {
    EndpointSet {
        localities,
        overprovisioning_percent: 140,
        drop_per_million: 0,
    }
}

fn healthy(range: std::ops::Range<usize>) -> Vec<Endpoint> {
    range.map(|n| endpoint(n, 1, Health::Healthy)).collect()
}

struct Bench {
    cluster: Arc<Cluster>,
    now: Instant,
    rng: fastrand::Rng,
}

impl Bench {
    fn new(config: config::Cluster, localities: Vec<LocalityEndpoints>) -> Self {
        let now = Instant::now();
        let cluster = Cluster::new(Arc::new(config), &Secrets::new(), &Metrics::new(), now);
        cluster.set_endpoints(&set(localities));
        Self {
            cluster,
            now,
            rng: fastrand::Rng::with_seed(11),
        }
    }

    fn pick_avoiding(&mut self, avoid: &[EndpointId]) -> Result<Arc<EndpointState>, PickError> {
        self.cluster.pick(&mut PickContext {
            now: self.now,
            rng: &mut self.rng,
            avoid,
            original_dst: None,
        })
    }

    fn pick(&mut self) -> Arc<EndpointState> {
        self.pick_avoiding(&[]).unwrap()
    }

    fn spread(&mut self, picks: usize) -> HashMap<Address, usize> {
        let mut counts = HashMap::new();
        for _ in 0..picks {
            *counts.entry(self.pick().address.clone()).or_default() += 1;
        }
        counts
    }

    fn fail(&mut self, endpoint: &EndpointState, times: u32) {
        for _ in 0..times {
            self.cluster
                .report(endpoint, Outcome::Status(503), self.now);
        }
    }
}

fn outlier() -> Option<OutlierDetection> {
    Some(OutlierDetection {
        ejected_percent_max: 40,
        ..OutlierDetection::default()
    })
}

#[test]
fn ten_endpoints_in_turn_get_the_same_and_a_new_one_its_share_at_once() {
    let mut bench = Bench::new(
        config(Balancer::RoundRobin, None),
        vec![locality(0, 1, healthy(0..10))],
    );
    assert!(bench.spread(1_000).values().all(|count| *count == 100));
    bench
        .cluster
        .set_endpoints(&set(vec![locality(0, 1, healthy(0..11))]));
    assert_eq!(bench.spread(1_100)[&address(10)], 100);
}

#[test]
fn the_less_loaded_of_two_is_chosen() {
    let mut bench = Bench::new(
        config(Balancer::LeastRequest { choices: 2 }, None),
        vec![locality(0, 1, healthy(0..2))],
    );
    let busy = bench.pick();
    let _running: Vec<_> = (0..3).map(|_| busy.begin()).collect();
    for _ in 0..50 {
        assert_ne!(bench.pick().id, busy.id);
    }
}

#[test]
fn running_requests_settle_by_weight_under_least_request() {
    let endpoints = vec![
        endpoint(0, 30, Health::Healthy),
        endpoint(1, 10, Health::Healthy),
    ];
    let mut bench = Bench::new(
        config(Balancer::LeastRequest { choices: 2 }, None),
        vec![locality(0, 1, endpoints)],
    );
    let running: Vec<_> = (0..400).map(|_| bench.pick().begin()).collect();
    let first = running
        .iter()
        .filter(|guard| guard.endpoint().address == address(0))
        .count();
    assert!((290..=310).contains(&first), "{first}");
    let states: Vec<_> = running
        .iter()
        .map(|guard| guard.endpoint().clone())
        .collect();
    drop(running);
    assert!(states.iter().all(|state| state.active() == 0));
}

#[test]
fn lower_priorities_serve_only_what_higher_ones_cannot() {
    let mut first = healthy(0..10);
    for endpoint in first.iter_mut().take(5) {
        endpoint.health = Health::Unhealthy;
    }
    let mut bench = Bench::new(
        config(Balancer::RoundRobin, None),
        vec![locality(0, 1, first), locality(1, 1, healthy(10..12))],
    );
    let counts = bench.spread(10_000);
    let spilled: usize = (10..12).map(|n| counts[&address(n)]).sum();
    assert!((2_800..3_200).contains(&spilled), "{spilled}");
    assert!((0..5).all(|n| !counts.contains_key(&address(n))));
}

#[test]
fn degraded_and_draining_endpoints_serve_only_when_nobody_else_can() {
    let of = |last| {
        vec![locality(
            0,
            1,
            vec![
                endpoint(0, 1, Health::Degraded),
                endpoint(1, 1, Health::Draining),
                endpoint(2, 1, last),
            ],
        )]
    };
    let mut config = config(Balancer::RoundRobin, None);
    config.panic_threshold_percent = 0;
    let mut bench = Bench::new(config.clone(), of(Health::Healthy));
    let counts = bench.spread(1_000);
    assert!(!counts.contains_key(&address(1)));
    let mut bench2 = Bench::new(config, of(Health::Draining));
    assert_eq!(bench2.spread(10).get(&address(0)), Some(&10));
}

#[test]
fn too_few_healthy_endpoints_are_not_left_alone() {
    let mut endpoints = healthy(0..4);
    for endpoint in endpoints.iter_mut().skip(1) {
        endpoint.health = Health::Unhealthy;
    }
    let mut bench = Bench::new(
        config(Balancer::RoundRobin, None),
        vec![locality(0, 1, endpoints.clone())],
    );
    assert_eq!(bench.spread(400).len(), 4);
    assert_eq!(bench.cluster.stats.panic_picks.get(), 400);
    let mut off = config(Balancer::RoundRobin, None);
    off.panic_threshold_percent = 0;
    bench.cluster.set_config(Arc::new(off), &Secrets::new());
    assert_eq!(bench.spread(40).len(), 1);
    endpoints[0].health = Health::Unhealthy;
    bench
        .cluster
        .set_endpoints(&set(vec![locality(0, 1, endpoints)]));
    assert_eq!(
        bench.pick_avoiding(&[]).unwrap_err(),
        PickError::AllUnhealthy
    );
}

#[test]
fn no_endpoints_is_told_from_no_healthy_ones() {
    let mut bench = Bench::new(config(Balancer::RoundRobin, None), vec![]);
    assert_eq!(
        bench.pick_avoiding(&[]).unwrap_err(),
        PickError::NoEndpoints
    );
    assert!(bench.cluster.is_warm());
}

#[test]
fn weighted_localities_get_their_weight_and_unweighted_ones_their_size() {
    let zones = |weights: [u32; 3]| {
        vec![
            locality(0, weights[0], healthy(0..5)),
            locality(0, weights[1], healthy(5..8)),
            locality(0, weights[2], healthy(8..9)),
        ]
    };
    let mut bench = Bench::new(config(Balancer::RoundRobin, None), zones([1, 1, 1]));
    let mean = 1_000.0;
    for count in bench.spread(9_000).values() {
        assert!(
            *count as f64 <= mean * 1.2,
            "a zone of one endpoint is not overloaded"
        );
    }
    bench.cluster.set_endpoints(&set(zones([50, 30, 20])));
    let counts = bench.spread(10_000);
    let last = counts[&address(8)];
    assert!((1_900..2_100).contains(&last), "{last}");
}

#[test]
fn a_weighted_locality_hands_on_what_it_has_no_health_for() {
    let mut sick = healthy(0..4);
    for endpoint in sick.iter_mut().take(2) {
        endpoint.health = Health::Unhealthy;
    }
    let zones = vec![locality(0, 50, sick), locality(0, 51, healthy(4..8))];
    let mut bench = Bench::new(config(Balancer::RoundRobin, None), zones);
    let counts = bench.spread(10_000);
    let sick: usize = (0..4).filter_map(|n| counts.get(&address(n))).sum();
    // 50 × 0.7 against 51 × 1.
    assert!((3_900..4_250).contains(&sick), "{sick}");
}

#[test]
fn a_share_of_requests_is_dropped_when_asked_for() {
    let mut bench = Bench::new(config(Balancer::RoundRobin, None), vec![]);
    let mut set = set(vec![locality(0, 1, healthy(0..2))]);
    set.drop_per_million = 250_000;
    bench.cluster.set_endpoints(&set);
    let dropped = (0..20_000)
        .filter(|_| bench.pick_avoiding(&[]).is_err())
        .count();
    assert!((4_500..5_500).contains(&dropped), "{dropped}");
    assert_eq!(bench.cluster.stats.dropped.get(), dropped as u64);
}

#[test]
fn state_stays_with_the_address_across_updates() {
    let mut bench = Bench::new(
        config(Balancer::RoundRobin, None),
        vec![locality(0, 1, healthy(0..1))],
    );
    let before = bench.pick();
    let running = before.begin();
    let mut moved = endpoint(0, 7, Health::Degraded);
    moved.metadata.insert("version".into(), "v2".into());
    bench
        .cluster
        .set_endpoints(&set(vec![locality(0, 1, vec![moved])]));
    let after = bench.pick();
    assert_eq!(after.id, before.id);
    assert_eq!(after.active(), 1);
    drop(running);
    assert_eq!(after.active(), 0);
    let mut renamed = endpoint(0, 1, Health::Healthy);
    renamed.hostname = "other".into();
    bench
        .cluster
        .set_endpoints(&set(vec![locality(0, 1, vec![renamed])]));
    assert_ne!(
        bench.pick().id,
        before.id,
        "another host name is another endpoint"
    );
}

#[test]
fn an_endpoint_that_fails_is_ejected_and_comes_back_in_time() {
    let mut bench = Bench::new(
        config(Balancer::RoundRobin, outlier()),
        vec![locality(0, 1, healthy(0..5))],
    );
    let bad = bench.pick();
    bench.fail(&bad, 4);
    assert_eq!(bench.spread(100).len(), 5);
    bench.fail(&bad, 1);
    assert!(!bench.spread(100).contains_key(&bad.address));
    assert_eq!(
        bench.cluster.stats.ejected_active.load(Ordering::Relaxed),
        1
    );
    bench.now += Duration::from_millis(29_999);
    assert!(!bench.spread(100).contains_key(&bad.address));
    bench.now += Duration::from_millis(1);
    assert!(bench.spread(100).contains_key(&bad.address));
    assert_eq!(
        bench.cluster.stats.ejected_active.load(Ordering::Relaxed),
        0
    );
}

#[test]
fn no_more_than_the_greatest_share_is_ejected_but_always_one() {
    let limits = OutlierDetection::default(); // 10 %
    let mut bench = Bench::new(
        config(Balancer::RoundRobin, Some(limits)),
        vec![locality(0, 1, healthy(0..5))],
    );
    let (first, second) = (bench.pick(), bench.pick());
    bench.fail(&first, 5);
    bench.fail(&second, 5);
    assert_eq!(bench.spread(100).len(), 4);
    assert_eq!(bench.cluster.stats.ejections.get(), 1);
    assert_eq!(bench.cluster.stats.ejections_suppressed.get(), 1);
}

#[test]
fn an_ejection_survives_an_update_of_the_endpoints() {
    let mut bench = Bench::new(
        config(Balancer::RoundRobin, outlier()),
        vec![locality(0, 1, healthy(0..4))],
    );
    let bad = bench.pick();
    bench.fail(&bad, 5);
    bench
        .cluster
        .set_endpoints(&set(vec![locality(0, 1, healthy(0..6))]));
    assert!(!bench.spread(100).contains_key(&bad.address));
}

#[test]
fn the_only_endpoint_is_used_even_if_it_was_ejected() {
    let mut bench = Bench::new(
        config(Balancer::RoundRobin, outlier()),
        vec![locality(0, 1, healthy(0..1))],
    );
    let only = bench.pick();
    bench.fail(&only, 10);
    assert_eq!(bench.pick().id, only.id);
}

#[test]
fn the_original_destination_is_the_endpoint() {
    let mut config = config(Balancer::RoundRobin, None);
    config.discovery = Discovery::OriginalDst;
    let mut bench = Bench::new(config, vec![]);
    assert_eq!(
        bench.pick_avoiding(&[]).unwrap_err(),
        PickError::NoOriginalDst
    );
    let dialled = SocketAddr::from(([10, 1, 2, 3], 3306));
    let mut cx = PickContext {
        now: bench.now,
        rng: &mut bench.rng,
        avoid: &[],
        original_dst: Some(dialled),
    };
    let picked = bench.cluster.pick(&mut cx).unwrap();
    assert_eq!(picked.address, Address::Socket(dialled));
    assert_eq!(bench.cluster.pick(&mut cx).unwrap().id, picked.id);
}

#[test]
fn a_cluster_that_is_there_again_has_room_while_what_the_old_one_held_lasts() {
    let mut config = config(Balancer::RoundRobin, None);
    config.circuit_breakers.connections_max = 1;
    let (secrets, metrics, now) = (Secrets::new(), Metrics::new(), Instant::now());
    let build = || Cluster::new(Arc::new(config.clone()), &secrets, &metrics, now);
    let old = build();
    let lasts = old.breakers.try_acquire_connection().unwrap();
    drop(old);
    let again = build();
    let held = again.breakers.try_acquire_connection().unwrap();
    assert!(again.breakers.try_acquire_connection().is_none());
    let connection = crate::telemetry::Resource::Connection;
    assert_eq!(again.stats.active(connection), 2);
    drop(lasts);
    assert!(again.breakers.try_acquire_connection().is_none());
    drop(held);
    assert_eq!(again.stats.active(connection), 0);
    assert!(again.breakers.try_acquire_connection().is_some());
}

#[test]
fn breakers_refuse_at_their_bound_and_count_down() {
    let mut config = config(Balancer::RoundRobin, None);
    config.circuit_breakers.requests_max = 2;
    let bench = Bench::new(config, vec![]);
    let breakers = &bench.cluster.breakers;
    let held = (
        breakers.try_acquire_request().unwrap(),
        breakers.try_acquire_request().unwrap(),
    );
    assert!(breakers.try_acquire_request().is_none());
    assert_eq!(
        bench
            .cluster
            .stats
            .overflowed(crate::telemetry::Resource::Request),
        1
    );
    drop(held);
    assert_eq!(
        bench
            .cluster
            .stats
            .active(crate::telemetry::Resource::Request),
        0
    );
    assert!(breakers.try_acquire_request().is_some());
}

#[test]
fn without_a_budget_the_retries_running_at_once_are_bounded() {
    let mut config = config(Balancer::RoundRobin, None);
    config.circuit_breakers.retries_max = 1;
    config.circuit_breakers.retry_budget = config::RetryBudget {
        percent: 0,
        per_second_min: 0,
    };
    let bench = Bench::new(config, vec![]);
    let held = bench.cluster.breakers.try_acquire_retry(bench.now);
    assert!(held.is_some());
    assert!(
        bench
            .cluster
            .breakers
            .try_acquire_retry(bench.now)
            .is_none()
    );
    drop(held);
    assert!(
        bench
            .cluster
            .breakers
            .try_acquire_retry(bench.now)
            .is_some()
    );
}

#[test]
fn picks_go_on_while_endpoints_change_and_every_request_is_counted_out() {
    let bench = Bench::new(
        config(Balancer::LeastRequest { choices: 2 }, outlier()),
        vec![locality(0, 1, healthy(0..8))],
    );
    let (cluster, start) = (&bench.cluster, bench.now);
    let picked = AtomicU64::new(0);
    let seen = Mutex::new(HashMap::new());
    std::thread::scope(|scope| {
        for seed in 0..3 {
            let (picked, seen) = (&picked, &seen);
            scope.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(seed);
                for turn in 0..5_000u64 {
                    let now = start + Duration::from_millis(turn * 10);
                    let mut cx = PickContext {
                        now,
                        rng: &mut rng,
                        avoid: &[],
                        original_dst: None,
                    };
                    let endpoint = cluster.pick(&mut cx).unwrap();
                    let _running = endpoint.begin();
                    let outcome = if turn % 3 == 0 {
                        Outcome::Reset
                    } else {
                        Outcome::Status(200)
                    };
                    cluster.report(&endpoint, outcome, now);
                    picked.fetch_add(1, Ordering::Relaxed);
                    seen.lock().unwrap().insert(endpoint.id, endpoint.clone());
                }
            });
        }
        for turn in 0..300usize {
            let first = turn % 4;
            cluster.set_endpoints(&set(vec![locality(0, 1, healthy(first..first + 6))]));
        }
    });
    assert_eq!(picked.load(Ordering::Relaxed), 15_000);
    let seen = seen.into_inner().unwrap();
    assert!(seen.values().all(|endpoint| endpoint.active() == 0));
    assert_eq!(
        seen.values()
            .map(|endpoint| endpoint.requests())
            .sum::<u64>(),
        15_000
    );
}

fn any_balancer() -> impl Strategy<Value = Balancer> {
    prop_oneof![
        Just(Balancer::RoundRobin),
        Just(Balancer::Random),
        (2u32..5).prop_map(|choices| Balancer::LeastRequest { choices }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn ejected_and_avoided_endpoints_are_not_picked_while_there_are_others(
        balancer in any_balancer(),
        weights in prop::collection::vec(1u32..50, 4..12),
        zones in 1usize..4,
        zone_weight in 1u32..5,
    ) {
        let mut localities: Vec<_> = (0..zones).map(|_| locality(0, zone_weight, vec![])).collect();
        for (n, weight) in weights.iter().enumerate() {
            localities[n % zones].endpoints.push(endpoint(n, *weight, Health::Healthy));
        }
        let mut bench = Bench::new(config(balancer, outlier()), localities);
        let bad = bench.pick();
        bench.fail(&bad, 5);
        let mut avoid = Vec::new();
        for _ in 0..weights.len() - 1 {
            let picked = bench.pick_avoiding(&avoid).unwrap();
            prop_assert_ne!(picked.id, bad.id);
            prop_assert!(!avoid.contains(&picked.id));
            avoid.push(picked.id);
        }
        // Nobody is left: better one of them again than none.
        prop_assert!(bench.pick_avoiding(&avoid).is_ok());
    }

    #[test]
    fn weights_are_respected(
        balancer in prop_oneof![Just(Balancer::RoundRobin), Just(Balancer::Random)],
        weights in prop::collection::vec(1u32..20, 2..8),
    ) {
        let endpoints = weights.iter().enumerate().map(|(n, w)| endpoint(n, *w, Health::Healthy)).collect();
        let mut bench = Bench::new(config(balancer, None), vec![locality(0, 1, endpoints)]);
        let counts = bench.spread(20_000);
        let sum: u32 = weights.iter().sum();
        for (n, weight) in weights.iter().enumerate() {
            let want = 20_000.0 * f64::from(*weight) / f64::from(sum);
            let got = *counts.get(&address(n)).unwrap_or(&0) as f64;
            prop_assert!((got - want).abs() < 400.0, "{:?} of {:?}", counts, weights);
        }
    }
}
