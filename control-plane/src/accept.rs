//! How both servers take connections.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

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

/// Connections that are served, the oldest first. They end with this.
pub(crate) struct Connections {
    max: usize,
    tasks: JoinSet<()>,
    oldest_first: VecDeque<AbortHandle>,
}

impl Connections {
    /// None yet; of more than `max` the oldest is closed, so that nobody keeps others out by holding connections.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max,
            tasks: JoinSet::new(),
            oldest_first: VecDeque::new(),
        }
    }

    /// Serves one more.
    pub(crate) fn add(&mut self, connection: impl Future<Output = ()> + Send + 'static) {
        while self.tasks.try_join_next().is_some() {}
        self.oldest_first.retain(|task| !task.is_finished());
        if self.oldest_first.len() >= self.max
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            oldest.abort();
        }
        self.oldest_first.push_back(self.tasks.spawn(connection));
    }

    /// Waits until all have ended.
    pub(crate) async fn ended(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}
