//! The control thread: builds the rooms one by one, then runs them until the drain is done.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};
use tokio::task::{LocalSet, spawn_blocking, spawn_local};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tracing::{info, warn};
use weft_config::causes::with_causes;
use weft_config::listener::Listener;

use super::cgroup;
use super::config::{Config, Source, StartError};
use super::identity::Keeping;
use super::mesh::OUTBOUND;
use super::pages::{self, Sockets};
use super::plan::Plan;
use super::running::Handles;
use crate::dns::{Followers, Resolver};
use crate::drain::Drain;
use crate::jwks;
use crate::listener::{BindError, ListenerSet, Sharing, default_connections_max};
use crate::overload::{Overload, Watcher};
use crate::snapshot::{Builder, SnapshotStore};
use crate::telemetry::Metrics;
use crate::tls::Secrets;
use crate::worker::{WorkerParts, Workers};
use crate::xds::Status;
use crate::xds::core::{Core, Reserve};
use crate::xds::state_dir::StateDir;
use crate::xds::stream::{MESSAGE_BYTES_MAX, Security, Server, Service};
use crate::xds::streams::Streams;
use crate::xds::task::Task;

/// Bound on the last write of tables at the end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What of a start reaches those who asked for it.
type Up = SyncSender<Result<Handles, StartError>>;

/// Builds and runs everything; returns when the drain is done and the workers have ended.
pub(super) fn run(config: Config, up: &Up) {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return report(up, Err(StartError::Thread(error))),
    };
    LocalSet::new().block_on(&runtime, async move {
        match Control::build(config) {
            Ok((control, task)) => control.run(task, up).await,
            Err(error) => report(up, Err(error)),
        }
    });
}

fn report(up: &Up, outcome: Result<Handles, StartError>) {
    // Whoever started us may have gone; there is nobody else to tell.
    drop(up.send(outcome));
}

/// The rooms, wired.
struct Control {
    /// Taken when they are served.
    pages: Option<(Sockets, pages::Rooms)>,
    rooms: Rooms,
    /// Shared with the xDS client, which has listeners bound before it accepts them.
    listeners: Rc<RefCell<ListenerSet>>,
    threads: Vec<JoinHandle<()>>,
    /// See [`Plan::held`].
    held: Vec<Arc<Listener>>,
    /// The inbound listener of mesh mode, which is called so from the start.
    inbound: Option<Arc<str>>,
    addresses: watch::Sender<BTreeMap<Arc<str>, SocketAddr>>,
    /// Taken when it begins to look.
    watcher: Option<Watcher>,
    /// Taken when it begins to ask.
    keeping: Option<Keeping>,
}

/// What most of the others need.
#[derive(Clone)]
struct Rooms {
    store: Arc<SnapshotStore>,
    metrics: Arc<Metrics>,
    secrets: Arc<Secrets>,
    status: Arc<Status>,
    drain: Drain,
    overload: Arc<Overload>,
}

impl Control {
    fn build(config: Config) -> Result<(Self, Task), StartError> {
        let metrics = Metrics::new();
        let rooms = Rooms {
            store: SnapshotStore::new(),
            status: Status::new(&metrics),
            drain: Drain::new(config.drain),
            overload: Overload::new(&metrics),
            secrets: Secrets::new(),
            metrics,
        };
        let mut workers = rooms.build_workers(&config)?;
        let threads = workers.take_threads();
        let watcher = rooms.build_watcher(&workers, &config);
        let (metrics, drain) = (rooms.metrics.clone(), rooms.drain.clone());
        let listeners = ListenerSet::new(workers, metrics, drain, Sharing::Exclusive);
        let listeners = Rc::new(RefCell::new(listeners));
        let sockets = Sockets::bind(config.admin, config.metrics)?;
        let resolver = Resolver::system();
        let keeping = match &config.source {
            Source::Mesh(mesh) => Keeping::build(mesh, &rooms.secrets, &rooms.metrics, &resolver),
            Source::Bootstrap(_) => None,
        };
        let plan = Plan::build(
            &config,
            sockets.admin(),
            &rooms.store,
            &mut listeners.borrow_mut(),
        )?;
        let node = plan.options.node.clone();
        let (held, inbound) = (plan.held.clone(), plan.inbound.clone());
        let security = keeping.as_ref().and_then(Keeping::security);
        let task = rooms.build_task(plan, &config, &resolver, reserve(&listeners), security)?;
        let addresses = watch::Sender::default();
        let pages = pages::Rooms {
            store: rooms.store.clone(),
            metrics: rooms.metrics.clone(),
            status: rooms.status.clone(),
            drain: rooms.drain.clone(),
            accepted: task.core.accepted().clone(),
            bootstrap: match &config.source {
                Source::Bootstrap(bootstrap) => Some(bootstrap.packed.clone()),
                Source::Mesh(_) => None,
            },
            addresses: addresses.subscribe(),
            node,
            secrets: rooms.secrets.clone(),
            standing: keeping.as_ref().map(Keeping::standing),
            logging: config.logging.clone(),
        };
        let mut control = Self {
            pages: Some((sockets, pages)),
            rooms,
            listeners,
            threads,
            held,
            inbound,
            addresses,
            watcher,
            keeping,
        };
        match control.bind().into_iter().next() {
            Some(error) => Err(StartError::Bind(error)),
            None => Ok((control, task)),
        }
    }

