//! Clusters, from told to in force.

use std::sync::Arc;

use tokio::time::Instant;
use weft_config::cluster::{self, ClusterName, Discovery};

use super::{Builder, Resolve, UnknownClusters, WAIT_MAX, leave};
use crate::balance::Cluster;
use crate::snapshot::awaited::Awaited;
use crate::snapshot::entries::{ClusterEntry, NextCluster};

impl Builder {
    /// A cluster is there, new or changed. Equal configuration changes nothing. A changed one takes over when the secrets that it
    /// newly names have been told, or have been waited for long enough.
    pub fn put_cluster(&mut self, config: Arc<cluster::Cluster>, now: Instant) {
        let name = config.name.clone();
        self.absent.remove(&name);
        let Some(entry) = self.clusters.get_mut(&name) else {
            self.add_cluster(config, now);
            return;
        };
        entry.retires = None;
        if entry
            .next
            .as_ref()
            .is_some_and(|next| next.config == config)
        {
            return;
        }
        let before = entry.next.take();
        if *entry.handle.config() != *config {
            let next = NextCluster {
                secrets: Awaited::of(config.awaited_secrets()),
                // Whoever changes his mind meanwhile does not begin to wait anew.
                since: before.as_ref().map_or(now, |it| it.since),
                config,
            };
            self.secret_refs.acquire(next.secrets.secrets());
            let wait = next
                .secrets
                .wait(&entry.secrets, &self.secrets, next.since, now);
            entry.next = Some(next);
            // Where nothing serves yet, there is no form to keep meanwhile.
            match wait.is_over() || entry.secrets_since.is_some() {
                true => self.take_over(&name),
                false => drop(self.unsettled.insert(name)),
            }
        }
        if let Some(before) = before {
            self.secret_refs.release(before.secrets.secrets());
        }
    }

    /// The form of a cluster that waits takes the place of the one in force.
    pub(super) fn take_over(&mut self, name: &ClusterName) {
        let Some(entry) = self.clusters.get_mut(name) else {
            return;
        };
        let Some(NextCluster {
            config, secrets, ..
        }) = entry.next.take()
        else {
            return;
        };
        let secrets_before = std::mem::replace(&mut entry.secrets, secrets);
        let handle = entry.handle.clone();
        let before = handle.config();
        let (eds, eds_before) = (eds_name(&config), eds_name(&before));
        self.warm(&handle, &config, &eds, eds_before.as_ref());
        handle.set_config(config.clone(), &self.secrets);
        if before.discovery != config.discovery {
            self.to_resolve.push(match is_resolved(&config) {
                true => Resolve::Follow(handle),
                false => Resolve::Leave(name.clone()),
            });
        }
        if eds_before != eds {
            self.endpoint_refs.acquire(&eds);
            self.endpoint_refs.release(&eds_before);
            self.watch_endpoints(name, eds_before.as_ref(), eds.as_ref());
        }
        self.secret_refs.release(secrets_before.secrets());
    }

    fn add_cluster(&mut self, config: Arc<cluster::Cluster>, now: Instant) {
        let name = config.name.clone();
        let eds = eds_name(&config);
        let handle = Cluster::new(config.clone(), &self.secrets, &self.metrics, now);
        self.warm(&handle, &config, &eds, None);
        if is_resolved(&config) {
            self.to_resolve.push(Resolve::Follow(handle.clone()));
        }
        self.endpoint_refs.acquire(&eds);
        self.watch_endpoints(&name, None, eds.as_ref());
        Arc::make_mut(&mut self.next.clusters).insert(name.clone(), handle.clone());
        let secrets = Awaited::of(config.awaited_secrets());
        self.secret_refs.acquire(secrets.secrets());
        let wait = secrets.wait(&Awaited::default(), &self.secrets, now, now);
        let entry = ClusterEntry {
            handle,
            secrets,
            secrets_since: (!wait.is_over()).then_some(now),
            next: None,
            warm_by: now + WAIT_MAX,
            settled: false,
            retires: None,
        };
        self.clusters.insert(name.clone(), entry);
        self.unsettled.insert(name.clone());
        self.dirty_users_of_cluster(&name);
        self.changed = true;
    }

    /// Gives a cluster the endpoints that are known already; old ones stay until new ones are there.
    fn warm(
        &self,
        handle: &Arc<Cluster>,
        config: &cluster::Cluster,
        eds: &Option<Arc<str>>,
        eds_before: Option<&Arc<str>>,
    ) {
        match &config.discovery {
            Discovery::Static(set) => handle.set_endpoints(set),
            Discovery::Eds { .. } if eds.as_ref() != eds_before => {
                if let Some(set) = eds.as_ref().and_then(|name| self.endpoints.get(name)) {
                    handle.set_endpoints(set);
                }
            }
            _ => {}
        }
    }

