//! What is different for gRPC calls: how one went is said by its status, which may come last.

use std::time::Duration;

use tokio::time::Instant;
use weft_config::grpc::GrpcStatus;
use weft_config::route::RequestHead;

use super::Engine;
use super::connection::Connection;
use super::exchange::{Exchange, ExchangeId};
use super::local_reply::LocalReply;
use super::shared::sink;
use crate::balance::Outcome;
use crate::http::head::{Head, Known};
use crate::policy::RetryState;

/// How long the head of an answer waits for trailers that may bring a status to be retried.
///
/// Servers that fail a call before its first message send head and trailers in one go, or nothing but a head. Whoever
/// sends a head alone has a stream to give, and its caller may wait for that head before it goes on.
const WITHHELD_MAX: Duration = Duration::from_millis(50);

impl Engine {
    /// Keeps the head of an answer back where its trailers may lead to another attempt; gives it back where not.
    pub(super) fn withhold(&mut self, id: ExchangeId, head: Head, end: bool) -> Option<Head> {
        let exchange = self.exchanges.get_mut(id);
        let Some(exchange) = exchange.filter(|exchange| !end && exchange.awaits_status()) else {
            return Some(head);
        };
        exchange.withheld = Some(head);
        exchange.deadlines.withheld = Some(self.now + WITHHELD_MAX);
        self.arm_exchange(id);
        None
    }

    /// The answer goes on, or will not be repeated: the head that was kept back is passed on. Whether the exchange goes
    /// on with this answer.
    pub(super) fn pass_withheld(&mut self, id: ExchangeId) -> bool {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return false;
        };
        exchange.deadlines.withheld = None;
        let Some(head) = exchange.withheld.take() else {
            return true;
        };
        self.pass_response(id, head, false);
        let exchange = self.exchanges.get(id);
        exchange.is_some_and(|exchange| exchange.answer.begun)
    }

    /// Ends a call whose answer has begun with the status that says why it goes no further; whether that could be said.
    ///
    /// A reset says less: its caller takes it for `INTERNAL` and blames the server, while trailers name what happened, and
    /// no caller takes a call for whole whose status is an error, whatever messages came before. Plain HTTP has no such
    /// place, and an answer that is no gRPC would look complete. What waits for a downstream that takes nothing is reset.
    pub(super) fn end_call(&mut self, id: ExchangeId, reply: &LocalReply) -> bool {
        self.drop_attempt(id);
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return false;
        };
        let to = (
            exchange.down,
            exchange.stream,
            exchange.limits.buffer_bytes_max,
        );
        let sayable = |down: &Connection| !down.codec.ends_with_connection();
        if !exchange.answer.ends_in_status
            || exchange.rest.waiting() > 0
            || !self.wires.get(to.0).is_some_and(sayable)
        {
            return false;
        }
        let mut trailers = self.heads.take();
        reply.write_status(&mut trailers);
        if let Some(log) = &mut exchange.log {
            log.trailers(|name| trailers.header(name));
        }
        let sink = sink(&mut self.wires, to.0, to.1, to.2);
        let passed = sink.map(|sink| exchange.rest.pass_trailers(trailers, sink));
        match passed {
            Some(Ok(Some(trailers))) => {
                self.heads.give(trailers);
                self.answer_ended(id);
                true
            }
            Some(Err((trailers, _))) => {
                self.heads.give(trailers);
                false
            }
            Some(Ok(None)) | None => false,
        }
    }
}

impl Exchange {
    /// Whether the answer has no status yet, and one that comes now could have the call made again.
    fn awaits_status(&self) -> bool {
        let retries = self.retry.as_ref();
        self.attempt.status_due
            && !self.asks.upgrade
            && self.body.can_repeat()
            && retries.is_some_and(RetryState::knows_grpc)
    }

    /// Tells the balancer how the attempt went, as far as the answer's head says. A call that has no status yet is
    /// judged when it ends, so that it does not count as good first and as failed later.
    ///
    /// A status counts as the HTTP status that says the same; an answer without one, as its own HTTP status.
    pub(super) fn judge_head(&mut self, head: &Head, end: bool, now: Instant) {
        let told = status_of(head).filter(|_| self.asks.grpc);
        self.attempt.status_due = self.asks.grpc && told.is_none() && !end && head.status() == 200;
        if !self.attempt.status_due {
            let status = told.map_or(head.status(), GrpcStatus::as_http);
            self.report(Outcome::Status(status), now);
        }
    }

    /// The answer has ended, with trailers or without: what was not told yet is.
    pub(super) fn judge_end(&mut self, trailers: Option<&Head>, now: Instant) {
        if std::mem::take(&mut self.attempt.status_due) {
            let told = trailers.and_then(status_of);
            self.report(Outcome::Status(told.map_or(200, GrpcStatus::as_http)), now);
        }
    }
}

/// The status that a head or trailers tell.
pub(super) fn status_of(fields: &Head) -> Option<GrpcStatus> {
    fields.get(Known::GrpcStatus).map(GrpcStatus::read)
}
