//! Circuit breakers: bounds on what a cluster may have at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::time::Instant;
use weft_config::cluster::CircuitBreakers as Limits;

use super::budget::RetryBudget;
use crate::telemetry::{ClusterStats, Resource, pick};

/// The breakers and the retry budget of one cluster, shared by all workers.
#[derive(Debug)]
pub struct CircuitBreakers {
    held: Arc<Held>,
    connections_max: AtomicU32,
    pending_max: AtomicU32,
    requests_max: AtomicU32,
    retries_max: AtomicU32,
    budget: RetryBudget,
    epoch: Instant,
}

impl CircuitBreakers {
    /// Closed breakers with these limits, counting in `stats`.
    pub fn new(limits: &Limits, stats: Arc<ClusterStats>, now: Instant) -> Self {
        let held = Held {
            stats,
            now: Default::default(),
        };
        let breakers = Self {
            held: Arc::new(held),
            connections_max: AtomicU32::new(0),
            pending_max: AtomicU32::new(0),
            requests_max: AtomicU32::new(0),
            retries_max: AtomicU32::new(0),
            budget: RetryBudget::new(limits.retry_budget),
            epoch: now,
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
        self.retries_max
            .store(limits.retries_max, Ordering::Relaxed);
        self.budget.set(limits.retry_budget);
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

    /// Leave to try a request again, from the retry budget; where none is given (0 %, at least 0) from the bound on
    /// retries running at once. Hold the guard until the attempt is over.
    pub fn try_acquire_retry(&self, now: Instant) -> Option<BreakerGuard> {
        if !self.budget.is_given() {
            return self.try_acquire(Resource::Retry, &self.retries_max);
        }
        if !self.budget.try_retry(self.second(now)) {
            self.held.stats.refuse(Resource::Retry);
            return None;
        }
        self.take(Resource::Retry, u32::MAX)
    }

    /// An attempt was answered well, which pays for retries.
    pub(crate) fn answered(&self, now: Instant) {
        self.budget.answered(self.second(now));
    }

    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.epoch).as_secs()
    }

    fn try_acquire(&self, resource: Resource, max: &AtomicU32) -> Option<BreakerGuard> {
        self.take(resource, max.load(Ordering::Relaxed))
    }

    fn take(&self, resource: Resource, max: u32) -> Option<BreakerGuard> {
        let cell = pick(&self.held.now, resource);
        if cell.fetch_add(1, Ordering::Relaxed) >= max {
            cell.fetch_sub(1, Ordering::Relaxed);
            self.held.stats.refuse(resource);
            return None;
        }
        self.held.stats.acquire(resource);
        Some(BreakerGuard {
            held: self.held.clone(),
            resource,
        })
    }
}

/// What is held of one cluster. A cluster that was removed and is there again begins anew: what is left of the old one is bounded by
/// the old one, and metrics, which know names alone, show both together.
#[derive(Debug)]
struct Held {
    stats: Arc<ClusterStats>,
    now: [AtomicU32; 4],
}

/// One connection, request or retry that a breaker counts; given back when dropped.
#[derive(Debug)]
pub struct BreakerGuard {
    held: Arc<Held>,
    resource: Resource,
}

impl Drop for BreakerGuard {
    fn drop(&mut self) {
        pick(&self.held.now, self.resource).fetch_sub(1, Ordering::Relaxed);
        self.held.stats.release(self.resource);
    }
}
