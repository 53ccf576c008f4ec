//! What happens when time runs out.

use std::time::Duration;

use tokio::time::Instant;
use weft_config::flag::ResponseFlag;
use weft_config::route::{Forward, RouteTimeout};

use super::downstream::HALF_CLOSED_WAIT;
use super::exchange::{Exchange, ExchangeId};
use super::failure::Failure;
use super::local_reply::LocalReply;
use super::pool::SWEEP;
use super::timers::Owner;
use super::{Action, Engine};
use crate::balance::Outcome;
use crate::http::head::Known;
use crate::policy::{parse_grpc_timeout, write_grpc_timeout};
use crate::route::Routed;
use crate::telemetry::Limit;

impl Engine {
    /// Ends and wakes what is due at `now`.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.now = now;
        while let Some(owner) = self.timers.next_due(now) {
            match owner {
                Owner::Connection(slot) => {
                    if let Some(id) = self.wires.at(slot) {
                        self.connection_due(id);
                    }
                }
                Owner::Exchange(slot) => {
                    if let Some(id) = self.exchanges.key_at(slot) {
                        self.exchange_due(id);
                    }
                }
                Owner::Sweep => self.sweep(now),
            }
            self.settle();
        }
    }

    /// Another snapshot may be in force: connections that nothing leads to any more are closed.
    pub(crate) fn sweep(&mut self, now: Instant) {
        self.now = now;
        self.revoke();
        self.sweep_pools();
        if self.wires.len() > 0 {
            self.timers.arm(Owner::Sweep, self.now + SWEEP);
        }
        self.settle();
    }

    fn exchange_due(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let now = self.now;
        let past = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let deadlines = exchange.deadlines;
        if past(deadlines.wake_at) {
            exchange.deadlines.wake_at = None;
            self.proceed(id);
        } else if past(deadlines.withheld) {
            self.pass_withheld(id);
        } else if past(deadlines.half_closed) {
            self.half_closed_due(id);
        } else if past(deadlines.life) {
            self.outlived(id);
        } else if past(deadlines.whole) {
            self.suspect(id);
            self.upstream_failed(id, &Failure::TimedOut);
        } else if past(deadlines.attempt) && !exchange.answer.begun {
            self.suspect(id);
            self.upstream_failed(id, &Failure::TryTimedOut);
        } else if past(deadlines.request) && !exchange.body.ended {
            let reply = LocalReply::new(
                408,
                ResponseFlag::DT,
                "the request was not complete in time",
            );
            self.reply(id, &reply.closing());
        } else if past(deadlines.idle_at()) {
            self.stalled(id);
        }
        self.arm_exchange(id);
    }

    /// The downstream has closed its write side, and what would tell whether it still reads does not come.
    fn half_closed_due(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let down = exchange.down;
        let silent_at = exchange.deadlines.moved_at + HALF_CLOSED_WAIT;
        // What waits for it to read is the system's to give up.
        let reads = self.wires.get(down).is_some_and(|it| !it.out.is_empty());
        if reads || (exchange.answer.begun && silent_at > self.now) {
            exchange.deadlines.half_closed = Some(silent_at.max(self.now + HALF_CLOSED_WAIT / 2));
            return;
        }
        let why = "the downstream closed and no more of the answer came in time";
        let stream = exchange.stream;
        self.abandon(id, ResponseFlag::DC, why);
        // It may read all the same, and would take what it has for the whole (RFC 9112 §8).
        let looks_whole = self
            .wires
            .get(down)
            .is_some_and(|down| down.codec.ends_with_connection() || down.codec.is_tunnel(stream));
        if looks_whole {
            self.actions.push(Action::Abort(down));
        }
        self.close(down);
    }

    /// Nothing moved for too long. Whose fault it is shows in the status.
    fn stalled(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let silence = exchange.deadlines.silence;
        let (status, reason) = match exchange.body.ended {
            _ if silence == Limit::HalfClosedTime => (504, "half_closed_timeout"),
            false => (
                408,
                "nothing moved for too long: the request is not complete",
            ),
            true => (
                504,
                "nothing moved for too long: the upstream has not answered",
            ),
        };
        self.scope.limits.hit(silence);
        self.suspect(id);
        self.reply(id, &LocalReply::new(status, ResponseFlag::SI, reason));
    }

    fn outlived(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        // Who has begun to answer may be a stream that its caller bounded on purpose.
        if exchange.attempt.began_at.is_some() && !exchange.answer.begun {
            exchange.report(Outcome::TimedOut, self.now);
        }
        let reply = exchange.too_old();
        self.suspect(id);
        self.reply(id, &reply);
    }
}

