//! Bounds on open connections, and the guards that count them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Resource, getrlimit};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use weft_config::bootstrap::overload::Beyond;

use super::bound::Bound;
use crate::drain::OpenConnection;
use crate::telemetry::GaugeGuard;
use crate::worker::Load;

/// The bound on the connections of the process.
#[derive(Debug)]
pub(crate) struct Admission {
    max: usize,
    beyond: Beyond,
    open: AtomicUsize,
    released: Notify,
}

impl Admission {
    pub(crate) fn new(max: usize, beyond: Beyond) -> Self {
        Self {
            max,
            beyond,
            open: AtomicUsize::new(0),
            released: Notify::new(),
        }
    }

    /// Connections that there may be.
    pub(crate) fn max(&self) -> usize {
        self.max
    }

    /// Connections that there are.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
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

    /// Whether a connection is to be accepted: there is room for it, or it is to be refused.
    pub(super) fn takes_another(&self) -> bool {
        self.beyond == Beyond::Refuse || self.has_room()
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
/// for itself, halved, for each connection may need one upstream; and no more than fit into half of `memory_bytes`, where
/// that is known, if each of them takes what one that works takes.
pub fn default_connections_max(memory_bytes: Option<u64>) -> usize {
    let descriptors = getrlimit(Resource::Nofile).current;
    connections_max(descriptors.unwrap_or(u64::MAX), memory_bytes)
}

fn connections_max(descriptors: u64, memory_bytes: Option<u64>) -> usize {
    let by_descriptors = descriptors.saturating_sub(OWN_DESCRIPTORS) / 2;
    let by_memory = memory_bytes.map_or(u64::MAX, |bytes| bytes / 2 / CONNECTION_BYTES);
    usize::try_from(by_descriptors.min(by_memory))
        .unwrap_or(usize::MAX)
        .clamp(CONNECTIONS_MIN, CONNECTIONS_MAX)
}

/// Descriptors that the process needs for itself.
const OWN_DESCRIPTORS: u64 = 256;

/// What a connection is taken to need: some 2 KiB at rest, as much again upstream, and 8 KiB of the kernel's for the two
/// sockets. One may hold more, a head that lacks its end 64 KiB, and both directions of a body as much each; but not all do so
/// at once, and where they do load is shed by what memory there really is (`overload`), which a guess made beforehand
/// cannot know.
const CONNECTION_BYTES: u64 = 16 * 1024;

/// Connections that there may be in any case.
const CONNECTIONS_MIN: usize = 16;

/// Connections that there may be however much there is for them: at rest 128 MiB.
const CONNECTIONS_MAX: usize = 1 << 16;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_what_descriptors_and_memory_allow() {
        const GIB: u64 = 1 << 30;
        for (descriptors, memory, max) in [
            (0, None, 16),
            (1024, None, 384),
            (1024, Some(GIB), 384),
            (1 << 20, Some(GIB / 16), 2048),
            (1 << 20, Some(GIB / 4), 8192),
            (1 << 20, Some(0), 16),
            (1 << 20, Some(64 * GIB), 65_536),
            (u64::MAX, None, 65_536),
        ] {
            let got = connections_max(descriptors, memory);
            assert_eq!(got, max, "{descriptors} descriptors, {memory:?}");
        }
    }
}
