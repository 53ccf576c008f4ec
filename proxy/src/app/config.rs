//! What a proxy is started with.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use weft_config::bootstrap::Bootstrap;
use weft_config::bootstrap::overload::Overload;

use super::mesh::MeshConfig;
use crate::drain::DrainTimes;
use crate::http::Bounds;
use crate::listener::BindError;
use crate::snapshot::DemandLimits;
use crate::tls::LoadError;
use crate::tunnel::TunnelLimits;
use crate::xds::Protocol;
use crate::xds::state_dir::StateError;

/// What a proxy is started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where its configuration comes from.
    pub source: Source,
    /// Worker threads; from 1.
    pub workers: usize,
    /// Where the last good tables are kept; `None`: nowhere.
    pub state_dir: Option<PathBuf>,
    /// How long a drain takes.
    pub drain: DrainTimes,
    /// The admin pages; `None`: nowhere.
    pub admin: Option<SocketAddr>,
    /// `/metrics`, `/ready` and `/live`; `None`: nowhere.
    pub metrics: Option<SocketAddr>,
    /// Which xDS protocol is spoken; `None`: what the bootstrap says, or delta.
    pub protocol: Option<Protocol>,
    /// Bounds on names on demand.
    pub demand: DemandLimits,
    /// When load is shed, and how many connections there may be.
    pub overload: Overload,
    /// What peers may do for nothing.
    pub http: Bounds,
    /// Bounds on tunnels, per worker.
    pub tunnel: TunnelLimits,
    /// Changes what is logged, for `/logging`; `None`: whoever embeds the proxy decides that alone.
    pub logging: Option<SetLevel>,
}

/// Takes another log level; says the one in force, or why the given one is refused.
#[derive(Clone)]
pub struct SetLevel(pub Arc<dyn Fn(Option<&str>) -> Result<String, String> + Send + Sync>);

impl fmt::Debug for SetLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SetLevel")
    }
}

/// Where a proxy's configuration comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// An Envoy bootstrap.
    Bootstrap(Box<Bootstrap>),
    /// A Weft control plane.
    Mesh(Box<MeshConfig>),
}

impl Config {
    /// One worker, no disk, no pages, default bounds, no budget of memory: what tests and embedders begin with.
    pub fn new(source: Source) -> Self {
        Self {
            source,
            workers: 1,
            state_dir: None,
            drain: DrainTimes::default(),
            admin: None,
            metrics: None,
            protocol: None,
            demand: DemandLimits::default(),
            overload: Overload::default(),
            http: Bounds::default(),
            tunnel: TunnelLimits::default(),
            logging: None,
        }
    }
}

/// Why a proxy cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A thread or runtime cannot be made.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// A static listener's address cannot be bound.
    #[error("cannot bind")]
    Bind(#[source] BindError),
    /// A page's address cannot be bound.
    #[error("cannot bind the {page} page to {address}")]
    Page {
        /// Which one.
        page: &'static str,
        /// Where.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The state directory cannot be made.
    #[error("cannot keep tables on disk")]
    State(#[source] StateError),
    /// The ADS server's cluster is not among the static clusters.
    #[error("cluster {0}, which leads to the ADS server, is not in static_resources.clusters")]
    NoAdsCluster(String),
    /// Certificates or keys of the bootstrap cannot be used.
    #[error("TLS secrets cannot be used: {}", listed(.0))]
    Secrets(Vec<LoadError>),
    /// Our own address towards the control plane cannot be found out.
    #[error("cannot find out the address under which others reach this host: give --address")]
    NoAddress(#[source] io::Error),
    /// The control thread ended before it was up.
    #[error("the control thread ended early")]
    Ended,
}

fn listed(faults: &[LoadError]) -> String {
    let faults: Vec<String> = faults.iter().map(LoadError::to_string).collect();
    faults.join("; ")
}
