//! Another attempt: whether there is one, when, and from where.

use std::time::Duration;

use super::Engine;
use super::exchange::{Exchange, ExchangeId, Phase};
use super::failure::Failure;
use crate::balance::Cluster;
use crate::http::head::Head;
use crate::route::Routed;

impl Engine {
    /// A pooled connection was found dead by this request: it goes to the same endpoint over a fresh one, once, where
    /// repeating does no harm or the endpoint cannot have read any of it.
    pub(super) fn replaces_dead_connection(&self, id: ExchangeId, failure: &Failure) -> bool {
        let Some(exchange) = self.exchanges.get(id) else {
            return false;
        };
        let attempt = &exchange.attempt;
        if *failure != Failure::Closed || !attempt.reused || attempt.replaced || !exchange.body.can_repeat() {
            return false;
        }
        let unread = attempt
            .up
            .and_then(|up| self.wires.get(up))
            .is_some_and(|up| matches!(&up.role, super::Role::Upstream(up) if up.written == 0));
        exchange.asks.idempotent || unread
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

    pub(super) fn retry_on_failure(&mut self, _id: ExchangeId, _failure: &Failure) -> Option<Duration> {
        None
    }

    pub(super) fn retry_on_response(&mut self, _id: ExchangeId, _head: &Head) -> Option<Duration> {
        None
    }

    /// Ends the attempt that runs and begins another after `pause`, at another endpoint if there is one.
    pub(super) fn try_again(&mut self, id: ExchangeId, pause: Duration) {
        self.drop_attempt(id);
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
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
    pub(super) fn expect_retries(&mut self, _cluster: &Cluster) {
        let policy = self.routed.as_ref().and_then(Routed::forward).and_then(|forward| forward.retry.as_ref());
        self.body.keep_up_to(policy.map_or(self.limits.buffer_bytes_max, |policy| policy.body_limit_bytes));
    }
}
