//! Who names what, and what is to be looked at when it changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use weft_config::cluster::ClusterName;

use crate::snapshot::views::Map;

/// Who names something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Table,
    Listener,
}

/// Which tables and listeners name a cluster, and which listeners a table; told or in force.
#[derive(Debug, Default)]
pub(super) struct Users {
    pub(super) tables_of_cluster: Map<ClusterName, BTreeSet<Arc<str>>>,
    pub(super) listeners_of_cluster: Map<ClusterName, BTreeSet<Arc<str>>>,
    pub(super) listeners_of_table: Map<Arc<str>, BTreeSet<Arc<str>>>,
}

/// What the next commit looks at.
#[derive(Debug, Default)]
pub(super) struct Todo {
    /// What it names changed: the form in force is to be looked up again.
    pub(super) dirty: BTreeSet<Arc<str>>,
    /// The form told last is not in force yet.
    pub(super) waiting: BTreeSet<Arc<str>>,
}

impl Todo {
    /// What there is to look at.
    pub(super) fn all(&self) -> BTreeSet<Arc<str>> {
        self.dirty.union(&self.waiting).cloned().collect()
    }

    pub(super) fn forget(&mut self, name: &str) {
        self.dirty.remove(name);
        self.waiting.remove(name);
    }
}

impl Users {
    pub(super) fn of_cluster(&mut self, kind: Kind) -> &mut Map<ClusterName, BTreeSet<Arc<str>>> {
        match kind {
            Kind::Table => &mut self.tables_of_cluster,
            Kind::Listener => &mut self.listeners_of_cluster,
        }
    }
}

/// Takes `user` out of those who name `of`.
pub(super) fn leave(users: &mut Map<Arc<str>, BTreeSet<Arc<str>>>, of: &Arc<str>, user: &Arc<str>) {
    if let Some(set) = users.get_mut(of) {
        set.remove(user);
        if set.is_empty() {
            users.remove(of);
        }
    }
}
