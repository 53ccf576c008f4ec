//! The admin pages: what the proxy knows, in Envoy's names and shapes, and the few switches it has.
//!
//! Two servers share the pages: the admin port, on loopback unless configured otherwise, has all of them; the
//! metrics port, which the kubelet reaches, has `/metrics`, `/ready` and `/live` alone. What changes something
//! asks for `POST`. On loopback the `Host` header must name loopback, so that no web page can reach us by a name
//! that it lets point here; and what changes something is refused where a browser says that a page of another origin
//! asks. Where all connections are taken the oldest makes room. Room invariant: answering reads state and never waits.

mod pages;
mod server;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::Value;

use crate::balance::Cluster;
use crate::telemetry::Metrics;
use crate::tls::ShownSecret;

pub use server::serve;

/// Which pages a server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// All of them.
    Admin,
    /// `/metrics`, `/ready` and `/live`.
    Metrics,
}

/// A question to the rest of the proxy.
pub type Ask<T> = Box<dyn Fn() -> T + Send + Sync>;

/// Takes another log level; says the one in force, or why the given one is refused.
pub type SetLevel = Box<dyn Fn(Option<&str>) -> Result<String, String> + Send + Sync>;

/// What the pages show and switch; `app` fills it in.
pub struct AdminState {
    /// Everything counted.
    pub metrics: Arc<Metrics>,
    /// Whether requests can be served; the reason why not.
    pub ready: Ask<Result<(), String>>,
    /// Envoy's name of the state: `LIVE`, `DRAINING`, `PRE_INITIALIZING` or `INITIALIZING`.
    pub state: Ask<&'static str>,
    /// The node as JSON, and what else `/server_info` shows of the command line.
    pub node: Ask<Value>,
    /// The list of `configs` of `/config_dump`.
    pub config_dump: Ask<Vec<Value>>,
    /// Clusters in force.
    pub clusters: Ask<Vec<ClusterShown>>,
    /// Certificates in use.
    pub secrets: Ask<Vec<ShownSecret>>,
    /// Listeners that are bound.
    pub listeners: Ask<Vec<(Arc<str>, SocketAddr)>>,
    /// Takes another log level (or filter); refused with a reason. Says the level in force without one.
    pub logging: SetLevel,
    /// Begins to drain listeners.
    pub drain: Ask<()>,
    /// Begins an orderly stop.
    pub quit: Ask<()>,
}

/// A cluster, as far as it does not know itself what is shown of it.
#[derive(Clone, Debug)]
pub struct ClusterShown {
    /// The cluster.
    pub cluster: Arc<Cluster>,
    /// Whether it came over xDS or from a watched file, and not with the bootstrap.
    pub added_via_api: bool,
}

impl fmt::Debug for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminState").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
