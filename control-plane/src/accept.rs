//! How both servers take connections, and how many.

pub(crate) mod seats;
pub(crate) mod secure;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

pub(crate) use self::seats::Peer;

/// What may come free again, such as descriptors, is not asked for more often than this.
const PAUSE: Duration = Duration::from_millis(50);

/// The next connection, without Nagle's algorithm: messages are small and follow each other, and each would wait for the
/// other side's delayed ACK.
pub(crate) async fn accept(socket: &TcpListener) -> TcpStream {
    loop {
        match socket.accept().await {
            Ok((stream, _)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "a connection keeps Nagle's algorithm");
                }
                return stream;
            }
            Err(error) => {
                tracing::debug!(%error, "connection not accepted");
                sleep_until(Instant::now() + PAUSE).await;
            }
        }
    }
}

/// How the two servers share the descriptors of the process, so that neither can take the other's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shares {
    /// Connections of the xDS server.
    pub(crate) xds: usize,
    /// Connections of the HTTP API.
    pub(crate) api: usize,
}

impl Shares {
    /// By the descriptors that this process may open.
    pub(crate) fn of_process() -> Self {
        Self::of(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
    }

    fn of(descriptors: u64) -> Self {
        let own = (descriptors / 8).max(OWN_DESCRIPTORS_MIN);
        let free = usize::try_from(descriptors.saturating_sub(own)).unwrap_or(usize::MAX);
        let api = (free / 4).clamp(SHARE_MIN, API_CONNECTIONS_MAX);
        Self {
            xds: free
                .saturating_sub(api)
                .clamp(SHARE_MIN, XDS_CONNECTIONS_MAX),
            api,
        }
    }
}

/// Descriptors kept for the store, the watched directory, DNS, the pages of proxies and the runtime.
const OWN_DESCRIPTORS_MIN: u64 = 64;

/// Connections of a server where descriptors are scarce.
const SHARE_MIN: usize = 8;

/// Connections of the xDS server where they are not: more would find no stream.
pub(crate) const XDS_CONNECTIONS_MAX: usize = 20_000;

/// Connections of the HTTP API where they are not. Health and metrics are asked for without the token, so that anybody may
/// open one.
const API_CONNECTIONS_MAX: usize = 512;

/// The bound on the connections of one server: how many there are, and how often it was met.
#[derive(Debug)]
pub(crate) struct Bound {
    server: &'static str,
    max: usize,
    open: AtomicUsize,
    met: AtomicU64,
    told: Mutex<Option<Instant>>,
}

impl Bound {
    /// Of the server that logs and metrics call `server`.
    pub(crate) fn new(server: &'static str, max: usize) -> Arc<Self> {
        Arc::new(Self {
            server,
            max,
            open: AtomicUsize::new(0),
            met: AtomicU64::new(0),
            told: Mutex::new(None),
        })
    }

    /// The server's name.
    pub(crate) fn server(&self) -> &'static str {
        self.server
    }

    /// Connections that there may be.
    pub(crate) fn max(&self) -> usize {
        self.max
    }

    /// Connections that there are.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Connections that were closed or refused because there were as many as there may be.
    pub(crate) fn times_met(&self) -> u64 {
        self.met.load(Ordering::Relaxed)
    }

    /// Counts a connection for as long as the guard lives.
    pub(crate) fn count(self: &Arc<Self>) -> Counted {
        self.open.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(self))
    }

    /// A connection is closed or refused because there are as many as there may be. Whoever brings that about decides how
    /// often: it is logged now and then, with how often it was by then.
    pub(crate) fn meet(&self) {
        let times = self.met.fetch_add(1, Ordering::Relaxed) + 1;
        let now = Instant::now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_some_and(|at| now < at + TELL_EVERY) {
            return;
        }
        *told = Some(now);
        drop(told);
        tracing::warn!(
            server = self.server,
            max = self.max,
            times,
            "as many connections as there may be: old ones that say nothing are closed, or new ones"
        );
    }
}

/// A bound that is met is logged at most this often.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// An open connection among those of its server.
#[derive(Debug)]
pub(crate) struct Counted(Arc<Bound>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Connections that are served, the oldest first. They end with this.
pub(crate) struct Connections {
    bound: Arc<Bound>,
    tasks: JoinSet<()>,
    oldest_first: VecDeque<AbortHandle>,
}

impl Connections {
    /// None yet; of more than the bound the oldest is closed, so that nobody keeps others out by holding connections.
    pub(crate) fn new(bound: Arc<Bound>) -> Self {
        Self {
            bound,
            tasks: JoinSet::new(),
            oldest_first: VecDeque::new(),
        }
    }

    /// Serves one more.
    pub(crate) fn add(&mut self, connection: impl Future<Output = ()> + Send + 'static) {
        while self.tasks.try_join_next().is_some() {}
        self.oldest_first.retain(|task| !task.is_finished());
        if self.oldest_first.len() >= self.bound.max()
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            oldest.abort();
            self.bound.meet();
        }
        let counted = self.bound.count();
        let task = self.tasks.spawn(async move {
            connection.await;
            drop(counted);
        });
        self.oldest_first.push_back(task);
    }

    /// Waits until all have ended.
    pub(crate) async fn ended(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_share_what_descriptors_there_are() {
        for (descriptors, xds, api) in [
            (0, 8, 8),
            (128, 48, 16),
            (1024, 672, 224),
            (20_000, 16_988, 512),
            (u64::MAX, 20_000, 512),
        ] {
            assert_eq!(Shares::of(descriptors), Shares { xds, api });
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_bound_that_is_met_again_and_again_is_logged_now_and_then() {
        let bound = Bound::new("api", 1);
        let told = |bound: &Bound| *bound.told.lock().unwrap();
        bound.meet();
        let first = told(&bound);
        bound.meet();
        assert_eq!(told(&bound), first);
        tokio::time::advance(TELL_EVERY).await;
        bound.meet();
        assert_ne!(told(&bound), first);
        assert_eq!(bound.times_met(), 3);
    }
}
