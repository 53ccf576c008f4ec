//! What becomes of connections by time alone: heads that do not end, silence, a life that is over.

use std::time::Duration;

use tokio::time::Instant;
use weft_config::flag::ResponseFlag;

use super::Engine;
use super::closing::FLUSH_WAIT;
use super::connection::{Closing, ConnId, Connection, Downstream, Role};
use super::local_reply::LocalReply;
use super::timers::Owner;
use crate::http::codec::ProtocolError;
use crate::telemetry::Limit;

impl Engine {
    /// The first byte of a head may have come: its time begins.
    pub(super) fn note_first_byte(&mut self, id: ConnId) {
        let now = self.now;
        let Some(connection) = self.wires.get_mut(id) else {
            return;
        };
        if !connection.streams.is_empty() || connection.codec.is_multiplexed() {
            return;
        }
        if let Some(down) = connection.as_downstream() {
            down.head_since.get_or_insert(now);
        }
    }

    /// Where exchanges share the connection, its codec knows what is not complete.
    pub(super) fn note_unfinished(&mut self, id: ConnId) {
        let now = self.now;
        let Some(connection) = self.wires.get_mut(id) else {
            return;
        };
        let unfinished = connection.codec.unfinished();
        let Some(down) = connection.as_downstream() else {
            return;
        };
        if down.unfinished == unfinished {
            return;
        }
        down.unfinished = unfinished;
        down.head_since = unfinished.map(|_| now);
        if unfinished.is_some() {
            self.arm_connection(id);
        }
    }

    /// A head of which only a part is there has its own, shorter time.
    pub(super) fn arm_unfinished_head(&mut self, id: ConnId) {
        let down = self.wires.get_mut(id).and_then(Connection::as_downstream);
        if down.is_some_and(|down| down.head_since.is_some()) {
            self.arm_connection(id);
            self.shed_unfinished_head(id);
        }
    }

    /// Makes sure that a connection at rest is looked at when its time comes.
    pub(super) fn arm_connection(&mut self, id: ConnId) {
        if let Some(at) = self.wires.get(id).and_then(due) {
            self.timers.arm(Owner::Connection(id.slot()), at);
        }
    }

    /// A connection's time may have come.
    pub(super) fn connection_due(&mut self, id: ConnId) {
        let Some(connection) = self.wires.get(id) else {
            return;
        };
        match connection.closing {
            Closing::Linger(until) if until <= self.now => return self.close(id),
            Closing::Flush { .. } if connection.active_at + FLUSH_WAIT <= self.now => {
                self.scope.limits.hit(Limit::SlowReader);
                return self.close(id);
            }
            Closing::Linger(_) | Closing::Flush { .. } => return self.arm_connection(id),
            Closing::No => {}
        }
        if connection.settings_by.is_some_and(|by| by <= self.now) {
            self.settings_due(id);
        }
        if self.wires.get(id).is_some_and(|it| it.keepalive.is_some()) {
            self.keep_alive(id);
        }
        let Some(connection) = self.wires.get(id) else {
            return;
        };
        if due(connection).is_some_and(|at| at <= self.now) {
            match &connection.role {
                Role::Downstream(_) => self.downstream_due(id),
                Role::Upstream(_) => self.close(id),
            }
        }
        self.arm_connection(id);
    }

    fn downstream_due(&mut self, id: ConnId) {
        let now = self.now;
        let Some(connection) = self.wires.get_mut(id) else {
            return;
        };
        let (closes_at, head_by) = (idle_until(connection), head_by(connection));
        let Some(down) = connection.as_downstream() else {
            return;
        };
        let past = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if past(life_of(down)) {
            self.drain_connection(id);
        } else if past(down.ends_at) {
            down.ends_at = None;
            if let Some(connection) = self.wires.writer(id) {
                connection.codec.drain(&mut connection.out);
            }
            self.settle_shared(id);
        } else if past(head_by) {
            self.head_due(id);
        } else if past(closes_at) {
            self.scope.limits.hit(Limit::IdleTime);
            self.close_flushed(id);
        }
    }

    /// A head was not complete in time.
    fn head_due(&mut self, id: ConnId) {
        let now = self.now;
        let Some(connection) = self.wires.get_mut(id) else {
            return;
        };
        if connection.starved {
            // The rest of it may have come, and we have not read it.
            if let Some(down) = connection.as_downstream() {
                down.head_since = Some(now);
            }
            return;
        }
        self.scope.limits.hit(Limit::HeaderTime);
        if connection.codec.is_multiplexed() {
            // Frames follow each other: nothing else can come on this connection.
            connection.codec.time_out(ProtocolError::HeadTimeout);
            return self.fail_streams(id, ProtocolError::HeadTimeout);
        }
        connection.codec.refuse_input();
        let reason = "the request head was not complete in time";
        let reply = LocalReply::new(408, ResponseFlag::DT, reason);
        self.reply_without_exchange(id, &reply.closing());
    }
}

/// The end of `since` and `limit`; a limit of zero is none.
fn after(since: Instant, limit: Duration) -> Option<Instant> {
    (!limit.is_zero()).then(|| since + limit)
}

/// When a downstream connection is told to go elsewhere.
fn life_of(down: &Downstream) -> Option<Instant> {
    after(down.opened_at, down.limits.connection_duration_max).filter(|_| !down.draining)
}

/// When the head that has begun has to be complete, if one has, and its time is bounded.
fn head_by(connection: &Connection) -> Option<Instant> {
    let Role::Downstream(down) = &connection.role else {
        return None;
    };
    after(down.head_since?, down.limits.request_headers_timeout)
}

/// When a connection without exchanges has been silent for too long. Half a head is silence, too, where it has no bound of
/// its own.
fn idle_until(connection: &Connection) -> Option<Instant> {
    let limit = match &connection.role {
        Role::Downstream(down) => down.limits.idle_timeout,
        Role::Upstream(up) => up.config.idle_timeout,
    };
    let rests = connection.streams.is_empty() && head_by(connection).is_none();
    after(connection.active_at, limit).filter(|_| rests)
}

/// When a connection is to be looked at next.
fn due(connection: &Connection) -> Option<Instant> {
    let asked = connection.keepalive.as_ref().map(|it| it.next());
    let silence = idle_until(connection);
    let both = [silence, asked, connection.settings_by];
    match (connection.closing, &connection.role) {
        (Closing::Linger(until), _) => Some(until),
        (Closing::Flush { .. }, _) => Some(connection.active_at + FLUSH_WAIT),
        (Closing::No, Role::Downstream(down)) => {
            let own = [life_of(down), down.ends_at, head_by(connection)];
            own.into_iter().chain(both).flatten().min()
        }
        (Closing::No, Role::Upstream(_)) => both.into_iter().flatten().min(),
    }
}
