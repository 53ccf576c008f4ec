//! Connections that exchanges share: credit for what was passed on, bytes that waited for it, streams that end alone.

use smallvec::SmallVec;
use weft_config::flag::ResponseFlag;

use super::Engine;
use super::body::Sink;
use super::codecs;
use super::connection::{Closing, ConnId, Connection, Role};
use super::exchange::{ExchangeId, Phase};
use super::failure::Failure;
use super::wires::Wires;
use crate::http::codec::{ProtocolError, Reason, StreamId};

impl Engine {
    /// The exchange on `stream` of a connection.
    pub(super) fn exchange_on(&self, id: ConnId, stream: StreamId) -> Option<ExchangeId> {
        self.wires.get(id)?.streams.get(stream)
    }

    /// Whether many exchanges run on a connection.
    pub(super) fn is_shared(&self, id: ConnId) -> bool {
        self.wires
            .get(id)
            .is_some_and(|connection| connection.codec.is_multiplexed())
    }

    /// All exchanges of a connection, as they are now.
    pub(super) fn exchanges_on(&self, id: ConnId) -> SmallVec<[ExchangeId; 1]> {
        let connection = self.wires.get(id);
        connection.map_or_else(SmallVec::new, |connection| connection.streams.all())
    }

    /// Has written what the codec of a connection has to say by itself.
    pub(super) fn flush_codec(&mut self, id: ConnId) {
        if self.wires.get(id).is_some_and(|it| it.codec.wants_flush())
            && let Some(connection) = self.wires.writer(id)
        {
            connection.codec.flush(&mut connection.out);
        }
    }

    /// After its input was looked at, or some of its output was written: the codec says what it has to, and streams that
    /// had to wait go on.
    pub(super) fn settle_shared(&mut self, id: ConnId) {
        while let Some(connection) = self.wires.get_mut(id) {
            let Some(stream) = connection.codec.next_writable(&connection.out) else {
                break;
            };
            if let Some(exchange) = connection.streams.get(stream) {
                self.push(exchange, id);
            }
        }
        if !self.goes_on_before_it_writes(id) {
            self.flush_codec(id);
        }
        let Some(connection) = self.wires.get_mut(id) else {
            return;
        };
        for hit in connection.codec.hits() {
            self.scope.limits.hit(codecs::limit_of(hit));
        }
        let over = connection.streams.is_empty()
            && connection.closing == Closing::No
            && connection.codec.wants_close();
        match &connection.role {
            // There may be more room than there was, or none any more.
            Role::Upstream(_) => self.freed.push(id),
            Role::Downstream(_) if over => self.close_after_flush(id, true),
            Role::Downstream(_) => self.note_unfinished(id),
        }
    }

    /// Whether what the codec has to say is put off until more of the input was looked at: each turn of a connection that
    /// others pay for would cost a write, and the peer a wake-up, for a few frames.
    fn goes_on_before_it_writes(&self, id: ConnId) -> bool {
        self.wires
            .get(id)
            .is_some_and(|it| it.paused && it.out.is_empty() && it.codec.flush_can_wait())
    }

    /// Some of what waited on `id` was written: what waits behind it goes on.
    pub(super) fn push_on(&mut self, id: ConnId, flushed: bool) {
        let Some(connection) = self.wires.get(id) else {
            return;
        };
        if connection.codec.is_multiplexed() {
            self.wires.unblock(id);
            return self.settle_shared(id);
        }
        let Some(exchange) = connection.streams.first() else {
            return;
        };
        self.moved(exchange);
        self.push(exchange, id);
        self.unblock_other(exchange, id);
        if flushed {
            self.try_switch(exchange);
        }
    }

    /// Goes on with what of an exchange waits for `id` to take it.
    fn push(&mut self, exchange: ExchangeId, id: ConnId) {
        let Some(waits) = self.exchanges.get(exchange) else {
            return;
        };
        if waits.down == id {
            if waits.rest.waiting() > 0 {
                self.push_answer(exchange);
            }
        } else if waits.body.waiting() > 0 {
            self.push_request(exchange);
        }
    }

