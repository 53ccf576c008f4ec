//! Everything that is counted, and how it is handed out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::SystemTime;

use weft_config::listener::Direction;

use super::certificates::CertificateExpiries;
use super::cluster::ClusterStats;
use super::files::LogFiles;
use super::identity::IdentityStats;
use super::limits::LimitStats;
use super::listener::ListenerStats;
use super::overload::OverloadStats;
use super::policy::{AccessStats, FaultStats, JwtStats, KeysStats, RateLimitStats};
use super::xds::XdsStats;

/// Every metric of the process. Handles are asked for when a snapshot is built and kept; the same name gives the
/// same handle for as long as somebody holds it.
#[derive(Debug)]
pub struct Metrics {
    clusters: Mutex<BTreeMap<Arc<str>, Weak<ClusterStats>>>,
    listeners: Mutex<BTreeMap<Arc<str>, Weak<ListenerStats>>>,
    rate_limits: Mutex<BTreeMap<Arc<str>, Weak<RateLimitStats>>>,
    access: Mutex<BTreeMap<Arc<str>, Weak<AccessStats>>>,
    jwt: Mutex<BTreeMap<Arc<str>, Weak<JwtStats>>>,
    keys: Mutex<BTreeMap<Arc<str>, Weak<KeysStats>>>,
    no_cluster: Arc<ClusterStats>,
    /// Injected faults.
    pub faults: Arc<FaultStats>,
    /// The xDS client.
    pub xds: Arc<XdsStats>,
    /// Bounds that were met.
    pub limits: Arc<LimitStats>,
    /// When certificates expire.
    pub certificates: Arc<CertificateExpiries>,
    /// Requests for the workload's own certificate.
    pub identity: Arc<IdentityStats>,
    /// Shedding load.
    pub overload: Arc<OverloadStats>,
    /// Access log files.
    pub logs: Arc<LogFiles>,
    started: SystemTime,
}

impl Metrics {
    /// Nothing counted yet.
    pub fn new() -> Arc<Self> {
        let limits: Arc<LimitStats> = Arc::default();
        Arc::new(Self {
            clusters: Mutex::default(),
            listeners: Mutex::default(),
            rate_limits: Mutex::default(),
            access: Mutex::default(),
            jwt: Mutex::default(),
            keys: Mutex::default(),
            faults: Arc::default(),
            no_cluster: Arc::new(ClusterStats::new("-".into())),
            xds: Arc::default(),
            certificates: Arc::default(),
            identity: Arc::default(),
            overload: Arc::default(),
            logs: Arc::new(LogFiles::new(limits.clone())),
            limits,
            started: SystemTime::now(),
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
        held(&self.rate_limits, name)
    }

    /// The counts of the access rules `name`.
    pub fn access(&self, name: &Arc<str>) -> Arc<AccessStats> {
        held(&self.access, name)
    }

    /// The counts of the filter `name` that looks at tokens.
    pub fn jwt(&self, name: &Arc<str>) -> Arc<JwtStats> {
        held(&self.jwt, name)
    }

    /// The counts of the keys that come from `place`.
    pub fn keys(&self, place: &Arc<str>) -> Arc<KeysStats> {
        held(&self.keys, place)
    }

    /// The scrape page in the OpenMetrics text format, at most 1 MiB.
    pub fn scrape(&self) -> String {
        super::scrape::page(self)
    }

    /// Clusters that somebody still counts for; those that nobody does are forgotten.
    pub(super) fn clusters(&self) -> Vec<Arc<ClusterStats>> {
        living(&self.clusters)
            .into_iter()
            .map(|(_, stats)| stats)
            .collect()
    }

    /// Listeners that somebody still counts for; those that nobody does are forgotten.
    pub(super) fn listeners(&self) -> Vec<Arc<ListenerStats>> {
        living(&self.listeners)
            .into_iter()
            .map(|(_, stats)| stats)
            .collect()
    }

    /// Rate limits in force, by name.
    pub(super) fn rate_limits(&self) -> Vec<(Arc<str>, Arc<RateLimitStats>)> {
        living(&self.rate_limits)
    }

    /// Access rules in force, by name.
    pub(super) fn access_rules(&self) -> Vec<(Arc<str>, Arc<AccessStats>)> {
        living(&self.access)
    }

    /// Filters in force that look at tokens, by name.
    pub(super) fn jwt_filters(&self) -> Vec<(Arc<str>, Arc<JwtStats>)> {
        living(&self.jwt)
    }

    /// Keys in use, by where they come from.
    pub(super) fn keys_in_use(&self) -> Vec<(Arc<str>, Arc<KeysStats>)> {
        living(&self.keys)
    }

    /// When the process began, in Unix seconds.
    pub(super) fn started_seconds(&self) -> f64 {
        let since = self.started.duration_since(SystemTime::UNIX_EPOCH);
        since.unwrap_or_default().as_secs_f64()
    }

    /// How long the process has run, in seconds.
    pub fn uptime_seconds(&self) -> u64 {
        self.started.elapsed().unwrap_or_default().as_secs()
    }
}

/// The counts of `name`: those that somebody holds, or new ones.
fn held<T: Default>(all: &Mutex<BTreeMap<Arc<str>, Weak<T>>>, name: &Arc<str>) -> Arc<T> {
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(stats) = all.get(name).and_then(Weak::upgrade) {
        return stats;
    }
    let stats: Arc<T> = Arc::default();
    all.insert(name.clone(), Arc::downgrade(&stats));
    stats
}

fn living<T>(all: &Mutex<BTreeMap<Arc<str>, Weak<T>>>) -> Vec<(Arc<str>, Arc<T>)> {
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|_, stats| stats.strong_count() > 0);
    all.iter()
        .filter_map(|(name, stats)| Some((name.clone(), stats.upgrade()?)))
        .collect()
}
