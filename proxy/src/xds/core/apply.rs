//! A response becomes accepted resources: good ones are applied, bad ones are named.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, warn};
use weft_config::endpoint::EndpointSet;
use weft_config::resource::Resource;
use weft_config::tls::{SecretName, SecretOrigin};

use super::{Core, wall_clock};
use crate::snapshot::{Absence, UnknownClusters};
use crate::xds::accepted::{Novelty, Raw};
use crate::xds::decode::{Refusal, decode};
use crate::xds::kind::Kind;
use crate::xds::lines::{Lines, cut};
use crate::xds::wire::{Incoming, Received};

/// NACKs are not longer, lest they break the server's limits.
const ERROR_BYTES_MAX: usize = 16 * 1024;

/// What came of a response.
#[derive(Debug, Default)]
pub(in crate::xds::core) struct Applied {
    /// What was accepted.
    pub(in crate::xds::core) names: Vec<Arc<str>>,
    /// What was refused.
    pub(in crate::xds::core) refused: Vec<Refusal>,
}

impl Applied {
    /// All refusals in one text, for the NACK.
    pub(in crate::xds::core) fn error(&self) -> Option<String> {
        if self.refused.is_empty() {
            return None;
        }
        let lines: Vec<_> = self
            .refused
            .iter()
            .map(|refusal| refusal.line.as_str())
            .collect();
        let mut text = lines.join("\n");
        if text.len() > ERROR_BYTES_MAX {
            text.truncate(cut(&text, ERROR_BYTES_MAX).len());
            text.push_str(" (cut)");
        }
        Some(text)
    }
}

impl Core {
    pub(super) fn apply(&mut self, kind: Kind, received: Received, now: Instant) -> Applied {
        let mut applied = Applied::default();
        let mut seen = BTreeSet::new();
        let mut lines = Lines::default();
        for incoming in received.resources {
            match self.apply_one(kind, incoming, now, &mut lines) {
                Ok(Some(name)) => {
                    seen.insert(name.clone());
                    applied.names.push(name);
                }
                Ok(None) => {}
                Err(refusal) => {
                    lines.refused(kind, &refusal);
                    // Refused is not gone.
                    seen.insert(refusal.name.as_str().into());
                    self.status.refused(kind, &refusal);
                    applied.refused.push(refusal);
                }
            }
        }
        if received.is_full_state {
            self.remove_unseen(kind, &seen, now);
        }
        for name in &received.removed {
            self.gone(kind, &name.as_str().into(), now);
        }
        for (name, why) in &received.errors {
            lines.withheld(kind, name, why);
            self.withheld(kind, &name.as_str().into(), why, now);
        }
        lines.end();
        self.told.insert(kind);
        if kind == Kind::Cluster && !self.clusters_by_name() {
            self.builder.unknown_clusters(UnknownClusters::ToldAll);
        }
        let count = i64::try_from(self.accepted.lock().of(kind).len()).unwrap_or(i64::MAX);
        self.status.metrics().of(kind.metric()).resources.set(count);
        applied
    }

    /// Applies one resource; the name under which it is held, or `None` if nobody asked for it.
    fn apply_one(
        &mut self,
        kind: Kind,
        incoming: Incoming,
        now: Instant,
        lines: &mut Lines,
    ) -> Result<Option<Arc<str>>, Refusal> {
        let Some(packed) = incoming.packed else {
            return self.heartbeat(kind, incoming, now);
        };
        let resource = match &incoming.name {
            Some(name) if self.holds_same(kind, name, &packed) => None,
            name => Some(decode(kind, name.as_deref(), &packed, lines)?),
        };
        let name: Arc<str> = match (&resource, &incoming.name) {
            (Some(resource), _) => resource.name().into(),
            (None, Some(name)) => name.as_str().into(),
            (None, None) => return Ok(None),
        };
        if !self.is_wanted(kind, &name) {
            debug!(?kind, %name, "resource that was not asked for left aside");
            return Ok(None);
        }
        let has_private_key = resource.as_ref().is_some_and(Resource::has_private_key);
        if let Some(resource) = resource {
            self.put(resource, now)?;
        }
        let raw = Raw {
            version: incoming.version.clone(),
            packed,
            since: wall_clock(),
            has_private_key,
        };
        let novelty = self.accepted.lock().put(kind, name.clone(), raw);
        if novelty == Novelty::New {
            self.note_change(kind);
            self.status.accepted(kind, &name);
        }
        self.ads.wire.holds(kind, name.clone(), incoming.version);
        let key = (kind, name.clone());
        self.expire_after(key, incoming.ttl, now);
        Ok(Some(name))
    }

    /// Ends a resource after its time to live; one that no clock can count is none.
    fn expire_after(&mut self, key: (Kind, Arc<str>), ttl: Option<Duration>, now: Instant) {
        match ttl.and_then(|ttl| now.checked_add(ttl)) {
            Some(end) => drop(self.expiries.insert(key, end)),
            None => drop(self.expiries.remove(&key)),
        }
    }

    fn holds_same(
        &self,
        kind: Kind,
        name: &str,
        packed: &weft_xds_proto::pb::google::protobuf::Any,
    ) -> bool {
        self.accepted
            .lock()
            .get(kind, name)
            .is_some_and(|held| held.packed == *packed)
    }

    /// Whether a resource was asked for; a watched file tells all that it holds.
    fn is_wanted(&self, kind: Kind, name: &str) -> bool {
        let from_file = match kind {
            Kind::Listener => self.options.listeners == super::Source::File,
            Kind::Cluster => self.options.clusters == super::Source::File,
            Kind::Secret | Kind::Endpoints | Kind::Route => false,
        };
        from_file || self.ads.wire.wanted(kind).covers(name)
    }

