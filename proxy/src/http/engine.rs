//! The engine: one per worker. Bytes and events in, bytes and actions out; no socket, no clock.
//!
//! It owns connections, exchanges (a downstream stream paired with the upstream stream that serves it), pools of
//! upstream connections, and deadlines. The [`pump`](super::pump) tells it what sockets and time brought, and then does
//! what it asks for: writes what is pending, opens and closes connections, wakes readers.

mod access;
mod arena;
mod body;
mod calls;
mod client_cert;
mod closing;
mod codecs;
mod connection;
mod crowding;
mod deadlines;
mod downstream;
mod due;
mod edits;
mod exchange;
mod failure;
mod filters;
mod finish;
mod forward;
mod forwarded;
mod heads;
mod keepalive;
mod local_reply;
mod pool;
mod reading;
mod request;
mod response;
mod retry;
mod shared;
mod shed;
#[cfg(test)]
mod sim;
mod streams;
mod switching;
#[cfg(test)]
mod tests;
mod timers;
mod tokens;
mod turn;
mod upstream;
mod websocket;
mod wires;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use weft_config::endpoint::Address;

use self::arena::Arena;
pub(crate) use self::connection::ConnId;
use self::connection::{Closing, Role};
use self::exchange::Exchange;
pub(crate) use self::exchange::ExchangeId;
pub use self::local_reply::FLAG_HEADER;
pub(crate) use self::pool::AttemptId;
use self::pool::{PoolKey, Pools};
pub(crate) use self::switching::Switched;
use self::timers::Timers;
use self::wires::Wires;
use crate::endpoint::Dial;
use crate::http::bounds::Bounds;
use crate::http::codec::{Event, ReadBuf};
use crate::http::head::HeadPool;
use crate::listener::ConnectionFacts;
use crate::overload::Overload;
use crate::policy::Keys;
use crate::policy::jwt::TokenCache;
use crate::snapshot::{SnapshotStore, Ticket};
use crate::telemetry::Scope;

/// Bytes that wait on a connection before its own input is looked at no more.
const READ_STOPS_AT_BYTES: usize = 1024 * 1024;

/// What an engine is made from.
pub(crate) struct EngineOptions {
    pub(crate) snapshots: Arc<SnapshotStore>,
    /// What requests are counted by that reach no listener.
    pub(crate) scope: Arc<Scope>,
    pub(crate) overload: Arc<Overload>,
    pub(crate) bounds: Bounds,
    /// Silence that ends a tunnel of which a side has closed.
    pub(crate) half_closed_timeout: Duration,
    pub(crate) rng: fastrand::Rng,
    pub(crate) now: Instant,
}

/// One worker's connections and everything that runs on them.
pub(crate) struct Engine {
    snapshots: Arc<SnapshotStore>,
    scope: Arc<Scope>,
    overload: Arc<Overload>,
    bounds: Bounds,
    half_closed_timeout: Duration,
    rng: fastrand::Rng,
    now: Instant,
    wires: Wires,
    exchanges: Arena<Exchange>,
    pools: Pools,
    timers: Timers,
    heads: HeadPool,
    /// Connections with input that waited for its turn.
    ready: Vec<ConnId>,
    /// Upstream connections whose exchange is over, until everything read from them was looked at.
    freed: Vec<ConnId>,
    /// Pools that lost a connection, or the making of one, while requests may wait for it.
    short: Vec<PoolKey>,
    /// Requests on shared connections, until everything read with them was looked at.
    asked: Vec<ExchangeId>,
    actions: Vec<Action>,
    /// Room to write names and paths in.
    text: String,
    bytes: Vec<u8>,
    draining: bool,
    naming: usize,
    /// Requests that wait for keys.
    keying: usize,
    /// Tokens that hold.
    tokens: TokenCache,
}

/// What the engine asks of the pump.
#[derive(Debug)]
pub(crate) enum Action {
    /// Open a connection and tell how it went.
    Connect {
        attempt: AttemptId,
        address: Address,
        dial: Dial,
    },
    /// Close the write side, after everything pending was written.
    Shutdown(ConnId),
    /// Have the socket reset its peer when it is dropped, which is now.
    Abort(ConnId),
    /// Await the answer and tell it.
    Name {
        exchange: ExchangeId,
        ticket: Ticket,
    },
    /// Await keys that are newer than those that so many attempts had brought, and tell when they may be there.
    Keys {
        exchange: ExchangeId,
        keys: Arc<Keys>,
        seen: u64,
        until: Instant,
    },
    /// Take both sockets and pass bytes between them. Everything pending was written.
    Switch(Box<Switched>),
}

impl Engine {
    pub(crate) fn new(options: EngineOptions) -> Self {
        Self {
            snapshots: options.snapshots,
            scope: options.scope,
            overload: options.overload,
            bounds: options.bounds,
            half_closed_timeout: options.half_closed_timeout,
            rng: options.rng,
            now: options.now,
            wires: Wires::default(),
            exchanges: Arena::default(),
            pools: Pools::default(),
            timers: Timers::new(options.now),
            heads: HeadPool::new(),
            ready: Vec::new(),
            freed: Vec::new(),
            short: Vec::new(),
            asked: Vec::new(),
            actions: Vec::new(),
            text: String::new(),
            bytes: Vec::new(),
            draining: false,
            naming: 0,
            keying: 0,
            tokens: TokenCache::default(),
        }
    }

