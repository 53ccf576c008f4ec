//! The life of a downstream connection, from its acceptance to its last byte.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;
use weft_config::flag::ResponseFlag;
use weft_config::listener::HttpLimits;

use super::codecs::{self, bound_met};
use super::connection::{Closing, ConnId, Connection, Downstream, Role};
use super::exchange::ExchangeId;
use super::failure::Failure;
use super::keepalive::Keepalive;
use super::local_reply::LocalReply;
use super::timers::Owner;
use super::{Action, Engine, READ_STOPS_AT_BYTES};
use crate::http::codec::{Event, ProtocolError, Reason, StreamId};
use crate::http::head::Head;
use crate::listener::ConnectionFacts;
use crate::telemetry::Limit;

/// How long what a peer still sends is read and dropped, so that it can read our answer.
const LINGER: Duration = Duration::from_secs(2);

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

    /// The first byte of a head may have come: its time begins.
    pub(super) fn note_first_byte(&mut self, id: ConnId) {
        let now = self.now;
        let Some(connection) = self.wires.get_mut(id) else {
            return;
        };
        if !connection.streams.is_empty() || connection.codec.is_multiplexed() {
            return;
        }
        if let Some(down) = connection.as_downstream() {
            down.head_since.get_or_insert(now);
        }
    }

    /// Where exchanges share the connection, its codec knows what is not complete.
    pub(super) fn note_unfinished(&mut self, id: ConnId) {
        let now = self.now;
        let Some(connection) = self.wires.get_mut(id) else {
            return;
        };
        let unfinished = connection.codec.unfinished();
        let Some(down) = connection.as_downstream() else {
            return;
        };
        if down.unfinished == unfinished {
            return;
        }
        down.unfinished = unfinished;
        down.head_since = unfinished.map(|_| now);
        if unfinished.is_some() {
            self.arm_connection(id);
        }
    }

    /// A head of which only a part is there has its own, shorter time.
    pub(super) fn arm_unfinished_head(&mut self, id: ConnId) {
        let down = self.wires.get_mut(id).and_then(Connection::as_downstream);
        if down.is_some_and(|down| down.head_since.is_some()) {
            self.arm_connection(id);
            self.shed_unfinished_head(id);
        }
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
            (Role::Upstream(_), None) => self.close(id),
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

    /// Bytes were written, and perhaps the last of those pending.
    pub(super) fn wrote(&mut self, id: ConnId, flushed: bool) {
        let Some(connection) = self.wires.get_mut(id) else {
            return;
        };
        // Asking a peer at rest for a sign of life is no activity.
        let rests = connection.codec.is_multiplexed() && connection.streams.is_empty();
        if !rests || connection.closing != Closing::No {
            connection.active_at = self.now;
        }
        let (closing, eof) = (connection.closing, connection.eof);
        let waits = connection.input.is_some();
        let half_closes = flushed && std::mem::take(&mut connection.half_closes);
        if half_closes {
            self.actions.push(Action::Shutdown(id));
        }
        self.push_on(id, flushed);
        match closing {
            Closing::Flush { linger } if flushed && linger && !eof => self.linger(id),
            Closing::Flush { .. } if flushed => self.close(id),
            Closing::No if flushed && waits => self.ready.push(id),
            _ => {}
        }
    }

    fn linger(&mut self, id: ConnId) {
        let until = self.now + LINGER;
        if let Some(connection) = self.wires.get_mut(id) {
            connection.closing = Closing::Linger(until);
            self.actions.push(Action::Shutdown(id));
            self.timers.arm(Owner::Connection(id.slot()), until);
            self.wires.unblock(id);
        }
    }

    /// Closes a connection as soon as everything is written. What was pipelined and not yet begun is lost.
    pub(super) fn close_after_flush(&mut self, id: ConnId, linger: bool) {
        let Some(connection) = self.wires.get_mut(id) else {
            return;
        };
        let eof = connection.eof;
        if connection.closing == Closing::No {
            connection.closing = Closing::Flush { linger };
        }
        if connection.out.is_empty() {
            self.wrote(id, true);
        } else {
            // A peer that never takes the rest must not keep us.
            let since = connection.active_at.max(self.now);
            self.timers
                .arm(Owner::Connection(id.slot()), since + LINGER * 15);
            if !eof {
                self.wires.unblock(id);
            }
        }
    }

    fn close_flushed(&mut self, id: ConnId) {
        self.close_after_flush(id, false);
    }

    /// Forgets a connection; its socket is dropped.
    pub(super) fn close(&mut self, id: ConnId) {
        if let Some(connection) = self.wires.remove(id)
            && let Role::Upstream(up) = connection.role
        {
            self.pools.closed(up.pool, id);
            self.short.push(up.pool);
        }
    }

    /// Goes on with what was read while an exchange ran.
    pub(super) fn resume(&mut self, id: ConnId) {
        let Some(connection) = self.wires.get_mut(id) else {
            return;
        };
        let busy = !connection.codec.is_multiplexed() && !connection.streams.is_empty();
        if busy || connection.paused || connection.closing != Closing::No {
            return;
        }
        if connection.input.is_some() {
            self.note_first_byte(id);
            let input = self.wires.lend_input(id);
            self.drive(id, input);
            if self.wires.is_paused(id) {
                return self.wires.wake(id);
            }
        }
        self.rest(id);
    }

    /// Between requests: closes what is to be closed.
    fn rest(&mut self, id: ConnId) {
        let Some(connection) = self.wires.get_mut(id) else {
            return;
        };
        if !connection.streams.is_empty() || connection.closing != Closing::No {
            return self.wires.unblock(id);
        }
        let over = connection.codec.wants_close() || (connection.eof && connection.input.is_none());
        let idle = connection.codec.is_idle() && connection.input.is_none();
        // Whoever shares a connection has been told by its codec, and is answered until it has heard so.
        let ends = idle && !connection.codec.is_multiplexed();
        if let Some(down) = connection.as_downstream() {
            if ends {
                down.head_since = None;
            }
            if over || (ends && down.draining) {
                // Requests may be on their way that we will not answer, and a reset would take the last answer along.
                return self.close_after_flush(id, true);
            }
        }
        self.wires.unblock(id);
        self.arm_connection(id);
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

    /// Whether the socket is to be read now. If not, its task is woken when that changes.
    pub(crate) fn wants_read(&mut self, id: ConnId) -> bool {
        let wants = self.may_read(id);
        let begins = !wants && self.wires.get(id).is_some_and(|it| !it.starved);
        if begins && self.is_full(id) {
            self.scope.limits.hit(Limit::Buffer);
        }
        if let Some(connection) = self.wires.get_mut(id) {
            connection.starved = !wants;
        }
        wants
    }

    fn may_read(&self, id: ConnId) -> bool {
        let Some(connection) = self.wires.get(id) else {
            return false;
        };
        if connection.eof {
            return false;
        }
        match connection.closing {
            Closing::Linger(_) => return true,
            Closing::Flush { linger } => return linger,
            Closing::No => {}
        }
        if connection.codec.is_multiplexed() {
            return connection.input.is_none() && !self.is_full(id);
        }
        let exchange = connection.streams.first();
        let Some(exchange) = exchange.and_then(|id| self.exchanges.get(id)) else {
            return connection.input.is_none();
        };
        let lent = matches!(connection.role, Role::Downstream(_)) && connection.input.is_some();
        !lent && !exchange.leaves_http() && !self.is_full(id)
    }

    /// Whether the other side of what `id` serves has not taken as much as is held for it at most. Where exchanges share
    /// the connection, each is held up by the credit that it gets, and the connection by what waits on itself.
    fn is_full(&self, id: ConnId) -> bool {
        let Some(connection) = self.wires.get(id) else {
            return false;
        };
        // Once stopped, reading goes on when half of the room is free again.
        let half = u32::from(connection.starved);
        if connection.codec.is_multiplexed() {
            return connection.out.len() > READ_STOPS_AT_BYTES >> half;
        }
        let exchange = connection.streams.first();
        let Some(exchange) = exchange.and_then(|id| self.exchanges.get(id)) else {
            return false;
        };
        let room = (exchange.limits.buffer_bytes_max >> half).max(1);
        let held = match &connection.role {
            Role::Downstream(_) => {
                exchange.body.waiting() + self.unwritten(exchange.attempt.up.map(|up| up.conn))
            }
            Role::Upstream(_) => exchange.rest.waiting() + self.unwritten(Some(exchange.down)),
        };
        held >= room
    }

    /// Bytes that wait on a connection which one exchange has for itself.
    fn unwritten(&self, id: Option<ConnId>) -> usize {
        let connection = id.and_then(|id| self.wires.get(id));
        connection
            .filter(|connection| !connection.codec.is_multiplexed())
            .map_or(0, |connection| connection.out.len())
    }

    /// Makes sure that a connection at rest is looked at when its time comes.
    pub(super) fn arm_connection(&mut self, id: ConnId) {
        if let Some(at) = self.wires.get(id).and_then(due) {
            self.timers.arm(Owner::Connection(id.slot()), at);
        }
    }

    /// A connection's time may have come.
    pub(super) fn connection_due(&mut self, id: ConnId) {
        let Some(connection) = self.wires.get(id) else {
            return;
        };
        match connection.closing {
            Closing::Linger(until) if until <= self.now => return self.close(id),
            Closing::Flush { .. } if connection.active_at + LINGER * 15 <= self.now => {
                self.scope.limits.hit(Limit::SlowReader);
                return self.close(id);
            }
            Closing::Linger(_) | Closing::Flush { .. } => return self.arm_connection(id),
            Closing::No => {}
        }
        if connection.settings_by.is_some_and(|by| by <= self.now) {
            self.settings_due(id);
        }
        if self.wires.get(id).is_some_and(|it| it.keepalive.is_some()) {
            self.keep_alive(id);
        }
        let Some(connection) = self.wires.get(id) else {
            return;
        };
        if due(connection).is_some_and(|at| at <= self.now) {
            match &connection.role {
                Role::Downstream(_) => self.downstream_due(id),
                Role::Upstream(_) => self.close(id),
            }
        }
        self.arm_connection(id);
    }

    fn downstream_due(&mut self, id: ConnId) {
        let now = self.now;
        let Some(connection) = self.wires.get_mut(id) else {
            return;
        };
        let (closes_at, head_by) = (idle_until(connection), head_by(connection));
        let Some(down) = connection.as_downstream() else {
            return;
        };
        let past = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if past(life_of(down)) {
            self.drain_connection(id);
        } else if past(down.ends_at) {
            down.ends_at = None;
            if let Some(connection) = self.wires.writer(id) {
                connection.codec.drain(&mut connection.out);
            }
            self.settle_shared(id);
        } else if past(head_by) {
            self.head_due(id);
        } else if past(closes_at) {
            self.scope.limits.hit(Limit::IdleTime);
            self.close_flushed(id);
        }
    }

    /// A head was not complete in time.
    fn head_due(&mut self, id: ConnId) {
        let now = self.now;
        let Some(connection) = self.wires.get_mut(id) else {
            return;
        };
        if connection.starved {
            // The rest of it may have come, and we have not read it.
            if let Some(down) = connection.as_downstream() {
                down.head_since = Some(now);
            }
            return;
        }
        self.scope.limits.hit(Limit::HeaderTime);
        if connection.codec.is_multiplexed() {
            // Frames follow each other: nothing else can come on this connection.
            connection.codec.time_out(ProtocolError::HeadTimeout);
            return self.fail_streams(id, ProtocolError::HeadTimeout);
        }
        connection.codec.refuse_input();
        let reason = "the request head was not complete in time";
        let reply = LocalReply::new(408, ResponseFlag::DT, reason);
        self.reply_without_exchange(id, &reply.closing());
    }
}

/// The end of `since` and `limit`; a limit of zero is none.
fn after(since: Instant, limit: Duration) -> Option<Instant> {
    (!limit.is_zero()).then(|| since + limit)
}

/// When a downstream connection is told to go elsewhere.
fn life_of(down: &Downstream) -> Option<Instant> {
    after(down.opened_at, down.limits.connection_duration_max).filter(|_| !down.draining)
}

/// When the head that has begun has to be complete, if one has, and its time is bounded.
fn head_by(connection: &Connection) -> Option<Instant> {
    let Role::Downstream(down) = &connection.role else {
        return None;
    };
    after(down.head_since?, down.limits.request_headers_timeout)
}

/// When a connection without exchanges has been silent for too long. Half a head is silence, too, where it has no bound of
/// its own.
fn idle_until(connection: &Connection) -> Option<Instant> {
    let limit = match &connection.role {
        Role::Downstream(down) => down.limits.idle_timeout,
        Role::Upstream(up) => up.config.idle_timeout,
    };
    let rests = connection.streams.is_empty() && head_by(connection).is_none();
    after(connection.active_at, limit).filter(|_| rests)
}

/// When a connection is to be looked at next.
fn due(connection: &Connection) -> Option<Instant> {
    let asked = connection.keepalive.as_ref().map(|it| it.next());
    let silence = idle_until(connection);
    let both = [silence, asked, connection.settings_by];
    match (connection.closing, &connection.role) {
        (Closing::Linger(until), _) => Some(until),
        (Closing::Flush { .. }, _) => Some(connection.active_at + LINGER * 15),
        (Closing::No, Role::Downstream(down)) => {
            let own = [life_of(down), down.ends_at, head_by(connection)];
            own.into_iter().chain(both).flatten().min()
        }
        (Closing::No, Role::Upstream(_)) => both.into_iter().flatten().min(),
    }
}
