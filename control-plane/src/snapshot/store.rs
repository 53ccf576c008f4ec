//! The one place where a snapshot takes over from another.

use std::sync::Arc;

use tokio::sync::watch;

use super::Snapshot;

/// Holds the snapshot in force and tells who waits for the next.
#[derive(Debug)]
pub struct SnapshotStore {
    current: watch::Sender<Arc<Snapshot>>,
}

impl SnapshotStore {
    /// Starts with `first`.
    pub fn new(first: Snapshot) -> Self {
        Self {
            current: watch::Sender::new(Arc::new(first)),
        }
    }

    /// The snapshot in force.
    pub fn current(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.borrow())
    }

    /// Puts `next` in force.
    pub fn publish(&self, next: Snapshot) {
        self.current.send_replace(Arc::new(next));
    }

    /// A view that follows.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.current.subscribe()
    }
}
