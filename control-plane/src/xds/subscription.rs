//! What one stream is subscribed to of one type, and what it has been told.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::snapshot::{NodeView, Resource, ResourceType, Snapshot, Version};

/// What the client was told of a name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Told {
    /// Nothing yet.
    Nothing,
    /// That it does not exist.
    Absent,
    /// This resource, on this stream.
    Resource(Arc<Resource>),
    /// This version, on an earlier stream.
    Earlier(Version),
}

/// One name.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Asked for by name, not only by the wildcard.
    pub(crate) named: bool,
    /// What the client was told.
    pub(crate) told: Told,
    /// An answer is due even if nothing changed.
    pub(crate) owed: bool,
    /// The response that told it.
    pub(crate) told_by: u64,
}

/// What one name lacks.
#[derive(Clone, Debug)]
pub(crate) enum Lack {
    /// This resource is to be sent.
    Resource(Arc<Resource>),
    /// The client asked and is to hear that there is none.
    Absence,
    /// What the client has is gone.
    Removal,
}

/// The subscription of one type.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subscription {
    pub(crate) wildcard: bool,
    pub(crate) entries: BTreeMap<Arc<str>, Entry>,
}

impl Subscription {
    /// Adds `name`; a name that is subscribed already is owed again (xDS: re-subscription asks for the resource anew).
    pub(crate) fn subscribe(&mut self, name: &str) {
        match self.entries.get_mut(name) {
            Some(entry) => {
                entry.named = true;
                entry.owed = true;
            }
            None => {
                self.entries.insert(name.into(), Entry::asked());
            }
        }
    }

    /// Takes `name` away; the wildcard may still cover it.
    pub(crate) fn unsubscribe(&mut self, name: &str) {
        if self.wildcard {
            if let Some(entry) = self.entries.get_mut(name) {
                entry.named = false;
                // A name that only the wildcard covers now is told again by it, or told to be gone.
                if entry.told == Told::Absent || entry.told == Told::Nothing {
                    self.entries.remove(name);
                }
            }
            return;
        }
        self.entries.remove(name);
    }

    /// Takes the wildcard away, and with it what only the wildcard covered.
    pub(crate) fn unsubscribe_wildcard(&mut self) {
        self.wildcard = false;
        self.entries.retain(|_, entry| entry.named);
    }

    /// Notes what the client has from an earlier stream.
    pub(crate) fn remember(&mut self, name: &str, version: &str) {
        let wildcard = self.wildcard;
        match self.entries.get_mut(name) {
            Some(entry) => {
                entry.told = Told::Earlier(version.into());
                entry.owed = false;
            }
            None if wildcard => {
                let entry = Entry {
                    named: false,
                    told: Told::Earlier(version.into()),
                    owed: false,
                    told_by: 0,
                };
                self.entries.insert(name.into(), entry);
            }
            None => {}
        }
    }

    /// Everything that differs between what the client was told and `snapshot`; what turns out to be the same as on an
    /// earlier stream is settled on the way.
    pub(crate) fn lacks(
        &mut self,
        kind: ResourceType,
        snapshot: &Snapshot,
        node: &NodeView,
    ) -> BTreeMap<Arc<str>, Lack> {
        let mut lacks = BTreeMap::new();
        let mut covered: BTreeMap<Arc<str>, Arc<Resource>> = BTreeMap::new();
        if self.wildcard {
            for resource in snapshot.all(kind, node) {
                covered.insert(Arc::clone(&resource.name), resource);
            }
        }
        for (name, entry) in &mut self.entries {
            let found = match covered.remove(name) {
                Some(resource) => Some(resource),
                None if entry.named => snapshot.find(kind, name, node),
                None => None,
            };
            if let Some(lack) = entry.compare(found) {
                lacks.insert(Arc::clone(name), lack);
            }
        }
        lacks.extend(
            covered
                .into_iter()
                .map(|(name, resource)| (name, Lack::Resource(resource))),
        );
        lacks
    }

    /// Notes that `resource` is being sent; the answer is whether it takes the place of a different one.
    pub(crate) fn told_resource(&mut self, resource: &Arc<Resource>, by: u64) -> bool {
        let entry = self
            .entries
            .entry(Arc::clone(&resource.name))
            .or_insert_with(Entry::covered);
        let replaces = match &entry.told {
            Told::Resource(old) => old.version != resource.version,
            Told::Earlier(old) => *old != resource.version,
            Told::Nothing | Told::Absent => false,
        };
        entry.told = Told::Resource(Arc::clone(resource));
        entry.told_by = by;
        entry.owed = false;
        replaces
    }

    /// Notes that the client is being told that `name` does not exist.
    pub(crate) fn told_absent(&mut self, name: &str, by: u64) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.told = Told::Absent;
            entry.told_by = by;
            entry.owed = false;
            if !entry.named {
                self.entries.remove(name);
            }
        }
    }
}

impl Entry {
    fn asked() -> Self {
        Self {
            named: true,
            told: Told::Nothing,
            owed: true,
            told_by: 0,
        }
    }

    fn covered() -> Self {
        Self {
            named: false,
            told: Told::Nothing,
            owed: false,
            told_by: 0,
        }
    }

    fn compare(&mut self, found: Option<Arc<Resource>>) -> Option<Lack> {
        match (&self.told, found) {
            (Told::Resource(old), Some(new)) => {
                let same = old.version == new.version;
                (!same || self.owed).then_some(Lack::Resource(new))
            }
            (Told::Earlier(old), Some(new)) if *old == new.version && !self.owed => {
                self.told = Told::Resource(new);
                None
            }
            (_, Some(new)) => Some(Lack::Resource(new)),
            (Told::Nothing, None) => Some(Lack::Absence),
            (Told::Absent, None) => self.owed.then_some(Lack::Absence),
            (Told::Resource(_) | Told::Earlier(_), None) => Some(Lack::Removal),
        }
    }
}
