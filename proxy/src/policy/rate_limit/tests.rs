use std::collections::HashMap;

use weft_config::grpc::GrpcStatus;

use super::*;

#[derive(Default)]
struct Head(HashMap<&'static str, &'static str>);

impl Head {
    fn with(name: &'static str, value: &'static str) -> Self {
        Self([(name, value)].into())
    }
}

impl RequestHead for Head {
    fn method(&self) -> &[u8] {
        b"GET"
    }
    fn authority(&self) -> &[u8] {
        b"reviews"
    }
    fn path_and_query(&self) -> &[u8] {
        b"/"
    }
    fn header(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(|value| value.as_bytes())
    }
}

fn bucket(max: u32, fill: u32, interval: Duration) -> TokenBucket {
    TokenBucket {
        max,
        fill,
        interval,
    }
}

fn limit(common: Option<TokenBucket>, descriptors: Vec<RateLimitDescriptor>) -> LocalRateLimit {
    LocalRateLimit {
        name: "l".into(),
        bucket: common,
        descriptors,
        status: 429,
        grpc_status: GrpcStatus::RESOURCE_EXHAUSTED,
        enforced_per_million: 1_000_000,
        keys_max: 1_000,
    }
}

struct Bench {
    limiter: LocalRateLimiter,
    metrics: Arc<Metrics>,
    now: Instant,
    rng: fastrand::Rng,
}

impl Bench {
    fn new(config: LocalRateLimit) -> Self {
        let metrics = Metrics::new();
        Self {
            limiter: LocalRateLimiter::new(Arc::new(config), &metrics),
            metrics,
            now: Instant::now(),
            rng: fastrand::Rng::with_seed(1),
        }
    }

    fn check(&mut self, head: &Head, peer: [u8; 4]) -> RateDecision {
        self.limiter
            .check(head, IpAddr::from(peer), self.now, &mut self.rng)
    }

    fn passed(&mut self, head: &Head, times: usize) -> usize {
        (0..times)
            .filter(|_| self.check(head, [127, 0, 0, 1]) == RateDecision::Allow)
            .count()
    }
}

#[test]
fn a_full_bucket_gives_its_capacity_then_refills_at_its_rate() {
    let mut bench = Bench::new(limit(Some(bucket(10, 5, Duration::from_secs(1))), vec![]));
    assert_eq!(bench.passed(&Head::default(), 100), 10);
    bench.now += Duration::from_millis(200);
    assert_eq!(bench.passed(&Head::default(), 100), 1);
    bench.now += Duration::from_secs(3_600);
    assert_eq!(bench.passed(&Head::default(), 100), 10);
}

#[test]
fn a_refusal_says_when_the_next_request_would_pass() {
    let mut bench = Bench::new(limit(Some(bucket(1, 1, Duration::from_secs(10))), vec![]));
    assert_eq!(bench.passed(&Head::default(), 1), 1);
    bench.now += Duration::from_secs(4);
    let RateDecision::Deny {
        retry_after,
        status,
    } = bench.check(&Head::default(), [127, 0, 0, 1])
    else {
        panic!("the bucket is empty");
    };
    assert_eq!((retry_after, status), (Duration::from_secs(6), 429));
    bench.now += retry_after;
    assert_eq!(bench.passed(&Head::default(), 1), 1);
}

#[test]
fn each_value_of_a_header_has_its_own_bucket_and_requests_without_it_none() {
    let descriptor = RateLimitDescriptor {
        keys: vec![RateLimitKey::Header("x-user".into())],
        bucket: bucket(2, 1, Duration::from_secs(60)),
    };
    let mut bench = Bench::new(limit(None, vec![descriptor]));
    assert_eq!(bench.passed(&Head::with("x-user", "ada"), 5), 2);
    assert_eq!(bench.passed(&Head::with("x-user", "bob"), 5), 2);
    assert_eq!(bench.passed(&Head::default(), 5), 5);
}

