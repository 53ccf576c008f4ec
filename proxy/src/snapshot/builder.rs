//! Makes the next snapshot from accepted resources, step by step.
//!
//! Told is not in force: a route table or listener takes over when every cluster that it newly names is warm, and a
//! cluster that is told to be gone stays until nothing names it. Each wait has a bound, [`WAIT_MAX`], so that one
//! cluster whose endpoints never come holds nothing back for long.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use weft_config::cluster::ClusterName;
use weft_config::endpoint::EndpointSet;
use weft_config::listener::Listener;
use weft_config::route::RouteTable;
use weft_config::secret::{SecretKind, Validation};
use weft_config::tls::{SecretName, WantedSecret};

use super::demand::{Demand, LastUse};
use super::entries::{ClusterEntry, ListenerEntry, Names, TableEntry, Versions};
use super::refs::{NameChanges, RefCounts};
use super::store::SnapshotStore;
use super::views::{Map, Snapshot};
use crate::balance::Cluster;
use crate::policy::KeyRing;
use crate::telemetry::Metrics;
use crate::tls::Secrets;

mod clusters;
mod commit;
mod users;

pub use commit::Committed;
use users::{Kind, Todo, Users, leave};

/// The longest that a change waits for what it names, and a removal for those who name it.
pub const WAIT_MAX: Duration = Duration::from_secs(5);

/// Makes snapshots. Owned by the control thread; `put_…` and `remove_…` note, [`Self::commit`] publishes.
#[derive(Debug)]
pub struct Builder {
    store: Arc<SnapshotStore>,
    metrics: Arc<Metrics>,
    secrets: Arc<Secrets>,
    keys: Arc<KeyRing>,
    next: Snapshot,
    clusters: Map<ClusterName, ClusterEntry>,
    endpoints: Map<Arc<str>, Arc<EndpointSet>>,
    clusters_of_endpoints: Map<Arc<str>, BTreeSet<ClusterName>>,
    tables: Map<Arc<str>, TableEntry>,
    listeners: Map<Arc<str>, ListenerEntry>,
    /// Clusters whose endpoints are waited for, or that retire.
    unsettled: BTreeSet<ClusterName>,
    /// Clusters that the source said it does not have: nobody waits for them.
    absent: BTreeSet<ClusterName>,
    tables_todo: Todo,
    listeners_todo: Todo,
    /// Whether `next` differs from what is published.
    changed: bool,
    cluster_refs: RefCounts,
    table_refs: RefCounts,
    endpoint_refs: RefCounts,
    secret_refs: RefCounts<WantedSecret>,
    users: Users,
    unknown: UnknownClusters,
    to_resolve: Vec<Resolve>,
}

/// A change in what is to be resolved.
#[derive(Clone, Debug)]
pub enum Resolve {
    /// The names of this cluster, from now on, as its configuration says.
    Follow(Arc<Cluster>),
    /// Nothing for this cluster any more.
    Leave(ClusterName),
}

/// What a name that no cluster has means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownClusters {
    /// It does not exist: every cluster is static, or the source has told of all of them.
    DoNotExist,
    /// It may be on its way: the source is asked for each by name, or has not answered yet.
    MayCome,
    /// The source has told all, but another order of its changes is possible: whoever is in force waits for it.
    ToldAll,
}

impl Builder {
    /// Nothing told yet; snapshots go to `store`.
    pub fn new(store: Arc<SnapshotStore>, metrics: Arc<Metrics>, secrets: Arc<Secrets>) -> Self {
        Self {
            store,
            metrics,
            secrets,
            keys: KeyRing::new(),
            next: Snapshot::default(),
            clusters: Map::default(),
            endpoints: Map::default(),
            clusters_of_endpoints: Map::default(),
            tables: Map::default(),
            listeners: Map::default(),
            unsettled: BTreeSet::new(),
            absent: BTreeSet::new(),
            tables_todo: Todo::default(),
            listeners_todo: Todo::default(),
            changed: false,
            cluster_refs: RefCounts::default(),
            table_refs: RefCounts::default(),
            endpoint_refs: RefCounts::default(),
            secret_refs: RefCounts::default(),
            users: Users::default(),
            unknown: UnknownClusters::DoNotExist,
            to_resolve: Vec::new(),
        }
    }

    /// The keys that its listeners judge tokens by; somebody is to keep them ([`crate::jwks`]).
    pub fn keys(&self) -> &Arc<KeyRing> {
        &self.keys
    }

