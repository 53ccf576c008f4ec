//! What is known of one endpoint, carried over from one endpoint set to the next.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use weft_config::endpoint::{Address, Labels};

use super::outlier::Record;

/// Names an endpoint within this process, over all clusters; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId(pub u64);

impl EndpointId {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// One endpoint of one cluster. Lives on while the cluster has its address (with its `hostname` and the labels by which
/// its transport is chosen), whatever else changes.
#[derive(Debug)]
pub struct EndpointState {
    /// Its name in this process; upstream pools are keyed by it.
    pub id: EndpointId,
    /// Where it is.
    pub address: Address,
    /// `hostname` of the xDS endpoint; empty when not given.
    pub hostname: Arc<str>,
    /// What its cluster chooses by how it is spoken to.
    pub socket_labels: Labels,
    active: AtomicU32,
    requests: AtomicU64,
    failures: AtomicU64,
    pub(super) record: Record,
}

impl EndpointState {
    /// An endpoint where nothing has happened yet.
    pub fn new(address: Address, hostname: Arc<str>, socket_labels: Labels) -> Arc<Self> {
        Arc::new(Self {
            id: EndpointId::next(),
            address,
            hostname,
            socket_labels,
            active: AtomicU32::new(0),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            record: Record::default(),
        })
    }

    /// A request (or plain TCP connection) begins there, and ends when the guard is dropped.
    pub fn begin(self: &Arc<Self>) -> ActiveGuard {
        self.active.fetch_add(1, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        ActiveGuard(self.clone())
    }

    /// Requests running there now.
    pub fn active(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }

    /// Requests begun there so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Requests that failed there so far.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    pub(super) fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }
}

/// A request running at an endpoint; over when dropped.
#[derive(Debug)]
pub struct ActiveGuard(Arc<EndpointState>);

impl ActiveGuard {
    /// The endpoint it runs at.
    pub fn endpoint(&self) -> &Arc<EndpointState> {
        &self.0
    }
}

impl Drop for ActiveGuard {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How an attempt at an endpoint ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answered with this HTTP status, or with the gRPC status that says the same.
    Status(u16),
    /// It was connected to and nothing more can be told: plain TCP.
    Connected,
    /// No connection could be opened.
    ConnectFailed,
    /// Opening a connection took too long.
    ConnectTimedOut,
    /// The connection or stream broke before an answer.
    Reset,
    /// No answer came in time.
    TimedOut,
}

impl Outcome {
    /// Whether the endpoint did what it is there for.
    pub fn is_good(self) -> bool {
        matches!(self, Self::Connected | Self::Status(..500))
    }
}
