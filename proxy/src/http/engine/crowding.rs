//! Pools of one cluster that share its greatest number of connections.
//!
//! Endpoints have a pool each, and one more where they are spoken to in another protocol. What rests in one of them is closed
//! where a request waits in another and no further connection may be opened. Pools of other workers are not seen here.

use std::sync::Arc;

use super::Engine;
use super::connection::ConnId;
use super::exchange::ExchangeId;
use super::pool::{Pool, PoolKey, Pools};

impl Pools {
    /// Whether nothing will ever come to those that wait in a pool.
    pub(super) fn waits_in_vain(&self, key: PoolKey) -> bool {
        let pool = self.by_key.get(&key);
        pool.is_none_or(|pool| pool.connecting + pool.open == 0)
    }

    /// Takes the request out of line that waits longest, if all of them wait in vain.
    pub(super) fn first_in_vain(&mut self, key: PoolKey) -> Option<ExchangeId> {
        let in_vain = self.waits_in_vain(key);
        let pool = self.by_key.get_mut(&key).filter(|_| in_vain)?;
        pool.waiting.pop_front()
    }

    fn lacks(&self, key: PoolKey) -> bool {
        self.by_key.get(&key).is_some_and(|pool| !pool.has_enough())
    }
}

impl Engine {
    /// Closes a connection at rest in another pool of the cluster, whose place one of `key` may take; whether there was one.
    pub(super) fn crowd_out(&mut self, key: PoolKey) -> bool {
        let twin = PoolKey {
            http2: !key.http2,
            ..key
        };
        let at_rest = self.pools.by_key.get(&twin);
        let mut found = at_rest.and_then(|pool| self.at_rest(pool));
        // Looking through all is for those who would be refused otherwise.
        if found.is_none() && self.pools.waits_in_vain(key) {
            let cluster = self.pools.by_key.get(&key).map(|pool| &pool.cluster);
            let others = self.pools.by_key.iter().filter(|(other, pool)| {
                **other != key && cluster.is_some_and(|it| Arc::ptr_eq(it, &pool.cluster))
            });
            found = others.into_iter().find_map(|(_, pool)| self.at_rest(pool));
        }
        match found {
            Some(id) => self.close(id),
            None if !self.pools.crowded.contains(&key) => self.pools.crowded.push(key),
            None => {}
        }
        found.is_some()
    }

    /// Closes a connection that comes to rest where a request waits in another pool of its cluster that may open none.
    pub(super) fn leaves_room(&mut self, key: PoolKey, id: ConnId) -> bool {
        if self.pools.crowded.is_empty() {
            return false;
        }
        let mut crowded = std::mem::take(&mut self.pools.crowded);
        crowded.retain(|other| self.pools.lacks(*other));
        self.pools.crowded = crowded;
        let Some(own) = self.pools.by_key.get(&key) else {
            return false;
        };
        let shares = |other: &PoolKey| {
            let other = self.pools.by_key.get(other);
            other.is_some_and(|other| Arc::ptr_eq(&other.cluster, &own.cluster))
        };
        let mut others = self.pools.crowded.iter().filter(|other| **other != key);
        let Some(other) = others.find(|other| shares(other)).copied() else {
            return false;
        };
        self.close(id);
        self.short.push(other);
        true
    }

    /// Closes a connection at rest where a request waits that needs a fresh one, and no other may be opened.
    pub(super) fn make_room(&mut self, key: PoolKey) {
        let pool = self.pools.by_key.get_mut(&key);
        let pool = pool.filter(|pool| !key.http2 && pool.connecting == 0);
        if let Some(id) = pool.and_then(|pool| pool.free.pop()) {
            self.close(id);
        }
    }

    fn at_rest(&self, pool: &Pool) -> Option<ConnId> {
        let rests = |id: &ConnId| self.wires.get(*id).is_some_and(|it| it.streams.is_empty());
        pool.free.iter().copied().find(rests)
    }
}
