//! One bound address, shared by the control thread and the workers that accept on it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwap;
use weft_config::listener::{Direction, Listener};

use crate::telemetry::{ListenerStats, Metrics};

/// One bound address. It outlives changes of its listener, renames included; what these change is swapped.
#[derive(Debug)]
pub(crate) struct Bound {
    /// Tells it from addresses bound before and after; never used twice.
    pub(crate) id: u64,
    /// What is bound, with the port the kernel chose where the listener says 0.
    pub(crate) address: SocketAddr,
    settings: ArcSwap<Settings>,
    open: AtomicU32,
}

/// What accepting needs to know of the listener.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) name: Arc<str>,
    pub(crate) direction: Direction,
    pub(crate) use_original_dst: bool,
    pub(crate) transparent: bool,
    pub(crate) original_src: bool,
    pub(crate) application_ports: Arc<[u16]>,
    pub(crate) connections_max: Option<u32>,
    pub(crate) stats: Arc<ListenerStats>,
}

impl Settings {
    pub(crate) fn of(listener: &Listener, metrics: &Metrics) -> Self {
        Self {
            name: listener.name.clone(),
            direction: listener.direction,
            use_original_dst: listener.use_original_dst,
            transparent: listener.transparent,
            original_src: listener.original_src,
            application_ports: listener.application_ports.clone(),
            connections_max: listener.connections_max,
            stats: metrics.listener(&listener.name, listener.direction),
        }
    }
}

impl Bound {
    pub(crate) fn new(id: u64, address: SocketAddr, settings: Settings) -> Self {
        Self {
            id,
            address,
            settings: ArcSwap::from_pointee(settings),
            open: AtomicU32::new(0),
        }
    }

    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    pub(crate) fn set(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
    }

    /// Counts a connection unless the listener has as many as it may.
    pub(super) fn try_open(&self, connections_max: Option<u32>) -> bool {
        let max = connections_max.unwrap_or(u32::MAX);
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        if before < max {
            return true;
        }
        self.closed();
        false
    }

    pub(super) fn closed(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}