    /// A connection came to us.
    pub(crate) fn accepted(&mut self, facts: Rc<ConnectionFacts>, now: Instant) -> ConnId {
        self.now = now;
        self.accept(facts)
    }

    /// A buffer to read `id` into; it comes back by [`Self::received`] or [`Self::unread`].
    pub(crate) fn lend_input(&mut self, id: ConnId) -> ReadBuf {
        self.wires.lend_input(id)
    }

    /// Nothing could be read into a buffer that was lent.
    pub(crate) fn unread(&mut self, id: ConnId, input: ReadBuf) {
        self.wires.settle_input(id, input);
    }

    /// Bytes were read into a buffer that was lent.
    pub(crate) fn received(&mut self, id: ConnId, mut input: ReadBuf, now: Instant) {
        self.now = now;
        match self.wires.get_mut(id) {
            Some(connection) if connection.closing == Closing::No => {
                connection.heard(now);
                self.note_first_byte(id);
                self.drive(id, input);
                self.arm_unfinished_head(id);
            }
            _ => {
                input.clear();
                self.wires.settle_input(id, input);
            }
        }
        self.settle();
    }

    /// The peer closed its side.
    pub(crate) fn ended(&mut self, id: ConnId, now: Instant) {
        self.now = now;
        let Some(connection) = self.wires.get_mut(id) else {
            return;
        };
        connection.eof = true;
        let closing = connection.closing;
        match (&connection.role, closing) {
            (_, Closing::Linger(_)) => self.close(id),
            (_, Closing::Flush { .. }) => self.wires.wake(id),
            (Role::Downstream(_), Closing::No) => self.downstream_ended(id),
            (Role::Upstream(_), Closing::No) => self.upstream_ended(id),
        }
        self.settle();
    }

    /// The connection broke.
    pub(crate) fn broken(&mut self, id: ConnId, now: Instant) {
        self.now = now;
        match self.wires.get(id).map(|connection| &connection.role) {
            Some(Role::Downstream(_)) => self.downstream_lost(id),
            Some(Role::Upstream(_)) => self.upstream_lost(id),
            None => {}
        }
        self.settle();
    }

    /// `bytes` of [`Self::pending`] were written.
    pub(crate) fn written(&mut self, id: ConnId, bytes: usize, now: Instant) {
        self.now = now;
        if let Some(connection) = self.wires.get_mut(id) {
            connection.written += bytes as u64;
        }
        let flushed = self.wires.written(id, bytes);
        self.wrote(id, flushed);
        self.settle();
    }

    /// What waits to be written.
    pub(crate) fn pending(&self, id: ConnId) -> &[u8] {
        self.wires
            .get(id)
            .map_or(&[], |connection| connection.out.pending())
    }

    /// Whether what waits to be written may wait for more of other exchanges.
    pub(crate) fn gathers(&self, id: ConnId) -> bool {
        self.wires.get(id).is_some_and(|connection| {
            connection.codec.is_multiplexed() && connection.closing == Closing::No
        })
    }

    /// Whether the connection is still there; if not, its socket is to be dropped.
    pub(crate) fn is_open(&self, id: ConnId) -> bool {
        self.wires.get(id).is_some()
    }

    /// The next connection with something to write.
    pub(crate) fn next_dirty(&mut self) -> Option<ConnId> {
        self.wires.next_dirty()
    }

    /// The next connection whose task is to be woken.
    pub(crate) fn next_woken(&mut self) -> Option<ConnId> {
        self.wires.next_woken()
    }

    /// The next thing to be done.
    pub(crate) fn next_action(&mut self) -> Option<Action> {
        self.actions.pop()
    }

    /// When [`Self::expire`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.timers.next_at()
    }

    /// Connections and exchanges that live.
    pub(crate) fn population(&self) -> (usize, usize) {
        (self.wires.len(), self.exchanges.len())
    }

    /// Tells everybody to go elsewhere: answers close their connections, idle ones are closed now.
    pub(crate) fn drain(&mut self, now: Instant) {
        self.now = now;
        self.draining = true;
        for id in self.wires.ids() {
            self.drain_connection(id);
        }
        self.settle();
    }

    fn on_event(&mut self, id: ConnId, event: Event<'_>) {
        match self.wires.get(id).map(|connection| &connection.role) {
            Some(Role::Downstream(_)) => self.on_downstream_event(id, event),
            Some(Role::Upstream(_)) => self.on_upstream_event(id, event),
            None => {}
        }
    }

    /// Gives freed connections to whom waits for them, and input its turn that waited for an exchange to end.
    fn settle(&mut self) {
        loop {
            if let Some(id) = self.freed.pop() {
                self.reuse(id);
            } else if let Some(pool) = self.short.pop() {
                self.refill(pool);
            } else if let Some(id) = self.ready.pop() {
                self.resume(id);
            } else {
                break;
            }
        }
    }
}
