use weft_config::cluster::{CircuitBreakers as Limits, RetryBudget};

use super::*;
use crate::telemetry::Metrics;

fn breakers(percent: u32, per_second_min: u32) -> (CircuitBreakers, Instant) {
    let limits = Limits {
        retry_budget: RetryBudget {
            percent,
            per_second_min,
        },
        ..Limits::default()
    };
    let now = Instant::now();
    (
        CircuitBreakers::new(&limits, Metrics::new().cluster(&"c".into()), now),
        now,
    )
}

fn policy(on: RetryOn, retries_max: u32) -> Arc<RetryPolicy> {
    Arc::new(RetryPolicy {
        on,
        retries_max,
        ..RetryPolicy::clone(&DEFAULT)
    })
}

fn status(status: u16) -> Failure {
    Failure::Status {
        status,
        grpc: None,
        retry_after: None,
    }
}

fn is_retried(on: RetryOn, failure: Failure) -> bool {
    let (breakers, now) = breakers(100, 0);
    let mut rng = fastrand::Rng::with_seed(1);
    let verdict = RetryState::new(Some(&policy(on, 1))).next(failure, &breakers, now, &mut rng);
    matches!(verdict, RetryVerdict::Again { .. })
}

#[test]
fn each_condition_retries_what_it_names() {
    let gateway = || RetryOn {
        gateway_error: true,
        ..RetryOn::default()
    };
    let codes = || RetryOn {
        status_codes: vec![429],
        ..RetryOn::default()
    };
    let grpc = || RetryOn {
        grpc_codes: vec![14],
        ..RetryOn::default()
    };
    let before = || RetryOn {
        reset_before_request: true,
        ..RetryOn::default()
    };
    let unavailable = Failure::Status {
        status: 200,
        grpc: Some(14),
        retry_after: None,
    };
    for (on, failure, retried) in [
        (gateway(), status(503), true),
        (gateway(), status(500), false),
        (gateway(), Failure::TryTimedOut, true),
        (
            RetryOn {
                any_5xx: true,
                ..RetryOn::default()
            },
            status(500),
            true,
        ),
        (
            RetryOn {
                any_5xx: true,
                ..RetryOn::default()
            },
            status(499),
            false,
        ),
        (codes(), status(429), true),
        (codes(), Failure::Reset { written: true }, false),
        (grpc(), unavailable, true),
        (grpc(), status(200), false),
        (before(), Failure::Reset { written: false }, true),
        (before(), Failure::Reset { written: true }, false),
        (
            RetryOn {
                retriable_4xx: true,
                ..RetryOn::default()
            },
            status(409),
            true,
        ),
        (RetryOn::default(), Failure::ConnectFailed, false),
    ] {
        assert_eq!(
            is_retried(on.clone(), failure),
            retried,
            "{on:?} {failure:?}"
        );
    }
}

#[test]
fn without_a_policy_only_what_reached_nobody_is_tried_once_more_and_at_once() {
    let (breakers, now) = breakers(0, 1);
    let mut rng = fastrand::Rng::with_seed(1);
    for failure in [Failure::ConnectFailed, Failure::NotBegun] {
        let mut state = RetryState::new(None);
        let first = state.next(failure, &breakers, now, &mut rng);
        assert!(matches!(
            first,
            RetryVerdict::Again {
                after: Duration::ZERO,
                guard: None
            }
        ));
        assert_eq!(state.retries, 1);
        assert!(matches!(
            state.next(failure, &breakers, now, &mut rng),
            RetryVerdict::Exhausted
        ));
    }
    let mut state = RetryState::new(None);
    assert!(matches!(
        state.next(status(503), &breakers, now, &mut rng),
        RetryVerdict::No
    ));
    let reset = Failure::Reset { written: true };
    assert!(matches!(
        state.next(reset, &breakers, now, &mut rng),
        RetryVerdict::No
    ));
}

