//! Builds, wires and runs the control plane.
//!
//! ```text
//! store ─┐
//! DNS ───┼─► gathered ─► translate ─► snapshot ─► xds
//! workloads ┘
//! ```

mod config;
mod identity;
mod mesh;
mod publish;
mod remembered;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tonic::service::Routes;

use self::config::TOKEN_BYTES_MIN;
pub use self::config::{Config, KubernetesTokens};
use self::identity::Identity;
use self::mesh::Directory;
pub(crate) use self::mesh::Vitals;
pub use self::mesh::{Mesh, Standing};
use self::publish::Publisher;
use crate::accept::{Bound, Shares};
use crate::api;
use crate::identity::{FolderError, GateError, GenerateError, JwksError, Signing};
use crate::snapshot::{Snapshot, SnapshotStore};
use crate::source::workloads::Registry;
use crate::source::{dns, files};
use crate::status::StatusBoard;
use crate::store::{Store, StoreError};
use crate::translate::{Names, Translator};
use crate::xds::{XdsConfig, XdsServer};

/// How long after a restart a workload stays an endpoint although its sidecar has not come back.
const RETURN_WITHIN: Duration = Duration::from_secs(60);

/// Why a control plane cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An API that anybody could reach.
    #[error(
        "the HTTP API on {address} can be reached by others: give a token, --require-token, or a loopback address"
    )]
    TokenNeeded {
        /// The address asked for.
        address: SocketAddr,
    },
    /// A token that nobody can show.
    #[error("the token of the HTTP API is empty: nobody could use it")]
    TokenEmpty,
    /// A token that others could guess, where others can try.
    #[error(
        "the HTTP API on {address} can be reached by others: its token must have {TOKEN_BYTES_MIN} characters at least, got {got}"
    )]
    TokenShort {
        /// The address asked for.
        address: SocketAddr,
        /// How many it has.
        got: usize,
    },
    /// A port that cannot be bound.
    #[error("listening on {address} for {what}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What for.
        what: &'static str,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The certificate authority in its folder cannot be used.
    #[error(transparent)]
    Authority(#[from] FolderError),
    /// None can be made.
    #[error("making a certificate authority")]
    NoAuthority(#[from] GenerateError),
    /// The keys of the cluster cannot be used.
    #[error(transparent)]
    Jwks(#[from] JwksError),
    /// The port with TLS cannot be opened.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// The directory cannot be watched.
    #[error(transparent)]
    Watch(#[from] files::WatchError),
    /// The task that publishes has ended, which it does with the control plane alone.
    #[error("the first tables were not made")]
    NothingPublished,
    /// The directory to watch is not there.
    #[error("--config {}: is not a directory", folder.display())]
    NoDirectory {
        /// The directory.
        folder: PathBuf,
    },
}

/// The control plane.
#[derive(Debug)]
pub struct ControlPlane;

/// A running control plane. Dropping it ends it without order; [`Running::shutdown`] ends it in order.
pub struct Running {
    xds_address: Option<SocketAddr>,
    secure_address: SocketAddr,
    api: api::Server,
    mesh: Arc<Mesh>,
    stop: watch::Sender<bool>,
    xds: Vec<JoinHandle<()>>,
    tasks: JoinSet<()>,
}

impl ControlPlane {
    /// Starts a control plane on the runtime that this is called on.
    ///
    /// # Errors
    /// If a port cannot be bound, the store not be opened, or the API would be open to others without a token.
    pub async fn start(config: Config) -> Result<Running, StartError> {
        let sockets = Sockets::bind(&config).await?;
        for danger in config.dangers() {
            tracing::warn!("{danger}");
        }
        let plain = sockets.xds.as_ref().zip(config.xds_listen);
        let xds_address = plain.map(|(socket, asked_for)| address_of(socket, asked_for));
        let secure_address = address_of(&sockets.secure, config.secure_listen);
        let translator = Arc::new(Mutex::new(Translator::new(Names {
            domain: config.domain.as_str().into(),
            trust_domain: config.trust_domain.clone(),
        })));
        let store = Arc::new(open_store(&config, translator.clone())?);
        let mut tasks = JoinSet::new();
        let directory = watch_directory(&config, &store, &mut tasks).await?;
        let identity = Identity::open(&config, &store, &mut tasks)?;
        let gate = identity.gate.clone();
        let signing = Routes::new(Signing::serve(identity.issuance.clone()));
        let remembered = remembered::load(&store);
        let registry = Arc::new(Registry::new(config.workload_grace));
        registry.remember(remembered.workloads, Instant::now() + RETURN_WITHIN);
        let board = Arc::new(StatusBoard::new());
        let snapshots = Arc::new(SnapshotStore::new(Snapshot::default()));

        let publisher = Publisher::new(
            &config,
            store.clone(),
            registry.clone(),
            snapshots.clone(),
            translator,
            identity.issuance.authority().bundle(),
        );
        let mut view = publisher.view();
        let answers = follow_dns(&store, remembered.dns, &mut tasks);
        tasks.spawn(publisher.run(answers));
        // Whoever is served before would be told that what it has is gone.
        let first = view.wait_for(|view| view.serial > 0).await.map(drop);
        first.map_err(|_| StartError::NothingPublished)?;

        let (stop, stopped) = watch::channel(false);
        let shares = Shares::of_process();
        let xds_config = XdsConfig {
            connections_max: shares.xds,
            ..XdsConfig::default()
        };
        let server = XdsServer::new(xds_config, snapshots, board.clone(), registry, stopped);
        let api_bound = Bound::new("api", shares.api);
        let mesh = Arc::new(Mesh::new(
            store,
            view,
            board,
            directory,
            server.clone(),
            api_bound.clone(),
            identity,
            &config.domain,
        ));
        let mut xds = Vec::new();
        if let Some(socket) = sockets.xds {
            let plain = server.clone().serve(socket, signing.clone());
            xds.push(tokio::spawn(run(plain, "xds")));
        }
        let secure = server.serve_secure(sockets.secure, gate, signing);
        xds.push(tokio::spawn(run(secure, "xds with tls")));
        let api = start_api(sockets.api, mesh.clone(), &config, api_bound)?;
        let shown = xds_address.map(tracing::field::display);
        tracing::info!(xds = shown, secure = %secure_address, api = %api.address(), "control plane started");
        Ok(Running {
            xds_address,
            secure_address,
            api,
            mesh,
            stop,
            xds,
            tasks,
        })
    }
}

impl Running {
    /// Where xDS is served without TLS; `None`: nowhere.
    pub fn xds_address(&self) -> Option<SocketAddr> {
        self.xds_address
    }

    /// Where xDS and certificate signing are served with TLS.
    pub fn secure_address(&self) -> SocketAddr {
        self.secure_address
    }

    /// Where the HTTP API is served.
    pub fn api_address(&self) -> SocketAddr {
        self.api.address()
    }

    /// What the mesh looks like from here.
    pub fn mesh(&self) -> &Arc<Mesh> {
        &self.mesh
    }

    /// Ends all streams and requests, and everything behind them.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        self.api.shutdown().await;
        let end = Instant::now() + Duration::from_secs(1);
        for server in &mut self.xds {
            if tokio::time::timeout_at(end, &mut *server).await.is_err() {
                server.abort();
            }
        }
        self.tasks.shutdown().await;
        if let Err(error) = self.mesh.issuance().ledger().write() {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "issued certificates are not written to the store");
        }
    }
}

/// Runs a server, and says why it has ended where it should not have.
async fn run(
    server: impl Future<Output = Result<(), tonic::transport::Error>>,
    name: &'static str,
) {
    if let Err(error) = server.await {
        let error = &error as &dyn std::error::Error;
        tracing::error!(error, server = name, "server ended");
    }
}

async fn bind(address: SocketAddr, what: &'static str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| StartError::Bind {
            address,
            what,
            source,
        })
}

