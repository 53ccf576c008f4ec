//! What is counted of a listener.

use std::sync::Arc;
use std::sync::atomic::AtomicU8;

use weft_config::listener::Direction;

use super::counter::{Counter, Gauge, SHARDS};
use super::tls::TlsStats;

/// Counts of one listener.
#[derive(Debug)]
pub struct ListenerStats {
    /// The listener's name.
    pub name: Arc<str>,
    /// Which way its traffic goes.
    pub direction: Direction,
    /// Connections open now.
    pub connections_active: Gauge,
    /// Connections accepted.
    pub connections: Counter,
    /// Connections refused: too many, draining, or not allowed.
    pub connections_refused: Counter,
    /// Connections that no filter chain matched.
    pub no_filter_chain: Counter,
    /// Connections handed to another worker than the one that accepted them.
    pub handovers: Counter,
    /// Its TLS handshakes.
    pub tls: TlsStats,
    /// Requests running now.
    pub requests_active: Gauge,
    /// Plain TCP connections running now.
    pub tcp_active: Gauge,
    /// Connections open now, by worker.
    pub by_worker: [Gauge; SHARDS],
    pub(super) exposure: AtomicU8,
}

impl ListenerStats {
    pub(super) fn new(name: Arc<str>, direction: Direction) -> Self {
        Self {
            name,
            direction,
            connections_active: Gauge::default(),
            connections: Counter::default(),
            connections_refused: Counter::default(),
            no_filter_chain: Counter::default(),
            handovers: Counter::default(),
            tls: TlsStats::default(),
            requests_active: Gauge::default(),
            tcp_active: Gauge::default(),
            by_worker: Default::default(),
            exposure: AtomicU8::new(0),
        }
    }

    /// The gauge of connections open on one worker.
    pub fn worker(&self, index: usize) -> &Gauge {
        self.by_worker
            .get(index % SHARDS)
            .unwrap_or(&self.connections_active)
    }
}
