//! The snapshot and its views: configuration with everything that it names looked up.

use std::collections::HashMap;
use std::sync::Arc;

use smallvec::SmallVec;
use weft_config::cluster::ClusterName;
use weft_config::listener::{HttpConnectionManager, Listener, TcpProxy};
use weft_config::route::{RouteId, RouteTable};

use crate::balance::Cluster;
use crate::policy::{AccessGate, FaultInjector, JwtGate, LocalRateLimiter};
use crate::snapshot::demand::{Demand, LastUse};
use crate::telemetry::Scope;
use crate::tls::ServerContext;

/// A map of our own keys, with a fast hash.
pub type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// Everything in force at one moment. Parts that did not change are shared with the snapshot before.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// How many snapshots came before, from 1; 0 is the empty one of the start.
    pub revision: u64,
    /// Listeners that are bound, by name.
    pub listeners: Arc<Map<Arc<str>, Arc<ListenerView>>>,
    /// Listeners that are looked up by name and not bound: what mesh mode learned on demand, and `api_listener`s.
    pub api_listeners: Arc<Map<Arc<str>, Arc<ListenerView>>>,
    /// Clusters, by name. Their insides swap by themselves.
    pub clusters: Arc<Map<ClusterName, Arc<Cluster>>>,
}

impl Snapshot {
    /// The listener `name`, bound or not.
    pub fn listener(&self, name: &str) -> Option<&Arc<ListenerView>> {
        self.listeners
            .get(name)
            .or_else(|| self.api_listeners.get(name))
    }

    /// The cluster `name`.
    pub fn cluster(&self, name: &str) -> Option<&Arc<Cluster>> {
        self.clusters.get(name)
    }
}

/// A listener with its chains looked up.
#[derive(Clone, Debug)]
pub struct ListenerView {
    /// The listener as configured.
    pub config: Arc<Listener>,
    /// Beside `config.filter_chains`: same length, same order. [`Self::find_chain`] chooses.
    pub chains: Vec<ChainView>,
    /// Beside `config.default_filter_chain`; the only chain of an `api_listener`.
    pub default_chain: Option<ChainView>,
    /// `Some` for the outbound listener of mesh mode: what a request (by its authority) or an opaque connection (by its
    /// original destination) asks for is the name of a listener in [`Snapshot::api_listeners`], learned when first
    /// asked for. The chains here only say how the connection is taken.
    pub on_demand: Option<Arc<Demand>>,
    /// When this listener was last asked for on demand.
    pub last_use: Arc<LastUse>,
}

/// A filter chain and what it ends in.
#[derive(Clone, Debug)]
pub struct ChainView {
    /// Its name; empty when not given.
    pub name: Arc<str>,
    /// How its connections are encrypted; `None`: they are plain.
    pub tls: Option<Arc<ServerContext>>,
    /// Who may connect: all of these let a connection through.
    pub access: Vec<Arc<AccessGate>>,
    /// What it ends in.
    pub kind: ChainKind,
}

/// What a filter chain ends in.
#[derive(Clone, Debug)]
pub enum ChainKind {
    /// Requests are routed one by one.
    Http(Arc<HttpView>),
    /// Bytes are passed on.
    Tcp(Arc<TcpView>),
}

impl ChainView {
    /// What its requests or connections are counted and logged by.
    pub fn scope(&self) -> &Arc<Scope> {
        match &self.kind {
            ChainKind::Http(http) => &http.scope,
            ChainKind::Tcp(tcp) => &tcp.scope,
        }
    }
}

impl ListenerView {
    /// Whether what is under way may be cut because somebody is no longer let in.
    pub fn cuts(&self) -> bool {
        let mut chains = self.chains.iter().chain(&self.default_chain);
        chains.any(ChainView::cuts)
    }
}

impl ChainView {
    fn cuts(&self) -> bool {
        let http = self.http().map(|view| view.gates()).into_iter().flatten();
        self.access.iter().chain(http).any(|gate| gate.cuts())
    }

    /// The HTTP view, where this chain speaks HTTP.
    pub fn http(&self) -> Option<&Arc<HttpView>> {
        match &self.kind {
            ChainKind::Http(view) => Some(view),
            ChainKind::Tcp(_) => None,
        }
    }

