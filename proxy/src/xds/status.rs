//! What the rest of the process may know of the xDS client.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tracing::{info, warn};
use weft_config::tls::{SecretName, SecretOrigin};

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
    ads: Link,
    /// To servers of secrets.
    streams: BTreeMap<Arc<SecretName>, Link>,
    restored_from: Option<SystemTime>,
    refusals: BTreeMap<(Kind, Arc<str>), String>,
}

/// The stream to one server.
#[derive(Clone, Debug, Default)]
struct Link {
    connected: bool,
    answered: bool,
    address: String,
    last_error: Option<String>,
}

impl Link {
    fn began(&mut self) {
        self.connected = true;
        self.answered = false;
    }

    /// The server says something; whether it is its first word.
    fn answered(&mut self) -> bool {
        self.last_error = None;
        !std::mem::replace(&mut self.answered, true)
    }

    /// The stream is gone; whether that is news.
    fn ended(&mut self, why: &str) -> bool {
        self.connected = false;
        self.answered = false;
        let is_news = self.last_error.as_deref() != Some(why);
        self.last_error = Some(why.to_owned());
        is_news
    }

    fn is_up(&self) -> bool {
        self.connected && self.answered
    }
}

fn report((secret, link): (&Arc<SecretName>, &Link)) -> StreamReport {
    StreamReport {
        secret: secret.clone(),
        connected: link.is_up(),
        address: link.address.clone(),
        last_error: link.last_error.clone(),
    }
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
    /// Streams to servers of secrets.
    pub streams: Vec<StreamReport>,
}

/// The stream to a server of secrets at one moment, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamReport {
    /// The secret that it is for.
    pub secret: Arc<SecretName>,
    /// Whether a stream is up, and it has said something.
    pub connected: bool,
    /// Where it is, or was tried last; empty before that.
    pub address: String,
    /// Why the last stream ended or could not be opened; `None` while all is well.
    pub last_error: Option<String>,
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
            connected: state.ads.is_up(),
            server: state.ads.address.clone(),
            last_error: state.ads.last_error.clone(),
            restored_from: state.restored_from,
            refusals: refusals
                .map(|((kind, _), line)| (*kind, line.clone()))
                .collect(),
            streams: state.streams.iter().map(report).collect(),
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

    pub(super) fn trying(&self, address: &str) {
        address.clone_into(&mut self.lock().ads.address);
    }

    pub(super) fn stream_began(&self) {
        self.metrics.streams.inc();
        self.lock().ads.began();
    }

    /// The server says something: what is in force is its newest from now on.
    pub(super) fn answered(&self) {
        let mut state = self.lock();
        if !state.ads.answered() {
            return;
        }
        state.restored_from = None;
        self.metrics.connected.set(1);
        self.metrics.fresh();
        info!(server = state.ads.address, "control plane answers");
    }

    pub(super) fn stream_ended(&self, why: &str) {
        self.metrics.connected.set(0);
        self.metrics.failures.inc();
        self.metrics.stale_since(SystemTime::now());
        let mut state = self.lock();
        if state.ads.ended(why) {
            let server = &state.ads.address;
            warn!(server, why, "control plane lost, what is in force stays");
        }
    }

    /// A secret of a server came into use.
    pub(super) fn server_wanted(&self, secret: &Arc<SecretName>) {
        self.with_server(secret, |_| {});
    }

    pub(super) fn server_tried(&self, secret: &Arc<SecretName>, address: &str) {
        self.with_server(secret, |link| address.clone_into(&mut link.address));
    }

    pub(super) fn server_began(&self, secret: &Arc<SecretName>) {
        self.metrics.streams.inc();
        self.with_server(secret, Link::began);
    }

    pub(super) fn server_answered(&self, secret: &Arc<SecretName>) {
        self.with_server(secret, |link| {
            if link.answered() {
                info!(%secret, address = link.address, "server of secrets answers");
            }
        });
    }

    pub(super) fn server_ended(&self, secret: &Arc<SecretName>, why: &str) {
        self.metrics.failures.inc();
        self.with_server(secret, |link| {
            if link.ended(why) {
                let address = &link.address;
                warn!(%secret, address, why, "server of secrets lost, what is in force stays");
            }
        });
    }

    /// A secret of a server is not needed any more.
    pub(super) fn server_left(&self, secret: &Arc<SecretName>) {
        let mut state = self.lock();
        state.streams.remove(secret);
        self.count_servers(&state);
    }

    fn with_server(&self, secret: &Arc<SecretName>, change: impl FnOnce(&mut Link)) {
        let mut state = self.lock();
        change(state.streams.entry(secret.clone()).or_default());
        self.count_servers(&state);
    }

    fn count_servers(&self, state: &State) {
        let streams = state.streams.iter();
        let servers = streams.filter_map(|(secret, link)| match &secret.origin {
            SecretOrigin::Server(server) => Some((server.cluster.clone(), link.is_up())),
            _ => None,
        });
        self.metrics.secret_servers.set(servers);
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
