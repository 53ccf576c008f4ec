//! What the builder knows of each resource: the form wanted, the form in force, and what it waits for.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::Instant;
use weft_config::cluster::{self, ClusterName};
use weft_config::listener::{ChainAction, FilterChain, Listener, RouteSource};
use weft_config::route::{RouteAction, RouteTable};

use super::awaited::Awaited;
use super::demand::{Demand, LastUse};
use super::views::{ListenerView, TableView};
use crate::balance::Cluster;

/// A cluster that is told of.
#[derive(Debug)]
pub(super) struct ClusterEntry {
    pub(super) handle: Arc<Cluster>,
    /// What the form in force is told by others.
    pub(super) secrets: Awaited,
    /// Since when they are waited for; `None`: all have been told, or have been waited for long enough.
    pub(super) secrets_since: Option<Instant>,
    /// A newer form, whose secrets are waited for while the one in force serves on.
    pub(super) next: Option<NextCluster>,
    /// Until when routes that newly name it wait for its endpoints.
    pub(super) warm_by: Instant,
    /// Warm, or not waited for any longer.
    pub(super) settled: bool,
    /// Told to be gone; kept until routes let go of it, and at most until then.
    pub(super) retires: Option<Instant>,
}

/// A form of a cluster that waits to take over.
#[derive(Debug)]
pub(super) struct NextCluster {
    pub(super) config: Arc<cluster::Cluster>,
    pub(super) secrets: Awaited,
    pub(super) since: Instant,
}

impl ClusterEntry {
    /// Whether secrets are waited for, of the form in force or of a newer one.
    pub(super) fn awaits_secrets(&self) -> bool {
        self.secrets_since.is_some() || self.next.is_some()
    }
}

/// A resource with the form told last and, until that can take over, the form in force.
#[derive(Debug)]
pub(super) struct Versions<Told, View> {
    pub(super) told: Arc<Told>,
    pub(super) names: Names,
    pub(super) view: Option<Arc<View>>,
    pub(super) view_names: Names,
    /// Since when `told` waits to take over.
    pub(super) waits_since: Option<Instant>,
}

impl<Told, View> Versions<Told, View> {
    pub(super) fn new(told: Arc<Told>, names: Names, now: Instant) -> Self {
        Self {
            told,
            names,
            view: None,
            view_names: Names::default(),
            waits_since: Some(now),
        }
    }
}

/// What a route table or a listener names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) clusters: BTreeSet<ClusterName>,
    pub(super) tables: BTreeSet<Arc<str>>,
    pub(super) secrets: Awaited,
}

pub(super) type TableEntry = Versions<RouteTable, TableView>;

#[derive(Debug)]
pub(super) struct ListenerEntry {
    pub(super) versions: Versions<Listener, ListenerView>,
    pub(super) on_demand: Option<Arc<Demand>>,
    pub(super) last_use: Arc<LastUse>,
}

impl Names {
    pub(super) fn of_table(table: &RouteTable) -> Self {
        let clusters = table
            .routes()
            .filter_map(|route| match &route.action {
                RouteAction::Forward(forward) => Some(&forward.clusters.clusters),
                _ => None,
            })
            .flatten()
            .map(|cluster| cluster.name.clone())
            .collect();
        Self {
            clusters,
            ..Self::default()
        }
    }

    pub(super) fn of_listener(listener: &Listener) -> Self {
        let mut names = Self {
            secrets: Awaited::of(listener.awaited_secrets()),
            ..Self::default()
        };
        for chain in all_chains(listener) {
            match &chain.action {
                ChainAction::Http(hcm) => {
                    names.clusters.extend(hcm.key_clusters().cloned());
                    match &hcm.routes {
                        RouteSource::Rds(name) => drop(names.tables.insert(name.clone())),
                        RouteSource::Inline(table) => {
                            names.clusters.extend(Self::of_table(table).clusters);
                        }
                    }
                }
                ChainAction::Tcp(proxy) => {
                    let clusters = proxy.clusters.iter().map(|(name, _)| name.clone());
                    names.clusters.extend(clusters);
                }
            }
        }
        names
    }
}

/// The chains of a listener, the default one last.
pub(super) fn all_chains(listener: &Listener) -> impl Iterator<Item = &FilterChain> {
    listener
        .filter_chains
        .iter()
        .chain(&listener.default_filter_chain)
}
