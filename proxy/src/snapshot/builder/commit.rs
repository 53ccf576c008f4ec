//! The step from told to in force.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::Instant;
use weft_config::cluster::ClusterName;

use super::{Builder, Kind, UnknownClusters, WAIT_MAX};
use crate::snapshot::entries::Names;
use crate::snapshot::looked_up::Lookup;
use crate::snapshot::views::{ListenerView, TableView};

/// What a commit did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// The revision that was published; `None`: nothing changed that requests could see.
    pub published: Option<u64>,
    /// When to commit again although nothing is told: a wait is over then.
    pub next: Option<Instant>,
}

impl Builder {
    /// Puts in force all that is ready, in one snapshot.
    pub fn commit(&mut self, now: Instant) -> Committed {
        self.settle_clusters(now);
        self.retire_clusters(now);
        self.advance_tables(now);
        self.advance_listeners(now);
        // What took over may have let go of the last name of a cluster.
        self.retire_clusters(now);
        Committed {
            published: self.publish(),
            next: self.next_deadline(),
        }
    }

    /// Puts everything in force at once, warm or not: what the disk holds was in force before.
    pub fn commit_unready(&mut self, now: Instant) -> Committed {
        self.commit(now + WAIT_MAX)
    }

    fn publish(&mut self) -> Option<u64> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        self.next.revision += 1;
        self.store.publish(self.next.clone());
        self.metrics.xds.published(self.next.revision);
        Some(self.next.revision)
    }

    fn settle_clusters(&mut self, now: Instant) {
        let clusters = &mut self.clusters;
        self.unsettled.retain(|name| {
            let Some(entry) = clusters.get_mut(name) else {
                return false;
            };
            entry.settled = entry.settled || entry.handle.is_warm() || entry.warm_by <= now;
            !entry.settled || entry.retires.is_some()
        });
    }

    /// Lets clusters go that nothing names any more, or whose time is over.
    fn retire_clusters(&mut self, now: Instant) {
        let gone: Vec<ClusterName> = self
            .unsettled
            .iter()
            .filter(|name| {
                let retires = self.clusters.get(*name).and_then(|entry| entry.retires);
                retires.is_some_and(|at| at <= now || !self.cluster_refs.contains(name))
            })
            .cloned()
            .collect();
        for name in gone {
            self.unsettled.remove(&name);
            if let Some(entry) = self.clusters.remove(&name) {
                let config = entry.handle.config();
                if super::is_resolved(&config) {
                    self.to_resolve.push(super::Resolve::Leave(name.clone()));
                }
                let eds = super::eds_name(&config);
                self.endpoint_refs.release(&eds);
                self.watch_endpoints(&name, eds.as_ref(), None);
            }
            Arc::make_mut(&mut self.next.clusters).remove(&name);
            self.dirty_users_of_cluster(&name);
            self.changed = true;
        }
    }

    fn advance_tables(&mut self, now: Instant) {
        for name in self.tables_todo.all() {
            let Some(entry) = self.tables.get(&name) else {
                self.tables_todo.forget(&name);
                continue;
            };
            let waiting = self.tables_todo.waiting.contains(&name);
            let takes_over = waiting
                && (is_over(entry.waits_since, now)
                    || self.clusters_ready(&entry.names, &entry.view_names, entry.view.is_some()));
            let before = entry.view.as_deref();
            let table = match before {
                _ if takes_over => entry.told.clone(),
                Some(view) if self.tables_todo.dirty.contains(&name) => view.table.clone(),
                _ => continue,
            };
            let view = self.lookup().table(&table, before);
            self.tables_todo.dirty.remove(&name);
            self.put_table_in_force(&name, view, takes_over);
        }
        self.tables_todo.dirty.clear();
    }

    fn put_table_in_force(&mut self, name: &Arc<str>, view: TableView, takes_over: bool) {
        let Some(entry) = self.tables.get_mut(name) else {
            return;
        };
        let same = entry.view.as_ref().is_some_and(|old| old.is_same(&view));
        if !same {
            entry.view = Some(Arc::new(view));
            let users = self.users.listeners_of_table.get(name);
            let users = users.into_iter().flatten().cloned();
            self.listeners_todo.dirty.extend(users);
        }
        if takes_over {
            entry.waits_since = None;
            let names = entry.names.clone();
            let before = std::mem::replace(&mut entry.view_names, names.clone());
            self.use_names(name, &names, Kind::Table);
            self.drop_names(name, &before, Kind::Table);
            self.tables_todo.waiting.remove(name);
        }
    }

    fn advance_listeners(&mut self, now: Instant) {
        for name in self.listeners_todo.all() {
            let Some(entry) = self.listeners.get(&name) else {
                self.listeners_todo.forget(&name);
                continue;
            };
            let versions = &entry.versions;
            let takes_over = self.listeners_todo.waiting.contains(&name)
                && (is_over(versions.waits_since, now)
                    || (self.clusters_ready(
                        &versions.names,
                        &versions.view_names,
                        versions.view.is_some(),
                    ) && self.tables_ready(&versions.names, &versions.view_names)));
            let config = match &versions.view {
                _ if takes_over => &versions.told,
                Some(view) if self.listeners_todo.dirty.contains(&name) => &view.config,
                _ => continue,
            };
            let view = self.lookup().listener(config, entry);
            self.put_listener_in_force(&name, view, takes_over);
        }
        self.listeners_todo.dirty.clear();
    }

    fn put_listener_in_force(&mut self, name: &Arc<str>, view: ListenerView, takes_over: bool) {
        let Some(entry) = self.listeners.get_mut(name) else {
            return;
        };
        let view = Arc::new(view);
        entry.versions.view = Some(view.clone());
        let (into, out_of) = match view.config.address {
            Some(_) => (&mut self.next.listeners, &mut self.next.api_listeners),
            None => (&mut self.next.api_listeners, &mut self.next.listeners),
        };
        Arc::make_mut(into).insert(name.clone(), view);
        if out_of.contains_key(name) {
            Arc::make_mut(out_of).remove(name);
        }
        self.changed = true;
        if takes_over {
            entry.versions.waits_since = None;
            let names = entry.versions.names.clone();
            let before = std::mem::replace(&mut entry.versions.view_names, names.clone());
            self.use_names(name, &names, Kind::Listener);
            self.drop_names(name, &before, Kind::Listener);
            self.listeners_todo.waiting.remove(name);
        }
    }

    /// Whether all clusters that are named anew can take requests, as far as that can be waited for. `replaces`: whether a
    /// form in force serves meanwhile.
    fn clusters_ready(&self, names: &Names, in_force: &Names, replaces: bool) -> bool {
        names
            .clusters
            .difference(&in_force.clusters)
            .all(|name| match self.clusters.get(name) {
                Some(entry) => entry.settled,
                None => match self.unknown {
                    UnknownClusters::DoNotExist => true,
                    UnknownClusters::MayCome => self.absent.contains(name),
                    UnknownClusters::ToldAll => !replaces,
                },
            })
    }

    fn tables_ready(&self, names: &Names, in_force: &Names) -> bool {
        let in_force_at_all =
            |name: &Arc<str>| self.tables.get(name).is_some_and(|it| it.view.is_some());
        names
            .tables
            .difference(&in_force.tables)
            .all(in_force_at_all)
    }

    fn lookup(&self) -> Lookup<'_> {
        Lookup {
            clusters: &self.clusters,
            tables: &self.tables,
            metrics: &self.metrics,
            secrets: &self.secrets,
            keys: &self.keys,
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let clusters = self.unsettled.iter().filter_map(|name| {
            let entry = self.clusters.get(name)?;
            let warm_by = (!entry.settled).then_some(entry.warm_by);
            warm_by.into_iter().chain(entry.retires).min()
        });
        let tables = self.tables_todo.waiting.iter();
        let tables = tables.filter_map(|name| self.tables.get(name)?.waits_since);
        let listeners = self.listeners_todo.waiting.iter();
        let listeners = listeners.filter_map(|name| self.listeners.get(name)?.versions.waits_since);
        clusters
            .chain(tables.chain(listeners).map(|since| since + WAIT_MAX))
            .min()
    }
}

impl super::Todo {
    fn all(&self) -> BTreeSet<Arc<str>> {
        self.dirty.union(&self.waiting).cloned().collect()
    }
}

fn is_over(since: Option<Instant>, now: Instant) -> bool {
    since.is_some_and(|since| since + WAIT_MAX <= now)
}
