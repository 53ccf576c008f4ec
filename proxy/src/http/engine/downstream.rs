//! The life of a downstream connection, from its acceptance to its last byte.

use std::rc::Rc;
use std::time::Duration;

use weft_config::flag::ResponseFlag;
use weft_config::listener::HttpLimits;

use super::Engine;
use super::codecs::{self, bound_met};
use super::connection::{ConnId, Connection, Downstream, Role};
use super::exchange::ExchangeId;
use super::failure::Failure;
use super::keepalive::Keepalive;
use super::local_reply::LocalReply;
use crate::http::codec::{Event, ProtocolError, Reason, StreamId};
use crate::http::head::Head;
use crate::listener::ConnectionFacts;

/// A peer of HTTP/2 that is told to go elsewhere answers a PING when it has heard so, and the last stream is named. So is it
/// behind this much time without an answer.
const LAST_NAMED_WITHIN: Duration = Duration::from_secs(5);

/// How long an answer may be silent after the downstream closed its write side.
///
/// A client that only said it has no more to send looks like one that has gone away; the answer's next bytes will tell.
pub(super) const HALF_CLOSED_WAIT: Duration = Duration::from_secs(3);

impl Engine {
    pub(super) fn accept(&mut self, facts: Rc<ConnectionFacts>) -> ConnId {
        let limits = self.limits_of(&facts);
        let codec = codecs::of_downstream(&facts, &limits, &self.bounds);
        let keepalive = Keepalive::of(&limits.http2, &codec, self.now, &mut self.rng);
        let downstream = Downstream {
            facts,
            opened_at: self.now,
            head_since: None,
            unfinished: None,
            requests: 0,
            limits,
            draining: false,
            ends_at: None,
        };
        let mut connection = Connection::downstream(codec, downstream, self.now);
        connection.keepalive = keepalive;
        self.bound_settings(&mut connection);
        let id = self.wires.insert(connection);
        self.flush_codec(id);
        // One of HTTP/1 hears so by the answer to its first request.
        if self.draining && self.is_shared(id) {
            self.drain_connection(id);
        }
        self.arm_connection(id);
        id
    }

    fn limits_of(&self, facts: &ConnectionFacts) -> HttpLimits {
        let snapshot = self.snapshots.pointer().load();
        let listener = snapshot.listener(&facts.listener);
        let http = listener
            .and_then(|listener| listener.find_chain(facts))
            .and_then(|chain| chain.http());
        http.map_or_else(HttpLimits::default, |http| http.hcm.limits)
    }

    pub(super) fn on_downstream_event(&mut self, id: ConnId, event: Event<'_>) {
        let stream = event.stream();
        let exchange = self.exchange_on(id, stream);
        match (event, exchange) {
            (Event::Head { stream, head, end }, _) => self.on_request(id, stream, head, end),
            (Event::Data { bytes, end, .. }, Some(exchange)) => {
                self.on_request_data(exchange, bytes, end);
            }
            (Event::Trailers { head, .. }, Some(exchange)) => {
                self.on_request_trailers(exchange, head);
            }
            (Event::Raw { bytes, .. }, Some(exchange)) => self.on_raw_from_down(exchange, bytes),
            (Event::Malformed { error, asked, .. }, exchange) => {
                self.on_malformed_request((id, stream), exchange, error, asked);
            }
            (Event::Reset { .. }, Some(exchange)) => {
                self.forgive_patient(id, exchange);
                self.abandon(
                    exchange,
                    ResponseFlag::DR,
                    "the downstream reset the request",
                );
            }
            (Event::Trailers { head, .. } | Event::Interim { head, .. }, _) => {
                self.heads.give(head)
            }
            (Event::Data { .. } | Event::Raw { .. } | Event::Reset { .. }, _) => {}
            (Event::Ignored { .. }, _) => {}
        }
    }

    /// Who gives up what has gone unanswered for long is no flood.
    fn forgive_patient(&mut self, id: ConnId, exchange: ExchangeId) {
        let life = self.bounds.premature_reset_life;
        let waited = self.exchanges.get(exchange).is_some_and(|exchange| {
            !exchange.answer.begun && self.now.saturating_duration_since(exchange.started_at) > life
        });
        if let Some(connection) = self.wires.get_mut(id).filter(|_| waited) {
            connection.codec.forgive();
        }
    }

