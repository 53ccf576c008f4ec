//! How much of what one connection sent is looked at before others have their turn.
//!
//! One read can bring the heads of a thousand requests, each of which costs what a request costs. Whoever shares the worker
//! would wait for all of them.

use super::connection::{Closing, ConnId};
use super::{Engine, READ_STOPS_AT_BYTES};
use crate::http::codec::{Event, ReadBuf};

/// What a connection may still cost in this turn.
struct Turn(u32);

/// What a turn may cost.
const COST_MAX: u32 = 256;

/// What a stream costs that ends for nothing, beside its head: it was begun, counted and logged. Floods are made of such.
const WASTE_COST: u32 = 24;

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
            Event::Data { .. } | Event::Raw { .. } => 1,
            Event::Reset { .. } | Event::Malformed { .. } => WASTE_COST,
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
            if connection.closing != Closing::No || connection.out.len() > READ_STOPS_AT_BYTES {
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
    use tokio::time::Instant;

    use crate::http::engine::tests::{engine, frame, receive, request};

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
        assert!(turns > 20, "{turns}");
        assert!(engine.next_action().is_none(), "a connection is asked for");
    }

    #[test]
    fn resets_that_a_peer_provokes_take_small_turns_and_one_write_and_are_soon_over() {
        let now = Instant::now();
        let (mut engine, id) = engine(now);
        engine.written(id, engine.pending(id).len(), now);
        assert!(engine.next_dirty().is_none());
        // Credit of nothing (RFC 9113 §6.9).
        let pair = |stream| [request(stream), frame(8, 0, stream, &[0; 4])].concat();
        let all: Vec<u8> = (0..1000).flat_map(|n| pair(2 * n + 1)).collect();
        receive(&mut engine, id, &all, now);
        let (mut turns, mut writes) = (1, 0);
        loop {
            while let Some(dirty) = engine.next_dirty() {
                writes += 1;
                let bytes = engine.pending(dirty).len();
                assert!(bytes < 1024, "{bytes}");
                engine.written(dirty, bytes, now);
            }
            if !engine.is_paused(id) {
                break;
            }
            turns += 1;
            engine.go_on(id, now);
        }
        // 33 streams, at most eight of them in a turn.
        assert_eq!((turns, writes), (5, 1));
        assert_eq!(engine.population(), (1, 0));
        assert!(engine.next_action().is_some(), "the connection is closed");
    }
}