    /// A resource without content renews the time to live of the one held.
    fn heartbeat(
        &mut self,
        kind: Kind,
        incoming: Incoming,
        now: Instant,
    ) -> Result<Option<Arc<str>>, Refusal> {
        let name = incoming.name.unwrap_or_default();
        let Some(ttl) = incoming.ttl else {
            return Err(Refusal::new(
                name,
                "resource: must be there where no ttl is renewed",
            ));
        };
        if self.accepted.lock().get(kind, &name).is_some() {
            self.expire_after((kind, name.as_str().into()), Some(ttl), now);
        }
        Ok(Some(name.as_str().into()))
    }

    pub(super) fn put(&mut self, resource: Resource, now: Instant) -> Result<(), Refusal> {
        match resource {
            Resource::Cluster(cluster) => {
                if self.static_clusters.contains(&cluster.name) {
                    let fault = "name: must not be that of a static cluster";
                    return Err(Refusal::new(&*cluster.name, fault));
                }
                self.check_tellers(cluster.awaited_secrets())
                    .map_err(|fault| Refusal::new(&*cluster.name, fault))?;
                self.builder.put_cluster(cluster, now);
            }
            Resource::Endpoints(name, set) => self.builder.put_endpoints(&name, set),
            Resource::Secret(secret) => {
                let name = SecretName {
                    origin: SecretOrigin::Ads,
                    name: secret.name.clone(),
                };
                self.put_secret(&name, &secret)?;
            }
            Resource::Route(table) => self.builder.put_routes(table, now),
            Resource::Listener(listener) => {
                if self.static_listeners.contains(&listener.name) {
                    let fault = "name: must not be that of a static listener";
                    return Err(Refusal::new(&*listener.name, fault));
                }
                self.check_tellers(listener.awaited_secrets())
                    .map_err(|fault| Refusal::new(&*listener.name, fault))?;
                let listener = self.placed(listener);
                (self.reserve.0)(&listener)
                    .map_err(|fault| Refusal::new(&*listener.name, format!("address: {fault}")))?;
                self.note_appearance(&listener.name);
                self.builder.put_listener(listener, now);
            }
        }
        Ok(())
    }

    /// A name that was said to be absent is there now: whoever asked for it is told once it is in force.
    fn note_appearance(&mut self, name: &Arc<str>) {
        let demand = self.options.demand.as_ref();
        if demand.is_some_and(|demand| demand.is_absent(name)) {
            self.asked.insert(name.clone());
        }
    }

    /// A state-of-the-world response of listeners or clusters lists all: what it lacks is gone.
    fn remove_unseen(&mut self, kind: Kind, seen: &BTreeSet<Arc<str>>, now: Instant) {
        let accepted = self.accepted.lock();
        let held = accepted.of(kind).keys();
        let wanted = self.ads.wire.wanted(kind).names.iter();
        let gone: BTreeSet<_> = held
            .chain(wanted)
            .filter(|name| !seen.contains(*name))
            .cloned()
            .collect();
        drop(accepted);
        for name in gone {
            self.gone(kind, &name, now);
        }
    }

    /// The server says that a resource is not there, or not any more.
    pub(super) fn gone(&mut self, kind: Kind, name: &Arc<str>, now: Instant) {
        let held = self.accepted.lock().remove(kind, name);
        if held.is_some() {
            self.note_change(kind);
        }
        self.ads.wire.lost(kind, name);
        self.expiries.remove(&(kind, name.clone()));
        self.status.forgotten(kind, name);
        match kind {
            // Whoever was trusted still is: trust ends by being replaced.
            Kind::Secret => {}
            Kind::Cluster if self.static_clusters.contains(name) => {}
            Kind::Cluster => self.builder.remove_cluster(name, now),
            Kind::Endpoints => self.builder.remove_endpoints(name),
            Kind::Route => self.builder.remove_routes(name),
            Kind::Listener if self.static_listeners.contains(name) => {}
            Kind::Listener => {
                self.builder.remove_listener(name);
                if let Some(demand) = &self.options.demand {
                    self.asked.remove(name);
                    demand.absent(name, Absence::Unknown, now);
                }
            }
        }
    }

    /// The server says why it does not tell a resource; what is held of it stays.
    fn withheld(&mut self, kind: Kind, name: &Arc<str>, why: &str, now: Instant) {
        self.status.refused(
            kind,
            &Refusal::new(&**name, format!("withheld by the server: {why}")),
        );
        if self.accepted.lock().get(kind, name).is_none() {
            self.gone(kind, name, now);
        }
    }

    /// Gives up what was not renewed in its time to live.
    pub(super) fn expire(&mut self, now: Instant) {
        let over: Vec<_> = self
            .expiries
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(key, _)| key.clone())
            .collect();
        for (kind, name) in over {
            warn!(?kind, %name, "resource was not renewed in time");
            if kind == Kind::Endpoints {
                // Unlike a removal, after which the last endpoints serve on, this says that they are not to be used.
                self.builder
                    .put_endpoints(&name, Arc::new(EndpointSet::default()));
            }
            self.gone(kind, &name, now);
        }
    }

    pub(super) fn note_change(&mut self, kind: Kind) {
        match kind {
            Kind::Endpoints => self.changes.endpoints = true,
            Kind::Secret | Kind::Cluster | Kind::Listener | Kind::Route => {
                self.changes.tables = true;
            }
        }
    }
}
