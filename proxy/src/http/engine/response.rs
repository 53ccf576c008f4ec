//! The response's path: from the upstream's head to the last byte downstream.

use weft_config::flag::ResponseFlag;
use weft_config::grpc::is_grpc;
use weft_config::route::RequestHead;

use super::connection::Connection;
use super::edits::{apply, say_server};
use super::exchange::{Exchange, ExchangeId, Phase};
use super::failure::Failure;
use super::local_reply::LocalReply;
use super::shared::sink;
use super::websocket;
use super::{Action, Engine};
use crate::balance::Outcome;
use crate::http::codec::Reason;
use crate::http::head::{Head, Known};
use crate::policy::RetryState;
use crate::route::Routed;

/// Bytes that wait on a downstream connection, from which on interim responses are left out: they are hints, and an endpoint
/// may send many large ones on each stream.
const INTERIM_STOPS_AT_BYTES: usize = 256 * 1024;

impl Engine {
    /// An interim response (100, 103): passed on as it is, unless the downstream does not read. Then only the 100 that it
    /// may wait for is passed on, without its fields, which mean nothing (RFC 9110 §15.2.1).
    pub(super) fn on_interim(&mut self, id: ExchangeId, mut head: Head) {
        if let Some(exchange) = self.exchanges.get_mut(id) {
            exchange.deadlines.moved_at = self.now;
            if let Some(down) = self.wires.writer(exchange.down) {
                let reads = down.out.len() < INTERIM_STOPS_AT_BYTES;
                if !reads && head.status() == 100 {
                    head.clear();
                    head.start_response(100);
                }
                if reads || head.status() == 100 {
                    // A downstream that cannot hear it (HTTP/1.0) goes without.
                    let _ = down
                        .codec
                        .head(exchange.stream, &head, false, &mut down.out);
                }
            }
        }
        self.heads.give(head);
    }

