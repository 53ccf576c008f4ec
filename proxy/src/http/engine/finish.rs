//! How exchanges end: with an answer, one of our own, or none.

use std::borrow::Cow;
use std::sync::Arc;

use weft_config::flag::ResponseFlag;
use weft_config::grpc::is_grpc;
use weft_config::route::RequestHead;

use super::Engine;
use super::connection::ConnId;
use super::edits::apply;
use super::exchange::{Exchange, ExchangeId, Phase, UpStream};
use super::local_reply::LocalReply;
use super::timers::Owner;
use crate::http::codec::{ProtocolError, Reason, StreamId};
use crate::http::head::{Head, Known, Method, Version};
use crate::listener::ConnectionFacts;
use crate::route::Routed;
use crate::telemetry::{DownstreamInfo, Protocol, RequestLog, Scope};

/// Who answers where no listener says its `server_name`.
const SERVER: &str = "weft";

impl Engine {
    /// Ends an exchange whose answer is complete and, where the request is too, lets both connections go on.
    pub(super) fn complete(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let (down, stream, whole) = (exchange.down, exchange.stream, exchange.is_received());
        let tunnel = exchange.phase == Phase::Tunnel;
        let sent = exchange.has_told_upstream();
        if let Some(up) = exchange.attempt.up.take() {
            self.leave_upstream(up, sent, tunnel);
        }
        self.finish(id);
        if !whole || tunnel {
            self.stop_request(down, stream);
        }
    }

    /// The upstream half of an exchange is over. `sent`: the endpoint was told everything that it was to be told.
    pub(super) fn leave_upstream(&mut self, up: UpStream, sent: bool, tunnel: bool) {
        if !sent {
            return self.give_up_stream(up, Reason::Cancelled);
        }
        self.release(up);
        if tunnel && !self.is_shared(up.conn) {
            // What was written last may still wait for the endpoint to take it.
            self.close_after_flush(up.conn, true);
        }
    }

    /// The rest of the request is not wanted by anybody; reading it all could take forever.
    fn stop_request(&mut self, down: ConnId, stream: StreamId) {
        if self.is_shared(down) {
            self.reset_stream(down, stream, Reason::NoError);
        } else {
            self.close_after_flush(down, true);
        }
    }

    /// The request has ended: if the answer has too, so has the exchange.
    pub(super) fn try_complete(&mut self, id: ExchangeId) {
        if self
            .exchanges
            .get(id)
            .is_some_and(|exchange| exchange.answer.ended)
        {
            self.complete(id);
        }
    }

    /// Ends an exchange with an answer of our own.
    pub(super) fn reply(&mut self, id: ExchangeId, reply: &LocalReply) {
        self.begin_log_at_listener(id);
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        match reply.flag {
            Some(flag) => exchange.flag(flag, reply.reason.clone()),
            None => {
                if let Some(log) = &mut exchange.log {
                    log.details(reply.reason.clone());
                }
            }
        }
        self.drop_attempt(id);
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        // No endpoint works on it any more, however long the downstream takes to read what it is told.
        exchange.attempt.running = None;
        if exchange.answer.begun {
            return self.cut_answer(id, reply);
        }
        let grpc = exchange.asks.grpc;
        let mut head = self.heads.take();
        let routed = exchange.routed.as_ref();
        let server = routed.map_or(SERVER, |routed| &routed.view.hcm.server_name);
        let body = reply.write(&mut head, server, grpc);
        // What a route answers itself passes its edits like any other of its answers.
        if reply.flag.is_none()
            && let Some(route) = routed.and_then(Routed::route)
        {
            apply(&mut head, &route.response_headers);
        }
        exchange.begin_answer(&head);
        let (down, stream) = (exchange.down, exchange.stream);
        let (whole, silent) = (exchange.is_received(), exchange.asks.head_only);
        if let Some(log) = exchange.log.as_mut().filter(|_| !silent) {
            log.sent(body.len() as u64);
        }
        let written = self.write_reply(down, stream, (&head, &body), silent, reply.close || !whole);
        self.heads.give(head);
        if let Some(taken) = written
            && let Some(rest) = body.get(taken..)
            && !rest.is_empty()
            && let Some(exchange) = self.exchanges.get_mut(id)
        {
            // The stream takes no more now; the exchange lives until it has.
            exchange.rest.keep_last(rest);
            exchange.phase = Phase::Streaming;
            exchange.deadlines.only_idle();
            return self.arm_exchange(id);
        }
        self.finish(id);
        if written.is_none() && self.is_shared(down) {
            self.reset_stream(down, stream, Reason::Internal);
        } else if written.is_none() || reply.close || !whole {
            self.stop_request(down, stream);
        }
    }