    fn push_request(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let room = exchange.limits.buffer_bytes_max;
        let up = exchange.attempt.up;
        let Some(sink) = up.and_then(|up| sink(&mut self.wires, up.conn, up.stream, room)) else {
            return;
        };
        exchange.deadlines.moved_at = self.now;
        match exchange.body.push(sink) {
            Ok(()) => {
                self.credit_request(id);
                self.tunnel_drained(id);
            }
            Err(refused) => self.upstream_failed(id, &Failure::Refused(refused.to_string())),
        }
    }

    fn push_answer(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let room = exchange.limits.buffer_bytes_max;
        let Some(sink) = sink(&mut self.wires, exchange.down, exchange.stream, room) else {
            return;
        };
        exchange.deadlines.moved_at = self.now;
        let (up, down, pushed) = (exchange.attempt.up, exchange.down, exchange.rest.push(sink));
        let done = exchange.rest.waiting() == 0;
        let ended = exchange.rest.is_last();
        if let Some(trailers) = done.then(|| exchange.rest.take_trailers()).flatten() {
            self.give_trailers(down, trailers);
        }
        match pushed {
            Ok(taken) => {
                if let Some(up) = up {
                    self.credit(up.conn, up.stream, taken);
                }
                if done && ended {
                    self.answer_ended(id);
                } else if let Some(up) = up {
                    self.wires.unblock(up.conn);
                }
            }
            Err(refused) => self.upstream_failed(id, &Failure::Protocol(refused.to_string())),
        }
    }

    /// The sender of a request may send as much more as was passed on.
    pub(super) fn credit_request(&mut self, id: ExchangeId) {
        if let Some(exchange) = self.exchanges.get_mut(id) {
            let due = exchange.body.credit();
            let (down, stream) = (exchange.down, exchange.stream);
            self.credit(down, stream, due);
            self.wires.unblock(down);
        }
    }

    /// The peer may send `bytes` more on a stream.
    pub(super) fn credit(&mut self, id: ConnId, stream: StreamId, bytes: usize) {
        if bytes > 0
            && let Some(connection) = self.wires.get_mut(id)
        {
            connection.codec.consumed(stream, bytes);
            self.flush_codec(id);
        }
    }

    /// Ends one stream of a connection that others share. Nothing happens where it is over already.
    pub(super) fn reset_stream(&mut self, id: ConnId, stream: StreamId, why: Reason) {
        if let Some(connection) = self.wires.get_mut(id) {
            connection.codec.reset(stream, why);
            self.flush_codec(id);
        }
    }

    /// A connection that exchanges share cannot go on: each of them fails, and the peer is told why.
    pub(super) fn fail_streams(&mut self, id: ConnId, error: ProtocolError) {
        let downstream = self
            .wires
            .get(id)
            .is_some_and(|connection| matches!(connection.role, Role::Downstream(_)));
        for exchange in self.exchanges_on(id) {
            if downstream {
                self.abandon(exchange, ResponseFlag::DPE, error.to_string());
            } else {
                self.upstream_failed(exchange, &Failure::of_upstream(error));
            }
        }
        if downstream {
            self.log_broken(id, error);
        }
        self.flush_codec(id);
        self.close_after_flush(id, downstream);
    }

    /// Whether bytes pass on the exchange that are no messages.
    pub(super) fn is_tunnel(&self, id: ExchangeId) -> bool {
        self.exchanges
            .get(id)
            .is_some_and(|exchange| exchange.phase == Phase::Tunnel)
    }
}

/// A stream of a connection, to write to.
pub(super) fn sink(
    wires: &mut Wires,
    id: ConnId,
    stream: StreamId,
    room: usize,
) -> Option<Sink<'_>> {
    let Connection { codec, out, .. } = wires.writer(id)?;
    Some(Sink {
        codec,
        stream,
        out,
        room,
    })
}