#[test]
fn a_value_that_is_not_the_wanted_one_leaves_the_request_to_the_next_descriptor() {
    let descriptor = |keys, max| RateLimitDescriptor {
        keys,
        bucket: bucket(max, 1, Duration::from_secs(60)),
    };
    let mut bench = Bench::new(limit(
        None,
        vec![
            descriptor(
                vec![RateLimitKey::HeaderEquals("x-plan".into(), "free".into())],
                1,
            ),
            descriptor(
                vec![
                    RateLimitKey::Constant("all".into()),
                    RateLimitKey::RemoteAddress,
                ],
                3,
            ),
        ],
    ));
    assert_eq!(bench.passed(&Head::with("x-plan", "free"), 10), 1);
    assert_eq!(bench.passed(&Head::with("x-plan", "paid"), 10), 3);
    assert_eq!(
        bench.check(&Head::default(), [127, 0, 0, 2]),
        RateDecision::Allow,
        "another address"
    );
}

#[test]
fn the_common_bucket_bounds_all_keys_together() {
    let descriptor = RateLimitDescriptor {
        keys: vec![RateLimitKey::Header("x-user".into())],
        bucket: bucket(5, 1, Duration::from_secs(60)),
    };
    let mut bench = Bench::new(limit(
        Some(bucket(7, 1, Duration::from_secs(60))),
        vec![descriptor],
    ));
    assert_eq!(bench.passed(&Head::with("x-user", "ada"), 10), 5);
    assert_eq!(bench.passed(&Head::with("x-user", "bob"), 10), 2);
}

#[test]
fn a_limit_enforced_for_a_share_only_counts_the_rest() {
    let mut config = limit(Some(bucket(1, 1, Duration::from_secs(3_600))), vec![]);
    config.enforced_per_million = 500_000;
    let mut bench = Bench::new(config);
    let passed = bench.passed(&Head::default(), 10_000);
    assert!((4_700..5_300).contains(&passed), "{passed}");
    let stats = bench.metrics.rate_limit(&"l".into());
    assert_eq!(stats.allowed.get(), 1);
    assert_eq!(stats.not_enforced.get() + stats.denied.get(), 9_999);
}

#[test]
fn a_flood_of_other_keys_does_not_free_an_exhausted_one() {
    let descriptor = RateLimitDescriptor {
        keys: vec![RateLimitKey::RemoteAddress],
        bucket: bucket(3, 1, Duration::from_secs(3_600)),
    };
    let mut config = limit(None, vec![descriptor]);
    config.keys_max = 64;
    let mut bench = Bench::new(config);
    let guilty = [10, 0, 0, 1];
    while bench.check(&Head::default(), guilty) == RateDecision::Allow {}
    for n in 0..5_000u16 {
        let [high, low] = n.to_be_bytes();
        bench.check(&Head::default(), [172, 16, high, low]);
    }
    assert!(matches!(
        bench.check(&Head::default(), guilty),
        RateDecision::Deny { .. }
    ));
    assert!(bench.metrics.limits.get(Limit::RateLimitKeys) > 0);
}

#[test]
fn threads_together_get_no_more_than_the_bucket_holds() {
    let bench = Bench::new(limit(
        Some(bucket(1_000, 1, Duration::from_secs(3_600))),
        vec![],
    ));
    let passed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for seed in 0..3 {
            let (bench, passed) = (&bench, &passed);
            scope.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(seed);
                for _ in 0..2_000 {
                    let decision = bench.limiter.check(
                        &Head::default(),
                        IpAddr::from([1, 1, 1, 1]),
                        bench.now,
                        &mut rng,
                    );
                    passed.fetch_add(
                        u64::from(decision == RateDecision::Allow),
                        Ordering::Relaxed,
                    );
                }
            });
        }
    });
    assert_eq!(passed.load(Ordering::Relaxed), 1_000);
}
