//! Another attempt: whether there is one, when, and from where.

use std::time::Duration;

use weft_config::flag::ResponseFlag;
use weft_config::grpc::GrpcStatus;

use super::Engine;
use super::calls::status_of;
use super::connection::Role;
use super::exchange::{Exchange, ExchangeId, Phase, UpStream};
use super::failure::Failure;
use crate::http::head::{Head, Known};
use crate::policy::{self, RetryState, RetryVerdict};
use crate::route::Routed;

/// How often a request goes elsewhere because an endpoint had not begun it. Policies may allow more.
const NOT_BEGUN_MAX: u8 = 2;
/// The field by which a gRPC server asks callers to wait before they try again, or not to (gRFC A6).
const PUSHBACK: &[u8] = b"grpc-retry-pushback-ms";

impl Engine {
    /// A pooled connection was found dead by this request: it goes to the same endpoint over a fresh one, once, where
    /// repeating does no harm or the endpoint cannot have read any of it (RFC 9110 §9.2.2).
    ///
    /// One that has served nothing else may have died of this very request.
    pub(super) fn replaces_dead_connection(&self, id: ExchangeId, failure: &Failure) -> bool {
        let Some(exchange) = self.exchanges.get(id) else {
            return false;
        };
        let attempt = &exchange.attempt;
        if *failure != Failure::Closed
            || !attempt.up.is_some_and(|up| self.served_others(up))
            || attempt.replaced
            || !exchange.body.can_repeat()
        {
            return false;
        }
        let unread = attempt.up.is_some_and(|up| self.wrote_nothing(up));
        exchange.asks.idempotent || unread
    }

