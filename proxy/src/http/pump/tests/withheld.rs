//! Peers that ask and then take nothing, or do not say all of it: what is theirs ends, and what is others' goes on.

use tokio::sync::Notify;
use weft_config::cluster::RetryBudget;

use super::http2_peers::{GOAWAY, HEADERS, PREFACE, SETTINGS, answer, frame};
use super::*;

const DATA: u8 = 0;
const RST_STREAM: u8 = 3;

/// The first bytes of a client of HTTP/2 that takes no byte of any body.
fn takes_no_body() -> Vec<u8> {
    let no_window = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    [PREFACE, &no_window, &frame(SETTINGS, 1, 0, &[])].concat()
}

fn takes_all() -> Vec<u8> {
    [
        PREFACE,
        &frame(SETTINGS, 0, 0, &[]),
        &frame(SETTINGS, 1, 0, &[]),
    ]
    .concat()
}

/// `GET /` of `a`.
fn get(stream: u8) -> Vec<u8> {
    frame(HEADERS, 0x5, stream, &[0x82, 0x86, 0x84, 0x41, 1, b'a'])
}

/// `POST /` of `a` with five bytes, which are to follow.
fn post(stream: u8) -> Vec<u8> {
    let head = [0x83, 0x86, 0x84, 0x41, 1, b'a', 0x0f, 0x0d, 1, b'5'];
    frame(HEADERS, 0x4, stream, &head)
}

/// An origin whose first connection is heard and never answered.
async fn first_waits() -> SocketAddr {
    origin(|count, mut peer| async move {
        peer.head().await;
        if count > 0 {
            peer.send(OK).await;
        }
        peer.rest().await;
    })
    .await
}

#[test]
fn a_malformed_request_ends_though_nobody_reads_what_it_is_answered() {
    for bad in [
        // More than was announced, trailers with a pseudo-field, trailers that end nothing.
        frame(DATA, 0, 1, b"123456789"),
        frame(HEADERS, 0x5, 1, &[0x84]),
        frame(HEADERS, 0x4, 1, &[0x40, 1, b'x', 1, b'y']),
    ] {
        local(async {
            let heard = Rc::new(Notify::new());
            let hears = heard.clone();
            let to = origin(move |_, mut peer| {
                let heard = hears.clone();
                async move {
                    match peer.head().await.starts_with("GET ") {
                        true => peer.send(OK).await,
                        false => heard.notify_one(),
                    }
                    peer.rest().await;
                }
            })
            .await;
            let mut setup = Setup::to([to]);
            setup.requests_max = 1;
            let rig = setup.start().await;
            rig.protocol.set(Some(Protocol::Http2));
            let mut client = rig.connect().await;
            client.send([takes_no_body(), post(1)].concat()).await;
            heard.notified().await;
            client.send(bad).await;
            assert_eq!(client.frame_of(RST_STREAM).await.unwrap().0, 1);
            rig.settles().await;
            rig.protocol.set(None);
            let answer = rig.ask(GET).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        });
    }
}

#[test]
fn an_answer_of_the_proxy_that_nobody_reads_is_no_request_of_its_cluster() {
    local(async {
        let mut setup = Setup::to([first_waits().await]);
        setup.requests_max = 1;
        setup.forward.timeout = Some(Duration::from_millis(100));
        let rig = setup.start().await;
        rig.protocol.set(Some(Protocol::Http2));
        let mut client = rig.connect().await;
        client.send([takes_no_body(), get(1)].concat()).await;
        // The head of a 504, whose body waits for credit.
        assert_eq!(client.frame_of(HEADERS).await.unwrap().0, 1);
        assert_eq!(rig.worker.population().1, 1);
        rig.protocol.set(None);
        let answer = rig.ask(GET).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    });
}

#[test]
fn a_whole_answer_that_nobody_reads_is_no_request_of_its_cluster() {
    local(async {
        let mut setup = Setup::to([says("hello").await]);
        setup.requests_max = 1;
        let rig = setup.start().await;
        rig.protocol.set(Some(Protocol::Http2));
        let mut client = rig.connect().await;
        client.send([takes_no_body(), get(1)].concat()).await;
        assert_eq!(client.frame_of(HEADERS).await.unwrap().0, 1);
        assert_eq!(rig.worker.population().1, 1);
        rig.protocol.set(None);
        assert!(rig.ask(GET).await.starts_with("HTTP/1.1 200 "));
    });
}

