//! Upstream connections at rest and in the making, by endpoint and protocol.
//!
//! Of HTTP/1 the connection used last is used next, so that those that are not needed grow old and go. Of HTTP/2 the
//! first that has room is used, so that there are few: one, until the endpoint takes no more streams on it. A request
//! that finds none waits in line; it is served by the connection opened for it or by one that becomes free before.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::time::Instant;
use weft_config::cluster as config;

use super::arena::{Arena, Key};
use super::codecs;
use super::connection::{Closing, ConnId, Connection, Role, Upstream};
use super::exchange::{Exchange, ExchangeId, Phase, UpStream};
use super::failure::Failure;
use super::forward::overflow;
use super::keepalive::Keepalive;
use super::{Action, Engine};
use crate::balance::{BreakerGuard, Cluster, EndpointId, EndpointState, Outcome};
use crate::endpoint::{Beside, ConnectError};
use crate::http::codec::Codec;
use crate::route::Routed;
use crate::tls::{Inside, TlsFacts};

/// The name of a connection in the making.
pub(crate) type AttemptId = Key<ConnectAttempt>;

/// How often pools are compared with what is in force, besides each new snapshot.
pub(super) const SWEEP: std::time::Duration = std::time::Duration::from_secs(5);

/// Streams that a connection in the making is taken to have room for, before its endpoint has said (RFC 9113 §6.5.2
/// recommends no smaller limit).
const STREAMS_EXPECTED: usize = 100;

/// Which pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PoolKey {
    pub(super) endpoint: EndpointId,
    /// Whether its connections are shared.
    pub(super) http2: bool,
    /// Whether its connections become tunnels: none of them is ever at rest.
    pub(super) opaque: bool,
    /// Whose connections they are, where the endpoint sees that.
    pub(super) beside: Option<Beside>,
}

/// The pools of one worker.
#[derive(Default)]
pub(super) struct Pools {
    pub(super) by_key: HashMap<PoolKey, Pool, foldhash::fast::RandomState>,
    pub(super) attempts: Arena<ConnectAttempt>,
    /// Those in which requests wait for a connection that others of the cluster leave no room for, as far as known.
    pub(super) crowded: Vec<PoolKey>,
}

/// A connection in the making.
pub(crate) struct ConnectAttempt {
    cluster: Arc<Cluster>,
    endpoint: Arc<EndpointState>,
    config: Arc<config::Cluster>,
    pool: PoolKey,
    open: BreakerGuard,
}

/// The connections to one endpoint.
pub(super) struct Pool {
    pub(super) cluster: Arc<Cluster>,
    endpoint: Arc<EndpointState>,
    /// Those that a request may take: at rest, or shared.
    pub(super) free: Vec<ConnId>,
    pub(super) waiting: VecDeque<ExchangeId>,
    pub(super) connecting: usize,
    pub(super) open: usize,
    /// Exchanges that one connection is taken to have room for, before its endpoint has said.
    streams: usize,
}

/// What a pool has for a request that found no connection at rest.
pub(super) enum Offer {
    /// It waits; there are enough connections in the making, or as many open as may be.
    Waits,
    /// It waits, and this is to be done.
    Connect(Action),
    /// It is in line, and no connection may be opened.
    Full,
}

/// What a pool needs that lost a connection.
enum Refill {
    /// Nothing.
    Enough,
    /// Another connection; there may be more to open.
    Connect(Action),
    /// Another connection, and none may be opened.
    Full,
}

impl Pools {
    /// Puts `id` in line, and opens a connection if that helps.
    pub(super) fn wait(
        &mut self,
        id: ExchangeId,
        key: PoolKey,
        cluster: &Arc<Cluster>,
        endpoint: &Arc<EndpointState>,
    ) -> Offer {
        let pool = self
            .by_key
            .entry(key)
            .or_insert_with(|| Pool::new(key, cluster, endpoint));
        pool.waiting.push_back(id);
        if pool.has_enough() {
            return Offer::Waits;
        }
        let Some(open) = cluster.breakers.try_acquire_connection() else {
            return Offer::Full;
        };
        pool.connecting += 1;
        Offer::Connect(self.open(key, cluster, endpoint, open))
    }

