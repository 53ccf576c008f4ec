//! One type of one stream: what is subscribed to, what is unanswered, what is lacking.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::report::{EntryState, Mark, Nack, Reply, TypeReport};
use crate::snapshot::{Resource, ResourceType, Snapshot, content_hash};
use crate::xds::subscription::{Lack, Subscription, Told};

/// The state of one type.
#[derive(Debug, Default)]
pub(super) struct TypeState {
    pub(super) subscription: Subscription,
    pub(super) had_names: bool,
    /// SotW: the version that the first request named.
    pub(super) resume: Option<String>,
    /// SotW: the first wildcard request is answered even if there is nothing.
    pub(super) first_answer_due: bool,
    pub(super) nonce: u64,
    pub(super) in_flight: Option<Mark>,
    pub(super) nacked_nonce: u64,
    /// The snapshot of which nothing is lacking; `None`: not known.
    pub(super) level_with: Option<u64>,
    pub(super) report: TypeReport,
}

impl TypeState {
    /// Whether nothing of `snapshot` can be lacking.
    pub(super) fn is_level(&self, snapshot: &Snapshot) -> bool {
        !self.report.started || self.level_with == Some(snapshot.serial)
    }

    /// Notes what a request says of the last response.
    pub(super) fn take_answer(
        &mut self,
        nonce: &str,
        refusal: Option<String>,
        now: Timestamp,
    ) -> Reply {
        if nonce.is_empty() || self.nonce == 0 {
            return Reply::None;
        }
        if nonce.parse() != Ok(self.nonce) {
            return Reply::Stale;
        }
        let Some(sent) = self.in_flight.take() else {
            return Reply::None;
        };
        let mark = Mark { at: now, ..sent };
        let Some(reason) = refusal else {
            self.report.acked = Some(mark);
            self.report.nacked = None;
            return Reply::Accepted;
        };
        let shown = |it: char| {
            if it.is_control() && it != '\n' {
                '\u{fffd}'
            } else {
                it
            }
        };
        let reason: String = reason.chars().take(REASON_CHARS_MAX).map(shown).collect();
        self.nacked_nonce = self.nonce;
        self.report.nacked = Some(Nack {
            mark,
            reason: reason.into(),
        });
        Reply::Refused
    }

    /// SotW: makes the subscription exactly these names.
    pub(super) fn subscribe_exactly(&mut self, names: &[&str], wildcard: bool) {
        let wanted: HashSet<&str> = names.iter().copied().filter(|name| *name != "*").collect();
        let subscription = &mut self.subscription;
        let gone: Vec<_> = subscription
            .entries
            .iter()
            .filter(|(name, entry)| entry.named && !wanted.contains(&***name))
            .map(|(name, _)| Arc::clone(name))
            .collect();
        let changed = wildcard != subscription.wildcard || !gone.is_empty();
        if !wildcard && subscription.wildcard {
            subscription.unsubscribe_wildcard();
        }
        subscription.wildcard = wildcard;
        for name in gone {
            subscription.unsubscribe(&name);
        }
        let mut added = false;
        for name in wanted {
            if !subscription
                .entries
                .get(name)
                .is_some_and(|entry| entry.named)
            {
                subscription.subscribe(name);
                added = true;
            }
        }
        if changed || added || !self.report.started {
            self.level_with = None;
        }
    }

    /// SotW: whether the client has already, from an earlier stream, exactly what it would now be sent.
    pub(super) fn resumes(
        &mut self,
        kind: ResourceType,
        lacks: &BTreeMap<Arc<str>, Lack>,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> bool {
        let Some(version) = self.resume.take() else {
            return false;
        };
        let resources = lacks.values().filter_map(|lack| match lack {
            Lack::Resource(resource) => Some(resource),
            Lack::Absence | Lack::Removal => None,
        });
        // What does not exist is said by what is missing from a full-state response: such a one must be sent.
        let absence = lacks
            .values()
            .any(|lack| !matches!(lack, Lack::Resource(_)));
        if state_version(resources) != version || (absence && kind.is_full_state()) {
            return false;
        }
        for (name, lack) in lacks {
            match lack {
                Lack::Resource(resource) => {
                    self.subscription.told_resource(resource, 0);
                }
                Lack::Absence | Lack::Removal => self.subscription.told_absent(name, 0),
            }
        }
        self.first_answer_due = false;
        self.level_with = Some(snapshot.serial);
        self.report.acked = Some(Mark {
            revision: snapshot.revision,
            serial: snapshot.serial,
            at: now,
        });
        true
    }

    /// What a SotW response holds: everything for LDS and CDS, else what is new. `None`: there is nothing to say.
    pub(super) fn sotw(
        &self,
        kind: ResourceType,
        new: Vec<Arc<Resource>>,
        say_absence: bool,
    ) -> Option<(Vec<Arc<Resource>>, String)> {
        let known: Vec<Arc<Resource>> = self
            .subscription
            .entries
            .values()
            .filter_map(|entry| match &entry.told {
                Told::Resource(resource) => Some(Arc::clone(resource)),
                Told::Nothing | Told::Absent | Told::Earlier(_) => None,
            })
            .collect();
        let version = state_version(&known);
        match kind.is_full_state() {
            true if !new.is_empty() || say_absence => Some((known, version)),
            false if !new.is_empty() => Some((new, version)),
            _ => None,
        }
    }

    pub(super) fn entry_state(&self, told: &Told, told_by: u64) -> EntryState {
        match told {
            Told::Nothing => EntryState::NotSent,
            Told::Absent => EntryState::Absent,
            Told::Earlier(_) => EntryState::Accepted,
            Told::Resource(_) if told_by != 0 && told_by == self.nacked_nonce => {
                EntryState::Refused
            }
            Told::Resource(_) if self.in_flight.is_some() && told_by == self.nonce => {
                EntryState::Unanswered
            }
            Told::Resource(_) => EntryState::Accepted,
        }
    }
}

/// The version of a state: a hash over names and versions, the same in every process that serves the same.
fn state_version<'a>(resources: impl IntoIterator<Item = &'a Arc<Resource>>) -> String {
    let hash = content_hash(
        resources
            .into_iter()
            .flat_map(|resource| [resource.name.as_bytes(), resource.version.as_bytes()]),
    );
    format!("{hash:016x}")
}

/// Words of a client that are kept.
const REASON_CHARS_MAX: usize = 4096;
