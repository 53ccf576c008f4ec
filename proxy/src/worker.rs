//! Workers: each a thread with its own current-thread runtime, which keeps a connection to its end.
//!
//! The control thread tells workers what to listen on; workers hand accepted sockets to each other. Nothing else crosses.

mod seats;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, sleep_until};
use tracing::debug;
use weft_config::bootstrap::overload::Beyond;

use crate::drain::{Drain, Phase};
use crate::listener::{
    Accepted, Admission, Bound, ConnectionFacts, ConnectionGuard, Parcel, accept_loop, serve,
};
use crate::overload::Overload;
use crate::snapshot::SnapshotStore;
use crate::stream::Stream;
use crate::telemetry::{Metrics, set_worker};
use crate::tunnel::{Pools, TunnelLimits};

pub(crate) use seats::{Load, Seats};

/// Takes HTTP connections; one per worker, made on its thread.
pub trait ServeHttp {
    /// Takes a connection over. Does not wait: it spawns on the worker's `LocalSet` or files the connection.
    fn serve(&self, connection: HttpConnection);
}

/// A connection on its way to HTTP.
#[derive(Debug)]
pub struct HttpConnection {
    /// The connection.
    pub stream: Stream,
    /// What detection has read of it.
    pub first_bytes: Vec<u8>,
    /// What is known of it; [`ConnectionFacts::protocol`] says which codec.
    pub facts: ConnectionFacts,
    /// To be dropped when the connection is closed.
    pub guard: ConnectionGuard,
}

/// Makes the HTTP side of a worker, on its thread, given its index.
pub type HttpFactory = Arc<dyn Fn(usize) -> Rc<dyn ServeHttp> + Send + Sync>;

/// What workers are made from.
#[derive(Clone)]
pub struct WorkerParts {
    /// The view in force.
    pub snapshot: Arc<SnapshotStore>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The drain of the process.
    pub drain: Drain,
    /// Downstream connections open at once in the process; see [`crate::listener::default_connections_max`].
    pub connections_max: usize,
    /// What happens to those beyond.
    pub beyond: Beyond,
    /// What of new load is refused.
    pub overload: Arc<Overload>,
    /// Bounds on tunnels, per worker.
    pub tunnel: TunnelLimits,
    /// Makes each worker's HTTP side.
    pub http: HttpFactory,
}

/// A worker, as what runs on its thread sees it.
pub(crate) struct Worker {
    pub(crate) index: usize,
    pub(crate) seats: Arc<Seats>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) overload: Arc<Overload>,
    pub(crate) snapshot: Arc<SnapshotStore>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) drain: Drain,
    pub(crate) pools: Pools,
    pub(crate) http: Rc<dyn ServeHttp>,
    pub(crate) rng: RefCell<fastrand::Rng>,
}

impl Worker {
    /// Serves a connection here, to its end.
    pub(crate) fn keep(self: &Rc<Self>, accepted: Accepted<TcpStream>) {
        drop(spawn_local(serve(self.clone(), accepted)));
    }
}

/// What the control thread tells a worker.
#[derive(Debug)]
pub(crate) enum Command {
    Listen(Arc<Bound>, TcpListener),
    /// Close the socket of this [`Bound::id`].
    Close(u64),
}

/// All workers of the process.
#[derive(Debug)]
pub struct Workers {
    seats: Arc<Seats>,
    admission: Arc<Admission>,
    // Only the control plane's own listeners go through: a handful of commands per change of the configuration.
    commands: Vec<mpsc::UnboundedSender<Command>>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts `count` workers. They end when the drain is done.
    ///
    /// # Errors
    /// A thread or its runtime cannot be made.
    pub fn start(count: usize, parts: &WorkerParts) -> io::Result<Self> {
        let count = count.max(1);
        let admission = Arc::new(Admission::new(parts.connections_max, parts.beyond));
        let (seats, handed_over) = Seats::new(count);
        let mut workers = Self {
            seats: Arc::new(seats),
            admission: admission.clone(),
            commands: Vec::new(),
            threads: Vec::new(),
        };
        for (index, handed_over) in handed_over.into_iter().enumerate() {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let (command, commands) = mpsc::unbounded_channel();
            let (seats, admission, parts) =
                (workers.seats.clone(), admission.clone(), parts.clone());
            let run = move || {
                set_worker(index);
                LocalSet::new().block_on(&runtime, async move {
                    let worker = Rc::new(Worker::new(index, seats, admission, parts));
                    run(worker, commands, handed_over).await;
                });
            };
            let thread = std::thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(run)?;
            workers.commands.push(command);
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.commands.len()
    }

    /// The bound on connections, and how many there are.
    pub(crate) fn admission(&self) -> &Arc<Admission> {
        &self.admission
    }

    /// Connections that each worker keeps now.
    pub fn loads(&self) -> Vec<usize> {
        self.seats.loads()
    }

    /// Takes the threads, to be joined once the drain is done; a blocking call.
    pub fn take_threads(&mut self) -> Vec<JoinHandle<()>> {
        std::mem::take(&mut self.threads)
    }

    pub(crate) fn tell(&self, worker: usize, command: Command) {
        if let Some(commands) = self.commands.get(worker) {
            // A worker that is gone has drained; it listens to nothing any more.
            drop(commands.send(command));
        }
    }

    pub(crate) fn tell_all(&self, command: impl Fn() -> Command) {
        for worker in 0..self.count() {
            self.tell(worker, command());
        }
    }
}

impl Worker {
    fn new(index: usize, seats: Arc<Seats>, admission: Arc<Admission>, parts: WorkerParts) -> Self {
        Self {
            index,
            seats,
            admission,
            overload: parts.overload,
            snapshot: parts.snapshot,
            metrics: parts.metrics,
            drain: parts.drain,
            pools: Pools::new(parts.tunnel),
            http: (parts.http)(index),
            rng: RefCell::new(fastrand::Rng::new()),
        }
    }
}

/// A worker's life: commands and handed-over sockets until the drain is done.
async fn run(
    worker: Rc<Worker>,
    mut commands: mpsc::UnboundedReceiver<Command>,
    mut handed_over: mpsc::Receiver<Parcel>,
) {
    let mut listening: HashMap<u64, oneshot::Sender<()>> = HashMap::new();
    let mut drain = worker.drain.watch();
    let mut drain_end = worker.drain.watch();
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                Some(Command::Listen(bound, socket)) => {
                    let (open, closed) = oneshot::channel();
                    listening.insert(bound.id, open);
                    drop(spawn_local(accept_loop(worker.clone(), bound, socket, closed)));
                }
                Some(Command::Close(id)) => drop(listening.remove(&id)),
                // The set of listeners is gone, and with it the process's wish to serve.
                None => break,
            },
            Some(parcel) = handed_over.recv() => match parcel.try_map(TcpStream::from_std) {
                Ok(accepted) => worker.keep(accepted),
                Err(error) => debug!(%error, "connection lost on its way from another worker"),
            },
            () = drain.reached(Phase::Closed), if !listening.is_empty() => listening.clear(),
            () = drain_end.reached(Phase::Done) => break,
        }
    }
    listening.clear();
    last_words(&worker).await;
}

/// Tunnels hear of the end by themselves and write their logs.
async fn last_words(worker: &Worker) {
    const AT_MOST: Duration = Duration::from_millis(100);
    const STEP: Duration = Duration::from_millis(2);
    let until = Instant::now() + AT_MOST;
    while worker.seats.load(worker.index).get() > 0 && Instant::now() < until {
        sleep_until(Instant::now() + STEP).await;
    }
}
