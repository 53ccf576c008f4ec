//! Circuit breakers: bounds on what a cluster may have at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use weft_config::cluster::CircuitBreakers as Limits;

use crate::telemetry::{ClusterStats, Resource};

/// The breakers of one cluster, shared by all workers.
#[derive(Debug)]
pub struct CircuitBreakers {
    stats: Arc<ClusterStats>,
    connections_max: AtomicU32,
    pending_max: AtomicU32,
    requests_max: AtomicU32,
}

impl CircuitBreakers {
    pub(super) fn new(limits: &Limits, stats: Arc<ClusterStats>) -> Self {
        let breakers = Self {
            stats,
            connections_max: AtomicU32::new(0),
            pending_max: AtomicU32::new(0),
            requests_max: AtomicU32::new(0),
        };
        breakers.set(limits);
        breakers
    }

    /// New limits; what is held already stays held.
    pub(super) fn set(&self, limits: &Limits) {
        self.connections_max
            .store(limits.connections_max, Ordering::Relaxed);
        self.pending_max
            .store(limits.pending_max, Ordering::Relaxed);
        self.requests_max
            .store(limits.requests_max, Ordering::Relaxed);
    }

    /// Leave to open a connection; hold the guard while it is open.
    pub fn try_acquire_connection(&self) -> Option<BreakerGuard> {
        self.try_acquire(Resource::Connection, &self.connections_max)
    }

    /// Leave to wait for a connection; hold the guard while waiting.
    pub fn try_acquire_pending(&self) -> Option<BreakerGuard> {
        self.try_acquire(Resource::Pending, &self.pending_max)
    }

    /// Leave to send a request; hold the guard until its exchange is over, retries included.
    pub fn try_acquire_request(&self) -> Option<BreakerGuard> {
        self.try_acquire(Resource::Request, &self.requests_max)
    }

    fn try_acquire(&self, resource: Resource, max: &AtomicU32) -> Option<BreakerGuard> {
        let allowed = self
            .stats
            .try_acquire(resource, max.load(Ordering::Relaxed));
        allowed.then(|| BreakerGuard {
            stats: self.stats.clone(),
            resource,
        })
    }
}

/// One connection, request or retry that a breaker counts; given back when dropped.
#[derive(Debug)]
pub struct BreakerGuard {
    stats: Arc<ClusterStats>,
    resource: Resource,
}

impl Drop for BreakerGuard {
    fn drop(&mut self) {
        self.stats.release(self.resource);
    }
}