#[test]
fn pauses_double_stay_below_their_ceiling_and_are_spread() {
    let (breakers, now) = breakers(100, 0);
    let mut rng = fastrand::Rng::with_seed(5);
    let on = RetryOn {
        any_5xx: true,
        ..RetryOn::default()
    };
    let mut longest = [Duration::ZERO; 6];
    for _ in 0..300 {
        let mut state = RetryState::new(Some(&policy(on.clone(), 6)));
        for longest in &mut longest {
            let RetryVerdict::Again { after, .. } =
                state.next(status(500), &breakers, now, &mut rng)
            else {
                panic!("six retries are allowed");
            };
            *longest = after.max(*longest);
        }
    }
    for (longest, ceiling) in longest.iter().zip([25, 50, 100, 200, 250, 250]) {
        let ceiling = Duration::from_millis(ceiling);
        assert!(
            *longest <= ceiling && *longest > ceiling * 9 / 10,
            "{longest:?} of {ceiling:?}"
        );
    }
}

#[test]
fn retries_stop_at_the_budget() {
    let (breakers, now) = breakers(20, 3);
    let mut rng = fastrand::Rng::with_seed(1);
    let on = RetryOn {
        any_5xx: true,
        ..RetryOn::default()
    };
    let verdicts = (0..100).map(|_| {
        RetryState::new(Some(&policy(on.clone(), 3))).next(status(503), &breakers, now, &mut rng)
    });
    let (again, over): (Vec<_>, Vec<_>) =
        verdicts.partition(|verdict| matches!(verdict, RetryVerdict::Again { .. }));
    assert_eq!(again.len(), 3);
    assert!(
        over.iter()
            .all(|verdict| matches!(verdict, RetryVerdict::OverBudget))
    );
}

#[test]
fn a_short_retry_after_is_waited_for_and_a_long_one_handed_on() {
    let (breakers, now) = breakers(100, 0);
    let mut rng = fastrand::Rng::with_seed(1);
    let on = RetryOn {
        status_codes: vec![429],
        ..RetryOn::default()
    };
    let asks = |millis| Failure::Status {
        status: 429,
        grpc: None,
        retry_after: Some(Duration::from_millis(millis)),
    };
    let mut state = RetryState::new(Some(&policy(on, 3)));
    let RetryVerdict::Again { after, .. } = state.next(asks(200), &breakers, now, &mut rng) else {
        panic!("200 ms can be waited for");
    };
    assert!(after >= Duration::from_millis(200));
    assert!(matches!(
        state.next(asks(5_000), &breakers, now, &mut rng),
        RetryVerdict::No
    ));
}

/// Four services in a row retry each other; the last one fails a share of its requests.
fn chain(failing: impl Fn(&mut fastrand::Rng) -> bool) -> (f64, f64) {
    let hops: Vec<_> = (0..3).map(|_| breakers(20, 3)).collect();
    let on = RetryOn {
        any_5xx: true,
        ..RetryOn::default()
    };
    let policy = policy(on, 3);
    let mut rng = fastrand::Rng::with_seed(9);
    let (mut attempts, mut good) = (0u64, 0u64);
    fn call(
        hops: &[(CircuitBreakers, Instant)],
        at: Duration,
        policy: &Arc<RetryPolicy>,
        rng: &mut fastrand::Rng,
        last: &mut dyn FnMut(&mut fastrand::Rng) -> u16,
    ) -> u16 {
        let Some(((breakers, start), rest)) = hops.split_first() else {
            return last(rng);
        };
        let mut state = RetryState::new(Some(policy));
        loop {
            let answer = call(rest, at, policy, rng, last);
            let now = *start + at;
            if answer < 500 {
                breakers.answered(now);
                return answer;
            }
            if !matches!(
                state.next(status(answer), breakers, now, rng),
                RetryVerdict::Again { .. }
            ) {
                return answer;
            }
        }
    }
    let offered = 10_000;
    for request in 0..offered {
        let mut last = |rng: &mut fastrand::Rng| {
            attempts += 1;
            if failing(rng) { 503 } else { 200 }
        };
        let answer = call(
            &hops,
            Duration::from_millis(request * 5),
            &policy,
            &mut rng,
            &mut last,
        );
        good += u64::from(answer == 200);
    }
    (
        attempts as f64 / offered as f64,
        good as f64 / offered as f64,
    )
}

#[test]
fn a_chain_of_proxies_does_not_multiply_an_outage() {
    let (attempts, _) = chain(|_| true);
    assert!(attempts <= 1.25, "{attempts} attempts for each request");
}

#[test]
fn a_chain_of_proxies_hides_a_fifth_of_failures() {
    let (attempts, good) = chain(|rng| rng.u32(0..100) < 20);
    assert!(good >= 0.99, "{good} served");
    assert!(attempts <= 1.5, "{attempts} attempts for each request");
}
