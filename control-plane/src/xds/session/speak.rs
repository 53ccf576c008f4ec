//! What the client is told next.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::Session;
use super::report::Mark;
use crate::snapshot::{Resource, ResourceType, Snapshot};
use crate::xds::node::NodeInfo;
use crate::xds::push::{DeltaPush, Push, SotwPush};
use crate::xds::subscription::{Lack, Subscription};

impl Session {
    /// The next response that this client is to have of `snapshot`; `None`: nothing now.
    pub fn next_push(&mut self, snapshot: &Snapshot, now: Timestamp) -> Option<Push> {
        let node = Arc::clone(self.node.as_ref()?);
        if let Some((type_url, removed)) = self.unserved.pop_first() {
            return Some(self.absent(type_url, removed, snapshot));
        }
        let mut held = false;
        for kind in ResourceType::ALL {
            let state = self.state(kind);
            if state.is_level(snapshot) {
                continue;
            }
            let mut lacks = state.subscription.lacks(kind, snapshot, &node.view);
            if state.resumes(kind, &lacks, snapshot, now) {
                continue;
            }
            let due = std::mem::take(&mut state.first_answer_due);
            let all = lacks.len();
            let blocked = held || state.in_flight.is_some();
            let owed = |name: &Arc<str>| {
                let entry = state.subscription.entries.get(name);
                entry.is_some_and(|entry| entry.owed)
            };
            let waiting: Vec<_> = lacks
                .iter()
                .filter(|(name, lack)| matches!(lack, Lack::Removal) || (blocked && !owed(name)))
                .map(|(name, lack)| (Arc::clone(name), matches!(lack, Lack::Removal)))
                .collect();
            for (name, _) in &waiting {
                lacks.remove(name);
            }
            held |= waiting.iter().any(|(_, removal)| !removal);
            if (all > waiting.len() || due)
                && let Some(push) = self.build(kind, lacks, due, snapshot, now)
            {
                return Some(push);
            }
            if waiting.is_empty() {
                self.state(kind).level_with = Some(snapshot.serial);
            }
        }
        if held || self.types.iter().any(|state| state.in_flight.is_some()) {
            return None;
        }
        self.next_removal(snapshot, &node, now)
    }

    /// What is gone, told last and from what refers to what is referred to.
    fn next_removal(
        &mut self,
        snapshot: &Snapshot,
        node: &NodeInfo,
        now: Timestamp,
    ) -> Option<Push> {
        for kind in ResourceType::ALL.into_iter().rev() {
            let state = self.state(kind);
            if state.is_level(snapshot) {
                continue;
            }
            let lacks = state.subscription.lacks(kind, snapshot, &node.view);
            if !lacks.is_empty()
                && let Some(push) = self.build(kind, lacks, false, snapshot, now)
            {
                return Some(push);
            }
            self.state(kind).level_with = Some(snapshot.serial);
        }
        self.evaluated = snapshot.serial;
        None
    }

    fn build(
        &mut self,
        kind: ResourceType,
        lacks: BTreeMap<Arc<str>, Lack>,
        due: bool,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Option<Push> {
        let nonce = self.nonces + 1;
        let delta = self.delta;
        let state = self.state(kind);
        let News {
            resources,
            removed,
            replaced,
        } = News::tell(&mut state.subscription, lacks, nonce);
        let push = if delta {
            let something = due || !resources.is_empty() || !removed.is_empty();
            something.then(|| {
                Push::Delta(DeltaPush {
                    type_url: kind.type_url().into(),
                    system_version: snapshot.revision.to_string(),
                    nonce: nonce.to_string(),
                    resources,
                    removed,
                })
            })
        } else {
            state
                .sotw(kind, resources, due || !removed.is_empty())
                .map(|(resources, version)| {
                    Push::Sotw(SotwPush {
                        type_url: kind.type_url().into(),
                        version,
                        nonce: nonce.to_string(),
                        resources,
                    })
                })
        }?;
        let mark = Mark {
            revision: snapshot.revision,
            serial: snapshot.serial,
            at: now,
        };
        state.nonce = nonce;
        state.in_flight = Some(mark);
        state.report.sent = Some(mark);
        self.nonces = nonce;
        if kind == ResourceType::Cluster {
            self.owe_endpoints(&replaced);
        }
        Some(push)
    }

    /// Envoy warms a changed cluster until it is told its endpoints again, though they are the same
    /// (xDS transport protocol, "Resource warming").
    fn owe_endpoints(&mut self, clusters: &[Arc<str>]) {
        let state = self.state(ResourceType::Endpoint);
        for name in clusters {
            if let Some(entry) = state.subscription.entries.get_mut(name) {
                entry.owed = true;
                state.level_with = None;
            }
        }
    }

    fn absent(&mut self, type_url: String, removed: Vec<Arc<str>>, snapshot: &Snapshot) -> Push {
        self.nonces += 1;
        Push::Delta(DeltaPush {
            type_url: type_url.into(),
            system_version: snapshot.revision.to_string(),
            nonce: self.nonces.to_string(),
            resources: Vec::new(),
            removed,
        })
    }
}

/// What a response brings.
struct News {
    resources: Vec<Arc<Resource>>,
    removed: Vec<Arc<str>>,
    /// Names among the resources that the client had in another form.
    replaced: Vec<Arc<str>>,
}

impl News {
    /// Notes what the client is about to be told.
    fn tell(subscription: &mut Subscription, lacks: BTreeMap<Arc<str>, Lack>, nonce: u64) -> Self {
        let mut news = Self {
            resources: Vec::new(),
            removed: Vec::new(),
            replaced: Vec::new(),
        };
        for (name, lack) in lacks {
            match lack {
                Lack::Resource(resource) => {
                    if subscription.told_resource(&resource, nonce) {
                        news.replaced.push(name);
                    }
                    news.resources.push(resource);
                }
                Lack::Absence | Lack::Removal => {
                    subscription.told_absent(&name, nonce);
                    news.removed.push(name);
                }
            }
        }
        news
    }
}
