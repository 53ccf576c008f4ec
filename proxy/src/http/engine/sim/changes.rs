//! The snapshots of a run: where requests go, which clusters there are, and what endpoints they have.

use std::sync::Arc;

use fastrand::Rng;
use tokio::time::Instant;
use weft_config::cluster::Cluster as Config;
use weft_config::listener::Listener;

use super::terms::{CLUSTERS, Terms, discovery};
use crate::balance::Cluster;
use crate::snapshot::{Builder, SnapshotStore};
use crate::telemetry::Metrics;
use crate::tls::Secrets;

/// What the endpoints of a cluster may be.
const ENDPOINTS: [&[&str]; 4] = [
    &["10.0.0.1:80"],
    &["10.0.0.2:80"],
    &["10.0.0.1:80", "10.0.0.2:80"],
    &["10.0.0.3:80", "10.0.0.2:80"],
];

pub(super) struct Changes {
    store: Arc<SnapshotStore>,
    builder: Builder,
    listeners: [Arc<Listener>; 2],
    configs: [Config; 2],
    /// Which of the clusters requests go to.
    newest: usize,
    /// Whether the other one is there.
    other: bool,
    replaces: bool,
    one_endpoint: bool,
    /// All that ever were in force.
    clusters: Vec<Arc<Cluster>>,
}

impl Changes {
    /// The first snapshot, in force.
    pub(super) fn new(terms: &Terms, metrics: Arc<Metrics>, now: Instant) -> Self {
        let store = SnapshotStore::new();
        let configs = CLUSTERS.map(|name| Config {
            name: name.into(),
            ..terms.cluster.clone()
        });
        let mut changes = Self {
            builder: Builder::new(store.clone(), metrics, Secrets::new()),
            store,
            listeners: terms.listeners.clone(),
            configs,
            newest: 0,
            other: false,
            replaces: terms.replaces,
            one_endpoint: terms.clean,
            clusters: Vec::new(),
        };
        changes.put(0, now);
        changes.route(0, now);
        changes.commit(now);
        changes
    }

    pub(super) fn store(&self) -> Arc<SnapshotStore> {
        self.store.clone()
    }

    /// The cluster that a request goes to now.
    pub(super) fn newest(&self) -> &'static str {
        CLUSTERS[self.newest]
    }

    pub(super) fn clusters(&self) -> &[Arc<Cluster>] {
        &self.clusters
    }

    /// Puts another snapshot in force.
    pub(super) fn make(&mut self, rng: &mut Rng, now: Instant) {
        let other = 1 - self.newest;
        match rng.u8(..4) {
            0 | 1 => {
                self.put(other, now);
                self.route(other, now);
                (self.newest, self.other) = (other, true);
                if self.replaces && rng.bool() {
                    self.remove(1 - other, now);
                }
            }
            2 if self.replaces => {
                let sets = if self.one_endpoint {
                    2
                } else {
                    ENDPOINTS.len()
                };
                let endpoints = ENDPOINTS[rng.usize(..sets)];
                self.configs[self.newest].discovery = discovery(endpoints);
                self.put(self.newest, now);
            }
            _ if self.other && self.replaces => self.remove(other, now),
            _ => {
                self.put(other, now);
                self.other = true;
            }
        }
        self.commit(now);
    }

    fn put(&mut self, at: usize, now: Instant) {
        let config = Arc::new(self.configs[at].clone());
        self.builder.put_cluster(config, now);
    }

    fn remove(&mut self, at: usize, now: Instant) {
        self.builder.remove_cluster(&CLUSTERS[at].into(), now);
        self.other = false;
    }

    fn route(&mut self, at: usize, now: Instant) {
        self.builder.put_listener(self.listeners[at].clone(), now);
    }

    fn commit(&mut self, now: Instant) {
        self.builder.commit(now);
        let snapshot = self.store.current();
        for name in CLUSTERS {
            let Some(cluster) = snapshot.cluster(name) else {
                continue;
            };
            if !self
                .clusters
                .iter()
                .any(|known| Arc::ptr_eq(known, cluster))
            {
                self.clusters.push(cluster.clone());
            }
        }
    }
}
