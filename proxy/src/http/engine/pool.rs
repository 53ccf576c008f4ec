//! Upstream connections at rest and in the making, by endpoint.
//!
//! The connection used last is used next, so that those that are not needed grow old and go. A request that finds none
//! waits in line; it is served by the connection opened for it or by one that becomes free before.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::time::Instant;
use weft_config::cluster as config;

use super::arena::{Arena, Key};
use super::connection::{Closing, ConnId, Connection, Role, Upstream};
use super::exchange::{ExchangeId, Phase};
use super::failure::Failure;
use super::forward::overflow;
use super::{Action, Engine};
use crate::balance::{BreakerGuard, Cluster, EndpointId, EndpointState, Outcome};
use crate::endpoint::ConnectError;
use crate::http::codec::h1::{self, H1Limits};
use crate::http::codec::{Codec, StreamId};
use crate::route::Routed;

/// The name of a connection in the making.
pub(crate) type AttemptId = Key<ConnectAttempt>;

/// How often pools are compared with what is in force, besides each new snapshot.
pub(super) const SWEEP: std::time::Duration = std::time::Duration::from_secs(5);

/// The pools of one worker.
#[derive(Default)]
pub(super) struct Pools {
    pub(super) by_endpoint: HashMap<EndpointId, Pool, foldhash::fast::RandomState>,
    pub(super) attempts: Arena<ConnectAttempt>,
}

/// A connection in the making.
pub(crate) struct ConnectAttempt {
    cluster: Arc<Cluster>,
    endpoint: Arc<EndpointState>,
    config: Arc<config::Cluster>,
    open: BreakerGuard,
}

/// The connections to one endpoint.
pub(super) struct Pool {
    cluster: Arc<Cluster>,
    endpoint: Arc<EndpointState>,
    idle: Vec<ConnId>,
    waiting: VecDeque<ExchangeId>,
    connecting: usize,
    open: usize,
}

/// What a pool has for a request that found no connection at rest.
pub(super) enum Offer {
    /// It waits; there are enough connections in the making, or as many open as may be.
    Waits,
    /// It waits, and this is to be done.
    Connect(Action),
    /// Nothing: no connection may be opened and none will become free.
    Overflow,
}

/// What a pool needs that lost a connection.
enum Refill {
    /// Nothing.
    Enough,
    /// Another connection; there may be more to open.
    Connect(Action),
    /// No connection may be opened and none will become free: this request is refused; there may be more.
    Refuse(ExchangeId),
}

impl Pools {
    /// Puts `id` in line, and opens a connection if that helps.
    pub(super) fn wait(
        &mut self,
        id: ExchangeId,
        cluster: &Arc<Cluster>,
        endpoint: &Arc<EndpointState>,
    ) -> Offer {
        let pool = self
            .by_endpoint
            .entry(endpoint.id)
            .or_insert_with(|| Pool::new(cluster, endpoint));
        pool.waiting.push_back(id);
        if pool.connecting >= pool.waiting.len() {
            return Offer::Waits;
        }
        let Some(open) = cluster.breakers.try_acquire_connection() else {
            if pool.connecting + pool.open > 0 {
                return Offer::Waits;
            }
            pool.waiting.pop_back();
            return Offer::Overflow;
        };
        pool.connecting += 1;
        Offer::Connect(self.open(cluster, endpoint, open))
    }

    /// Opens a connection for the request that waits longest, if none is on its way to it.
    fn refill(&mut self, endpoint: EndpointId) -> Refill {
        let Some(pool) = self.by_endpoint.get_mut(&endpoint) else {
            return Refill::Enough;
        };
        if pool.connecting >= pool.waiting.len() {
            return Refill::Enough;
        }
        let (cluster, endpoint) = (pool.cluster.clone(), pool.endpoint.clone());
        match cluster.breakers.try_acquire_connection() {
            Some(open) => {
                pool.connecting += 1;
                Refill::Connect(self.open(&cluster, &endpoint, open))
            }
            None if pool.connecting + pool.open > 0 => Refill::Enough,
            None => pool
                .waiting
                .pop_front()
                .map_or(Refill::Enough, Refill::Refuse),
        }
    }

