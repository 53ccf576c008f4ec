//! One line per stream, written by the stream itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};
use utoipa::ToSchema;

use crate::snapshot::ResourceType;
use crate::xds::{EntryReport, NodeInfo, TypeReport};

/// Asks a stream for everything that it was told.
pub(crate) type Inspect = oneshot::Sender<Vec<EntryReport>>;

/// One open stream.
#[derive(Clone, Debug)]
pub struct StreamStatus {
    /// Counts streams.
    pub id: u64,
    /// Who it is.
    pub node: Arc<NodeInfo>,
    /// Where it comes from.
    pub peer: Option<SocketAddr>,
    /// `ADS`, `LDS`, …
    pub service: &'static str,
    /// Whether it is incremental.
    pub delta: bool,
    /// Since when.
    pub connected_at: Timestamp,
    /// How far it is, by type.
    pub types: [TypeReport; 4],
    /// The snapshot that was last looked at for it.
    pub seen_serial: u64,
    /// The revision of that snapshot.
    pub seen_revision: u64,
    /// The last snapshot of which everything was sent and answered.
    pub settled_serial: u64,
    /// Since when something is unanswered; `None`: nothing is.
    pub pending_since: Option<Timestamp>,
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

    /// Every proxy, its streams put together, by node id.
    pub fn proxies(&self) -> Vec<ProxyStatus> {
        let mut proxies: BTreeMap<Arc<str>, Vec<StreamStatus>> = BTreeMap::new();
        for stream in self.streams() {
            proxies
                .entry(Arc::clone(&stream.node.id))
                .or_default()
                .push(stream);
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

/// One proxy as the API tells it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ProxyStatus {
    /// `node.id`.
    pub id: String,
    /// `node.cluster`.
    pub service: String,
    /// Its namespace.
    pub namespace: String,
    /// `node.user_agent_name`.
    pub user_agent: String,
    /// Where it connected from.
    pub peer: Option<String>,
    /// Since when, RFC 3339.
    pub connected_at: String,
    /// `delta` or `sotw`.
    pub protocol: &'static str,
    /// Where its admin page is, where it said so.
    pub admin: Option<String>,
    /// `synced`, `pending` or `refused`.
    pub state: &'static str,
    /// The newest revision that concerns it.
    pub intended_revision: u64,
    /// The newest revision that was sent.
    pub sent_revision: u64,
    /// The newest revision that it acknowledged.
    pub acked_revision: u64,
    /// Milliseconds since which something is unanswered; 0 where nothing is.
    pub lag_ms: u64,
    /// The last refusal that still stands.
    pub refusal: Option<String>,
    /// By type.
    pub types: BTreeMap<&'static str, TypeStatus>,
}

/// One type of one proxy.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TypeStatus {
    /// Resources that it asked for or was told of.
    pub resources: usize,
    /// Whether it asked for all.
    pub wildcard: bool,
    /// Revision last sent.
    pub sent_revision: Option<u64>,
    /// Revision last acknowledged.
    pub acked_revision: Option<u64>,
    /// When, RFC 3339.
    pub acked_at: Option<String>,
    /// Whether the last response is unanswered.
    pub in_flight: bool,
    /// Why the last response was refused.
    pub refusal: Option<String>,
}

impl ProxyStatus {
    fn new(streams: Vec<StreamStatus>) -> Option<Self> {
        let last = streams.last()?.clone();
        let mut types: BTreeMap<&'static str, TypeStatus> = BTreeMap::new();
        let mut pending = false;
        for stream in &streams {
            pending |= stream.settled_serial < stream.seen_serial;
            for (kind, report) in ResourceType::ALL.into_iter().zip(&stream.types) {
                if report.started {
                    types.insert(kind.short(), TypeStatus::new(report));
                }
            }
        }
        let newest = |pick: fn(&TypeStatus) -> Option<u64>| {
            types.values().filter_map(pick).max().unwrap_or(0)
        };
        let sent_revision = newest(|status| status.sent_revision);
        let acked_revision = newest(|status| status.acked_revision);
        let refusal = types.values().find_map(|status| status.refusal.clone());
        let since = streams
            .iter()
            .filter_map(|stream| stream.pending_since)
            .min();
        let lag = since.map(|since| Timestamp::now().duration_since(since).as_millis());
        Some(Self {
            id: last.node.id.to_string(),
            service: last.node.cluster.to_string(),
            namespace: last.node.view.namespace.to_string(),
            user_agent: last.node.user_agent.to_string(),
            peer: last.peer.map(|peer| peer.to_string()),
            connected_at: last.connected_at.to_string(),
            protocol: if last.delta { "delta" } else { "sotw" },
            admin: last.node.admin.map(|admin| admin.to_string()),
            state: match (&refusal, pending) {
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
            lag_ms: u64::try_from(lag.unwrap_or(0)).unwrap_or(0),
            refusal,
            types,
        })
    }
}

impl TypeStatus {
    fn new(report: &TypeReport) -> Self {
        Self {
            resources: report.resources,
            wildcard: report.wildcard,
            sent_revision: report.sent.map(|mark| mark.revision),
            acked_revision: report.acked.map(|mark| mark.revision),
            acked_at: report.acked.map(|mark| mark.at.to_string()),
            in_flight: report.in_flight,
            refusal: report.nacked.as_ref().map(|nack| nack.reason.to_string()),
        }
    }
}