#[test]
fn a_frame_that_does_not_end_has_the_time_of_a_head_though_other_streams_are_open() {
    local(async {
        let mut setup = Setup::to([first_waits().await]);
        setup.limits.request_headers_timeout = Duration::from_millis(100);
        let rig = setup.start().await;
        rig.protocol.set(Some(Protocol::Http2));
        let mut client = rig.connect().await;
        client.send([takes_all(), get(1)].concat()).await;
        client.send(&get(3)[..12]).await;
        assert!(client.frame_of(GOAWAY).await.is_some());
        assert_eq!(rig.metrics.limits.get(Limit::HeaderTime), 1);
        rig.settles().await;
    });
}

#[test]
fn half_a_head_is_silence_where_heads_have_no_time_of_their_own() {
    local(async {
        let mut setup = Setup::to([nobody().await]);
        setup.limits.request_headers_timeout = Duration::ZERO;
        setup.limits.idle_timeout = Duration::from_millis(100);
        let rig = setup.start().await;
        for protocol in [None, Some(Protocol::Http2)] {
            rig.protocol.set(protocol);
            let mut client = rig.connect().await;
            match protocol {
                None => client.send("GET / HT").await,
                Some(_) => client.send([&takes_all(), &get(1)[..12]].concat()).await,
            }
            client.rest().await;
        }
        assert_eq!(rig.metrics.limits.get(Limit::IdleTime), 2);
    });
}

#[test]
fn hints_are_left_out_for_a_downstream_that_does_not_read() {
    const STREAMS: u8 = 40;
    local(async {
        let told = Rc::new(Cell::new(0));
        let count = told.clone();
        let to = origin(move |_, mut peer| {
            let told = count.clone();
            async move {
                let hint = format!("HTTP/1.1 103 Hint\r\nx: {}\r\n\r\n", "v".repeat(45_000));
                peer.head().await;
                for _ in 0..16 {
                    peer.send(&hint).await;
                }
                peer.send(OK).await;
                told.set(told.get() + 1);
                peer.rest().await;
            }
        })
        .await;
        let rig = Setup::to([to]).start().await;
        rig.protocol.set(Some(Protocol::Http2));
        let mut client = rig.connect().await;
        client.send(takes_all()).await;
        for stream in 0..STREAMS {
            client.send(get(2 * stream + 1)).await;
        }
        while told.get() < STREAMS {
            tokio::time::sleep_until(Instant::now() + Duration::from_millis(5)).await;
        }
        let (mut answers, mut bytes) = (0, 0);
        while answers < STREAMS {
            let (kind, _, payload) = client.frame().await.unwrap();
            bytes += payload.len();
            answers += u8::from(kind == DATA && payload == b"ok");
        }
        // All of it is above 25 MB; the sockets between us hold up to 10.
        assert!(bytes < 15_000_000, "{bytes}");
        rig.settles().await;
    });
}

#[test]
fn what_endpoints_have_not_begun_is_bounded_by_the_number_of_attempts_alone() {
    const REFUSED: &[u8] = &[0, 0, 0, 7];
    local(async {
        let to = origin(|_, mut peer| async move {
            peer.read_preface().await;
            peer.send(frame(SETTINGS, 0, 0, &[])).await;
            for _ in 0..5 {
                let (stream, _) = peer.frame_of(HEADERS).await.unwrap();
                peer.send(frame(RST_STREAM, 0, stream, REFUSED)).await;
            }
            let (stream, _) = peer.frame_of(HEADERS).await.unwrap();
            peer.send(answer(stream)).await;
            peer.rest().await;
        })
        .await;
        let mut setup = super::http2::over_http2(to);
        setup.cluster = Box::new(|cluster| {
            cluster.protocol = weft_config::cluster::UpstreamProtocol::Http2;
            cluster.circuit_breakers.retry_budget = RetryBudget {
                percent: 0,
                per_second_min: 0,
            };
            cluster.circuit_breakers.retries_max = 0;
        });
        setup.forward.retry = Some(Arc::new(RetryPolicy {
            on: RetryOn {
                refused_stream: true,
                ..RetryOn::default()
            },
            retries_max: 3,
            per_try_timeout: None,
            backoff_base: Duration::from_millis(1),
            backoff_max: Duration::from_millis(2),
            body_limit_bytes: 1024,
        }));
        let rig = setup.start().await;
        let answer = rig.ask(GET).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        rig.settles().await;
    });
}
