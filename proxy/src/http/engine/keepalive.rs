//! Whether a peer that shares its connection still lives: it is asked by PING, and heard of by whatever it sends. And
//! whether it says that it knows our settings, and anything at all.

use std::time::Duration;

use tokio::time::Instant;
use weft_config::http2::{Http2Keepalive, Http2Options};

use super::Engine;
use super::connection::{ConnId, Connection, Role};
use super::exchange::ExchangeId;
use crate::http::codec::{Codec, ProtocolError};
use crate::telemetry::Limit;

/// How long an endpoint may say nothing at all on a shared connection, though it was asked, before a request that times out
/// has the connection take no further ones: the others would wait in vain where it is stuck in the midst of a frame.
const SILENCE_MAX: Duration = Duration::from_secs(1);

/// When the peer is asked next, or has to have answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keepalive {
    rule: Http2Keepalive,
    ask_at: Instant,
    /// When an answer, or anything else, has to have come; `None` while nothing was asked.
    answer_by: Option<Instant>,
}

impl Keepalive {
    /// What `options` ask for on a connection of `codec`; `None`: nothing, or it cannot be asked.
    pub(super) fn of(
        options: &Http2Options,
        codec: &Codec,
        now: Instant,
        rng: &mut fastrand::Rng,
    ) -> Option<Box<Self>> {
        let rule = options.keepalive.filter(|_| codec.is_multiplexed())?;
        Some(Box::new(Self {
            rule,
            ask_at: now + pause(rule, rng),
            answer_by: None,
        }))
    }

    /// When it is to be looked at.
    pub(super) fn next(&self) -> Instant {
        self.answer_by.unwrap_or(self.ask_at)
    }

    /// Something came from the peer: whoever sends lives.
    pub(super) fn heard(&mut self, now: Instant) {
        if let Some(by) = &mut self.answer_by {
            *by = now + self.rule.timeout;
        }
    }
}

/// The interval, longer by a part that is drawn, so that not all peers are asked at once.
fn pause(rule: Http2Keepalive, rng: &mut fastrand::Rng) -> Duration {
    rule.interval
        .mul_f64(1.0 + rng.f64() * rule.jitter_percent / 100.0)
}

impl Connection {
    /// Something came from the peer.
    pub(super) fn heard(&mut self, now: Instant) {
        if let Some(keepalive) = &mut self.keepalive {
            keepalive.heard(now);
        }
        if let Role::Upstream(up) = &mut self.role {
            up.heard_at = now;
            up.asked_at = None;
        }
    }
}

impl Engine {
    /// A request was sent on a connection.
    pub(super) fn note_asked(&mut self, id: ConnId) {
        let now = self.now;
        let up = self.wires.get_mut(id).and_then(Connection::as_upstream);
        if let Some(up) = up {
            up.asked_at.get_or_insert(now);
        }
    }

    /// A request has timed out: a shared connection on which nothing whatever was heard for long gets no other.
    pub(super) fn suspect(&mut self, exchange: ExchangeId) {
        let now = self.now;
        let attempt = self.exchanges.get(exchange).map(|it| &it.attempt);
        let sent = attempt.and_then(|it| Some((it.up?.conn, it.began_at?)));
        let Some((id, began_at)) = sent else {
            return;
        };
        let Some(connection) = self.wires.get_mut(id) else {
            return;
        };
        let shared = connection.codec.is_multiplexed();
        let Some(up) = connection.as_upstream().filter(|up| shared && !up.retired) else {
            return;
        };
        let silent_since = match up.asked_at {
            Some(asked_at) if began_at > up.heard_at => asked_at,
            _ => up.heard_at.max(began_at),
        };
        if silent_since + SILENCE_MAX <= now {
            self.retire(id);
        }
    }

    /// Bounds how long the peer may take to acknowledge our settings (RFC 9113 §6.5.3).
    pub(super) fn bound_settings(&self, connection: &mut Connection) {
        if connection.codec.awaits_settings() {
            connection.settings_by = Some(self.now + self.bounds.settings_timeout);
        }
    }

    /// The time for our settings is over: the connection ends, unless they were acknowledged.
    pub(super) fn settings_due(&mut self, id: ConnId) {
        let Some(connection) = self.wires.get_mut(id) else {
            return;
        };
        connection.settings_by = None;
        if !connection.codec.awaits_settings() {
            return;
        }
        if connection.starved {
            // It may have been said, and we have not read it.
            return self.bound_settings_again(id);
        }
        let error = ProtocolError::SettingsTimeout;
        connection.codec.time_out(error);
        self.scope.limits.hit(Limit::Http2Settings);
        self.fail_streams(id, error);
    }

    fn bound_settings_again(&mut self, id: ConnId) {
        let by = self.now + self.bounds.settings_timeout;
        if let Some(connection) = self.wires.get_mut(id) {
            connection.settings_by = Some(by);
        }
    }

    /// Asks the peer of a connection for a sign of life, or ends the connection because none came.
    pub(super) fn keep_alive(&mut self, id: ConnId) {
        let now = self.now;
        let Some(connection) = self.wires.get_mut(id) else {
            return;
        };
        let waits = connection.codec.awaits_pong();
        let Some(keepalive) = &mut connection.keepalive else {
            return;
        };
        if keepalive.next() > now {
            return;
        }
        if waits && keepalive.answer_by.is_some() {
            self.scope.limits.hit(Limit::Keepalive);
            return match self.wires.get(id).map(|connection| &connection.role) {
                Some(Role::Downstream(_)) => self.downstream_lost(id),
                Some(Role::Upstream(_)) => self.upstream_lost(id),
                None => {}
            };
        }
        if keepalive.answer_by.take().is_some() {
            keepalive.ask_at = now + pause(keepalive.rule, &mut self.rng);
            return;
        }
        keepalive.answer_by = Some(now + keepalive.rule.timeout);
        if let Some(connection) = self.wires.writer(id) {
            connection.codec.ping(&mut connection.out);
        }
    }
}
