//! A proxy that runs: its handles, from the start to the end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{oneshot, watch};

use super::config::{Config, StartError};
use super::control;
use crate::drain::Drain;
use crate::snapshot::SnapshotStore;
use crate::telemetry::Metrics;
use crate::xds::Status;

/// The proxy.
#[derive(Debug)]
pub struct Proxy;

/// What the control thread hands out once it is up.
#[derive(Clone, Debug)]
pub(super) struct Handles {
    pub(super) snapshots: Arc<SnapshotStore>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) status: Arc<Status>,
    pub(super) drain: Drain,
    pub(super) addresses: watch::Receiver<BTreeMap<Arc<str>, SocketAddr>>,
    pub(super) admin: Option<SocketAddr>,
    pub(super) metrics_page: Option<SocketAddr>,
}

/// A proxy that runs. Dropping it drains it without waiting.
#[derive(Debug)]
pub struct Running {
    handles: Handles,
    ended: Option<oneshot::Receiver<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts a proxy and returns when what is known at the start is in force and bound. Blocks for some milliseconds.
    ///
    /// # Errors
    /// If an address cannot be bound, or a thread not be started.
    pub fn start(config: Config) -> Result<Running, StartError> {
        let (up, is_up) = std::sync::mpsc::sync_channel(1);
        let (end, ended) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || {
                control::run(config, &up);
                // An error means that nobody waits any more.
                let _ = end.send(());
            })
            .map_err(StartError::Thread)?;
        let handles = is_up.recv().map_err(|_| StartError::Ended)??;
        Ok(Running {
            handles,
            ended: Some(ended),
            thread: Some(thread),
        })
    }
}

impl Running {
    /// What is in force.
    pub fn snapshots(&self) -> &Arc<SnapshotStore> {
        &self.handles.snapshots
    }

    /// What is counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.handles.metrics
    }

    /// The xDS client.
    pub fn status(&self) -> &Arc<Status> {
        &self.handles.status
    }

    /// The drain; [`Drain::quit`] begins the end.
    pub fn drain(&self) -> &Drain {
        &self.handles.drain
    }

    /// Where the admin pages are.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.handles.admin
    }

    /// Where `/metrics`, `/ready` and `/live` are.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.handles.metrics_page
    }

    /// Where each listener is bound now.
    pub fn addresses(&self) -> BTreeMap<Arc<str>, SocketAddr> {
        self.handles.addresses.borrow().clone()
    }

    /// Returns where `listener` is bound, as soon as it is.
    pub async fn address_of(&self, listener: &str) -> Option<SocketAddr> {
        let mut addresses = self.handles.addresses.clone();
        let bound = addresses
            .wait_for(|bound| bound.contains_key(listener))
            .await
            .ok()?;
        bound.get(listener).copied()
    }

    /// Returns when `revision` or a later one is in force.
    pub async fn reached(&self, revision: u64) {
        let mut revisions = self.handles.snapshots.revisions();
        // The store lives as long as we do, so that there is always somebody to tell.
        drop(revisions.wait_for(|current| *current >= revision).await);
    }

    /// Returns when the first tables are in force.
    pub async fn ready(&self) {
        let mut ready = self.handles.status.watch_ready();
        drop(ready.wait_for(|ready| *ready).await);
    }

    /// Returns when the drain is done and all threads have ended.
    pub async fn ended(&mut self) {
        if let Some(ended) = self.ended.take() {
            // An error means that the thread is gone already.
            drop(ended.await);
        }
        if let Some(thread) = self.thread.take() {
            // It has sent its last word, and ends now.
            drop(thread.join());
        }
    }

    /// Drains and waits for the end.
    pub async fn shutdown(mut self) {
        self.handles.drain.quit();
        self.ended().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handles.drain.quit();
    }
}
