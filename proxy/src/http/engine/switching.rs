//! Leaving HTTP: an upgrade or a `CONNECT` was granted, and both sockets go to a tunnel.

use weft_config::flag::ResponseFlag;

use super::connection::{ConnId, Role};
use super::exchange::{Exchange, ExchangeId, Phase};
use super::{Action, Engine};
use crate::http::codec::{Reason, StreamId};
use crate::policy::Denied;
use crate::snapshot::Snapshot;
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
    /// Whether `snapshot` has it cut.
    pub(crate) fn revoked(&self, snapshot: &Snapshot) -> Option<Denied> {
        self.exchange.revoked(snapshot)
    }

    /// The tunnel is over: its request is counted and logged.
    ///
    /// `denied`: it was cut because it is no longer allowed.
    pub(crate) fn ended(mut self, ends: &Ends, denied: Option<&Denied>, now: tokio::time::Instant) {
        if let Some(mut log) = self.exchange.log.take() {
            log.received(self.exchange.body.bytes + ends.to_upstream);
            log.sent(ends.to_downstream);
            if let Some((limit, details)) = ends.close.limit() {
                log.limit(limit);
                log.flag(ResponseFlag::SI);
                log.details(details);
            }
            if let Some(denied) = denied {
                log.flag(ResponseFlag::UAEX);
                log.details(denied.details());
            }
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

    /// Once both sides have left HTTP and everything is written, their sockets leave too. Where one of them is shared,
    /// bytes pass here.
    pub(super) fn try_switch(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let (Some(up), true) = (exchange.attempt.up, exchange.answer.begun) else {
            return;
        };
        if exchange.phase == Phase::Tunnel {
            return;
        }
        if exchange.phase != Phase::Switching {
            if !exchange.asks.connect && !exchange.asks.upgrade {
                return;
            }
            let left = |id: ConnId, stream: StreamId| {
                self.wires
                    .get(id)
                    .is_some_and(|c| c.codec.is_tunnel(stream))
            };
            let shared = |id: ConnId| {
                let connection = self.wires.get(id);
                connection.is_some_and(|it| it.codec.is_multiplexed())
            };
            if !left(up.conn, up.stream) || !left(exchange.down, exchange.stream) {
                return;
            }
            if shared(exchange.down) || shared(up.conn) {
                return self.open_tunnel(id);
            }
            exchange.phase = Phase::Switching;
        }
        let flushed = |id: ConnId| {
            self.wires
                .get(id)
                .is_some_and(|connection| connection.out.is_empty())
        };
        if flushed(exchange.down) && flushed(up.conn) {
            self.switch(id, up.conn);
        }
    }

    /// From here on bytes pass that are no messages. Those that came before go first.
    fn open_tunnel(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        exchange.phase = Phase::Tunnel;
        exchange.body.reopen();
        exchange.deadlines.only_idle();
        let mut from_down = std::mem::take(&mut exchange.raw_from_down);
        let from_up = std::mem::take(&mut exchange.raw_from_up);
        let (down, ended) = (exchange.down, exchange.raw_ended);
        if !self.is_shared(down) {
            from_down.extend_from_slice(&self.take_pipelined(down));
        }
        if !from_up.is_empty() {
            self.on_response_data(id, &from_up, false);
        }
        if !from_down.is_empty() || ended {
            self.on_request_data(id, &from_down, ended);
        }
        self.wires.unblock(down);
        self.arm_exchange(id);
    }

    /// A side of a tunnel that passes here has closed: the silence of the other is bounded.
    pub(super) fn bound_half_closed(&mut self, id: ExchangeId) {
        let bound = self.half_closed_timeout;
        if let Some(exchange) = self.exchanges.get_mut(id) {
            exchange.deadlines.half_closed_tunnel(bound);
            self.arm_exchange(id);
        }
    }

    /// What was read behind the head of the exchange that leaves HTTP, and not told yet.
    fn take_pipelined(&mut self, down: ConnId) -> Vec<u8> {
        let input = self.wires.get_mut(down).and_then(|down| down.input.take());
        input.map_or_else(Vec::new, |input| input.filled().to_vec())
    }

    /// Bytes behind an upgrade or a `CONNECT`, from the downstream.
    pub(super) fn on_raw_from_down(&mut self, id: ExchangeId, bytes: &[u8]) {
        if self.is_tunnel(id) {
            return self.on_request_data(id, bytes, false);
        }
        if let Some(exchange) = self.exchanges.get_mut(id) {
            exchange.raw_from_down.extend_from_slice(bytes);
        }
    }

    /// Bytes behind an upgrade or a `CONNECT`, from the endpoint.
    pub(super) fn on_raw_from_up(&mut self, id: ExchangeId, bytes: &[u8]) {
        if self.is_tunnel(id) {
            return self.on_response_data(id, bytes, false);
        }
        if let Some(exchange) = self.exchanges.get_mut(id) {
            exchange.raw_from_up.extend_from_slice(bytes);
        }
    }

    /// All that came from the downstream was passed on: if that was the last, the endpoint hears so.
    pub(super) fn tunnel_drained(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        if exchange.phase != Phase::Tunnel || !exchange.body.is_sent() {
            return;
        }
        // What the endpoint had to say may have come whole, and wait for the downstream.
        let over = exchange.rest.is_last() && !exchange.answer.ended;
        let up = exchange.attempt.up;
        if over {
            exchange.attempt.up = None;
        }
        if let Some(up) = up {
            self.half_close(up.conn);
            if over {
                self.leave_upstream(up, true, true);
            }
        }
        self.try_complete(id);
    }

    /// Whether a reset of the upstream half of a tunnel is its end: nothing is wrong, or all has come that was to.
    pub(super) fn ends_tunnel(&self, id: ExchangeId, why: Reason) -> bool {
        self.exchanges.get(id).is_some_and(|exchange| {
            let over = why == Reason::NoError || exchange.answer.ended;
            exchange.phase == Phase::Tunnel && over
        })
    }

    /// The endpoint wants no more of a tunnel, and nothing is wrong (RFC 9113 §8.1): it ends on both sides.
    pub(super) fn tunnel_given_up(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let (down, stream) = (exchange.down, exchange.stream);
        exchange.body.ended = true;
        if exchange.answer.ended {
            self.complete(id);
        } else {
            self.on_response_data(id, b"", true);
        }
        if self.exchanges.get(id).is_none() {
            self.reset_stream(down, stream, Reason::NoError);
        }
    }

    /// Nothing more comes for `id` from the other side of its tunnel.
    pub(super) fn half_close(&mut self, id: ConnId) {
        let Some(connection) = self.wires.get_mut(id) else {
            return;
        };
        if connection.codec.is_multiplexed() {
            return; // its stream was ended with the last bytes
        }
        if connection.out.is_empty() {
            self.actions.push(Action::Shutdown(id));
        } else {
            connection.half_closes = true;
        }
    }

    fn switch(&mut self, id: ExchangeId, up: ConnId) {
        let Some(mut exchange) = self.exchanges.remove(id) else {
            return;
        };
        let down = exchange.down;
        let mut preread = Preread {
            from_downstream: std::mem::take(&mut exchange.raw_from_down),
            from_upstream: std::mem::take(&mut exchange.raw_from_up),
        };
        let pipelined = self.take_pipelined(down);
        preread.from_downstream.extend_from_slice(&pipelined);
        self.wires.remove(down);
        let Some(connection) = self.wires.remove(up) else {
            return;
        };
        if let Role::Upstream(up_role) = &connection.role {
            self.pools.closed(up_role.pool, up);
            self.short.push(up_role.pool);
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