    /// Brings the listening sockets in step with the snapshot in force.
    fn bind(&mut self) -> Vec<BindError> {
        let snapshot = self.rooms.store.current();
        let mut listeners = self.listeners.borrow_mut();
        let mut errors = listeners.apply(snapshot.listeners.values().map(|view| &view.config));
        for held in &self.held {
            if !snapshot.listeners.contains_key(&held.name)
                && let Err(error) = listeners.reserve(held)
            {
                warn!(listener = %held.name, %error, "address lost");
                errors.push(error);
            }
        }
        let is_shown = |name: &Arc<str>| {
            snapshot.listeners.contains_key(name) || self.inbound.as_ref() == Some(name)
        };
        let bound = listeners
            .addresses()
            .filter(|(name, _)| is_shown(name))
            .map(|(name, address)| (name.clone(), address));
        let bound: BTreeMap<_, _> = bound.collect();
        self.addresses.send_if_modified(|known| {
            for (name, address) in bound.iter().filter(|(name, _)| !known.contains_key(*name)) {
                info!(role = self.role(name), %address, listener = %name, "listening");
            }
            let changed = *known != bound;
            *known = bound;
            changed
        });
        errors
    }

    /// What a listener is for, for those who read where we listen from the log.
    fn role(&self, listener: &Arc<str>) -> &'static str {
        match &**listener {
            _ if self.inbound.as_ref() == Some(listener) => "inbound",
            OUTBOUND => "outbound",
            _ => "listener",
        }
    }

    async fn run(mut self, mut task: Task, up: &Up) {
        let handles = self.handles();
        if let Some((sockets, rooms)) = self.pages.take()
            && let Err(error) = sockets.serve(rooms)
        {
            return report(up, Err(error));
        }
        report(up, Ok(handles));
        let logs = self.rooms.metrics.logs.clone();
        let log_writer = spawn_local(logs.clone().run());
        if let Some(watcher) = self.watcher.take() {
            drop(spawn_local(watcher.run()));
        }
        let (secrets, metrics) = (self.rooms.secrets.clone(), self.rooms.metrics.clone());
        drop(spawn_local(watch_secrets(secrets, metrics)));
        let keys = task.core.builder().keys().clone();
        let (store, metrics) = (self.rooms.store.clone(), self.rooms.metrics.clone());
        drop(spawn_local(jwks::keep(keys, store, metrics)));
        if let Some(keeping) = self.keeping.take() {
            drop(spawn_local(keeping.run()));
        }
        let (stop, stopped) = oneshot::channel();
        let mut client = spawn_local(task.run(stopped));
        let drain = self.rooms.drain.clone();
        let mut revisions = self.rooms.store.revisions();
        let mut done = std::pin::pin!(drain.run());
        let status = self.rooms.status.clone();
        let mut tables = std::pin::pin!(status.tables());
        loop {
            tokio::select! {
                () = &mut done => break,
                Ok(()) = revisions.changed() => drop(self.bind()),
                () = &mut tables, if !status.is_ready() => {
                    self.bind(); // whoever hears that we are ready may call at once
                    status.ready();
                }
            }
        }
        info!("drained");
        drop(stop);
        // Writing the last tables is worth a moment, but no more than that.
        if timeout(LAST_WORDS, &mut client).await.is_err() {
            client.abort();
            drop(client.await);
        }
        // The client is gone and with it its share of the set, so that the workers hear the end.
        drop(self.listeners);
        for thread in self.threads {
            drop(thread.join());
        }
        log_writer.abort();
        logs.flush();
    }

    fn handles(&self) -> Handles {
        let sockets = self.pages.as_ref().map(|(sockets, _)| sockets);
        Handles {
            snapshots: self.rooms.store.clone(),
            metrics: self.rooms.metrics.clone(),
            status: self.rooms.status.clone(),
            drain: self.rooms.drain.clone(),
            addresses: self.addresses.subscribe(),
            admin: sockets.and_then(Sockets::admin),
            metrics_page: sockets.and_then(Sockets::metrics),
        }
    }
}

