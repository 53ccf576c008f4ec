use weft_config::grpc::GrpcStatus;
use weft_config::policy::{
    Fault, FaultAbort, FaultDelay, LocalRateLimit, RateLimitDescriptor, RateLimitKey, TokenBucket,
};

use super::*;

/// So many requests, and another each minute.
fn bucket(max: u32) -> TokenBucket {
    TokenBucket {
        max,
        fill: 1,
        interval: Duration::from_secs(60),
    }
}

fn limit(max: u32) -> LocalRateLimit {
    LocalRateLimit {
        name: "l".into(),
        bucket: Some(bucket(max)),
        descriptors: Vec::new(),
        status: 429,
        grpc_status: GrpcStatus::RESOURCE_EXHAUSTED,
        enforced_per_million: 1_000_000,
        keys_max: 100,
    }
}

/// One request for each distinct `key`, and any number without.
fn keyed(key: RateLimitKey) -> LocalRateLimit {
    let descriptor = RateLimitDescriptor {
        keys: vec![key],
        bucket: bucket(1),
    };
    LocalRateLimit {
        bucket: None,
        descriptors: vec![descriptor],
        ..limit(1)
    }
}

async fn limited(limit: LocalRateLimit) -> Setup {
    let mut setup = Setup::to([says("ok").await]);
    setup.filters = vec![HttpFilter::LocalRateLimit(Arc::new(limit))];
    setup
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap()
}

#[test]
fn a_request_beyond_the_limit_is_a_429_that_says_when_and_its_connection_goes_on() {
    local(async {
        let rig = limited(limit(2)).await.start().await;
        let mut client = rig.connect().await;
        for wanted in ["200", "200", "429", "429"] {
            client.send(GET).await;
            let answer = client.message().await;
            assert_eq!(status(&answer), wanted, "{answer}");
            if wanted == "429" {
                assert_eq!(flag(&answer), "RL");
                let after: u32 = field(&answer, "retry-after").parse().unwrap();
                assert!((1..=60).contains(&after), "{answer}");
            }
        }
    });
}

#[test]
fn the_limit_of_a_route_takes_the_place_of_the_listeners() {
    local(async {
        let mut setup = limited(limit(1)).await;
        setup.route = Box::new(|route| {
            let own = LocalRateLimit {
                status: 503,
                ..limit(2)
            };
            route.overrides.local_rate_limit = Some(Arc::new(own));
        });
        let rig = setup.start().await;
        for wanted in ["200", "200", "503"] {
            assert_eq!(status(&rig.ask(GET).await), wanted);
        }
    });
}

#[test]
fn each_value_of_a_header_has_its_own_limit() {
    local(async {
        let limit = keyed(RateLimitKey::Header("x-user".into()));
        let rig = limited(limit).await.start().await;
        let by = |user: &str| format!("GET / HTTP/1.1\r\nHost: a\r\nX-User: {user}\r\n\r\n");
        assert_eq!(status(&rig.ask(&by("a")).await), "200");
        assert_eq!(status(&rig.ask(&by("a")).await), "429");
        assert_eq!(status(&rig.ask(&by("b")).await), "200");
        assert_eq!(status(&rig.ask(GET).await), "200");
    });
}

#[test]
fn an_address_is_limited_whatever_the_request_claims_to_come_from() {
    local(async {
        let rig = limited(keyed(RateLimitKey::RemoteAddress)).await;
        let rig = rig.start().await;
        let from = |ip: &str| format!("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {ip}\r\n\r\n");
        assert_eq!(status(&rig.ask(&from("10.0.0.1")).await), "200");
        assert_eq!(status(&rig.ask(&from("10.0.0.2")).await), "429");
    });
}

fn fault(delay_ms: u64, abort: Option<(u16, Option<u8>)>) -> HttpFilter {
    HttpFilter::Fault(Arc::new(Fault {
        delay: (delay_ms > 0).then_some(FaultDelay {
            duration: Duration::from_millis(delay_ms),
            per_million: 1_000_000,
        }),
        abort: abort.map(|(http_status, grpc_status)| FaultAbort {
            http_status,
            grpc_status,
            per_million: 1_000_000,
        }),
        active_max: Some(1),
    }))
}

#[test]
fn a_delayed_request_is_answered_later_and_an_aborted_one_here() {
    local(async {
        let mut setup = Setup::to([says("ok").await]);
        setup.filters = vec![fault(60, None)];
        let (rig, before) = (setup.start().await, Instant::now());
        assert_eq!(status(&rig.ask(GET).await), "200");
        assert!(before.elapsed() >= Duration::from_millis(60));

        let mut setup = Setup::to([nobody().await]);
        setup.filters = vec![fault(60, Some((418, None)))];
        let (rig, before) = (setup.start().await, Instant::now());
        let answer = rig.ask(GET).await;
        assert_eq!((status(&answer), flag(&answer)), ("418", "FI"));
        assert!(before.elapsed() >= Duration::from_millis(60));
    });
}

#[test]
fn a_grpc_call_hears_the_status_of_its_fault() {
    local(async {
        let mut setup = Setup::to([nobody().await]);
        setup.filters = vec![fault(0, Some((503, Some(8))))];
        let rig = setup.start().await;
        let call = "POST /s/m HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n";
        let answer = rig.ask(call).await;
        assert_eq!(status(&answer), "200");
        assert_eq!(field(&answer, "grpc-status"), "8", "{answer}");
    });
}

#[test]
fn a_downstream_that_goes_away_during_a_delay_frees_its_place_among_the_faults() {
    local(async {
        let mut setup = Setup::to([says("ok").await]);
        setup.filters = vec![fault(100, None)];
        let rig = setup.start().await;
        let mut client = rig.connect().await;
        client
            .send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n")
            .await;
        while rig.worker.population().1 == 0 {
            tokio::task::yield_now().await;
        }
        drop(client);
        rig.settles().await;
        let before = Instant::now();
        rig.ask(GET).await;
        assert!(
            before.elapsed() >= Duration::from_millis(100),
            "the place is still taken"
        );
    });
}