    fn open(
        &mut self,
        cluster: &Arc<Cluster>,
        endpoint: &Arc<EndpointState>,
        open: BreakerGuard,
    ) -> Action {
        let config = cluster.config();
        let (timeout, keepalive) = (config.connect_timeout, config.tcp_keepalive);
        let attempt = ConnectAttempt {
            cluster: cluster.clone(),
            endpoint: endpoint.clone(),
            config,
            open,
        };
        Action::Connect {
            attempt: self.attempts.insert(attempt),
            address: endpoint.address.clone(),
            timeout,
            keepalive,
        }
    }

    /// A connection is gone.
    pub(super) fn closed(&mut self, endpoint: EndpointId, id: ConnId) {
        if let Some(pool) = self.by_endpoint.get_mut(&endpoint) {
            pool.idle.retain(|idle| *idle != id);
            pool.open = pool.open.saturating_sub(1);
            self.forget_empty(endpoint);
        }
    }

    /// A request waits no more.
    pub(super) fn leave(&mut self, endpoint: EndpointId, id: ExchangeId) {
        if let Some(pool) = self.by_endpoint.get_mut(&endpoint) {
            pool.waiting.retain(|waiting| *waiting != id);
            self.forget_empty(endpoint);
        }
    }

    fn forget_empty(&mut self, endpoint: EndpointId) {
        if self.by_endpoint.get(&endpoint).is_some_and(Pool::is_empty) {
            self.by_endpoint.remove(&endpoint);
        }
    }
}

impl Pool {
    fn new(cluster: &Arc<Cluster>, endpoint: &Arc<EndpointState>) -> Self {
        Self {
            cluster: cluster.clone(),
            endpoint: endpoint.clone(),
            idle: Vec::new(),
            waiting: VecDeque::new(),
            connecting: 0,
            open: 0,
        }
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.connecting == 0 && self.open == 0
    }
}

impl Engine {
    /// The connection to `endpoint` that came to rest last, if it is as the cluster wants it now.
    pub(super) fn take_idle(
        &mut self,
        cluster: &Arc<Cluster>,
        endpoint: &EndpointState,
    ) -> Option<ConnId> {
        let config = cluster.config();
        loop {
            let id = self.pools.by_endpoint.get_mut(&endpoint.id)?.idle.pop()?;
            let fits = self
                .wires
                .get(id)
                .is_some_and(|connection| match &connection.role {
                    Role::Upstream(up) => connects_alike(&up.config, &config),
                    Role::Downstream(_) => false,
                });
            if fits {
                return Some(id);
            }
            self.close(id);
        }
    }

