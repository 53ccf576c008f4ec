//! Bounds on open connections, and the guards that count them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::bound::Bound;
use crate::drain::OpenConnection;
use crate::telemetry::GaugeGuard;
use crate::worker::Load;

/// The bound on the connections of the process.
#[derive(Debug)]
pub(crate) struct Admission {
    max: usize,
    open: AtomicUsize,
    released: Notify,
}

impl Admission {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max,
            open: AtomicUsize::new(0),
            released: Notify::new(),
        }
    }

    /// Counts a connection if there is room.
    pub(super) fn try_open(&self) -> bool {
        if self.open.fetch_add(1, Ordering::Relaxed) < self.max {
            return true;
        }
        self.open.fetch_sub(1, Ordering::Relaxed);
        false
    }

    pub(super) fn has_room(&self) -> bool {
        self.open.load(Ordering::Acquire) < self.max
    }

    /// Resolves when a connection closes after this call: descriptors and room are free again.
    pub(super) fn released(&self) -> Notified<'_> {
        self.released.notified()
    }

    fn close(&self) {
        self.open.fetch_sub(1, Ordering::AcqRel);
        self.released.notify_waiters();
    }
}

/// How many downstream connections the process holds where nothing is configured: the descriptors it may open, less some
/// for itself, halved, for each connection may need one upstream.
pub fn default_connections_max() -> usize {
    const OWN_DESCRIPTORS: u64 = 256;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let free = limit.unwrap_or(u64::MAX).saturating_sub(OWN_DESCRIPTORS) / 2;
    usize::try_from(free)
        .unwrap_or(usize::MAX)
        .clamp(16, 1 << 20)
}

/// An accepted connection in all counts that it is part of; dropped when the connection is closed.
#[derive(Debug)]
pub struct ConnectionGuard {
    pub(super) admission: Arc<Admission>,
    pub(super) bound: Arc<Bound>,
    pub(super) load: Arc<Load>,
    pub(super) _open: OpenConnection,
    pub(super) _active: [GaugeGuard; 2],
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.load.sub();
        self.bound.closed();
        self.admission.close();
    }
}