    /// A message on one of many streams breaks the rules: the others go on.
    fn on_malformed_request(
        &mut self,
        (id, stream): (ConnId, StreamId),
        exchange: Option<ExchangeId>,
        error: ProtocolError,
        asked: Option<Head>,
    ) {
        let reply = LocalReply::new(error.status(), ResponseFlag::DPE, error.to_string());
        match exchange {
            Some(exchange) => self.reply(exchange, &reply),
            None => self.reply_on_stream(id, stream, asked.as_ref(), &reply),
        }
        if let Some(head) = asked {
            self.heads.give(head);
        }
        self.reset_stream(id, stream, Reason::Protocol);
        // What of the answer waited for credit goes with its stream.
        if let Some(exchange) = exchange {
            self.finish(exchange);
        }
    }

    /// What was read breaks the rules of the protocol.
    pub(super) fn on_protocol_error(&mut self, id: ConnId, error: ProtocolError) {
        let Some(connection) = self.wires.get_mut(id) else {
            return;
        };
        let multiplexed = connection.codec.is_multiplexed();
        let exchange = connection.streams.first();
        if multiplexed {
            return self.fail_streams(id, error);
        }
        if let Some(limit) = bound_met(error) {
            self.scope.limits.hit(limit);
        }
        let Some(connection) = self.wires.get_mut(id) else {
            return;
        };
        match (&connection.role, exchange) {
            (Role::Upstream(_), Some(exchange)) => {
                self.upstream_failed(exchange, &Failure::of_upstream(error));
            }
            (Role::Upstream(_), None) => {
                self.note_unsolicited(id);
                self.close(id);
            }
            (Role::Downstream(_), Some(exchange)) => {
                let reply = LocalReply::new(error.status(), ResponseFlag::DPE, error.to_string());
                self.reply(exchange, &reply.closing());
            }
            (Role::Downstream(_), None) => self.refuse_malformed(id, error),
        }
    }

    /// Answers what is no request, and closes.
    fn refuse_malformed(&mut self, id: ConnId, error: ProtocolError) {
        let reply = LocalReply::new(error.status(), ResponseFlag::DPE, error.to_string());
        self.reply_without_exchange(id, &reply.closing());
    }

    /// The downstream has no more to send.
    pub(super) fn downstream_ended(&mut self, id: ConnId) {
        let Some(connection) = self.wires.get_mut(id) else {
            return;
        };
        let Some(exchange) = connection.streams.first() else {
            // Between requests, or in the midst of a head: there is nobody to answer.
            return self.close_flushed(id);
        };
        if connection.codec.is_multiplexed() {
            // Without its acknowledgements and window updates nothing would come to an end.
            return self.downstream_lost(id);
        }
        if self.is_tunnel(exchange) {
            return self.on_request_data(exchange, b"", true);
        }
        let complete = self.exchanges.get(exchange).is_some_and(|e| e.body.ended);
        if !complete {
            self.abandon(
                exchange,
                ResponseFlag::DC,
                "the downstream closed before its request was complete",
            );
            return self.close(id);
        }
        if let Some(exchange) = self.exchanges.get_mut(exchange) {
            exchange.deadlines.half_closed = Some(self.now + HALF_CLOSED_WAIT);
        }
        self.arm_exchange(exchange);
    }

    /// The downstream is gone.
    pub(super) fn downstream_lost(&mut self, id: ConnId) {
        for exchange in self.exchanges_on(id) {
            self.abandon(
                exchange,
                ResponseFlag::DC,
                "the downstream closed before the answer was complete",
            );
        }
        self.close(id);
    }

    /// Tells one connection to go elsewhere.
    pub(super) fn drain_connection(&mut self, id: ConnId) {
        let Some(connection) = self.wires.get_mut(id) else {
            return;
        };
        let Role::Downstream(down) = &mut connection.role else {
            return;
        };
        let told = std::mem::replace(&mut down.draining, true);
        if !told && connection.codec.is_multiplexed() {
            down.ends_at = Some(self.now + LAST_NAMED_WITHIN);
            if let Some(connection) = self.wires.writer(id) {
                connection.codec.drain(&mut connection.out);
            }
            self.arm_connection(id);
        }
        if self.wires.get(id).is_some_and(|it| it.streams.is_empty()) {
            self.rest(id);
        }
    }
}