    /// Answers what never became an exchange, on a connection that goes on.
    ///
    /// `asked` is what is known of the request.
    pub(super) fn reply_on_stream(
        &mut self,
        down: ConnId,
        stream: StreamId,
        asked: Option<&Head>,
        reply: &LocalReply,
    ) {
        let mut head = self.heads.take();
        let body = reply.write(&mut head, SERVER, asked.is_some_and(is_call));
        let silent = asked.and_then(Head::method) == Some(Method::Head);
        self.log_refusal(down, asked, Some(&head), reply);
        self.write_reply(down, stream, (&head, &body), silent, false);
        self.heads.give(head);
    }

    /// Answers what never became an exchange.
    pub(super) fn reply_without_exchange(&mut self, down: ConnId, reply: &LocalReply) {
        let answerable = self
            .wires
            .get(down)
            .and_then(|down| down.codec.answerable());
        if let Some(stream) = answerable {
            let mut head = self.heads.take();
            let body = reply.write(&mut head, SERVER, false);
            self.log_refusal(down, None, Some(&head), reply);
            self.write_reply(down, stream, (&head, &body), false, true);
            self.heads.give(head);
        } else {
            self.log_refusal(down, None, None, reply);
        }
        self.close_after_flush(down, true);
    }

    /// Writes an answer of our own: how much of its body was taken; `None` where it could not be written.
    fn write_reply(
        &mut self,
        down: ConnId,
        stream: StreamId,
        (head, body): (&Head, &[u8]),
        silent: bool,
        last: bool,
    ) -> Option<usize> {
        let down = self.wires.writer(down)?;
        let last = last || down.as_downstream().is_some_and(|down| down.draining);
        if last && !down.codec.is_multiplexed() {
            down.codec.drain(&mut down.out);
        }
        let empty = body.is_empty() || silent;
        let written = down.codec.head(stream, head, empty, &mut down.out);
        written.ok()?;
        if empty {
            return Some(body.len());
        }
        down.codec.data(stream, body, true, &mut down.out).ok()
    }

    /// Counts and logs that a connection broke the rules of its protocol as a whole.
    pub(super) fn log_broken(&mut self, down: ConnId, error: ProtocolError) {
        let reply = LocalReply::new(error.status(), ResponseFlag::DPE, error.to_string());
        self.log_refusal(down, None, None, &reply);
    }

    /// Counts and logs what never became an exchange: what is known of what was `asked`, and what was `told`, if anything.
    fn log_refusal(
        &mut self,
        down: ConnId,
        asked: Option<&Head>,
        told: Option<&Head>,
        reply: &LocalReply,
    ) {
        let Some(connection) = self.wires.get_mut(down) else {
            return;
        };
        let protocol = match connection.codec.is_multiplexed() {
            true => Protocol::Http2,
            false => Protocol::Http11,
        };
        let Some(connection) = connection.as_downstream() else {
            return;
        };
        let facts = connection.facts.clone();
        let info = DownstreamInfo {
            peer: facts.peer,
            local: facts.destination(),
            protocol,
            tls: facts.tls.as_ref(),
        };
        let scope = self.scope_of(&facts);
        let unknown = Head::request(b"-", b"-", b"-");
        let asked = asked.unwrap_or(&unknown);
        let mut log = RequestLog::begin(&scope, &info, asked, self.now);
        if is_call(asked) {
            log.call();
        }
        if let Some(told) = told {
            log.response(told.status(), |name| told.header(name));
        }
        if let Some(flag) = reply.flag {
            log.flag(flag);
        }
        log.details(reply.reason.clone());
        log.finish(self.now);
    }

    /// A request that ends before what it names is found counts for the listener that took its connection.
    fn begin_log_at_listener(&mut self, id: ExchangeId) {
        let exchange = self.exchanges.get(id);
        let Some(exchange) = exchange.filter(|exchange| exchange.log.is_none()) else {
            return;
        };
        let scope = self.scope_of(&exchange.facts);
        if let Some(exchange) = self.exchanges.get_mut(id) {
            exchange.begin_log(&scope);
        }
    }

