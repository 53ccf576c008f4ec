//! Everything that is counted, and how it is handed out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use weft_config::listener::Direction;

use super::cluster::ClusterStats;
use super::limits::LimitStats;
use super::listener::ListenerStats;
use super::policy::{FaultStats, RateLimitStats};
use super::xds::XdsStats;

/// Every metric of the process. Handles are asked for when a snapshot is built and kept; the same name gives the
/// same handle for as long as somebody holds it.
#[derive(Debug)]
pub struct Metrics {
    clusters: Mutex<BTreeMap<Arc<str>, Weak<ClusterStats>>>,
    listeners: Mutex<BTreeMap<Arc<str>, Weak<ListenerStats>>>,
    rate_limits: Mutex<BTreeMap<Arc<str>, Weak<RateLimitStats>>>,
    no_cluster: Arc<ClusterStats>,
    /// Injected faults.
    pub faults: Arc<FaultStats>,
    /// The xDS client.
    pub xds: Arc<XdsStats>,
    /// Bounds that were met.
    pub limits: Arc<LimitStats>,
}

impl Metrics {
    /// Nothing counted yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            clusters: Mutex::default(),
            listeners: Mutex::default(),
            rate_limits: Mutex::default(),
            faults: Arc::default(),
            no_cluster: Arc::new(ClusterStats::new("-".into())),
            xds: Arc::default(),
            limits: Arc::default(),
        })
    }

    /// The counts of the cluster `name`.
    pub fn cluster(&self, name: &Arc<str>) -> Arc<ClusterStats> {
        let mut clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stats) = clusters.get(name).and_then(Weak::upgrade) {
            return stats;
        }
        let stats = Arc::new(ClusterStats::new(name.clone()));
        clusters.insert(name.clone(), Arc::downgrade(&stats));
        stats
    }

    /// The counts of requests and connections that reached no cluster.
    pub fn no_cluster(&self) -> Arc<ClusterStats> {
        self.no_cluster.clone()
    }

    /// The counts of the listener `name`.
    pub fn listener(&self, name: &Arc<str>, direction: Direction) -> Arc<ListenerStats> {
        let mut listeners = self
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let known = listeners.get(name).and_then(Weak::upgrade);
        if let Some(stats) = known.filter(|stats| stats.direction == direction) {
            return stats;
        }
        let stats = Arc::new(ListenerStats::new(name.clone(), direction));
        listeners.insert(name.clone(), Arc::downgrade(&stats));
        stats
    }

    /// The counts of the rate limit `name`.
    pub fn rate_limit(&self, name: &Arc<str>) -> Arc<RateLimitStats> {
        let mut limits = self
            .rate_limits
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(stats) = limits.get(name).and_then(Weak::upgrade) {
            return stats;
        }
        let stats = Arc::new(RateLimitStats::default());
        limits.insert(name.clone(), Arc::downgrade(&stats));
        stats
    }
}
