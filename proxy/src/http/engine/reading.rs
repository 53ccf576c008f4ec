//! When a connection is read, and what is done with what was read and had to wait.

use super::connection::{Closing, ConnId, Role};
use super::{Engine, READ_STOPS_AT_BYTES};
use crate::telemetry::Limit;

impl Engine {
    /// Goes on with what was read while an exchange ran.
    pub(super) fn resume(&mut self, id: ConnId) {
        let Some(connection) = self.wires.get_mut(id) else {
            return;
        };
        let busy = !connection.codec.is_multiplexed() && !connection.streams.is_empty();
        if busy || connection.paused || connection.closing != Closing::No {
            return;
        }
        if connection.input.is_some() {
            self.note_first_byte(id);
            let input = self.wires.lend_input(id);
            self.drive(id, input);
            if self.wires.is_paused(id) {
                return self.wires.wake(id);
            }
        }
        self.rest(id);
    }

    /// Between requests: closes what is to be closed.
    pub(super) fn rest(&mut self, id: ConnId) {
        let Some(connection) = self.wires.get_mut(id) else {
            return;
        };
        if !connection.streams.is_empty() || connection.closing != Closing::No {
            return self.wires.unblock(id);
        }
        let over = connection.codec.wants_close() || (connection.eof && connection.input.is_none());
        let idle = connection.codec.is_idle() && connection.input.is_none();
        // Whoever shares a connection has been told by its codec, and is answered until it has heard so.
        let ends = idle && !connection.codec.is_multiplexed();
        if let Some(down) = connection.as_downstream() {
            if ends {
                down.head_since = None;
            }
            if over || (ends && down.draining) {
                // Requests may be on their way that we will not answer, and a reset would take the last answer along.
                return self.close_after_flush(id, true);
            }
        }
        self.wires.unblock(id);
        self.arm_connection(id);
    }

    /// Whether the socket is to be read now. If not, its task is woken when that changes.
    pub(crate) fn wants_read(&mut self, id: ConnId) -> bool {
        let wants = self.may_read(id);
        let begins = !wants && self.wires.get(id).is_some_and(|it| !it.starved);
        if begins && self.is_full(id) {
            self.scope.limits.hit(Limit::Buffer);
        }
        if let Some(connection) = self.wires.get_mut(id) {
            connection.starved = !wants;
        }
        wants
    }

    fn may_read(&self, id: ConnId) -> bool {
        let Some(connection) = self.wires.get(id) else {
            return false;
        };
        if connection.eof {
            return false;
        }
        match connection.closing {
            Closing::Linger(_) => return true,
            Closing::Flush { linger } => return linger,
            Closing::No => {}
        }
        if connection.codec.is_multiplexed() {
            return connection.input.is_none() && !self.is_full(id);
        }
        let exchange = connection.streams.first();
        let Some(exchange) = exchange.and_then(|id| self.exchanges.get(id)) else {
            return connection.input.is_none();
        };
        let lent = matches!(connection.role, Role::Downstream(_)) && connection.input.is_some();
        !lent && !exchange.leaves_http() && !self.is_full(id)
    }

    /// Whether the other side of what `id` serves has not taken as much as is held for it at most. Where exchanges share
    /// the connection, each is held up by the credit that it gets, and the connection by what waits on itself.
    fn is_full(&self, id: ConnId) -> bool {
        let Some(connection) = self.wires.get(id) else {
            return false;
        };
        // Once stopped, reading goes on when half of the room is free again.
        let half = u32::from(connection.starved);
        if connection.codec.is_multiplexed() {
            return connection.out.len() > READ_STOPS_AT_BYTES >> half;
        }
        let exchange = connection.streams.first();
        let Some(exchange) = exchange.and_then(|id| self.exchanges.get(id)) else {
            return false;
        };
        let room = (exchange.limits.buffer_bytes_max >> half).max(1);
        let held = match &connection.role {
            Role::Downstream(_) => {
                exchange.body.waiting() + self.unwritten(exchange.attempt.up.map(|up| up.conn))
            }
            Role::Upstream(_) => exchange.rest.waiting() + self.unwritten(Some(exchange.down)),
        };
        held >= room
    }

    /// Bytes that wait on a connection which one exchange has for itself.
    fn unwritten(&self, id: Option<ConnId>) -> usize {
        let connection = id.and_then(|id| self.wires.get(id));
        connection
            .filter(|connection| !connection.codec.is_multiplexed())
            .map_or(0, |connection| connection.out.len())
    }
}