    /// The upstream's answer begins: it is passed on, or thrown away for another attempt.
    pub(super) fn on_response(&mut self, id: ExchangeId, head: Head, end: bool) {
        let now = self.now;
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return self.heads.give(head);
        };
        exchange.deadlines.moved_at = now;
        exchange.answer.head_at = Some(now);
        exchange.judge_head(&head, end, now);
        if let Some(pause) = self.retry_on_response(id, head.status(), &head) {
            self.heads.give(head);
            self.discard_answer(id);
            return self.try_again(id, pause);
        }
        if let Some(head) = self.withhold(id, head, end) {
            self.pass_response(id, head, end);
        }
    }

    /// The answer is the one that the downstream gets: its head is edited and passed on.
    pub(super) fn pass_response(&mut self, id: ExchangeId, mut head: Head, end: bool) {
        if !self.admits_head(id, &head) {
            return self.heads.give(head);
        }
        self.edit_response(id, &mut head);
        let passed = self.pass_head(id, &head, end);
        self.heads.give(head);
        match passed {
            Err(failure) => self.upstream_failed(id, &failure),
            Ok(()) if end => self.answer_ended(id),
            Ok(()) => self.try_switch(id),
        }
    }

    fn edit_response(&mut self, id: ExchangeId, head: &mut Head) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let Some((route, forward)) = exchange
            .routed
            .as_ref()
            .and_then(|routed| Some((routed.route()?, routed.forward()?)))
        else {
            return;
        };
        apply(head, &route.response_headers);
        if let Some(cluster) = exchange.routed.as_ref().and_then(Routed::weighted) {
            apply(head, &cluster.response_headers);
        }
        if forward.include_attempt_count_in_response {
            let count = exchange.attempt.count.to_string();
            head.set(b"x-envoy-attempt-count", count.as_bytes());
        }
        if exchange.asks.upgrade && head.status() == 101 && exchange.asks.opaque {
            websocket::answer(head, None);
        } else if let Some(accept) = exchange.websocket_accept.as_deref()
            && head.status() == 101
        {
            websocket::answer(head, Some(accept));
        }
        if let Some(routed) = &exchange.routed {
            say_server(head, &routed.view.hcm);
        }
    }

    fn pass_head(&mut self, id: ExchangeId, head: &Head, end: bool) -> Result<(), Failure> {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return Ok(());
        };
        let Some(down) = self.wires.writer(exchange.down) else {
            return Ok(());
        };
        let draining = down.as_downstream().is_some_and(|down| down.draining);
        if draining && !down.codec.is_multiplexed() {
            down.codec.drain(&mut down.out);
        }
        down.codec
            .head(exchange.stream, head, end, &mut down.out)
            .map_err(Failure::of_answer)?;
        exchange.begin_answer(head);
        Ok(())
    }

    /// A piece of the answer's body.
    pub(super) fn on_response_data(&mut self, id: ExchangeId, bytes: &[u8], end: bool) {
        if (end || !bytes.is_empty()) && !self.pass_withheld(id) {
            return;
        }
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        exchange.deadlines.moved_at = self.now;
        if end {
            exchange.judge_end(None, self.now);
        }
        exchange.answer.bytes += bytes.len() as u64;
        if let Some(log) = &mut exchange.log {
            log.sent(bytes.len() as u64);
        }
        let room = exchange.limits.buffer_bytes_max;
        let up = exchange.attempt.up;
        let passed = match sink(&mut self.wires, exchange.down, exchange.stream, room) {
            Some(sink) => exchange.rest.pass(bytes, end, sink),
            None => Ok(bytes.len()),
        };
        match passed {
            Err(refused) => {
                return self.upstream_failed(id, &Failure::Protocol(refused.to_string()));
            }
            Ok(taken) => {
                if let Some(up) = up {
                    self.credit(up.conn, up.stream, taken);
                }
            }
        }
        if end {
            self.response_ended(id);
        }
    }

    /// The fields behind the answer's body.
    pub(super) fn on_response_trailers(&mut self, id: ExchangeId, head: Head) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return self.heads.give(head);
        };
        exchange.judge_end(Some(&head), self.now);
        if exchange.withheld.is_some() {
            if let Some(pause) = self.retry_on_response(id, 200, &head) {
                self.heads.give(head);
                self.discard_answer(id);
                return self.try_again(id, pause);
            }
            if !self.pass_withheld(id) {
                return self.heads.give(head);
            }
        }
        if !self.admits_head(id, &head) {
            return self.heads.give(head);
        }
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return self.heads.give(head);
        };
        let (down, bytes) = (exchange.down, head.bytes.len());
        if let Some(log) = &mut exchange.log {
            log.trailers(|name| head.header(name));
        }
        let room = exchange.limits.buffer_bytes_max;
        let passed = match sink(&mut self.wires, exchange.down, exchange.stream, room) {
            Some(sink) => exchange.rest.pass_trailers(head, sink),
            None => Ok(Some(head)),
        };
        match passed {
            Ok(passed) => {
                match passed {
                    Some(head) => self.heads.give(head),
                    None => self.hold_trailers(down, bytes),
                }
                self.response_ended(id);
            }
            Err((head, refused)) => {
                self.heads.give(head);
                self.upstream_failed(id, &Failure::Protocol(refused.to_string()));
            }
        }
    }

    /// All of the answer has come; some of it may wait for the downstream.
    fn response_ended(&mut self, id: ExchangeId) {
        if self.is_tunnel(id) {
            self.bound_half_closed(id);
        }
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        if exchange.rest.waiting() == 0 {
            return self.answer_ended(id);
        }
        // The endpoint has nothing to do with it any more, whatever becomes of its connection or of this stream.
        let tunnel = exchange.phase == Phase::Tunnel;
        let sent = exchange.has_told_upstream();
        if exchange.phase == Phase::Streaming || (tunnel && sent) {
            exchange.deadlines.only_idle();
            exchange.attempt.running = None;
            if let Some(up) = exchange.attempt.up.take() {
                self.leave_upstream(up, sent, tunnel);
            }
        }
    }

    /// All of the answer was passed on.
    pub(super) fn answer_ended(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        exchange.answer.ended = true;
        let half_open = exchange.phase == Phase::Tunnel && !exchange.body.is_sent();
        let down = exchange.down;
        if half_open {
            return self.half_close(down);
        }
        self.complete(id);
    }

    /// The answer cannot be finished any more: the downstream learns it from the trailers of a call, else from a connection
    /// cut short.
    pub(super) fn cut_answer(&mut self, id: ExchangeId, reply: &LocalReply) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let (down, stream) = (exchange.down, exchange.stream);
        if let Some(log) = &mut exchange.log {
            log.cut();
        }
        if self.end_call(id, reply) {
            return;
        }
        self.finish(id);
        if self.is_shared(down) {
            return self.reset_stream(down, stream, Reason::Internal);
        }
        // A body that ends with its connection would look complete (RFC 9112 §8), and so would a tunnel.
        let ends_so =
            |down: &Connection| down.codec.ends_with_connection() || down.codec.is_tunnel(stream);
        if self.wires.get(down).is_some_and(ends_so) {
            self.actions.push(Action::Abort(down));
            self.close(down);
        } else if self.wires.get(down).is_some_and(|down| down.out.is_empty()) {
            self.close(down);
        } else {
            self.close_after_flush(down, false);
        }
    }
}

impl Exchange {
    /// The final head is on its way: there will be no other attempt, and the attempt's own bound is met.
    pub(super) fn begin_answer(&mut self, head: &Head) {
        self.answer.begun = true;
        self.answer.status = head.status();
        let grpc = self.asks.grpc && head.get(Known::ContentType).is_some_and(is_grpc);
        // A call whose status stands in its head has no other, whatever becomes of the rest.
        self.answer.ends_in_status = grpc && head.get(Known::GrpcStatus).is_none();
        self.deadlines.attempt = None;
        self.body.forget();
        if let Some(log) = &mut self.log {
            log.response(head.status(), |name| head.header(name));
        }
    }

    /// Tells the balancer how an attempt went.
    pub(super) fn report(&self, outcome: Outcome, now: tokio::time::Instant) {
        let cluster = self.routed.as_ref().and_then(Routed::cluster);
        if let (Some(cluster), Some(endpoint)) = (cluster, &self.attempt.endpoint) {
            cluster.report(endpoint, outcome, now);
            if outcome.is_good() && self.retry.as_ref().is_some_and(RetryState::has_retried) {
                cluster.stats.retries_succeeded.inc();
            }
        }
    }

    pub(super) fn flag(
        &mut self,
        flag: ResponseFlag,
        details: impl Into<std::borrow::Cow<'static, str>>,
    ) {
        if let Some(log) = &mut self.log {
            log.flag(flag);
            log.details(details);
        }
    }
}
