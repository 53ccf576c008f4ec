//! Workloads that registered themselves over their xDS streams, and how long they stay when these break.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::translate::{Registration, RegistrationKey};

/// All registered workloads.
#[derive(Debug)]
pub struct Registry {
    slots: Mutex<BTreeMap<RegistrationKey, Slot>>,
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
    key: RegistrationKey,
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
        let key = registration.key();
        let mut slots = self.lock();
        let replaced = make_way(&mut slots, &key);
        let streams = slots.get(&key).map_or(0, |slot| slot.streams);
        let slot = Slot {
            registration: Arc::clone(&registration),
            streams: streams + 1,
            leaves: None,
        };
        let before = slots.insert(key.clone(), slot);
        drop(slots);
        if replaced || before.is_none_or(|slot| slot.registration != registration) {
            self.changed();
        }
        RegistrationGuard {
            registry: Arc::clone(self),
            key,
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
            (registration.key(), slot)
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

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RegistrationKey, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes away what this node was before it proved who it is, or when it had to no longer, and says whether there was such.
/// Of two that have proved to be different, neither makes the other go.
fn make_way(
    slots: &mut BTreeMap<RegistrationKey, Slot>,
    (node_id, identity): &RegistrationKey,
) -> bool {
    let before = slots.len();
    slots.retain(|(node, other), slot| {
        let same = node == node_id && identity != other && (identity.is_none() || other.is_none());
        !same || slot.streams > 0
    });
    slots.len() != before
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
        if let Some(slot) = slots.get_mut(&self.key) {
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

#[cfg(test)]
mod tests {
    use weft_config::spiffe::SpiffeId;

    use super::*;
    use crate::translate::Workload;

    fn registration(node: &str, account: Option<&str>) -> Arc<Registration> {
        let id = account.map(|it| format!("spiffe://mesh.test/ns/default/sa/{it}"));
        Arc::new(Registration {
            node_id: node.into(),
            workload: Workload {
                service: "web".to_owned(),
                namespace: "default".to_owned(),
                labels: BTreeMap::new(),
                address: [127, 0, 0, 1].into(),
                inbound_port: 15006,
                redirected: false,
                ports: vec![80],
                instance: String::new(),
                zone: String::new(),
                identity: id.map(|id| SpiffeId::parse(&id).unwrap()),
            },
        })
    }

    #[tokio::test]
    async fn a_node_takes_its_own_place_and_no_one_elses() {
        let registry = Arc::new(Registry::new(Duration::from_secs(5)));
        let later = Instant::now() + Duration::from_secs(60);
        registry.remember(
            [registration("a", None), registration("b", Some("b"))],
            later,
        );
        let proved = registry.register(registration("a", Some("a")));
        let other = registry.register(registration("a", Some("other")));
        let foreign = registry.register(registration("b", Some("other")));
        let registered = registry.workloads();
        let identities = |node: &str| -> Vec<Option<String>> {
            let of_node = registered.iter().filter(|it| &*it.node_id == node);
            let identities = of_node.map(|it| it.workload.identity.as_ref());
            let path = |it: Option<&SpiffeId>| it.map(|it| it.path().to_owned());
            identities.map(path).collect()
        };
        let path = |account: &str| Some(format!("/ns/default/sa/{account}"));
        assert_eq!(identities("a"), [path("a"), path("other")]);
        assert_eq!(identities("b"), [path("b"), path("other")]);
        drop((proved, other, foreign));
    }

    #[test]
    fn an_identity_is_remembered_and_may_be_missing() {
        for account in [None, Some("a")] {
            let workload = registration("a", account).workload.clone();
            let text = serde_json::to_string(&workload).unwrap();
            assert_eq!(text.contains("identity"), account.is_some());
            assert_eq!(serde_json::from_str::<Workload>(&text).unwrap(), workload);
        }
    }
}
