//! What is counted of the xDS client.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::counter::{Counter, Gauge};

/// A kind of resource, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum XdsType {
    /// Listeners.
    Lds,
    /// Route tables.
    Rds,
    /// Clusters.
    Cds,
    /// Endpoints.
    Eds,
    /// Secrets.
    Sds,
}

impl XdsType {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Lds, Self::Rds, Self::Cds, Self::Eds, Self::Sds];

    /// The value of its `type` label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Lds => "lds",
            Self::Rds => "rds",
            Self::Cds => "cds",
            Self::Eds => "eds",
            Self::Sds => "sds",
        }
    }
}

/// Counts of one kind of resource.
#[derive(Debug, Default)]
pub struct XdsTypeStats {
    /// Responses received.
    pub updates: Counter,
    /// Responses accepted in full.
    pub acks: Counter,
    /// Responses refused, wholly or in part.
    pub nacks: Counter,
    /// Resources in force.
    pub resources: Gauge,
    last_update: Moment,
    last_ack: Moment,
    last_nack: Moment,
}

impl XdsTypeStats {
    /// A response came.
    pub fn updated(&self) {
        self.updates.inc();
        self.last_update.now();
    }

    /// A response was accepted.
    pub fn acked(&self) {
        self.acks.inc();
        self.last_ack.now();
    }

    /// A response was refused.
    pub fn nacked(&self) {
        self.nacks.inc();
        self.last_nack.now();
    }

    /// Unix seconds of the last response, acknowledgement and refusal; 0 for never.
    pub fn last_seconds(&self) -> (f64, f64, f64) {
        (
            self.last_update.seconds(),
            self.last_ack.seconds(),
            self.last_nack.seconds(),
        )
    }
}

/// Counts of the xDS client.
#[derive(Debug, Default)]
pub struct XdsStats {
    /// 1 while a stream is up.
    pub connected: Gauge,
    /// Streams opened.
    pub streams: Counter,
    /// Streams that could not be opened or broke.
    pub failures: Counter,
    /// Revision of the snapshot in force.
    revision: AtomicU64,
    /// Since when the tables in force may be older than the control plane's; 0 while they are fresh.
    stale_since_millis: AtomicI64,
    /// When a snapshot was last published.
    published: Moment,
    types: [XdsTypeStats; 5],
    /// Servers of secrets.
    pub secret_servers: SecretServers,
}

/// Whether streams to servers of secrets are up, by the clusters through which they are reached.
#[derive(Debug, Default)]
pub struct SecretServers(Mutex<BTreeMap<Arc<str>, bool>>);

impl SecretServers {
    /// These are in use now, and no others. A cluster with several streams counts as up while all of them are.
    pub fn set(&self, servers: impl Iterator<Item = (Arc<str>, bool)>) {
        let mut known = BTreeMap::new();
        for (cluster, is_up) in servers {
            *known.entry(cluster).or_insert(true) &= is_up;
        }
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }

    /// All of them.
    pub(super) fn all(&self) -> BTreeMap<Arc<str>, bool> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl XdsStats {
    /// The counts of one kind of resource.
    pub fn of(&self, kind: XdsType) -> &XdsTypeStats {
        let [lds, rds, cds, eds, sds] = &self.types;
        match kind {
            XdsType::Lds => lds,
            XdsType::Rds => rds,
            XdsType::Cds => cds,
            XdsType::Eds => eds,
            XdsType::Sds => sds,
        }
    }

    /// A snapshot is in force.
    pub fn published(&self, revision: u64) {
        self.revision.store(revision, Ordering::Relaxed);
        self.published.now();
    }

    /// The revision in force.
    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Relaxed)
    }

    /// Unix seconds of the last publication; 0 for never.
    pub fn published_seconds(&self) -> f64 {
        self.published.seconds()
    }

    /// The tables are as the control plane has them: the stream is up and answered.
    pub fn fresh(&self) {
        self.stale_since_millis.store(0, Ordering::Relaxed);
    }

    /// The tables may be old since `since`: the stream broke, or they came from disk. The earliest such moment stays.
    pub fn stale_since(&self, since: SystemTime) {
        let millis = unix_millis(since);
        let _earlier_stays = self.stale_since_millis.compare_exchange(
            0,
            millis,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
    }

    /// How long the tables may have been old, in seconds; 0 while they are fresh.
    pub fn staleness_seconds(&self, now: SystemTime) -> f64 {
        match self.stale_since_millis.load(Ordering::Relaxed) {
            0 => 0.0,
            since => unix_millis(now).saturating_sub(since).max(0) as f64 / 1e3,
        }
    }
}

/// A moment in Unix milliseconds; 0 for never.
#[derive(Debug, Default)]
struct Moment(AtomicI64);

impl Moment {
    fn now(&self) {
        self.0
            .store(unix_millis(SystemTime::now()), Ordering::Relaxed);
    }

    fn seconds(&self) -> f64 {
        self.0.load(Ordering::Relaxed) as f64 / 1e3
    }
}

fn unix_millis(time: SystemTime) -> i64 {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn staleness_counts_from_the_first_loss_and_ends_when_fresh() {
        let stats = XdsStats::default();
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        assert_eq!(stats.staleness_seconds(start), 0.0);
        stats.stale_since(start);
        stats.stale_since(start + Duration::from_secs(5));
        assert_eq!(stats.staleness_seconds(start + Duration::from_secs(8)), 8.0);
        stats.fresh();
        assert_eq!(stats.staleness_seconds(start + Duration::from_secs(9)), 0.0);
    }
}