    fn watch_endpoints(
        &mut self,
        cluster: &ClusterName,
        before: Option<&Arc<str>>,
        after: Option<&Arc<str>>,
    ) {
        if let Some(before) = before {
            leave(&mut self.clusters_of_endpoints, before, cluster);
        }
        if let Some(after) = after {
            let users = self.clusters_of_endpoints.entry(after.clone()).or_default();
            users.insert(cluster.clone());
        }
    }

    /// A cluster is gone. It stays in force until nothing names it, and at most for [`WAIT_MAX`].
    pub fn remove_cluster(&mut self, name: &ClusterName, now: Instant) {
        if self.unknown == UnknownClusters::MayCome {
            self.absent.insert(name.clone());
        }
        if let Some(entry) = self.clusters.get_mut(name) {
            entry.retires.get_or_insert(now + WAIT_MAX);
            self.unsettled.insert(name.clone());
        }
    }

    /// A cluster has been asked for: whoever names it waits for it.
    pub fn expect_cluster(&mut self, name: &ClusterName) {
        self.absent.remove(name);
    }

    /// Nothing names a cluster any more, or its time is over.
    pub(super) fn let_cluster_go(&mut self, name: &ClusterName) {
        self.unsettled.remove(name);
        if let Some(entry) = self.clusters.remove(name) {
            let config = entry.handle.config();
            if is_resolved(&config) {
                self.to_resolve.push(Resolve::Leave(name.clone()));
            }
            let eds = eds_name(&config);
            self.endpoint_refs.release(&eds);
            self.watch_endpoints(name, eds.as_ref(), None);
            self.secret_refs.release(entry.secrets.secrets());
            if let Some(next) = entry.next {
                self.secret_refs.release(next.secrets.secrets());
            }
        }
        Arc::make_mut(&mut self.next.clusters).remove(name);
        self.dirty_users_of_cluster(name);
        self.changed = true;
    }

    /// Clusters whose endpoints or secrets are there, or have been waited for long enough, are settled. `warm` is the moment by
    /// which endpoints are judged.
    pub(super) fn settle_clusters(&mut self, now: Instant, warm: Instant) {
        let mut ready = Vec::new();
        let (clusters, secrets) = (&mut self.clusters, &self.secrets);
        self.unsettled.retain(|name| {
            let Some(entry) = clusters.get_mut(name) else {
                return false;
            };
            let told = Awaited::default();
            let is_over = |since| entry.secrets.wait(&told, secrets, since, now).is_over();
            if entry.secrets_since.is_some_and(is_over) {
                entry.secrets_since = None;
            }
            let next = entry.next.as_ref();
            if next.is_some_and(|next| {
                let wait = next.secrets.wait(&entry.secrets, secrets, next.since, now);
                wait.is_over()
            }) {
                ready.push(name.clone());
            }
            let endpoints = entry.handle.is_warm() || entry.warm_by <= warm;
            entry.settled |= endpoints && entry.secrets_since.is_none();
            !entry.settled || entry.retires.is_some() || entry.next.is_some()
        });
        for name in ready {
            self.take_over(&name);
        }
    }

    /// When something about clusters changes though nothing is told.
    pub(super) fn clusters_due(&self, now: Instant) -> Option<Instant> {
        let entries = self.unsettled.iter();
        let entries = entries.filter_map(|name| self.clusters.get(name));
        let moments = entries.flat_map(|entry| {
            let warm_by = (!entry.settled).then_some(entry.warm_by);
            let wait = |secrets: &Awaited, since| {
                let wait = secrets.wait(&Awaited::default(), &self.secrets, since, now);
                wait.end()
            };
            let secrets = entry.secrets_since.and_then(|it| wait(&entry.secrets, it));
            let next = entry.next.as_ref();
            let next = next.and_then(|next| wait(&next.secrets, next.since));
            [warm_by, entry.retires, secrets, next]
        });
        moments.flatten().filter(|at| *at > now).min()
    }
}

fn is_resolved(config: &cluster::Cluster) -> bool {
    matches!(
        config.discovery,
        Discovery::StrictDns(_) | Discovery::LogicalDns(_)
    )
}

/// The EDS resource that a cluster's endpoints come from.
fn eds_name(config: &cluster::Cluster) -> Option<Arc<str>> {
    match &config.discovery {
        Discovery::Eds { service_name } => Some(service_name.clone()),
        _ => None,
    }
}