    /// A connection was opened. `None`: nobody knows the attempt any more, the socket is to be dropped.
    pub(crate) fn connected(&mut self, attempt: AttemptId, now: Instant) -> Option<ConnId> {
        self.now = now;
        let made = self.pools.attempts.remove(attempt)?;
        let endpoint = made.endpoint.id;
        if let Some(pool) = self.pools.by_endpoint.get_mut(&endpoint) {
            pool.connecting = pool.connecting.saturating_sub(1);
            pool.open += 1;
        }
        let upstream = Upstream {
            cluster: made.cluster,
            endpoint: made.endpoint,
            config: made.config,
            exchange: None,
            stream: StreamId(0),
            requests: 0,
            written: 0,
            _open: made.open,
        };
        let codec = Codec::H1(h1::Conn::client(H1Limits::default()));
        let id = self
            .wires
            .insert(Connection::upstream(codec, upstream, now));
        self.offer(endpoint, id);
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
            ConnectError::Io { .. } => Outcome::ConnectFailed,
        };
        failed.cluster.report(&failed.endpoint, outcome, now);
        let endpoint = failed.endpoint.id;
        drop(failed);
        let waiting = self.pools.by_endpoint.get_mut(&endpoint).and_then(|pool| {
            pool.connecting = pool.connecting.saturating_sub(1);
            pool.waiting.pop_front()
        });
        self.pools.forget_empty(endpoint);
        self.short.push(endpoint);
        if let Some(waiting) = waiting {
            self.upstream_failed(waiting, &Failure::Connect(error.to_string()));
        }
        self.settle();
    }

    /// Requests that waited for a connection now gone get another.
    pub(super) fn refill(&mut self, endpoint: EndpointId) {
        loop {
            match self.pools.refill(endpoint) {
                Refill::Enough => return self.pools.forget_empty(endpoint),
                Refill::Connect(action) => self.actions.push(action),
                Refill::Refuse(id) => {
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
    fn offer(&mut self, endpoint: EndpointId, id: ConnId) {
        let Some(pool) = self.pools.by_endpoint.get_mut(&endpoint) else {
            return self.close(id);
        };
        while let Some(waiting) = pool.waiting.pop_front() {
            if self
                .exchanges
                .get(waiting)
                .is_some_and(|exchange| exchange.phase == Phase::Pending)
            {
                return self.attach(waiting, id);
            }
        }
        pool.idle.push(id);
        if let Some(connection) = self.wires.get_mut(id) {
            connection.active_at = self.now;
        }
        self.wires.unblock(id);
        self.arm_connection(id);
    }

    /// The exchange on `id` is over. The connection serves another only when this turn has found nothing behind the
    /// answer, which the next request would take for its own.
    pub(super) fn release(&mut self, id: ConnId) {
        if let Some(up) = self.wires.get_mut(id).and_then(Connection::as_upstream) {
            up.exchange = None;
            self.freed.push(id);
        }
    }

    /// A released connection serves again if it can, else it is closed.
    pub(super) fn reuse(&mut self, id: ConnId) {
        let draining = self.draining;
        let Some(connection) = self.wires.get_mut(id) else {
            return;
        };
        let clean = connection.codec.is_idle()
            && !connection.codec.wants_close()
            && connection.out.is_empty()
            && connection.input.is_none()
            && !connection.eof
            && connection.closing == Closing::No
            && !draining;
        let Some(up) = connection.as_upstream() else {
            return;
        };
        let worn = up.config.requests_per_connection_max;
        let fits = connects_alike(&up.config, &up.cluster.config());
        if !clean || !fits || (worn > 0 && up.requests >= worn) {
            return self.close(id);
        }
        let endpoint = up.endpoint.id;
        self.offer(endpoint, id);
    }

    /// Closes connections at rest whose endpoint or cluster is no longer in force.
    pub(super) fn sweep_pools(&mut self) {
        let snapshot = self.snapshots.pointer().load();
        let mut gone = Vec::new();
        for pool in self.pools.by_endpoint.values() {
            let in_force = snapshot
                .clusters
                .get(&pool.cluster.name)
                .is_some_and(|cluster| {
                    Arc::ptr_eq(cluster, &pool.cluster) && cluster.has_endpoint(pool.endpoint.id)
                });
            if !in_force {
                gone.extend_from_slice(&pool.idle);
            }
        }
        drop(snapshot);
        for id in gone {
            self.close(id);
        }
    }
}

/// Whether a connection made under one configuration serves under another.
fn connects_alike(old: &Arc<config::Cluster>, new: &Arc<config::Cluster>) -> bool {
    Arc::ptr_eq(old, new)
        || (old.protocol == new.protocol
            && old.tcp_keepalive == new.tcp_keepalive
            && old.idle_timeout == new.idle_timeout
            && old.requests_per_connection_max == new.requests_per_connection_max)
}
