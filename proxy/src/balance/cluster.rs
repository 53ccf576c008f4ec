//! The handle of a cluster: survives snapshots, while everything inside swaps by itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use tokio::time::Instant;
use weft_config::cluster::{self as config, ClusterName, Discovery};
use weft_config::endpoint::{EndpointSet, Health};
use weft_config::flag::ResponseFlag;

use super::breaker::CircuitBreakers;
use super::endpoint::{EndpointId, EndpointState, Outcome};
use crate::telemetry::{ClusterStats, Metrics};

/// A cluster, keyed by name.
#[derive(Debug)]
pub struct Cluster {
    /// Its name.
    pub name: ClusterName,
    /// Bounds on its connections, requests and retries.
    pub breakers: CircuitBreakers,
    /// Its counts.
    pub stats: Arc<ClusterStats>,
    config: ArcSwap<config::Cluster>,
    endpoints: ArcSwap<Vec<Arc<EndpointState>>>,
    warm: AtomicBool,
    turn: AtomicU64,
}

/// What a choice depends on.
#[derive(Debug)]
pub struct PickContext<'a> {
    /// The time.
    pub now: Instant,
    /// The worker's random numbers.
    pub rng: &'a mut fastrand::Rng,
    /// Endpoints not to choose while there are others: those that failed this request already.
    pub avoid: &'a [EndpointId],
    /// Where the downstream wanted to go, for `ORIGINAL_DST` clusters.
    pub original_dst: Option<SocketAddr>,
}

/// Why there is no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PickError {
    /// The cluster has none, or they are not known yet.
    #[error("cluster has no endpoints")]
    NoEndpoints,
    /// All are unhealthy, draining or ejected, and the cluster does not panic.
    #[error("all endpoints are unhealthy")]
    AllUnhealthy,
    /// The control plane asked to drop this share of requests.
    #[error("dropped by drop_overloads")]
    Overloaded,
    /// An `ORIGINAL_DST` cluster, and the connection was not redirected.
    #[error("connection has no original destination")]
    NoOriginalDst,
}

impl PickError {
    /// What the access log says.
    pub fn flag(self) -> ResponseFlag {
        match self {
            Self::NoEndpoints | Self::AllUnhealthy | Self::NoOriginalDst => ResponseFlag::UH,
            Self::Overloaded => ResponseFlag::DO,
        }
    }
}

impl Cluster {
    /// A cluster as configured; `STATIC` ones have their endpoints at once.
    pub fn new(config: Arc<config::Cluster>, metrics: &Metrics, _now: Instant) -> Arc<Self> {
        let stats = metrics.cluster(&config.name);
        let cluster = Self {
            name: config.name.clone(),
            breakers: CircuitBreakers::new(&config.circuit_breakers, stats.clone()),
            stats,
            config: ArcSwap::new(config.clone()),
            endpoints: ArcSwap::default(),
            warm: AtomicBool::new(matches!(config.discovery, Discovery::OriginalDst)),
            turn: AtomicU64::new(0),
        };
        if let Discovery::Static(set) = &config.discovery {
            cluster.set_endpoints(set);
        }
        Arc::new(cluster)
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<config::Cluster> {
        self.config.load_full()
    }

    /// Puts another configuration in force; endpoints stay unless it lists its own.
    pub fn set_config(&self, config: Arc<config::Cluster>) {
        self.breakers.set(&config.circuit_breakers);
        if let Discovery::Static(set) = &config.discovery {
            self.set_endpoints(set);
        }
        self.config.store(config);
    }

    /// Puts these endpoints in force; those whose address stays keep their state.
    pub fn set_endpoints(&self, set: &EndpointSet) {
        let old = self.endpoints.load_full();
        let all = set
            .localities
            .iter()
            .flat_map(|locality| &locality.endpoints);
        let next = all
            .filter(|endpoint| endpoint.health == Health::Healthy)
            .map(|endpoint| {
                let same = |state: &&Arc<EndpointState>| {
                    state.address == endpoint.address && state.hostname == endpoint.hostname
                };
                old.iter().find(same).cloned().unwrap_or_else(|| {
                    EndpointState::new(endpoint.address.clone(), endpoint.hostname.clone())
                })
            })
            .collect();
        self.endpoints.store(Arc::new(next));
        self.warm.store(true, Ordering::Release);
    }

    /// Whether its endpoints are known (there may be none).
    pub fn is_warm(&self) -> bool {
        self.warm.load(Ordering::Acquire)
    }

    /// Chooses an endpoint.
    ///
    /// # Errors
    /// Why there is none.
    pub fn pick(&self, cx: &mut PickContext<'_>) -> Result<Arc<EndpointState>, PickError> {
        let endpoints = self.endpoints.load();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = u64::try_from(endpoints.len()).unwrap_or(u64::MAX);
        let start =
            usize::try_from(turn.checked_rem(count).ok_or(PickError::NoEndpoints)?).unwrap_or(0);
        let mut from_start = endpoints.iter().cycle().skip(start).take(endpoints.len());
        from_start
            .find(|endpoint| !cx.avoid.contains(&endpoint.id))
            .or_else(|| endpoints.get(start))
            .cloned()
            .ok_or(PickError::NoEndpoints)
    }

    /// An attempt at `endpoint` ended: counts failures, and ejects it when it fails too often.
    pub fn report(&self, _endpoint: &EndpointState, outcome: Outcome, _now: Instant) {
        match outcome {
            Outcome::ConnectFailed => self.stats.connect_failures.inc(),
            Outcome::ConnectTimedOut => {
                self.stats.connect_failures.inc();
                self.stats.connect_timeouts.inc();
            }
            Outcome::Status(_) | Outcome::Reset | Outcome::TimedOut => {}
        }
    }
}