impl Exchange {
    /// The listener's bound on receiving the request, and the route's on its life.
    pub(super) fn bound_request(&mut self, now: Instant) {
        let limit = self.limits.request_timeout;
        if !self.body.ended && !limit.is_zero() {
            self.deadlines.request = Some(self.started_at + limit);
        }
        if let Some(forward) = self.routed.as_ref().and_then(Routed::forward) {
            self.deadlines.idle = forward.idle_timeout.unwrap_or(self.deadlines.idle);
            let life = self.grpc_timeout(forward).or(forward.max_stream_duration);
            self.deadlines.life = life.and_then(|life| self.started_at.checked_add(life));
        }
        if self.body.ended {
            self.bound_answer(now);
        }
    }

    /// The request is complete: the route's bound begins.
    pub(super) fn bound_answer(&mut self, now: Instant) {
        self.deadlines.request = None;
        let Some(forward) = self.routed.as_ref().and_then(Routed::forward) else {
            return;
        };
        let replaced = forward.grpc_timeout.is_some_and(|rule| {
            rule.timeout == RouteTimeout::Replaced && self.told_timeout().is_some()
        });
        let asked = self.terms.as_ref().and_then(|terms| terms.timeout);
        let timeout = match asked {
            Some(asked) => Some(asked).filter(|it| !it.is_zero()),
            None => forward.timeout.filter(|_| !replaced),
        };
        self.deadlines.whole = timeout.map(|timeout| now + timeout);
        if self.attempt.began_at.is_some() {
            self.bound_attempt(now);
        }
    }

    /// What the caller's `grpc-timeout` leaves this stream from its beginning, where the route obeys it (gRFC A31).
    fn grpc_timeout(&self, forward: &Forward) -> Option<Duration> {
        let rule = forward.grpc_timeout?;
        let told = self.told_timeout()?;
        let bounded = rule.max.map_or(told, |max| told.min(max));
        // An offset never leaves nothing: it is for those who have time to spare.
        Some(
            bounded
                .checked_sub(rule.offset)
                .filter(|left| !left.is_zero())
                .unwrap_or(bounded),
        )
    }

    /// What the head says of the time that the caller of a gRPC method has.
    fn told_timeout(&self) -> Option<Duration> {
        let value = self.head.get(Known::GrpcTimeout)?;
        parse_grpc_timeout(value).filter(|_| self.asks.grpc)
    }

    /// Notes until when the caller waits: as it said, or as the route's edits of its head say.
    pub(super) fn note_deadline(&mut self) {
        let told = self.told_timeout();
        self.deadlines.told = told.and_then(|told| self.started_at.checked_add(told));
    }

    /// Tells the upstream of an attempt what is left of the call's time: what passed is taken off, and whatever here ends
    /// the call sooner counts. A caller that said nothing (or what cannot be read, which is passed on) has no deadline.
    pub(super) fn tell_deadline(&mut self, now: Instant, room: &mut Vec<u8>) {
        let Some(told) = self.deadlines.told else {
            return;
        };
        // The bound of an attempt ends with its answer's head. Told, it would have the server end what had long begun.
        let own = [self.deadlines.life, self.deadlines.whole];
        let until = own.into_iter().flatten().fold(told, Instant::min);
        if until == told && now == self.started_at && self.attempt.count == 1 {
            return; // as it came
        }
        room.clear();
        write_grpc_timeout(until.saturating_duration_since(now), room);
        self.head.set(Known::GrpcTimeout.name().as_bytes(), room);
    }

    /// The answer to a request whose time is over, by the caller's deadline or the route's bound.
    pub(super) fn too_old(&self) -> LocalReply {
        let forward = self.routed.as_ref().and_then(Routed::forward);
        let obeyed = forward.and_then(|forward| self.grpc_timeout(forward));
        let reason = match obeyed {
            Some(_) => "the deadline of the call (grpc-timeout) is over",
            None => "the request lived longer than the route allows",
        };
        LocalReply::new(504, ResponseFlag::UMSDR, reason)
    }

    /// An attempt begins, or its request is complete: the bound of the attempt begins.
    pub(super) fn bound_attempt(&mut self, now: Instant) {
        let policy = self.routed.as_ref().and_then(Routed::forward);
        let timeout = policy.and_then(|forward| forward.retry.as_ref()?.per_try_timeout);
        let asked = self.terms.as_ref().and_then(|terms| terms.per_try_timeout);
        let timeout = asked.or(timeout).filter(|it| !it.is_zero());
        if self.body.ended && !self.answer.begun {
            self.deadlines.attempt = timeout.map(|timeout| now + timeout);
        }
    }
}
