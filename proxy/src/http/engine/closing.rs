//! How connections end: once everything is written, and not before the peer could read it.

use std::time::Duration;

use super::connection::{Closing, ConnId, Role};
use super::timers::Owner;
use super::{Action, Engine};

/// How long what a peer still sends is read and dropped, so that it can read our answer.
const LINGER: Duration = Duration::from_secs(2);

/// How long a peer may take nothing of the last that it is told.
pub(super) const FLUSH_WAIT: Duration = Duration::from_secs(30);

impl Engine {
    /// Bytes were written, and perhaps the last of those pending.
    pub(super) fn wrote(&mut self, id: ConnId, flushed: bool) {
        let Some(connection) = self.wires.get_mut(id) else {
            return;
        };
        // Asking a peer at rest for a sign of life is no activity.
        let rests = connection.codec.is_multiplexed() && connection.streams.is_empty();
        if !rests || connection.closing != Closing::No {
            connection.active_at = self.now;
        }
        let (closing, eof) = (connection.closing, connection.eof);
        let waits = connection.input.is_some();
        let half_closes = flushed && std::mem::take(&mut connection.half_closes);
        if half_closes {
            self.actions.push(Action::Shutdown(id));
        }
        self.push_on(id, flushed);
        match closing {
            Closing::Flush { linger } if flushed && linger && !eof => self.linger(id),
            Closing::Flush { .. } if flushed => self.close(id),
            Closing::No if flushed && waits => self.ready.push(id),
            _ => {}
        }
    }

    fn linger(&mut self, id: ConnId) {
        let until = self.now + LINGER;
        if let Some(connection) = self.wires.get_mut(id) {
            connection.closing = Closing::Linger(until);
            self.actions.push(Action::Shutdown(id));
            self.timers.arm(Owner::Connection(id.slot()), until);
            self.wires.unblock(id);
        }
    }

    /// Closes a connection as soon as everything is written. What was pipelined and not yet begun is lost.
    pub(super) fn close_after_flush(&mut self, id: ConnId, linger: bool) {
        let Some(connection) = self.wires.get_mut(id) else {
            return;
        };
        let eof = connection.eof;
        if connection.closing == Closing::No {
            connection.closing = Closing::Flush { linger };
        }
        if connection.out.is_empty() {
            self.wrote(id, true);
        } else {
            // A peer that never takes the rest must not keep us.
            let since = connection.active_at.max(self.now);
            self.timers
                .arm(Owner::Connection(id.slot()), since + FLUSH_WAIT);
            if !eof {
                self.wires.unblock(id);
            }
        }
    }

    pub(super) fn close_flushed(&mut self, id: ConnId) {
        self.close_after_flush(id, false);
    }

    /// Forgets a connection; its socket is dropped.
    pub(super) fn close(&mut self, id: ConnId) {
        if let Some(connection) = self.wires.remove(id)
            && let Role::Upstream(up) = connection.role
        {
            self.pools.closed(up.pool, id);
            self.short.push(up.pool);
        }
    }
}