fn address_of(socket: &TcpListener, asked_for: SocketAddr) -> SocketAddr {
    socket.local_addr().unwrap_or(asked_for) // a bound socket has one
}

/// The store, which takes nothing that proxies would refuse.
fn open_store(config: &Config, translator: Arc<Mutex<Translator>>) -> Result<Store, StoreError> {
    let store = match &config.store {
        Some(path) => Store::open(path)?,
        None => Store::in_memory()?,
    };
    Ok(store.judged_by(Box::new(move |next| {
        let translator = translator.lock().unwrap_or_else(PoisonError::into_inner);
        let unservable = translator.judge(next).into_iter();
        unservable.map(|it| it.to_string()).collect()
    })))
}

/// What the control plane listens on.
struct Sockets {
    xds: Option<TcpListener>,
    secure: TcpListener,
    api: TcpListener,
}

impl Sockets {
    /// All of them, or none.
    async fn bind(config: &Config) -> Result<Self, StartError> {
        config.check_token()?;
        let guarded = config.require_token || config.api_token.is_some();
        if !guarded && !config.api_listen.ip().is_loopback() {
            return Err(StartError::TokenNeeded {
                address: config.api_listen,
            });
        }
        let xds = match config.xds_listen {
            Some(address) => Some(bind(address, "xDS").await?),
            None => None,
        };
        Ok(Self {
            xds,
            secure: bind(config.secure_listen, "xDS and certificates with TLS").await?,
            api: bind(config.api_listen, API).await?,
        })
    }
}

/// What its port is for.
const API: &str = "the HTTP API";

fn start_api(
    socket: TcpListener,
    mesh: Arc<Mesh>,
    config: &Config,
    bound: Arc<Bound>,
) -> Result<api::Server, StartError> {
    let access = api::Access {
        token: config.api_token.as_deref(),
        required: config.require_token,
    };
    api::Server::start(socket, mesh, access, bound).map_err(|source| StartError::Bind {
        address: config.api_listen,
        what: API,
        source,
    })
}

/// Reads and follows the directory, where one is given; gives what is wrong with its files.
async fn watch_directory(
    config: &Config,
    store: &Arc<Store>,
    tasks: &mut JoinSet<()>,
) -> Result<Option<Directory>, StartError> {
    let Some(folder) = config.config_dir.clone() else {
        return Ok(None);
    };
    if !folder.is_dir() {
        return Err(StartError::NoDirectory { folder });
    }
    let (findings, seen) = watch::channel(Vec::new());
    let source = files::FileSource::new(folder, store.clone(), findings);
    tasks.spawn(source.start().await?);
    Ok(Some(seen))
}

/// Resolves the names of the state in force, again and again.
fn follow_dns(
    store: &Store,
    remembered: dns::Answers,
    tasks: &mut JoinSet<()>,
) -> watch::Receiver<dns::Answers> {
    let (answers, seen) = watch::channel(remembered);
    tasks.spawn(dns::follow(store.watch(), answers));
    seen
}
