//! One line per stream, written by the stream itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use weft_config::spiffe::SpiffeId;

use crate::snapshot::ResourceType;
use crate::translate::RegistrationKey;
use crate::xds::{EntryReport, Mark, NodeInfo, TypeReport};

/// Asks a stream for everything that it was told.
pub(crate) type Inspect = oneshot::Sender<Vec<EntryReport>>;

/// One open stream.
#[derive(Clone, Debug)]
pub struct StreamStatus {
    /// Counts streams.
    pub id: u64,
    /// Who it is.
    pub node: Arc<NodeInfo>,
    /// `ADS`, `LDS`, …
    pub service: &'static str,
    /// Since when.
    pub connected_at: Timestamp,
    /// How far it is, by type.
    pub types: [TypeReport; ResourceType::ALL.len()],
    /// The snapshot that was last looked at for it.
    pub seen_serial: u64,
    /// The revision of that snapshot.
    pub seen_revision: u64,
    /// The last snapshot of which everything was sent and answered.
    pub settled_serial: u64,
    pub(crate) inspect: mpsc::Sender<Inspect>,
}

impl StreamStatus {
    /// Names of the resources that it asked for or was told of; none where the stream ends meanwhile.
    pub(crate) async fn subscribed(&self) -> Vec<Arc<str>> {
        let (answer, entries) = oneshot::channel();
        if self.inspect.send(answer).await.is_err() {
            return Vec::new();
        }
        entries
            .await
            .map(|entries| entries.into_iter().map(|entry| entry.name).collect())
            .unwrap_or_default()
    }
}

/// All open streams.
#[derive(Debug, Default)]
pub struct StatusBoard {
    streams: Mutex<BTreeMap<u64, StreamStatus>>,
    ticks: watch::Sender<u64>,
}

/// Keeps a stream on the board.
#[derive(Debug)]
pub(crate) struct BoardGuard {
    board: Arc<StatusBoard>,
    id: u64,
}

impl StatusBoard {
    /// Nobody connected.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a stream on the board for as long as the guard lives.
    pub(crate) fn enter(self: &Arc<Self>, status: StreamStatus) -> BoardGuard {
        let id = status.id;
        self.lock().insert(id, status);
        self.tick();
        BoardGuard {
            board: Arc::clone(self),
            id,
        }
    }

    /// All streams, in the order in which they were opened.
    pub fn streams(&self) -> Vec<StreamStatus> {
        self.lock().values().cloned().collect()
    }

    /// Reads all streams without copying them.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&BTreeMap<u64, StreamStatus>) -> T) -> T {
        look(&self.lock())
    }

    /// Tells of each change.
    pub fn ticks(&self) -> watch::Receiver<u64> {
        self.ticks.subscribe()
    }

    /// Every proxy, its streams put together, by node id and who it has proved to be.
    pub fn proxies(&self) -> Vec<ProxyStatus> {
        let mut proxies: BTreeMap<RegistrationKey, Vec<StreamStatus>> = BTreeMap::new();
        for stream in self.streams() {
            proxies.entry(stream.node.key()).or_default().push(stream);
        }
        proxies.into_values().filter_map(ProxyStatus::new).collect()
    }

    fn tick(&self) {
        self.ticks.send_modify(|count| *count += 1);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, StreamStatus>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BoardGuard {
    /// Changes the stream's line.
    pub(crate) fn update(&self, change: impl FnOnce(&mut StreamStatus)) {
        if let Some(status) = self.board.lock().get_mut(&self.id) {
            change(status);
        }
        self.board.tick();
    }
}

impl Drop for BoardGuard {
    fn drop(&mut self) {
        self.board.lock().remove(&self.id);
        self.board.tick();
    }
}

/// One proxy, its streams put together.
#[derive(Clone, Debug)]
pub struct ProxyStatus {
    /// `node.id`.
    pub id: String,
    /// Who it has proved to be; `None`: nobody was asked.
    pub identity: Option<SpiffeId>,
    /// `node.cluster`.
    pub service: String,
    /// `node.user_agent_name`.
    pub user_agent: String,
    /// Since when the newest of its streams is open.
    pub connected_at: Timestamp,
    /// Where its admin page is, where it said so.
    pub admin: Option<SocketAddr>,
    /// `synced`, `pending` or `refused`.
    pub state: &'static str,
    /// The newest revision that concerns it.
    pub intended_revision: u64,
    /// The newest revision that was sent.
    pub sent_revision: u64,
    /// The newest revision that it acknowledged.
    pub acked_revision: u64,
    /// The last refusal that still stands.
    pub refusal: Option<String>,
    /// Resources that it asked for or was told of, by type.
    pub resources: BTreeMap<&'static str, usize>,
}

impl ProxyStatus {
    fn new(streams: Vec<StreamStatus>) -> Option<Self> {
        let last = streams.last()?.clone();
        // Of a type on several streams, the last one opened is told.
        let mut types: BTreeMap<&'static str, &TypeReport> = BTreeMap::new();
        for stream in &streams {
            let reports = ResourceType::ALL.into_iter().zip(&stream.types);
            let started = reports.filter(|(_, report)| report.started);
            types.extend(started.map(|(kind, report)| (kind.short(), report)));
        }
        let pending = streams
            .iter()
            .any(|stream| stream.settled_serial < stream.seen_serial);
        let newest = |mark: fn(&TypeReport) -> Option<Mark>| {
            let revisions = types.values().filter_map(|report| mark(report));
            revisions.map(|mark| mark.revision).max().unwrap_or(0)
        };
        let mut sent_revision = newest(|report| report.sent);
        let mut acked_revision = newest(|report| report.acked);
        let has_something = types.values().any(|report| report.resources > 0);
        if !pending && sent_revision == 0 && has_something {
            // It came with everything, from before this control plane's start: it has what there is.
            sent_revision = last.seen_revision;
            acked_revision = last.seen_revision;
        }
        let refusal = types.values().find_map(|report| report.nacked.as_ref());
        Some(Self {
            id: last.node.id.to_string(),
            identity: last.node.view.identity.clone(),
            service: last.node.cluster.to_string(),
            user_agent: last.node.user_agent.to_string(),
            connected_at: last.connected_at,
            admin: last.node.admin,
            state: match (refusal, pending) {
                (Some(_), _) => "refused",
                (None, true) => "pending",
                (None, false) => "synced",
            },
            intended_revision: if pending {
                last.seen_revision
            } else {
                sent_revision
            },
            sent_revision,
            acked_revision,
            refusal: refusal.map(|nack| nack.reason.to_string()),
            resources: types
                .iter()
                .map(|(kind, report)| (*kind, report.resources))
                .collect(),
        })
    }
}
