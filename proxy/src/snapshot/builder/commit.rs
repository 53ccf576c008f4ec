//! The step from told to in force.

use std::sync::Arc;

use tokio::time::Instant;
use weft_config::cluster::ClusterName;
use weft_config::listener::Listener;

use super::{Builder, Kind, UnknownClusters, WAIT_MAX};
use crate::snapshot::awaited::Wait;
use crate::snapshot::entries::{Names, Versions};
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
        self.commit_when(now, now)
    }

    /// Puts everything in force at once, warm or not: what the disk holds was in force before. Secrets, which no disk holds, are
    /// waited for all the same.
    pub fn commit_unready(&mut self, now: Instant) -> Committed {
        self.commit_when(now, now + WAIT_MAX)
    }

    /// `warm` is the moment by which all waits are judged but those for secrets.
    fn commit_when(&mut self, now: Instant, warm: Instant) -> Committed {
        self.settle_clusters(now, warm);
        self.retire_clusters(warm);
        self.advance_tables(warm);
        self.advance_listeners(now, warm);
        // What took over may have let go of the last name of a cluster.
        self.retire_clusters(warm);
        Committed {
            published: self.publish(),
            next: self.next_deadline(now),
        }
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
            self.let_cluster_go(&name);
        }
    }

    fn advance_tables(&mut self, now: Instant) {
        for name in self.tables_todo.all() {
            let Some(entry) = self.tables.get(&name) else {
                self.tables_todo.forget(&name);
                continue;
            };
            let waiting = self.tables_todo.waiting.contains(&name);
            let wait = Waited::of(entry, now);
            let takes_over = waiting && self.clusters_ready(&entry.names, &entry.view_names, wait);
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

    fn advance_listeners(&mut self, now: Instant, warm: Instant) {
        for name in self.listeners_todo.all() {
            let Some(entry) = self.listeners.get(&name) else {
                self.listeners_todo.forget(&name);
                continue;
            };
            let versions = &entry.versions;
            let (names, in_force) = (&versions.names, &versions.view_names);
            let wait = Waited::of(versions, warm);
            let takes_over = self.listeners_todo.waiting.contains(&name)
                && self.clusters_ready(names, in_force, wait)
                && self.tables_ready(names, in_force, wait)
                && self.listener_wait(versions, now).is_over();
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

    /// Whether all clusters that are named anew can take requests, as far as that can be waited for.
    fn clusters_ready(&self, names: &Names, in_force: &Names, waited: Waited) -> bool {
        names
            .clusters
            .difference(&in_force.clusters)
            .all(|name| match self.clusters.get(name) {
                // The wait for secrets has a bound of its own.
                Some(entry) => entry.settled || (waited.is_over && entry.secrets_since.is_none()),
                None if waited.is_over => true,
                None => match self.unknown {
                    UnknownClusters::DoNotExist => true,
                    UnknownClusters::MayCome => self.absent.contains(name),
                    UnknownClusters::ToldAll => !waited.replaces,
                },
            })
    }

    /// How far the wait for the secrets has come that a listener newly names.
    fn listener_wait(&self, versions: &Versions<Listener, ListenerView>, now: Instant) -> Wait {
        let (names, in_force) = (&versions.names, &versions.view_names);
        let since = versions.waits_since.unwrap_or(now);
        let secrets = &names.secrets;
        secrets.wait(&in_force.secrets, &self.secrets, since, now)
    }

    /// Whether all tables that are named anew are in force, as far as that can be waited for.
    fn tables_ready(&self, names: &Names, in_force: &Names, waited: Waited) -> bool {
        names
            .tables
            .difference(&in_force.tables)
            .all(|name| match self.tables.get(name) {
                Some(table) if table.view.is_none() && waited.is_over => {
                    let mut clusters = table.names.clusters.iter();
                    !clusters.any(|cluster| self.cluster_waits(cluster))
                }
                Some(table) => table.view.is_some(),
                None => waited.is_over,
            })
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

    fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let tables = self.tables_todo.waiting.iter();
        let tables = tables.filter_map(|name| self.tables.get(name)?.waits_since);
        let listeners = self.listeners_todo.waiting.iter();
        let listeners = listeners.filter_map(|name| Some(&self.listeners.get(name)?.versions));
        let secrets = listeners
            .clone()
            .filter_map(|it| self.listener_wait(it, now).end());
        let listeners = listeners.filter_map(|it| it.waits_since);
        let warm = tables.chain(listeners).map(|since| since + WAIT_MAX);
        let moments = warm.chain(secrets).filter(|at| *at > now);
        moments.chain(self.clusters_due(now)).min()
    }
}

/// How long somebody has waited who waits to take over.
#[derive(Clone, Copy)]
struct Waited {
    /// Whether [`WAIT_MAX`] is over.
    is_over: bool,
    /// Whether a form in force serves meanwhile.
    replaces: bool,
}

impl Waited {
    fn of<Told, View>(versions: &Versions<Told, View>, now: Instant) -> Self {
        Self {
            is_over: is_over(versions.waits_since, now),
            replaces: versions.view.is_some(),
        }
    }
}

fn is_over(since: Option<Instant>, now: Instant) -> bool {
    since.is_some_and(|since| since + WAIT_MAX <= now)
}