    /// Whom the workload trusts in its mesh from now on. Handshakes take it at once; no snapshot is needed.
    pub fn put_roots(&self, roots: Validation) {
        let roots = SecretKind::Validation(Arc::new(roots));
        self.secrets.put(&SecretName::of_workload(), &roots);
    }

    /// Says what a name that no cluster has means from now on.
    pub fn unknown_clusters(&mut self, unknown: UnknownClusters) {
        self.unknown = unknown;
    }

    /// The handle of a cluster that is told of.
    pub fn cluster(&self, name: &str) -> Option<&Arc<Cluster>> {
        self.clusters.get(name).map(|entry| &entry.handle)
    }

    /// Endpoints are there, new or changed. They reach their clusters at once; no snapshot is needed.
    pub fn put_endpoints(&mut self, name: &Arc<str>, set: Arc<EndpointSet>) {
        let before = self.endpoints.insert(name.clone(), set.clone());
        if before.is_some_and(|before| before == set) {
            return;
        }
        for cluster in self.clusters_of_endpoints.get(name).into_iter().flatten() {
            if let Some(entry) = self.clusters.get(cluster) {
                entry.handle.set_endpoints(&set);
            }
        }
    }

    /// Endpoints are not told any longer. Clusters keep what they have: a cluster goes by CDS, not by EDS.
    pub fn remove_endpoints(&mut self, name: &Arc<str>) {
        self.endpoints.remove(name);
    }

    /// A route table is there, new or changed. Equal content changes nothing.
    pub fn put_routes(&mut self, table: Arc<RouteTable>, now: Instant) {
        let name = table.name.clone();
        let names = Names::of_table(&table);
        let Some(entry) = self.tables.get_mut(&name) else {
            self.use_names(&name, &names, Kind::Table);
            self.tables
                .insert(name.clone(), Versions::new(table, names, now));
            self.tables_todo.waiting.insert(name);
            return;
        };
        if entry.told == table {
            return;
        }
        entry.told = table;
        let before = std::mem::replace(&mut entry.names, names.clone());
        entry.waits_since.get_or_insert(now);
        self.use_names(&name, &names, Kind::Table);
        self.drop_names(&name, &before, Kind::Table);
        self.tables_todo.waiting.insert(name);
    }

    /// A route table is gone. While a listener names it, the last good one stays in force.
    pub fn remove_routes(&mut self, name: &Arc<str>) {
        if self.table_refs.contains(name) {
            return;
        }
        if let Some(entry) = self.tables.remove(name) {
            self.drop_names(name, &entry.names, Kind::Table);
            self.drop_names(name, &entry.view_names, Kind::Table);
            self.tables_todo.forget(name);
        }
    }

    /// A listener is there, new or changed. Equal content changes nothing.
    pub fn put_listener(&mut self, listener: Arc<Listener>, now: Instant) {
        self.put_listener_entry(listener, None, now);
    }

    /// A listener whose requests ask for what they need, the outbound side of mesh mode.
    pub fn put_on_demand(&mut self, listener: Arc<Listener>, demand: Arc<Demand>, now: Instant) {
        self.put_listener_entry(listener, Some(demand), now);
    }

    fn put_listener_entry(
        &mut self,
        listener: Arc<Listener>,
        on_demand: Option<Arc<Demand>>,
        now: Instant,
    ) {
        let name = listener.name.clone();
        let names = Names::of_listener(&listener);
        let Some(entry) = self.listeners.get_mut(&name) else {
            self.use_names(&name, &names, Kind::Listener);
            let entry = ListenerEntry {
                versions: Versions::new(listener, names, now),
                on_demand,
                last_use: Arc::new(LastUse::default()),
            };
            self.listeners.insert(name.clone(), entry);
            self.listeners_todo.waiting.insert(name);
            return;
        };
        if entry.versions.told == listener {
            return;
        }
        entry.versions.told = listener;
        let before = std::mem::replace(&mut entry.versions.names, names.clone());
        entry.versions.waits_since.get_or_insert(now);
        self.use_names(&name, &names, Kind::Listener);
        self.drop_names(&name, &before, Kind::Listener);
        self.listeners_todo.waiting.insert(name);
    }

    /// A listener is gone.
    pub fn remove_listener(&mut self, name: &Arc<str>) {
        let Some(entry) = self.listeners.remove(name) else {
            return;
        };
        self.drop_names(name, &entry.versions.names, Kind::Listener);
        self.drop_names(name, &entry.versions.view_names, Kind::Listener);
        self.listeners_todo.forget(name);
        if entry.versions.view.is_some() {
            Arc::make_mut(&mut self.next.listeners).remove(name);
            Arc::make_mut(&mut self.next.api_listeners).remove(name);
            self.changed = true;
        }
    }

