//! How exchanges end: with an answer, one of our own, or none.

use weft_config::flag::ResponseFlag;

use super::Engine;
use super::connection::{ConnId, Connection};
use super::edits::apply;
use super::exchange::{Exchange, ExchangeId};
use super::local_reply::LocalReply;
use super::timers::Owner;
use crate::http::codec::StreamId;
use crate::http::head::Head;
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
        let (down, whole) = (exchange.down, exchange.body.ended);
        let up = exchange.attempt.up.take();
        if let Some(up) = up {
            if whole {
                self.release(up);
            } else {
                self.close(up);
            }
        }
        self.finish(id);
        if !whole {
            // The rest of the request is not wanted by anybody; reading it all could take forever.
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
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        if exchange.log.is_none() {
            exchange.begin_log(&self.scope);
        }
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
        if exchange.answer.begun {
            return self.cut_answer(id);
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
        if let Some(log) = &mut exchange.log {
            log.sent(body.len() as u64);
        }
        let (down, stream) = (exchange.down, exchange.stream);
        let (whole, silent) = (exchange.body.ended, exchange.asks.head_only);
        let written = self.write_reply(down, stream, (&head, &body), silent, reply.close || !whole);
        self.heads.give(head);
        self.finish(id);
        if !written || reply.close || !whole {
            self.close_after_flush(down, true);
        }
    }

    /// Answers what never became an exchange.
    pub(super) fn reply_without_exchange(&mut self, down: ConnId, reply: &LocalReply) {
        self.log_refusal(down, reply);
        let answerable = self
            .wires
            .get(down)
            .and_then(|down| down.codec.answerable());
        if let Some(stream) = answerable {
            let mut head = self.heads.take();
            let body = reply.write(&mut head, SERVER, false);
            self.write_reply(down, stream, (&head, &body), false, true);
            self.heads.give(head);
        }
        self.close_after_flush(down, true);
    }

    fn write_reply(
        &mut self,
        down: ConnId,
        stream: StreamId,
        (head, body): (&Head, &[u8]),
        silent: bool,
        last: bool,
    ) -> bool {
        let Some(down) = self.wires.writer(down) else {
            return false;
        };
        if last || down.as_downstream().is_some_and(|down| down.draining) {
            down.codec.drain(&mut down.out);
        }
        let empty = body.is_empty() || silent;
        let written = down.codec.head(stream, head, empty, &mut down.out);
        let body = if empty {
            Ok(0)
        } else {
            down.codec.data(stream, body, true, &mut down.out)
        };
        written.is_ok() && body.is_ok()
    }

    fn log_refusal(&mut self, down: ConnId, reply: &LocalReply) {
        let Some(connection) = self.wires.get_mut(down).and_then(Connection::as_downstream) else {
            return;
        };
        let facts = connection.facts.clone();
        let info = DownstreamInfo {
            peer: facts.peer,
            local: facts.destination(),
            protocol: Protocol::Http11,
        };
        let snapshot = self.snapshots.pointer().load();
        let listener = snapshot.listener(&facts.listener);
        let view = listener.and_then(|listener| crate::route::http_view(listener, &facts));
        let scope = view.map_or(&self.scope, |view| &view.scope);
        let mut log = RequestLog::begin(scope, &info, &Head::request(b"-", b"-", b"-"), self.now);
        log.response(reply.status, |_| None);
        if let Some(flag) = reply.flag {
            log.flag(flag);
        }
        log.details(reply.reason.clone());
        log.finish(self.now);
    }

    /// Ends an exchange that nobody waits for any more.
    pub(super) fn abandon(&mut self, id: ExchangeId, flag: ResponseFlag, why: &'static str) {
        if let Some(exchange) = self.exchanges.get_mut(id) {
            if exchange.log.is_none() {
                exchange.begin_log(&self.scope);
            }
            exchange.flag(flag, why);
            self.drop_attempt(id);
            self.finish(id);
        }
    }

    /// Forgets an exchange. Here, and nowhere else, it is counted and logged.
    pub(super) fn finish(&mut self, id: ExchangeId) {
        self.drop_attempt(id);
        let Some(mut exchange) = self.exchanges.remove(id) else {
            return;
        };
        let down = exchange.down;
        if let Some(log) = exchange.log.take() {
            log.finish(self.now);
        }
        self.heads.give(exchange.head);
        if let Some(trailers) = exchange.body.trailers.take() {
            self.heads.give(trailers);
        }
        if let Some(connection) = self.wires.get_mut(down) {
            connection.active_at = self.now;
            if let Some(down) = connection.as_downstream() {
                down.exchange = None;
            }
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
            self.wires.unblock(up);
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

impl Exchange {
    /// From here the request is counted.
    pub(super) fn begin_log(&mut self, scope: &std::sync::Arc<Scope>) {
        let protocol = match self.head.version() {
            crate::http::head::Version::Http10 => Protocol::Http10,
            crate::http::head::Version::Http11 => Protocol::Http11,
            crate::http::head::Version::Http2 => Protocol::Http2,
        };
        let info = DownstreamInfo {
            peer: self.facts.peer,
            local: self.facts.destination(),
            protocol,
        };
        self.log = Some(RequestLog::begin(scope, &info, &self.head, self.started_at));
    }
}