/// How often files of certificates are looked at.
const SECRETS_LOOKED_AT_EVERY: Duration = Duration::from_secs(1);

/// Has secrets follow the files that they are read from. Never returns.
async fn watch_secrets(secrets: Arc<Secrets>, metrics: Arc<Metrics>) {
    let mut next = interval(SECRETS_LOOKED_AT_EVERY);
    next.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        next.tick().await;
        let looking = secrets.clone();
        // Reading may wait, for a disk or for a file system of another machine.
        if spawn_blocking(move || looking.refresh()).await.is_err() {
            warn!("a look at the files of certificates ended early");
        }
        let shown = secrets.shown().into_iter();
        metrics.certificates.set(shown.flat_map(|secret| {
            let expiries = secret.certificates.into_iter().map(|it| it.not_after);
            expiries.map(move |at| (secret.place.clone(), at))
        }));
    }
}

/// How the xDS client has listeners bound.
fn reserve(listeners: &Rc<RefCell<ListenerSet>>) -> Reserve {
    let listeners = listeners.clone();
    Reserve::new(move |listener| {
        let reserved = listeners.borrow_mut().reserve(listener);
        reserved.map_err(|error| with_causes(&error))
    })
}

impl Rooms {
    fn build_workers(&self, config: &Config) -> Result<Workers, StartError> {
        let http = super::http::factory(
            &self.store,
            &self.metrics,
            &self.drain,
            &self.overload,
            config.http,
            config.tunnel,
        );
        let given = config.overload.connections_max;
        let connections_max = given.map_or_else(
            || default_connections_max(cgroup::memory_bytes()),
            |max| usize::try_from(max.get()).unwrap_or(usize::MAX),
        );
        info!(connections_max, "as many connections may be open at once");
        let parts = WorkerParts {
            snapshot: self.store.clone(),
            metrics: self.metrics.clone(),
            drain: self.drain.clone(),
            connections_max,
            beyond: config.overload.beyond,
            overload: self.overload.clone(),
            tunnel: config.tunnel,
            http,
        };
        Workers::start(config.workers, &parts).map_err(StartError::Thread)
    }

    fn build_watcher(&self, workers: &Workers, config: &Config) -> Option<Watcher> {
        let admission = workers.admission().clone();
        Watcher::new(self.overload.clone(), config.overload.clone(), admission)
    }

    /// The xDS client with all that is known at the start in force: static resources, files, the last good tables.
    fn build_task(
        &self,
        plan: Plan,
        config: &Config,
        resolver: &Resolver,
        reserve: Reserve,
        security: Option<Security>,
    ) -> Result<Task, StartError> {
        let (metrics, secrets) = (self.metrics.clone(), self.secrets.clone());
        let builder = Builder::new(self.store.clone(), metrics, secrets);
        let (store, status) = (self.store.clone(), self.status.clone());
        let mut core = Core::new(plan.options.clone(), reserve, store, builder, status);
        plan.put_fixed(&mut core, &self.secrets)?;
        let state_dir = match &config.state_dir {
            Some(dir) => Some(StateDir::open(dir, plan.owner).map_err(StartError::State)?),
            None => None,
        };
        match state_dir.as_ref().map(StateDir::load) {
            Some(Ok(Some(saved))) => core.restore(saved, Instant::now()),
            Some(Err(error)) => warn!(%error, "last good tables on disk left aside"),
            Some(Ok(None)) | None => {}
        }
        let protocol = plan.options.protocol;
        let server = plan.server.map(|at| at.target(&mut core)).transpose()?;
        let server = server.map(|target| Server {
            service: Service::Aggregated,
            target,
            protocol,
            security,
            message_bytes_max: MESSAGE_BYTES_MAX,
        });
        let warmed = Arc::new(Notify::new());
        let mut task = Task {
            core,
            streams: Streams::new(server, resolver.clone()),
            files: plan.files,
            demand: plan.options.demand,
            followers: Followers::new(resolver.clone(), warmed.clone()),
            warmed,
            state_dir,
        };
        task.prepare();
        Ok(task)
    }
}