    /// The endpoint has not begun the request, so that sending it again does no harm whatever it is (RFC 9113 §8.7).
    pub(super) fn goes_elsewhere(&mut self, id: ExchangeId, failure: &Failure) -> bool {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return false;
        };
        let attempt = &mut exchange.attempt;
        if *failure != Failure::NotBegun
            || attempt.not_begun >= NOT_BEGUN_MAX
            || !exchange.body.can_repeat()
        {
            return false;
        }
        attempt.not_begun += 1;
        true
    }

    pub(super) fn try_replaced(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let endpoint = exchange.attempt.endpoint.clone();
        let cluster = exchange.routed.as_ref().and_then(Routed::cluster).cloned();
        let (Some(endpoint), Some(cluster)) = (endpoint, cluster) else {
            return;
        };
        self.drop_attempt(id);
        if let Some(exchange) = self.exchanges.get_mut(id) {
            exchange.attempt.replaced = true;
            exchange.attempt.active = Some(endpoint.begin());
            exchange.body.rewind();
        }
        if let Err(reply) = self.connect(id, &cluster, &endpoint) {
            self.reply(id, &reply);
        }
    }

    /// How long to wait before the request is tried again after a failure; `None`: it is not.
    pub(super) fn retry_on_failure(
        &mut self,
        id: ExchangeId,
        failure: &Failure,
    ) -> Option<Duration> {
        let attempt_up = self.exchanges.get(id)?.attempt.up;
        let unread = attempt_up.is_none_or(|up| self.wrote_nothing(up));
        let kind = match failure {
            Failure::Connect(_) => policy::Failure::ConnectFailed,
            Failure::NotBegun => policy::Failure::NotBegun,
            Failure::Closed | Failure::Reset => policy::Failure::Reset { written: !unread },
            Failure::TryTimedOut => policy::Failure::TryTimedOut,
            // What is not HTTP now will not be at the next attempt, and an edited head stays what it is.
            Failure::TimedOut | Failure::Protocol(_) | Failure::Refused(_) => return None,
            Failure::Untaken(_) => return None,
            Failure::RequestTooLarge(_) | Failure::AnswerTooLarge(_) => return None,
        };
        self.retry(id, kind)
    }

    /// The answer is thrown away. Its connection serves again where the rest of it was read with its head: waiting for
    /// more would cost more than another connection.
    pub(super) fn discard_answer(&mut self, id: ExchangeId) {
        let up = self
            .exchanges
            .get_mut(id)
            .filter(|exchange| exchange.body.ended && !exchange.attempt.http2)
            .and_then(|exchange| exchange.attempt.up.take());
        if let Some(up) = up {
            self.release(up);
        }
    }

    /// How long to wait before the request is tried again because of this answer, whose `fields` are its head or its
    /// trailers; `None`: it is passed on.
    pub(super) fn retry_on_response(
        &mut self,
        id: ExchangeId,
        status: u16,
        fields: &Head,
    ) -> Option<Duration> {
        let told = status_of(fields).filter(|status| *status != GrpcStatus::OK);
        if status < 400 && told.is_none() {
            return None;
        }
        let grpc = told.and_then(|status| u8::try_from(status.number()).ok());
        let retry_after = match fields.get_name(PUSHBACK) {
            // What is not a number of milliseconds asks for no retry at all.
            Some(value) => Some(Duration::from_millis(number(value)?)),
            None => fields
                .get(Known::RetryAfter)
                .and_then(number)
                .map(Duration::from_secs),
        };
        self.retry(
            id,
            policy::Failure::Status {
                status,
                grpc,
                retry_after,
            },
        )
    }

    fn retry(&mut self, id: ExchangeId, failure: policy::Failure) -> Option<Duration> {
        let now = self.now;
        let exchange = self.exchanges.get_mut(id)?;
        // A tunnel, or a request of which some bytes are gone, is sent once.
        if exchange.asks.connect || !exchange.body.can_repeat() {
            return None;
        }
        let cluster = exchange.routed.as_ref().and_then(Routed::cluster)?;
        match exchange
            .retry
            .as_mut()?
            .next(failure, &cluster.breakers, now, &mut self.rng)
        {
            RetryVerdict::Again { after, guard } => {
                exchange.attempt.retrying = guard;
                Some(after)
            }
            RetryVerdict::No => None,
            RetryVerdict::Exhausted | RetryVerdict::OverBudget => {
                let why = exchange.retry.as_ref().and_then(RetryState::gave_up);
                exchange.flag(ResponseFlag::URX, why.unwrap_or_default());
                None
            }
        }
    }

    /// Whether the connection that `up` is on was ever given another request.
    fn served_others(&self, up: UpStream) -> bool {
        let role = self.wires.get(up.conn).map(|connection| &connection.role);
        matches!(role, Some(Role::Upstream(it)) if it.requests > 1)
    }

    /// Whether the socket has taken no byte of the request that runs on `up`.
    pub(super) fn wrote_nothing(&self, up: UpStream) -> bool {
        self.wires
            .get(up.conn)
            .is_some_and(|connection| connection.written <= up.begins_at)
    }

    /// Ends the attempt that runs and begins another after `pause`, at another endpoint if there is one.
    pub(super) fn try_again(&mut self, id: ExchangeId, pause: Duration) {
        // The place among the cluster's retries belongs to the attempt that begins.
        let retrying = self
            .exchanges
            .get_mut(id)
            .and_then(|exchange| exchange.attempt.retrying.take());
        self.drop_attempt(id);
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        exchange.attempt.retrying = retrying;
        if let Some(endpoint) = exchange.attempt.endpoint.take() {
            exchange.avoid.push(endpoint.id);
        }
        exchange.body.rewind();
        exchange.phase = Phase::Backoff;
        if pause.is_zero() {
            return self.proceed(id);
        }
        exchange.deadlines.wake_at = Some(self.now + pause);
        self.arm_exchange(id);
    }
}

impl Exchange {
    /// A request that may be tried again keeps its body, up to the limit.
    pub(super) fn expect_retries(&mut self) {
        let forward = self.routed.as_ref().and_then(Routed::forward);
        let policy = forward.and_then(|forward| forward.retry.as_ref());
        let state = RetryState::on_terms(policy, self.terms.as_deref());
        self.body.keep_up_to(state.body_limit_bytes());
        self.retry = Some(state);
    }
}

fn number(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.trim().parse().ok()
}
