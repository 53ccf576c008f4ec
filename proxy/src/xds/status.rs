//! What the rest of the process may know of the xDS client.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tracing::{info, warn};

use super::decode::Refusal;
use super::kind::Kind;
use crate::telemetry::{Metrics, XdsStats};

/// Refusals that are remembered at once.
const REFUSALS_MAX: usize = 1_000;

/// State of the client, shared with the admin pages.
#[derive(Debug)]
pub struct Status {
    metrics: Arc<XdsStats>,
    tables: watch::Sender<bool>,
    ready: watch::Sender<bool>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    connected: bool,
    answered: bool,
    server: String,
    last_error: Option<String>,
    restored_from: Option<SystemTime>,
    refusals: BTreeMap<(Kind, Arc<str>), String>,
}

/// The state at one moment, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Whether a stream is up.
    pub connected: bool,
    /// The server of the stream, or the one tried last; empty where there is none.
    pub server: String,
    /// Why the last stream ended or could not be opened; `None` while all is well.
    pub last_error: Option<String>,
    /// When the tables in force were written to disk, where they came from there and no server has answered since.
    pub restored_from: Option<SystemTime>,
    /// Resources whose newest form was refused, each as `name: path: rule`.
    pub refusals: Vec<(Kind, String)>,
}

impl Status {
    /// Not connected, not ready.
    pub fn new(metrics: &Metrics) -> Arc<Self> {
        Arc::new(Self {
            metrics: metrics.xds.clone(),
            tables: watch::Sender::new(false),
            ready: watch::Sender::new(false),
            state: Mutex::default(),
        })
    }

    /// The state now.
    pub fn report(&self) -> Report {
        let state = self.lock();
        let refusals = state.refusals.iter();
        Report {
            connected: state.connected && state.answered,
            server: state.server.clone(),
            last_error: state.last_error.clone(),
            restored_from: state.restored_from,
            refusals: refusals
                .map(|((kind, _), line)| (*kind, line.clone()))
                .collect(),
        }
    }

    /// Whether the first tables are in force and their listeners listen.
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// For those who wait until that is so.
    pub fn watch_ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    pub(super) fn metrics(&self) -> &XdsStats {
        &self.metrics
    }

    pub(super) fn tables_in_force(&self) {
        self.tables.send_replace(true);
    }

    /// Returns when the first tables are in force.
    pub async fn tables(&self) {
        let mut tables = self.tables.subscribe();
        // The sender is ours: there is no error.
        drop(tables.wait_for(|tables| *tables).await);
    }

    /// The first tables are in force, and their listeners listen.
    pub fn ready(&self) {
        self.ready.send_replace(true);
    }

    pub(super) fn trying(&self, server: &str) {
        server.clone_into(&mut self.lock().server);
    }

    pub(super) fn stream_began(&self) {
        self.metrics.streams.inc();
        let mut state = self.lock();
        state.connected = true;
        state.answered = false;
    }

    /// The server says something: what is in force is its newest from now on.
    pub(super) fn answered(&self) {
        let mut state = self.lock();
        if state.answered {
            return;
        }
        state.answered = true;
        state.last_error = None;
        state.restored_from = None;
        self.metrics.connected.set(1);
        self.metrics.fresh();
        info!(server = state.server, "control plane answers");
    }

    pub(super) fn stream_ended(&self, why: &str) {
        let mut state = self.lock();
        state.connected = false;
        state.answered = false;
        self.metrics.connected.set(0);
        self.metrics.failures.inc();
        self.metrics.stale_since(SystemTime::now());
        if state.last_error.as_deref() != Some(why) {
            warn!(
                server = state.server,
                why, "control plane lost, what is in force stays"
            );
            state.last_error = Some(why.to_owned());
        }
    }

    pub(super) fn restored(&self, age: Duration) {
        let now = SystemTime::now();
        let written = now.checked_sub(age).unwrap_or(now);
        self.metrics.stale_since(written);
        self.lock().restored_from = Some(written);
    }

    pub(super) fn refused(&self, kind: Kind, refusal: &Refusal) {
        let mut state = self.lock();
        if state.refusals.len() < REFUSALS_MAX {
            let key = (kind, refusal.name.as_str().into());
            state.refusals.insert(key, refusal.line.clone());
        }
    }

    pub(super) fn accepted(&self, kind: Kind, name: &Arc<str>) {
        self.forgotten(kind, name);
    }

    pub(super) fn forgotten(&self, kind: Kind, name: &Arc<str>) {
        let mut state = self.lock();
        if !state.refusals.is_empty() {
            state.refusals.remove(&(kind, name.clone()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Plain values, consistent after every statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
