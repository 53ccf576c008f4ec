//! Workloads that registered themselves over their xDS streams, and how long they stay when these break.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::translate::Registration;

/// All registered workloads.
#[derive(Debug)]
pub struct Registry {
    slots: Mutex<BTreeMap<Arc<str>, Slot>>,
    grace: Duration,
    changes: watch::Sender<u64>,
}

/// What a change was, in numbers.
pub type RegistryEvent = u64;

#[derive(Debug)]
struct Slot {
    registration: Arc<Registration>,
    streams: usize,
    /// When it goes; `None` while a stream is open.
    leaves: Option<Instant>,
}

/// Keeps a workload registered; once the last of its guards is dropped its grace period begins.
#[derive(Debug)]
pub(crate) struct RegistrationGuard {
    registry: Arc<Registry>,
    node_id: Arc<str>,
    since: RegistryEvent,
}

impl Registry {
    /// None registered; a workload stays for `grace` after its last stream ended.
    pub fn new(grace: Duration) -> Self {
        Self {
            slots: Mutex::default(),
            grace,
            changes: watch::Sender::new(0),
        }
    }

    /// Registers a workload for as long as the guard lives.
    pub(crate) fn register(self: &Arc<Self>, registration: Arc<Registration>) -> RegistrationGuard {
        let node_id = Arc::clone(&registration.node_id);
        let mut slots = self.lock();
        let streams = slots.get(&node_id).map_or(0, |slot| slot.streams);
        let slot = Slot {
            registration: Arc::clone(&registration),
            streams: streams + 1,
            leaves: None,
        };
        let before = slots.insert(Arc::clone(&node_id), slot);
        drop(slots);
        if before.is_none_or(|slot| slot.registration != registration) {
            self.changed();
        }
        RegistrationGuard {
            registry: Arc::clone(self),
            node_id,
            since: *self.changes.borrow(),
        }
    }

    /// Registers workloads that were known before a restart. Their sidecars have until `leaves` to come back.
    pub(crate) fn remember(
        &self,
        workloads: impl IntoIterator<Item = Arc<Registration>>,
        leaves: Instant,
    ) {
        let slots = workloads.into_iter().map(|registration| {
            let slot = Slot {
                registration: Arc::clone(&registration),
                streams: 0,
                leaves: Some(leaves),
            };
            (Arc::clone(&registration.node_id), slot)
        });
        self.lock().extend(slots);
        self.changed();
    }

    /// All workloads, by node.
    pub fn workloads(&self) -> Vec<Arc<Registration>> {
        let slots = self.lock();
        slots
            .values()
            .map(|slot| Arc::clone(&slot.registration))
            .collect()
    }

    /// Tells of each change.
    pub fn changes(&self) -> watch::Receiver<RegistryEvent> {
        self.changes.subscribe()
    }

    /// Lets those go whose grace has passed; gives back when the next one's does.
    pub fn sweep(&self, now: Instant) -> Option<Instant> {
        let mut slots = self.lock();
        let before = slots.len();
        slots.retain(|_, slot| slot.leaves.is_none_or(|leaves| leaves > now));
        let gone = slots.len() != before;
        let next = slots.values().filter_map(|slot| slot.leaves).min();
        drop(slots);
        if gone {
            self.changed();
        }
        next
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RegistrationGuard {
    /// The change since which the registry knows the workload.
    pub(crate) fn since(&self) -> RegistryEvent {
        self.since
    }
}

impl Drop for RegistrationGuard {
    fn drop(&mut self) {
        let mut slots = self.registry.lock();
        if let Some(slot) = slots.get_mut(&self.node_id) {
            slot.streams = slot.streams.saturating_sub(1);
            if slot.streams == 0 {
                slot.leaves = Some(Instant::now() + self.registry.grace);
            }
        }
        drop(slots);
        // Whoever sweeps has to learn of the new deadline.
        self.registry.changed();
    }
}