    /// The TCP view, where this chain passes bytes on.
    pub fn tcp(&self) -> Option<&Arc<TcpView>> {
        match &self.kind {
            ChainKind::Tcp(view) => Some(view),
            ChainKind::Http(_) => None,
        }
    }
}

/// An HTTP connection manager with its routes and filters looked up.
#[derive(Clone, Debug)]
pub struct HttpView {
    /// As configured.
    pub hcm: Arc<HttpConnectionManager>,
    /// Its routes; `None`: RDS has not told them yet.
    pub table: Option<Arc<TableView>>,
    /// Beside `hcm.filters`: same length, same order.
    pub filters: Vec<FilterView>,
    /// Where its requests are counted and logged.
    pub scope: Arc<Scope>,
}

impl HttpView {
    /// Its filters that let requests through or not.
    pub fn gates(&self) -> impl Iterator<Item = &Arc<AccessGate>> {
        self.filters.iter().filter_map(|filter| match filter {
            FilterView::Access(gate) => Some(gate),
            _ => None,
        })
    }
}

/// An HTTP filter ready to run with the listener's configuration.
#[derive(Clone, Debug)]
pub enum FilterView {
    /// Local rate limit; [`RouteView::rate_limit`] takes its place where a route has its own.
    LocalRateLimit(Arc<LocalRateLimiter>),
    /// Delay and abort; [`RouteView::fault`] takes its place where a route has its own.
    Fault(Arc<FaultInjector>),
    /// Whose token a request must bring.
    Jwt(Arc<JwtGate>),
    /// Who may do what.
    Access(Arc<AccessGate>),
    /// Listed but not known: what would pass it is answered 500.
    Unsupported {
        /// The filter's name.
        name: Arc<str>,
        /// The type URL of its configuration.
        type_url: Arc<str>,
    },
}

/// A route table with everything that its routes name looked up.
#[derive(Clone, Debug)]
pub struct TableView {
    /// The table; `table.find(..)` finds a route.
    pub table: Arc<RouteTable>,
    /// By [`RouteId`].
    pub routes: Vec<RouteView>,
}

impl TableView {
    /// What route `id` of [`Self::table`] names.
    pub fn route(&self, id: RouteId) -> Option<&RouteView> {
        self.routes.get(usize::try_from(id.0).ok()?)
    }
}

/// What one route names.
#[derive(Clone, Debug, Default)]
pub struct RouteView {
    /// Beside the route's weighted clusters: same length, same order.
    pub clusters: SmallVec<[RouteCluster; 1]>,
    /// Instead of the listener's local rate limit.
    pub rate_limit: Option<Arc<LocalRateLimiter>>,
    /// Instead of the listener's fault.
    pub fault: Option<Arc<FaultInjector>>,
}

/// One cluster of a route.
#[derive(Clone, Debug, Default)]
pub struct RouteCluster {
    /// The cluster; `None`: not known (flag `NC`).
    pub cluster: Option<Arc<Cluster>>,
    /// Instead of the route's local rate limit, for what goes to this cluster.
    pub rate_limit: Option<Arc<LocalRateLimiter>>,
    /// Instead of the route's fault, for what goes to this cluster.
    pub fault: Option<Arc<FaultInjector>>,
}

/// A TCP proxy with its clusters looked up.
#[derive(Clone, Debug)]
pub struct TcpView {
    /// As configured.
    pub proxy: Arc<TcpProxy>,
    /// Beside `proxy.clusters`; `None`: not known.
    pub clusters: Vec<(Option<Arc<Cluster>>, u32)>,
    /// Where its connections are counted and logged.
    pub scope: Arc<Scope>,
}

impl TableView {
    /// Whether `other` would decide and count alike in everything, so that it need not take over.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let same_routes = |(a, b): (&RouteView, &RouteView)| {
            same(&a.rate_limit, &b.rate_limit)
                && same(&a.fault, &b.fault)
                && a.clusters.len() == b.clusters.len()
                && a.clusters.iter().zip(&b.clusters).all(|(a, b)| {
                    same(&a.cluster, &b.cluster)
                        && same(&a.rate_limit, &b.rate_limit)
                        && same(&a.fault, &b.fault)
                })
        };
        Arc::ptr_eq(&self.table, &other.table)
            && self.routes.iter().zip(&other.routes).all(same_routes)
    }
}

fn same<T>(a: &Option<Arc<T>>, b: &Option<Arc<T>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        _ => false,
    }
}