    /// By what the listener that took a connection counts and logs.
    fn scope_of(&self, facts: &ConnectionFacts) -> Arc<Scope> {
        let snapshot = self.snapshots.pointer().load();
        let listener = snapshot.listener(&facts.listener);
        let view = listener.and_then(|listener| crate::route::http_view(listener, facts));
        view.map_or(&self.scope, |view| &view.scope).clone()
    }

    /// Ends an exchange that nobody waits for any more.
    pub(super) fn abandon(
        &mut self,
        id: ExchangeId,
        flag: ResponseFlag,
        why: impl Into<Cow<'static, str>>,
    ) {
        self.begin_log_at_listener(id);
        if let Some(exchange) = self.exchanges.get_mut(id) {
            exchange.flag(flag, why);
            self.drop_attempt(id);
            self.finish(id);
        }
    }

    /// Forgets an exchange: it is counted and logged, here and where both its sockets left for a tunnel, by
    /// [`Switched::ended`](super::Switched::ended).
    pub(super) fn finish(&mut self, id: ExchangeId) {
        self.drop_attempt(id);
        let Some(mut exchange) = self.exchanges.remove(id) else {
            return;
        };
        let (down, stream) = (exchange.down, exchange.stream);
        let received = exchange.received();
        if let Some(mut log) = exchange.log.take() {
            log.received(received);
            log.finish(self.now);
        }
        self.heads.give(exchange.head);
        if let Some(trailers) = exchange.body.trailers.take() {
            self.heads.give(trailers);
        }
        if let Some(trailers) = exchange.rest.take_trailers() {
            self.give_trailers(down, trailers);
        }
        if let Some(connection) = self.wires.get_mut(down) {
            connection.active_at = self.now;
            connection.streams.remove(stream);
            self.ready.push(down);
        }
    }

    /// Something moved on an exchange: its silence begins anew.
    pub(super) fn moved(&mut self, id: ExchangeId) {
        if let Some(exchange) = self.exchanges.get_mut(id) {
            exchange.deadlines.moved_at = self.now;
        }
    }

    /// One side took bytes: the other may be read again.
    pub(super) fn unblock_other(&mut self, id: ExchangeId, wrote: ConnId) {
        let Some(exchange) = self.exchanges.get(id) else {
            return;
        };
        if exchange.down != wrote {
            self.wires.unblock(exchange.down);
        } else if let Some(up) = exchange.attempt.up {
            self.wires.unblock(up.conn);
        }
    }

    /// Makes sure that the exchange is looked at when its time comes.
    pub(super) fn arm_exchange(&mut self, id: ExchangeId) {
        if let Some(at) = self
            .exchanges
            .get(id)
            .and_then(|exchange| exchange.deadlines.next())
        {
            self.timers.arm(Owner::Exchange(id.slot()), at);
        }
    }
}

/// Whether a request is a gRPC call.
pub(super) fn is_call(request: &Head) -> bool {
    request.get(Known::ContentType).is_some_and(is_grpc)
}

impl Exchange {
    /// Whether the endpoint was told everything that it was to be told, so that its stream ends by itself.
    pub(super) fn has_told_upstream(&self) -> bool {
        // An upgrade that was refused leaves our half of the stream open.
        let refused = self.asks.upgrade && self.phase != Phase::Tunnel;
        self.body.is_sent() && !(refused && self.attempt.http2)
    }

    /// Bytes that came behind the head, whether or not they are a body, and whatever became of them.
    pub(super) fn received(&self) -> u64 {
        self.body.bytes + self.raw_from_down.len() as u64
    }

    /// From here the request is counted.
    pub(super) fn begin_log(&mut self, scope: &Arc<Scope>) {
        let protocol = match self.head.version() {
            Version::Http10 => Protocol::Http10,
            Version::Http11 => Protocol::Http11,
            Version::Http2 => Protocol::Http2,
        };
        let info = DownstreamInfo {
            peer: self.facts.peer,
            local: self.facts.destination(),
            protocol,
            tls: self.facts.tls.as_ref(),
        };
        let mut log = RequestLog::begin(scope, &info, &self.head, self.started_at);
        if self.asks.grpc {
            log.call();
        }
        self.log = Some(log);
    }
}
