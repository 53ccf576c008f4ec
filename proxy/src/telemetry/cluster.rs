//! What is counted of a cluster.

use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use weft_config::flag::{ResponseFlag, ResponseFlags};
use weft_config::grpc::GrpcStatus;
use weft_config::listener::Direction;

use super::counter::{Counter, SHARDS, shard};
use super::histogram::{Histogram, HistogramSnapshot};
use super::tls::TlsStats;

/// What a circuit breaker counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// Upstream connections.
    Connection,
    /// Requests that wait for a connection.
    Pending,
    /// Requests running.
    Request,
    /// Retries running.
    Retry,
}

/// Counts of one cluster.
#[derive(Debug)]
pub struct ClusterStats {
    /// The cluster's name; `-` for requests that reached none.
    pub name: Arc<str>,
    active: [AtomicU32; 4],
    acquired: [Counter; 4],
    overflow: [Counter; 4],
    /// Connections that could not be opened.
    pub connect_failures: Counter,
    /// Those of them that took too long.
    pub connect_timeouts: Counter,
    /// TLS handshakes with endpoints.
    pub tls: TlsStats,
    /// Retries after which the request succeeded.
    pub retries_succeeded: Counter,
    /// Connections closed because their endpoint said what nobody had asked for.
    pub unsolicited: Counter,
    /// Endpoints ejected for failing.
    pub ejections: Counter,
    /// Endpoints that would have been ejected but for the greatest share of ejected ones.
    pub ejections_suppressed: Counter,
    /// Endpoints ejected now.
    pub ejected_active: AtomicI64,
    /// Endpoints by health: healthy, degraded, draining, unhealthy.
    pub endpoints: [AtomicI64; 4],
    /// Requests balanced without regard to health because too few endpoints were healthy.
    pub panic_picks: Counter,
    /// Requests for which there was no endpoint.
    pub no_endpoint: Counter,
    /// Requests dropped because the control plane asked for it.
    pub dropped: Counter,
    /// Plain TCP connections.
    pub tcp_connections: Counter,
    /// Bytes from the downstream on plain TCP connections.
    pub tcp_received: Counter,
    /// Bytes to the downstream on plain TCP connections.
    pub tcp_sent: Counter,
    http: [[OnceLock<Box<HttpCounters>>; SHARDS]; 3],
    pub(super) exposure: AtomicU8,
}

impl ClusterStats {
    pub(super) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            active: Default::default(),
            acquired: Default::default(),
            overflow: Default::default(),
            connect_failures: Counter::default(),
            connect_timeouts: Counter::default(),
            tls: TlsStats::default(),
            retries_succeeded: Counter::default(),
            unsolicited: Counter::default(),
            ejections: Counter::default(),
            ejections_suppressed: Counter::default(),
            ejected_active: AtomicI64::new(0),
            endpoints: Default::default(),
            panic_picks: Counter::default(),
            no_endpoint: Counter::default(),
            dropped: Counter::default(),
            tcp_connections: Counter::default(),
            tcp_received: Counter::default(),
            tcp_sent: Counter::default(),
            http: Default::default(),
            exposure: AtomicU8::new(0),
        }
    }

    /// How many are held now.
    pub fn active(&self, resource: Resource) -> u32 {
        self.active_cell(resource).load(Ordering::Relaxed)
    }

    /// How many were ever held.
    pub fn acquired(&self, resource: Resource) -> u64 {
        pick(&self.acquired, resource).get()
    }

    /// How many were refused.
    pub fn overflowed(&self, resource: Resource) -> u64 {
        pick(&self.overflow, resource).get()
    }

    /// Counts one that is held from now on.
    pub(crate) fn acquire(&self, resource: Resource) {
        self.active_cell(resource).fetch_add(1, Ordering::Relaxed);
        pick(&self.acquired, resource).inc();
    }

    /// Counts one that was refused.
    pub(crate) fn refuse(&self, resource: Resource) {
        pick(&self.overflow, resource).inc();
    }

    /// Gives one back.
    pub(crate) fn release(&self, resource: Resource) {
        self.active_cell(resource).fetch_sub(1, Ordering::Relaxed);
    }

    fn active_cell(&self, resource: Resource) -> &AtomicU32 {
        pick(&self.active, resource)
    }

    /// The counters of this thread for requests in one direction.
    pub fn http(&self, direction: Direction) -> &HttpCounters {
        let [unspecified, inbound, outbound] = &self.http;
        let shards = match direction {
            Direction::Unspecified => unspecified,
            Direction::Inbound => inbound,
            Direction::Outbound => outbound,
        };
        let [first, ..] = shards;
        shards
            .get(shard())
            .unwrap_or(first)
            .get_or_init(Box::default)
    }

    /// Requests in one direction, over all workers; `None` where there were none.
    pub fn http_totals(&self, direction: Direction) -> Option<HttpTotals> {
        let [unspecified, inbound, outbound] = &self.http;
        let shards = match direction {
            Direction::Unspecified => unspecified,
            Direction::Inbound => inbound,
            Direction::Outbound => outbound,
        };
        let mut used = shards.iter().filter_map(OnceLock::get).peekable();
        used.peek()?;
        let mut totals = HttpTotals::default();
        used.for_each(|counters| totals.add(counters));
        Some(totals)
    }
}