    /// Opens a connection for the request that waits longest, if none is on its way to it.
    fn refill(&mut self, key: PoolKey) -> Refill {
        let Some(pool) = self.by_key.get_mut(&key) else {
            return Refill::Enough;
        };
        if pool.has_enough() {
            return Refill::Enough;
        }
        let (cluster, endpoint) = (pool.cluster.clone(), pool.endpoint.clone());
        match cluster.breakers.try_acquire_connection() {
            Some(open) => {
                pool.connecting += 1;
                Refill::Connect(self.open(key, &cluster, &endpoint, open))
            }
            None => Refill::Full,
        }
    }

    fn open(
        &mut self,
        pool: PoolKey,
        cluster: &Arc<Cluster>,
        endpoint: &Arc<EndpointState>,
        open: BreakerGuard,
    ) -> Action {
        let inside = match (pool.http2, pool.opaque) {
            (true, _) => Inside::Http2,
            (false, false) => Inside::Http1,
            (false, true) => Inside::Bytes,
        };
        let (config, mut dial) = cluster.dial(endpoint, inside);
        dial.beside = pool.beside;
        let attempt = ConnectAttempt {
            cluster: cluster.clone(),
            endpoint: endpoint.clone(),
            config,
            pool,
            open,
        };
        Action::Connect {
            attempt: self.attempts.insert(attempt),
            address: endpoint.address.clone(),
            dial,
        }
    }

    /// A connection is gone.
    pub(super) fn closed(&mut self, key: PoolKey, id: ConnId) {
        if let Some(pool) = self.by_key.get_mut(&key) {
            pool.free.retain(|free| *free != id);
            pool.open = pool.open.saturating_sub(1);
            self.forget_empty(key);
        }
    }

    /// A connection takes no further request.
    fn retire(&mut self, key: PoolKey, id: ConnId) {
        if let Some(pool) = self.by_key.get_mut(&key) {
            pool.free.retain(|free| *free != id);
        }
    }

    /// A request waits no more.
    pub(super) fn leave(&mut self, key: PoolKey, id: ExchangeId) {
        if let Some(pool) = self.by_key.get_mut(&key) {
            pool.waiting.retain(|waiting| *waiting != id);
            self.forget_empty(key);
        }
    }

    fn forget_empty(&mut self, key: PoolKey) {
        if self.by_key.get(&key).is_some_and(Pool::is_empty) {
            self.by_key.remove(&key);
        }
    }
}

impl Pool {
    fn new(key: PoolKey, cluster: &Arc<Cluster>, endpoint: &Arc<EndpointState>) -> Self {
        Self {
            cluster: cluster.clone(),
            endpoint: endpoint.clone(),
            free: Vec::new(),
            waiting: VecDeque::new(),
            connecting: 0,
            open: 0,
            streams: if key.http2 { STREAMS_EXPECTED } else { 1 },
        }
    }

    /// Whether the connections in the making will do for all that wait.
    pub(super) fn has_enough(&self) -> bool {
        self.connecting.saturating_mul(self.streams.max(1)) >= self.waiting.len()
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.connecting == 0 && self.open == 0
    }
}

impl Engine {
    /// A connection of the pool that takes a request now, if it is as the cluster wants it.
    pub(super) fn take_idle(&mut self, key: PoolKey, cluster: &Arc<Cluster>) -> Option<ConnId> {
        let config = cluster.config();
        let mut at = 0;
        loop {
            let pool = self.pools.by_key.get_mut(&key)?;
            let id = match key.http2 {
                true => *pool.free.get(at)?,
                false => pool.free.pop()?,
            };
            let Some(connection) = self.wires.get(id) else {
                pool.free.retain(|free| *free != id);
                continue;
            };
            let Role::Upstream(up) = &connection.role else {
                return None;
            };
            if !connects_alike(&up.config, &config) {
                self.retire(id);
            } else if !key.http2 || connection.codec.room() > 0 {
                return Some(id);
            } else {
                at += 1;
            }
        }
    }

