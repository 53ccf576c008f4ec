//! How much of what one connection sent is looked at before others have their turn.
//!
//! One read can bring the heads of a thousand requests, each of which costs what a request costs. Whoever shares the worker
//! would wait for all of them.

use super::connection::{Closing, ConnId};
use super::{Engine, OUT_BYTES_MAX};
use crate::http::codec::{Event, ReadBuf};

/// What a connection may still cost in this turn.
struct Turn(u32);

/// What a turn may cost.
const COST_MAX: u32 = 256;

/// What a head costs: it is decoded, routed, sent on or thrown away. A piece of a body costs one.
const HEAD_COST: u32 = 8;

impl Turn {
    /// Counts `event`; whether the turn is over behind it.
    ///
    /// A head is not the last of a turn as long as that can be helped: a reset that stands right behind it is to be seen
    /// before the request is sent on.
    fn ends_with(&mut self, event: &Event<'_>) -> bool {
        let head = matches!(event, Event::Head { .. });
        let cost = match event {
            Event::Data { .. } | Event::Raw { .. } | Event::Reset { .. } => 1,
            _ => HEAD_COST,
        };
        self.0 += cost;
        self.0 >= if head { 2 * COST_MAX } else { COST_MAX }
    }
}

impl Engine {
    /// Takes events out of `input` until it holds nothing more to tell now, or the turn of `id` is over.
    pub(super) fn drive(&mut self, id: ConnId, mut input: ReadBuf) {
        let mut turn = Turn(0);
        while let Some(connection) = self.wires.get_mut(id) {
            // Answers that downstream does not take hold up the requests behind them.
            if connection.closing != Closing::No || connection.out.len() > OUT_BYTES_MAX {
                break;
            }
            let shared = connection.codec.is_multiplexed();
            match connection.codec.next(&mut input, &mut self.heads) {
                Ok(Some(event)) => {
                    let over = shared && turn.ends_with(&event);
                    self.on_event(id, event);
                    if over && !input.is_empty() && self.wires.pause(id) {
                        break;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    self.on_protocol_error(id, error);
                    break;
                }
            }
        }
        self.wires.settle_input(id, input);
        if self.is_shared(id) {
            self.proceed_with_asked();
            self.settle_shared(id);
        }
    }

    /// Whether the connection is to be told by [`Self::go_on`] to look at the rest of its input, after others had their
    /// turn. Until then it is not read.
    pub(crate) fn is_paused(&self, id: ConnId) -> bool {
        self.wires.is_paused(id)
    }

    /// The turn of a connection that was paused has come again.
    pub(crate) fn go_on(&mut self, id: ConnId, now: tokio::time::Instant) {
        self.now = now;
        self.wires.unpause(id);
        let input = self.wires.lend_input(id);
        self.drive(id, input);
        self.settle();
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::Arc;

    use tokio::time::Instant;
    use weft_config::listener::Direction;

    use crate::detect::Protocol;
    use crate::http::bounds::Bounds;
    use crate::http::engine::{ConnId, Engine, EngineOptions};
    use crate::http::pump::tests::Setup;
    use crate::listener::ConnectionFacts;
    use crate::overload::Overload;
    use crate::snapshot::{Builder, SnapshotStore};
    use crate::telemetry::{Metrics, Scope};

    /// An engine with a connection of HTTP/2.
    fn engine(now: Instant) -> (Engine, ConnId) {
        let metrics = Metrics::new();
        let store = SnapshotStore::new();
        let mut builder = Builder::new(store.clone(), metrics.clone());
        let setup = || Setup::to(["127.0.0.1:9".parse().unwrap()]);
        builder.put_cluster(Arc::new(setup().cluster()), now);
        builder.put_listener(Arc::new(setup().listener()), now);
        builder.commit(now);
        let mut engine = Engine::new(EngineOptions {
            snapshots: store,
            scope: Scope::build(&metrics, &"none".into(), Direction::Inbound, &[]).unwrap(),
            overload: Overload::new(&metrics),
            bounds: Bounds::default(),
            rng: fastrand::Rng::with_seed(7),
            now,
        });
        let facts = ConnectionFacts {
            listener: "in".into(),
            peer: "127.0.0.1:2".parse().unwrap(),
            local: "127.0.0.1:1".parse().unwrap(),
            original_dst: None,
            direction: Direction::Inbound,
            protocol: Some(Protocol::Http2),
        };
        let id = engine.accepted(Rc::new(facts), now);
        (engine, id)
    }

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let len = u8::try_from(payload.len()).unwrap();
        [
            &[0, 0, len, kind, flags],
            &stream.to_be_bytes()[..],
            payload,
        ]
        .concat()
    }

    /// `GET / ` of `a`.
    fn request(stream: u32) -> Vec<u8> {
        frame(1, 0x5, stream, &[0x82, 0x86, 0x84, 0x41, 1, b'a'])
    }

    fn receive(engine: &mut Engine, id: ConnId, bytes: &[u8], now: Instant) {
        let mut input = engine.lend_input(id);
        let hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
        input.extend(hello);
        input.extend(bytes);
        engine.received(id, input, now);
    }

    #[test]
    fn many_requests_of_one_connection_are_begun_in_several_turns() {
        let now = Instant::now();
        let (mut engine, id) = engine(now);
        let all: Vec<u8> = (0..300).flat_map(|n| request(2 * n + 1)).collect();
        receive(&mut engine, id, &all, now);
        let mut turns = 1;
        let mut before = 0;
        while engine.is_paused(id) {
            let (_, begun) = engine.population();
            assert!(begun - before <= 64, "{begun} after {before}");
            assert!(begun > before);
            before = begun;
            engine.go_on(id, now);
            turns += 1;
        }
        assert_eq!(engine.population().1, 300);
        assert_eq!(turns, 5);
    }

    #[test]
    fn requests_that_are_reset_right_behind_are_sent_to_nobody_however_many_turns_they_take() {
        let now = Instant::now();
        let (mut engine, id) = engine(now);
        let pair = |stream| [request(stream), frame(3, 0, stream, &[0, 0, 0, 8])].concat();
        let all: Vec<u8> = (0..200).flat_map(|n| pair(2 * n + 1)).collect();
        receive(&mut engine, id, &all, now);
        let mut turns = 1;
        while engine.is_paused(id) {
            assert_eq!(engine.population().1, 0);
            engine.go_on(id, now);
            turns += 1;
        }
        assert_eq!(engine.population().1, 0);
        assert!(turns > 4, "{turns}");
        assert!(engine.next_action().is_none(), "a connection is asked for");
    }
}
