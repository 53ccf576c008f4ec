//! The one pointer that readers follow.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::views::Snapshot;

/// The only place where one snapshot takes over from another.
#[derive(Debug)]
pub struct SnapshotStore {
    current: ArcSwap<Snapshot>,
    revisions: watch::Sender<u64>,
}

impl SnapshotStore {
    /// Holds the empty snapshot, revision 0.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            current: ArcSwap::from_pointee(Snapshot::default()),
            revisions: watch::Sender::new(0),
        })
    }

    /// The view in force now. Take it once per request and keep it to the end.
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// The pointer itself, for a look that ends with the turn: it costs no count of references.
    pub fn pointer(&self) -> &ArcSwap<Snapshot> {
        &self.current
    }

    /// Puts `next` in force. It is complete and warm; building it happened elsewhere.
    pub fn publish(&self, next: Snapshot) {
        let revision = next.revision;
        self.current.store(Arc::new(next));
        self.revisions.send_replace(revision);
    }

    /// Revisions as they come in force; intermediate ones may be skipped.
    pub fn revisions(&self) -> watch::Receiver<u64> {
        self.revisions.subscribe()
    }
}