    /// A connection was opened, by a handshake of TLS where there are `tls`. `None`: nobody knows the attempt any more, the socket is to be dropped.
    pub(crate) fn connected(
        &mut self,
        attempt: AttemptId,
        tls: Option<&TlsFacts>,
        now: Instant,
    ) -> Option<ConnId> {
        self.now = now;
        let made = self.pools.attempts.remove(attempt)?;
        let key = made.pool;
        let mut streams = 1;
        if let Some(pool) = self.pools.by_key.get_mut(&key) {
            pool.connecting = pool.connecting.saturating_sub(1);
            pool.open += 1;
            streams = pool.streams;
        }
        let codec = codecs::of_upstream(key.http2, streams, tls, &made.config, &self.bounds);
        let keepalive = Keepalive::of(&made.config.http2, &codec, now, &mut self.rng);
        let upstream = Upstream {
            cluster: made.cluster,
            config: made.config,
            pool: key,
            requests: 0,
            retired: false,
            heard_at: now,
            asked_at: None,
            _open: made.open,
        };
        let mut connection = Connection::upstream(codec, upstream, now);
        connection.keepalive = keepalive;
        self.bound_settings(&mut connection);
        let id = self.wires.insert(connection);
        self.flush_codec(id);
        self.arm_connection(id);
        self.offer(key, id);
        self.settle();
        Some(id)
    }

    /// A connection could not be opened: the request that waited longest hears of it.
    pub(crate) fn connect_failed(
        &mut self,
        attempt: AttemptId,
        error: &ConnectError,
        now: Instant,
    ) {
        self.now = now;
        let Some(failed) = self.pools.attempts.remove(attempt) else {
            return;
        };
        let outcome = match error {
            ConnectError::Timeout { .. } => Outcome::ConnectTimedOut,
            ConnectError::Io { .. } | ConnectError::Tls { .. } => Outcome::ConnectFailed,
        };
        failed.cluster.report(&failed.endpoint, outcome, now);
        let key = failed.pool;
        drop(failed);
        let waiting = self.pools.by_key.get_mut(&key).map(|pool| {
            pool.connecting = pool.connecting.saturating_sub(1);
            // All that one connection was to serve hear of it, unless another is on its way.
            let left = if key.http2 && pool.connecting == 0 {
                usize::MAX
            } else {
                1
            };
            let heard = pool.waiting.len().min(left);
            pool.waiting.drain(..heard).collect::<Vec<_>>()
        });
        self.pools.forget_empty(key);
        self.short.push(key);
        for waiting in waiting.unwrap_or_default() {
            self.upstream_failed(waiting, &Failure::Connect(error.to_string()));
        }
        self.settle();
    }

    /// Requests that waited for a connection now gone get another.
    pub(super) fn refill(&mut self, key: PoolKey) {
        loop {
            match self.pools.refill(key) {
                Refill::Enough => return self.pools.forget_empty(key),
                Refill::Connect(action) => self.actions.push(action),
                Refill::Full => {
                    if self.crowd_out(key) {
                        continue;
                    }
                    let Some(id) = self.pools.first_in_vain(key) else {
                        return;
                    };
                    let cluster = self.exchanges.get(id).and_then(|exchange| {
                        exchange.routed.as_ref().and_then(Routed::cluster).cloned()
                    });
                    if let Some(cluster) = cluster {
                        self.reply(id, &overflow(&cluster, "connections"));
                    }
                }
            }
        }
    }

    /// Gives a free connection to the request that waits longest, or lets it rest.
    fn offer(&mut self, key: PoolKey, id: ConnId) {
        loop {
            let codec = self.wires.get(id).map(|connection| &connection.codec);
            let room = codec.map_or(0, Codec::room);
            let allowed = codec.and_then(Codec::streams_allowed);
            let Some(pool) = self.pools.by_key.get_mut(&key) else {
                return self.close(id);
            };
            if let Some(allowed) = allowed {
                pool.streams = allowed.min(STREAMS_EXPECTED);
            }
            if room == 0 {
                break;
            }
            let used = !key.http2 && self.wires.get(id).is_some_and(is_used);
            let fits = |waiting: &ExchangeId| {
                let exchange = self.exchanges.get(*waiting);
                !used || exchange.is_none_or(|exchange| !exchange.needs_fresh())
            };
            let Some(at) = pool.waiting.iter().position(fits) else {
                break;
            };
            let Some(waiting) = pool.waiting.get(at).copied() else {
                break;
            };
            let waits = self.exchanges.get(waiting);
            let waits = waits.filter(|exchange| exchange.phase == Phase::Pending);
            if allowed.is_none() && waits.is_some_and(Exchange::needs_settings) {
                break;
            }
            let attaches = waits.is_some();
            pool.waiting.remove(at);
            if attaches {
                self.attach(waiting, id);
                if !key.http2 {
                    return;
                }
            }
        }
        let pool = self.pools.by_key.get(&key);
        if !key.http2 && pool.is_some_and(|pool| !pool.waiting.is_empty() && pool.connecting == 0) {
            // Whoever waits still needs a fresh one, whose place this one holds.
            return self.close(id);
        }
        self.lay_down(key, id);
    }

