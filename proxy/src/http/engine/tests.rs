//! The engine without sockets, and what of it hangs on time alone.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use weft_config::listener::Direction;

use crate::detect::Protocol;
use crate::http::bounds::Bounds;
use crate::http::engine::{Action, ConnId, Engine, EngineOptions};
use crate::http::pump::tests::Setup;
use crate::listener::ConnectionFacts;
use crate::overload::Overload;
use crate::snapshot::{Builder, SnapshotStore};
use crate::telemetry::{Limit, Metrics, Scope};

/// An engine with a connection of HTTP/2.
pub(super) fn engine(now: Instant) -> (Engine, ConnId) {
    let metrics = Metrics::new();
    let store = SnapshotStore::new();
    let mut builder = Builder::new(store.clone(), metrics.clone(), crate::tls::Secrets::new());
    let setup = || Setup::to(["127.0.0.1:9".parse().unwrap()]);
    builder.put_cluster(Arc::new(setup().cluster()), now);
    builder.put_listener(Arc::new(setup().listener()), now);
    builder.commit(now);
    let mut engine = Engine::new(EngineOptions {
        snapshots: store,
        scope: Scope::build(&metrics, &"none".into(), Direction::Inbound, &[]).unwrap(),
        overload: Overload::new(&metrics),
        bounds: Bounds::default(),
        half_closed_timeout: Duration::from_secs(60),
        rng: fastrand::Rng::with_seed(7),
        now,
    });
    let facts = ConnectionFacts {
        listener: "in".into(),
        peer: "127.0.0.1:2".parse().unwrap(),
        local: "127.0.0.1:1".parse().unwrap(),
        original_dst: None,
        beside: None,
        direction: Direction::Inbound,
        protocol: Some(Protocol::Http2),
        hello: None,
        tls: None,
    };
    let id = engine.accepted(Rc::new(facts), now);
    (engine, id)
}

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u8::try_from(payload.len()).unwrap();
    [
        &[0, 0, len, kind, flags],
        &stream.to_be_bytes()[..],
        payload,
    ]
    .concat()
}

/// `GET / ` of `a`.
pub(super) fn request(stream: u32) -> Vec<u8> {
    frame(1, 0x5, stream, &[0x82, 0x86, 0x84, 0x41, 1, b'a'])
}

pub(super) fn receive(engine: &mut Engine, id: ConnId, bytes: &[u8], now: Instant) {
    let mut input = engine.lend_input(id);
    let hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
    input.extend(hello);
    input.extend(bytes);
    engine.received(id, input, now);
}

const GOAWAY: u8 = 7;

/// Last streams of the GOAWAY frames that wait to be written, which they then are.
fn last_streams(engine: &mut Engine, id: ConnId, now: Instant) -> Vec<u32> {
    let bytes = engine.pending(id).to_vec();
    engine.written(id, bytes.len(), now);
    let mut rest = &bytes[..];
    let mut last = Vec::new();
    while let [_, a, b, kind, _, _, _, _, _, after @ ..] = rest {
        let (payload, next) = after.split_at(usize::from(u16::from_be_bytes([*a, *b])));
        if *kind == GOAWAY {
            last.push(u32::from_be_bytes(payload[..4].try_into().unwrap()));
        }
        rest = next;
    }
    last
}

/// The connection that is asked for next, opened.
fn connected(engine: &mut Engine, now: Instant) -> ConnId {
    while let Some(action) = engine.next_action() {
        if let Action::Connect { attempt, .. } = action {
            return engine.connected(attempt, None, now).unwrap();
        }
    }
    panic!("no connection is asked for");
}

#[test]
fn what_comes_before_a_byte_of_the_request_was_written_is_no_answer_to_it() {
    let now = Instant::now();
    for early in [
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\n\r\n",
    ] {
        let (mut engine, id) = engine(now);
        receive(&mut engine, id, &request(1), now);
        last_streams(&mut engine, id, now);
        let up = connected(&mut engine, now);
        assert!(engine.pending(up).starts_with(b"GET / "));
        let mut input = engine.lend_input(up);
        input.extend(early.as_bytes());
        engine.received(up, input, now);
        assert!(!engine.is_open(up), "{early}");
        let told = engine.pending(id);
        // What we say of it ourselves: upstream connection failure.
        assert!(told.windows(2).any(|it| it == b"UC"), "{told:?}");
        assert_eq!(engine.population(), (1, 0));
    }
}