/// What `cells` has of a resource.
pub(crate) fn pick<T>(cells: &[T; 4], resource: Resource) -> &T {
    let [connection, pending, request, retry] = cells;
    match resource {
        Resource::Connection => connection,
        Resource::Pending => pending,
        Resource::Request => request,
        Resource::Retry => retry,
    }
}

/// Response code classes: none (no answer was sent), 1xx to 5xx.
pub(super) const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

const FLAGS: usize = ResponseFlag::ALL.len();

/// gRPC statuses: those that have a name, and all others together.
const GRPC_STATUSES: usize = GrpcStatus::COUNT + 1;

/// What is counted of a request that ended.
#[derive(Clone, Copy, Debug)]
pub struct RequestCounts {
    /// HTTP status; 0 where none was sent.
    pub status: u16,
    /// How a gRPC call ended; `None` for other requests.
    pub grpc: Option<GrpcStatus>,
    /// Whether whoever served it failed.
    pub failed: bool,
    /// What went wrong or was decided here.
    pub flags: ResponseFlags,
    /// From its head to the end of its answer.
    pub duration: Duration,
    /// Bytes of its body.
    pub received: u64,
    /// Bytes of its answer's body.
    pub sent: u64,
}

/// Requests of one cluster and direction on one worker.
#[derive(Debug)]
pub struct HttpCounters {
    classes: [AtomicU64; CLASSES.len()],
    grpc: [AtomicU64; GRPC_STATUSES],
    failures: AtomicU64,
    flags: [AtomicU64; FLAGS],
    received: AtomicU64,
    sent: AtomicU64,
    duration: Histogram,
}

impl Default for HttpCounters {
    fn default() -> Self {
        Self {
            classes: Default::default(),
            grpc: Default::default(),
            failures: AtomicU64::new(0),
            flags: std::array::from_fn(|_| AtomicU64::new(0)),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            duration: Histogram::default(),
        }
    }
}

impl HttpCounters {
    /// One request ended.
    pub fn record(&self, request: &RequestCounts) {
        let class = usize::from(request.status / 100).min(CLASSES.len() - 1);
        add_at(&self.classes, class);
        if let Some(status) = request.grpc {
            let number = usize::try_from(status.number()).unwrap_or(usize::MAX);
            add_at(&self.grpc, number.min(GRPC_STATUSES - 1));
        }
        if request.failed {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        if !request.flags.is_empty() {
            for flag in request.flags.iter() {
                add_at(&self.flags, flag.index());
            }
        }
        self.duration.observe(request.duration);
        if request.received > 0 {
            self.received.fetch_add(request.received, Ordering::Relaxed);
        }
        if request.sent > 0 {
            self.sent.fetch_add(request.sent, Ordering::Relaxed);
        }
    }
}

fn add_at(counters: &[AtomicU64], index: usize) {
    if let Some(counter) = counters.get(index) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Requests of one cluster and direction, over all workers.
#[derive(Clone, Debug)]
pub struct HttpTotals {
    /// By class of the response code, see [`CLASSES`].
    pub classes: [u64; CLASSES.len()],
    /// gRPC calls by status, those without a name last.
    pub grpc: [u64; GRPC_STATUSES],
    /// Those that whoever served them failed.
    pub failures: u64,
    /// By response flag, in the order of [`ResponseFlag::ALL`].
    pub flags: [u64; FLAGS],
    /// Bytes of request bodies.
    pub received: u64,
    /// Bytes of response bodies.
    pub sent: u64,
    /// Durations.
    pub duration: HistogramSnapshot,
}

impl Default for HttpTotals {
    fn default() -> Self {
        Self {
            classes: Default::default(),
            grpc: Default::default(),
            failures: 0,
            flags: [0; FLAGS],
            received: 0,
            sent: 0,
            duration: HistogramSnapshot::default(),
        }
    }
}

impl HttpTotals {
    fn add(&mut self, counters: &HttpCounters) {
        for (sum, counter) in self.classes.iter_mut().zip(&counters.classes) {
            *sum += counter.load(Ordering::Relaxed);
        }
        for (sum, counter) in self.grpc.iter_mut().zip(&counters.grpc) {
            *sum += counter.load(Ordering::Relaxed);
        }
        self.failures += counters.failures.load(Ordering::Relaxed);
        for (sum, counter) in self.flags.iter_mut().zip(&counters.flags) {
            *sum += counter.load(Ordering::Relaxed);
        }
        self.received += counters.received.load(Ordering::Relaxed);
        self.sent += counters.sent.load(Ordering::Relaxed);
        self.duration.add(&counters.duration);
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: &Self) {
        for (sum, more) in self.classes.iter_mut().zip(&other.classes) {
            *sum += more;
        }
        for (sum, more) in self.grpc.iter_mut().zip(&other.grpc) {
            *sum += more;
        }
        self.failures += other.failures;
        for (sum, more) in self.flags.iter_mut().zip(&other.flags) {
            *sum += more;
        }
        self.received += other.received;
        self.sent += other.sent;
        self.duration.merge(&other.duration);
    }
}
