//! Leaving HTTP: an upgrade or a `CONNECT` was granted, and both sockets go to a tunnel.

use super::connection::{ConnId, Role};
use super::exchange::{Exchange, ExchangeId, Phase};
use super::{Action, Engine};
use crate::http::codec::StreamId;
use crate::tunnel::{Ends, Preread};

/// An exchange that has become a tunnel. It counts as running until it is dropped or [`Self::ended`].
pub(crate) struct Switched {
    /// The sockets to be taken.
    pub(crate) down: ConnId,
    pub(crate) up: ConnId,
    pub(crate) preread: Preread,
    pub(crate) idle_timeout: std::time::Duration,
    exchange: Exchange,
    /// The upstream connection's place in the circuit breaker's count.
    _up: Role,
}

impl std::fmt::Debug for Switched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Switched")
            .field("down", &self.down)
            .field("up", &self.up)
            .finish_non_exhaustive()
    }
}

impl Switched {
    /// The tunnel is over: its request is counted and logged.
    pub(crate) fn ended(mut self, ends: &Ends, now: tokio::time::Instant) {
        if let Some(mut log) = self.exchange.log.take() {
            log.received(ends.to_upstream);
            log.sent(ends.to_downstream);
            log.finish(now);
        }
    }
}

impl Engine {
    /// A connection for a `CONNECT` that ends here is open: the downstream hears 200, and bytes follow.
    pub(super) fn tunnel_open(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let mut head = self.heads.take();
        head.start_response(200);
        exchange.begin_answer(&head);
        if let Some(down) = self.wires.writer(exchange.down) {
            let _ = down
                .codec
                .head(exchange.stream, &head, false, &mut down.out);
        }
        self.heads.give(head);
        self.try_switch(id);
    }

    /// Once both sides have left HTTP and everything is written, their sockets leave too.
    pub(super) fn try_switch(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let (Some(up), true) = (exchange.attempt.up, exchange.answer.begun) else {
            return;
        };
        if exchange.phase != Phase::Switching {
            if !exchange.asks.connect && !exchange.asks.upgrade {
                return;
            }
            let left = |id: ConnId, stream: StreamId| {
                self.wires
                    .get(id)
                    .is_some_and(|c| c.codec.is_tunnel(stream))
            };
            let up_left = exchange.asks.connect
                || self.wires.get(up).is_some_and(|c| match &c.role {
                    Role::Upstream(role) => c.codec.is_tunnel(role.stream),
                    Role::Downstream(_) => false,
                });
            if !up_left || !left(exchange.down, exchange.stream) {
                return;
            }
            exchange.phase = Phase::Switching;
        }
        let flushed = |id: ConnId| {
            self.wires
                .get(id)
                .is_some_and(|connection| connection.out.is_empty())
        };
        if flushed(exchange.down) && flushed(up) {
            self.switch(id, up);
        }
    }

    fn switch(&mut self, id: ExchangeId, up: ConnId) {
        let Some(mut exchange) = self.exchanges.remove(id) else {
            return;
        };
        let down = exchange.down;
        // What was read behind the head and not told yet belongs to the tunnel.
        let mut preread = Preread {
            from_downstream: std::mem::take(&mut exchange.raw_from_down),
            from_upstream: std::mem::take(&mut exchange.raw_from_up),
        };
        if let Some(input) = self.wires.get_mut(down).and_then(|down| down.input.take()) {
            preread.from_downstream.extend_from_slice(input.filled());
        }
        self.wires.remove(down);
        let Some(connection) = self.wires.remove(up) else {
            return;
        };
        if let Role::Upstream(up_role) = &connection.role {
            self.pools.closed(up_role.endpoint.id, up);
            self.short.push(up_role.endpoint.id);
        }
        let idle_timeout = exchange.deadlines.idle;
        self.actions.push(Action::Switch(Box::new(Switched {
            down,
            up,
            preread,
            idle_timeout,
            exchange,
            _up: connection.role,
        })));
    }
}