/// Asks on `streams` streams, and has each answered by `answer`; nothing is written to who asks.
fn answered(engine: &mut Engine, id: ConnId, streams: u32, answer: &[u8], now: Instant) {
    let mut input = engine.lend_input(id);
    (0..streams).for_each(|n| input.extend(&request(2 * n + 1)));
    engine.received(id, input, now);
    while engine.is_paused(id) {
        engine.go_on(id, now);
    }
    for _ in 0..streams {
        let up = connected(engine, now);
        engine.written(up, engine.pending(up).len(), now);
        let mut input = engine.lend_input(up);
        input.extend(answer);
        engine.received(up, input, now);
    }
}

const WAITS_BYTES_MAX: usize = 2 * 1024 * 1024;

#[test]
fn heads_of_answers_that_nobody_reads_wait_up_to_a_bound_for_all_streams_together() {
    let now = Instant::now();
    let (mut engine, id) = engine(now);
    receive(&mut engine, id, b"", now);
    let large = "v".repeat(50_000);
    let answer = format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\nx-large: {large}\r\n\r\n"
    );
    answered(&mut engine, id, 60, answer.as_bytes(), now);
    let waits = engine.pending(id).len();
    assert!(waits > WAITS_BYTES_MAX - 60_000, "{waits}");
    assert!(waits <= WAITS_BYTES_MAX, "{waits}");
    assert!(engine.scope.limits.get(Limit::WaitingHeads) > 0);
    assert!(engine.is_open(id));
    assert_eq!(engine.population(), (1, 0));
    // Who reads is answered again.
    engine.written(id, waits, now);
    let given_up = engine.scope.limits.get(Limit::WaitingHeads);
    let mut input = engine.lend_input(id);
    input.extend(&request(1001));
    engine.received(id, input, now);
    assert_eq!(engine.population().1, 1);
    assert_eq!(engine.scope.limits.get(Limit::WaitingHeads), given_up);
}

#[test]
fn trailers_that_wait_behind_bodies_are_bounded_with_the_heads() {
    let now = Instant::now();
    let (mut engine, id) = engine(now);
    // SETTINGS_INITIAL_WINDOW_SIZE: no byte of a body is taken.
    receive(&mut engine, id, &frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]), now);
    let large = "v".repeat(15_000);
    let answer = format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-large: {large}\r\n\r\n"
    );
    answered(&mut engine, id, 200, answer.as_bytes(), now);
    let held = engine.wires.get(id).unwrap().trailers_held;
    let waits = held + engine.pending(id).len();
    assert!(waits > WAITS_BYTES_MAX - 60_000, "{waits}");
    assert!(waits <= WAITS_BYTES_MAX + 60_000, "{waits}");
    assert!(engine.scope.limits.get(Limit::WaitingHeads) > 50);
    // What is given up waits no more.
    for stream in 0..200 {
        let mut input = engine.lend_input(id);
        input.extend(&frame(3, 0, 2 * stream + 1, &[0, 0, 0, 8]));
        engine.received(id, input, now);
    }
    assert_eq!(engine.wires.get(id).unwrap().trailers_held, 0);
    assert_eq!(engine.population(), (1, 0));
}

#[test]
fn who_answers_no_ping_is_told_its_last_stream_all_the_same() {
    let now = Instant::now();
    let (mut engine, id) = engine(now);
    receive(&mut engine, id, &request(1), now);
    last_streams(&mut engine, id, now);
    engine.drain(now);
    assert_eq!(last_streams(&mut engine, id, now), [(1 << 31) - 1]);
    let later = engine.next_deadline().unwrap();
    assert!(later <= now + Duration::from_secs(5));
    engine.expire(now + Duration::from_secs(5));
    assert_eq!(last_streams(&mut engine, id, now), [1]);
    assert!(engine.is_open(id));
}