    /// A connection that takes (further) requests waits for them.
    fn lay_down(&mut self, key: PoolKey, id: ConnId) {
        let Some(connection) = self.wires.get(id) else {
            return;
        };
        if let Some(pool) = self.pools.by_key.get_mut(&key)
            && !(key.http2 && pool.free.contains(&id))
        {
            pool.free.push(id);
        }
        if connection.streams.is_empty() && !self.leaves_room(key, id) {
            self.wires.unblock(id);
            self.arm_connection(id);
        }
    }

    /// The exchange on a stream is over. The connection serves another only when this turn has found nothing behind the
    /// answer, which the next request would take for its own.
    pub(super) fn release(&mut self, up: UpStream) {
        if let Some(connection) = self.wires.get_mut(up.conn) {
            connection.streams.remove(up.stream);
            connection.active_at = self.now;
            self.freed.push(up.conn);
        }
    }

    /// A released connection serves again if it can, else it is closed.
    pub(super) fn reuse(&mut self, id: ConnId) {
        let draining = self.draining;
        let Some(connection) = self.wires.get_mut(id) else {
            return;
        };
        if connection.closing != Closing::No {
            return;
        }
        let clean = match connection.codec.is_multiplexed() {
            true => !connection.codec.is_going_away(),
            false => {
                connection.codec.is_idle()
                    && !connection.codec.wants_close()
                    && connection.out.is_empty()
                    && connection.input.is_none()
            }
        };
        let clean = clean && !connection.eof && !draining;
        let Some(up) = connection.as_upstream() else {
            return;
        };
        let worn = up.config.requests_per_connection_max;
        let fits = connects_alike(&up.config, &up.cluster.config());
        let key = up.pool;
        if !clean || !fits || up.retired || (worn > 0 && up.requests >= worn) {
            return self.retire(id);
        }
        self.offer(key, id);
    }

    /// A connection serves no further request: it is closed, once those that share it are over.
    pub(super) fn retire(&mut self, id: ConnId) {
        let Some(connection) = self.wires.get_mut(id) else {
            return;
        };
        let shared = !connection.streams.is_empty();
        let Some(up) = connection.as_upstream() else {
            return;
        };
        up.retired = true;
        let key = up.pool;
        if !shared {
            return self.close(id);
        }
        self.pools.retire(key, id);
        // Whoever waits for room on it waits for another.
        self.short.push(key);
    }

    /// Closes connections at rest whose endpoint or cluster is no longer in force.
    pub(super) fn sweep_pools(&mut self) {
        let snapshot = self.snapshots.pointer().load();
        let mut gone = Vec::new();
        for pool in self.pools.by_key.values() {
            let in_force = snapshot
                .clusters
                .get(&pool.cluster.name)
                .is_some_and(|cluster| {
                    Arc::ptr_eq(cluster, &pool.cluster) && cluster.has_endpoint(pool.endpoint.id)
                });
            if !in_force {
                gone.extend_from_slice(&pool.free);
            }
        }
        drop(snapshot);
        for id in gone {
            self.retire(id);
        }
    }
}

/// Whether requests were sent on it before.
fn is_used(connection: &Connection) -> bool {
    matches!(&connection.role, Role::Upstream(up) if up.requests > 0)
}

/// Whether a connection made under one configuration serves under another.
fn connects_alike(old: &Arc<config::Cluster>, new: &Arc<config::Cluster>) -> bool {
    Arc::ptr_eq(old, new)
        || (old.protocol == new.protocol
            && old.http2 == new.http2
            && old.tls == new.tls
            && old.socket_matches == new.socket_matches
            && old.tcp_keepalive == new.tcp_keepalive
            && old.idle_timeout == new.idle_timeout
            && old.requests_per_connection_max == new.requests_per_connection_max)
}
