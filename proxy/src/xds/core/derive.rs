//! What is in use decides what is asked for: workers' names → listeners → route tables → clusters → endpoints.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::info;

use super::{Core, Source};
use crate::snapshot::NameChanges;
use crate::xds::kind::Kind;

impl Core {
    pub(super) fn clusters_by_name(&self) -> bool {
        self.options.clusters == Source::AdsByName
    }

    /// Names that workers came to ask for and ceased to ask for; when time alone changes something about them again.
    pub(super) fn take_demand(&mut self, now: Instant) -> Option<Instant> {
        let demand = self.options.demand.clone()?;
        for name in demand.take_asked() {
            self.ads
                .wire
                .wanted_mut(Kind::Listener)
                .names
                .insert(name.clone());
            self.asked.insert(name);
            self.changes.tables = true;
        }
        let expired = demand.expire(now);
        for name in expired.idle.iter().chain(&expired.forgotten) {
            self.asked.remove(name);
            self.builder.remove_listener(name);
            self.let_go(Kind::Listener, name);
        }
        for name in &expired.timed_out {
            info!(%name, "asked for on demand, and not answered in time");
        }
        expired.next
    }

    /// Tells workers about names that are in force now.
    pub(super) fn answer_workers(&mut self, now: Instant) {
        let Some(demand) = self.options.demand.clone() else {
            return;
        };
        if self.asked.is_empty() {
            return;
        }
        let snapshot = self.store.current();
        self.asked
            .retain(|name| match snapshot.api_listeners.get(name) {
                Some(view) => {
                    demand.ready(name, view, now);
                    false
                }
                None => true,
            });
    }

    /// Publishes what is ready and follows the names that came into use, until nothing changes any more.
    pub(super) fn settle(&mut self, now: Instant) -> Option<Instant> {
        loop {
            let committed = self.builder.commit(now);
            if !self.follow_names(now) {
                return committed.next;
            }
        }
    }

    /// Subscribes to what came into use and lets go of what went out of use; whether anything did.
    pub(super) fn follow_names(&mut self, now: Instant) -> bool {
        let tables = self.builder.named_tables();
        let mut clusters = self.builder.named_clusters();
        let endpoints = self.builder.named_endpoints();
        if !self.clusters_by_name() {
            clusters = NameChanges::default();
        }
        clusters
            .added
            .retain(|name| !self.static_clusters.contains(name));
        clusters
            .removed
            .retain(|name| !self.static_clusters.contains(name));
        for name in &clusters.added {
            self.builder.expect_cluster(name);
        }
        for name in &tables.removed {
            self.builder.remove_routes(name);
        }
        for name in &clusters.removed {
            self.builder.remove_cluster(name, now);
            self.builder.expect_cluster(name);
        }
        for name in &endpoints.removed {
            self.builder.remove_endpoints(name);
        }
        let secrets = self.builder.named_secrets();
        self.follow_secrets(secrets);
        let changed = !(tables.is_empty() && clusters.is_empty() && endpoints.is_empty());
        self.resubscribe(Kind::Route, tables);
        self.resubscribe(Kind::Cluster, clusters);
        self.resubscribe(Kind::Endpoints, endpoints);
        changed
    }

    fn resubscribe(&mut self, kind: Kind, changes: NameChanges) {
        for name in changes.added {
            self.ads.wire.wanted_mut(kind).names.insert(name);
        }
        for name in &changes.removed {
            self.let_go(kind, name);
        }
    }

    /// Unsubscribes and forgets a resource that is not in use any more.
    fn let_go(&mut self, kind: Kind, name: &Arc<str>) {
        self.ads.wire.wanted_mut(kind).names.remove(name);
        self.ads.wire.lost(kind, name);
        self.expiries.remove(&(kind, name.clone()));
        self.status.forgotten(kind, name);
        let held = self.accepted.lock().remove(kind, name);
        if held.is_some() {
            self.note_change(kind);
        }
    }
}