    /// Clusters that routes and listeners came to name and ceased to name since the last call.
    pub fn named_clusters(&mut self) -> NameChanges {
        self.cluster_refs.take_changes()
    }

    /// Route tables that listeners came to name and ceased to name since the last call.
    pub fn named_tables(&mut self) -> NameChanges {
        self.table_refs.take_changes()
    }

    /// EDS resources that clusters came to name and ceased to name since the last call.
    pub fn named_endpoints(&mut self) -> NameChanges {
        self.endpoint_refs.take_changes()
    }

    /// Secrets that listeners and clusters came to name and ceased to name since the last call.
    pub fn named_secrets(&mut self) -> NameChanges<WantedSecret> {
        self.secret_refs.take_changes()
    }

    /// Where secrets are put. Handshakes take them at once; no snapshot is needed.
    pub fn secrets(&self) -> &Arc<Secrets> {
        &self.secrets
    }

    /// What is to be resolved, and what no more, since the last call.
    pub fn take_to_resolve(&mut self) -> Vec<Resolve> {
        std::mem::take(&mut self.to_resolve)
    }

    /// Whether anything that was told waits to take over.
    pub fn any_waits(&self) -> bool {
        !self.tables_todo.waiting.is_empty()
            || !self.listeners_todo.waiting.is_empty()
            || self.unsettled.iter().any(|name| self.cluster_waits(name))
    }

    /// Whether a cluster that was told waits for its secrets.
    pub fn cluster_waits(&self, name: &str) -> bool {
        let entry = self.clusters.get(name);
        entry.is_some_and(ClusterEntry::awaits_secrets)
    }

    /// Whether a table that was told waits to take over.
    pub fn table_waits(&self, name: &str) -> bool {
        self.tables_todo.waiting.contains(name)
    }

    /// Whether a listener that was told waits to take over.
    pub fn listener_waits(&self, name: &str) -> bool {
        self.listeners_todo.waiting.contains(name)
    }
}

/// Who names whom.
impl Builder {
    fn use_names(&mut self, user: &Arc<str>, names: &Names, kind: Kind) {
        self.cluster_refs.acquire(&names.clusters);
        self.table_refs.acquire(&names.tables);
        self.secret_refs.acquire(names.secrets.secrets());
        let of_cluster = self.users.of_cluster(kind);
        for cluster in &names.clusters {
            let users = of_cluster.entry(cluster.clone()).or_default();
            users.insert(user.clone());
        }
        for table in &names.tables {
            let users = self.users.listeners_of_table.entry(table.clone());
            users.or_default().insert(user.clone());
        }
    }

    fn drop_names(&mut self, user: &Arc<str>, names: &Names, kind: Kind) {
        self.cluster_refs.release(&names.clusters);
        self.table_refs.release(&names.tables);
        self.secret_refs.release(names.secrets.secrets());
        let still = self.names_of(user, kind);
        for cluster in names.clusters.difference(&still.clusters) {
            leave(self.users.of_cluster(kind), cluster, user);
        }
        for table in names.tables.difference(&still.tables) {
            leave(&mut self.users.listeners_of_table, table, user);
        }
    }

    /// Everything that `user` names, told or in force.
    fn names_of(&self, user: &str, kind: Kind) -> Names {
        let both = match kind {
            Kind::Table => self.tables.get(user).map(|it| (&it.names, &it.view_names)),
            Kind::Listener => {
                let entry = self.listeners.get(user).map(|it| &it.versions);
                entry.map(|it| (&it.names, &it.view_names))
            }
        };
        let Some((told, in_force)) = both else {
            return Names::default();
        };
        Names {
            clusters: told.clusters.union(&in_force.clusters).cloned().collect(),
            tables: told.tables.union(&in_force.tables).cloned().collect(),
            ..Names::default()
        }
    }

    fn dirty_users_of_cluster(&mut self, name: &ClusterName) {
        let tables = self.users.tables_of_cluster.get(name);
        self.tables_todo
            .dirty
            .extend(tables.into_iter().flatten().cloned());
        let listeners = self.users.listeners_of_cluster.get(name);
        self.listeners_todo
            .dirty
            .extend(listeners.into_iter().flatten().cloned());
    }
}

#[cfg(test)]
mod tests;
