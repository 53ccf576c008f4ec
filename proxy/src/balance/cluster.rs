//! The handle of a cluster: survives snapshots, while everything inside swaps by itself.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::time::Instant;
use weft_config::cluster::{self as config, ClusterName, Discovery};
use weft_config::endpoint::{EndpointSet, Health, Locality};
use weft_config::flag::ResponseFlag;

use super::breaker::CircuitBreakers;
use super::endpoint::{EndpointId, EndpointState, Outcome};
use super::original::OriginalDestinations;
use super::outlier::nanos;
use super::table::EndpointTable;
use super::terms::Terms;
use super::view::View;
use crate::endpoint::{Dial, OwnCalls};
use crate::telemetry::{ClusterStats, Metrics};
use crate::tls::{Inside, Secrets};

/// A cluster, keyed by name.
#[derive(Debug)]
pub struct Cluster {
    /// Its name.
    pub name: ClusterName,
    /// Bounds on its connections, requests and retries.
    pub breakers: CircuitBreakers,
    /// Its counts.
    pub stats: Arc<ClusterStats>,
    terms: ArcSwap<Terms>,
    view: ArcSwap<View>,
    originals: OriginalDestinations,
    own_calls: Arc<OwnCalls>,
    warm: AtomicBool,
    epoch: Instant,
    /// Held while the next view is built, never by a request.
    writer: Mutex<()>,
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
    #[error("all endpoints of the cluster are unhealthy")]
    AllUnhealthy,
    /// The control plane asked to drop this share of requests.
    #[error("dropped because the control plane asked to (drop_overloads)")]
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

    /// `%RESPONSE_CODE_DETAILS%`: one word.
    pub fn details(self) -> &'static str {
        match self {
            Self::NoEndpoints => "no_endpoints",
            Self::AllUnhealthy => "no_healthy_upstream",
            Self::Overloaded => "drop_overload",
            Self::NoOriginalDst => "no_original_destination",
        }
    }
}

/// An endpoint as the admin page shows it.
#[derive(Clone, Debug)]
pub struct EndpointStatus {
    /// The endpoint.
    pub state: Arc<EndpointState>,
    /// Where it is.
    pub locality: Locality,
    /// Priority of its locality.
    pub priority: u32,
    /// Its weight.
    pub weight: u32,
    /// Health as told by the control plane.
    pub health: Health,
    /// Whether it is ejected for failing.
    pub ejected: bool,
}

impl Cluster {
    /// A cluster as configured; `STATIC` ones have their endpoints at once.
    pub fn new(
        config: Arc<config::Cluster>,
        secrets: &Secrets,
        metrics: &Metrics,
        now: Instant,
    ) -> Arc<Self> {
        let stats = metrics.cluster(&config.name);
        let view = View::build(Arc::default(), &config, 0, 0);
        let cluster = Self {
            name: config.name.clone(),
            breakers: CircuitBreakers::new(&config.circuit_breakers, stats.clone(), now),
            stats,
            terms: ArcSwap::from_pointee(Terms::new(config.clone(), secrets, None)),
            view: ArcSwap::from_pointee(view),
            originals: OriginalDestinations::default(),
            own_calls: Arc::default(),
            warm: AtomicBool::new(matches!(config.discovery, Discovery::OriginalDst)),
            epoch: now,
            writer: Mutex::default(),
        };
        if let Discovery::Static(set) = &config.discovery {
            cluster.set_endpoints_at(set, 0);
        }
        Arc::new(cluster)
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<config::Cluster> {
        self.terms.load().config.clone()
    }

    /// Whether `endpoint` is a sidecar's.
    pub fn is_mesh(&self, endpoint: &EndpointState) -> bool {
        let terms = self.terms.load();
        let tls = terms.tls_of(&endpoint.socket_labels);
        tls.is_some_and(|context| context.config.is_mesh())
    }

    /// How a connection to one of its endpoints is opened.
    pub fn dial(&self, endpoint: &EndpointState, inside: Inside) -> (Arc<config::Cluster>, Dial) {
        let terms = self.terms.load();
        let dial = Dial {
            timeout: terms.config.connect_timeout,
            keepalive: terms.config.tcp_keepalive,
            tls: terms.tls_of(&endpoint.socket_labels).cloned(),
            inside,
            beside: None,
            own_calls: self
                .view
                .load()
                .is_original_dst()
                .then(|| self.own_calls.clone()),
            stats: self.stats.clone(),
        };
        (terms.config.clone(), dial)
    }

    /// Puts another configuration in force. Endpoints stay, with their state, unless it lists its own.
    pub fn set_config(&self, config: Arc<config::Cluster>, secrets: &Secrets) {
        let now = self.nanos(Instant::now());
        self.breakers.set(&config.circuit_breakers);
        let before = self.terms.load_full();
        let terms = Terms::new(config.clone(), secrets, Some(&before));
        self.terms.store(Arc::new(terms));
        match &config.discovery {
            Discovery::Static(set) => self.set_endpoints_at(set, now),
            _ => self.rebuild(now, |table| table.clone()),
        }
    }

    /// Puts these endpoints in force; those whose address stays keep their state. Costs what this set costs.
    pub fn set_endpoints(&self, set: &EndpointSet) {
        self.set_endpoints_at(set, self.nanos(Instant::now()));
    }

    fn set_endpoints_at(&self, set: &EndpointSet, now: u64) {
        self.rebuild(now, |old| Arc::new(EndpointTable::build(set, old)));
        self.warm.store(true, Ordering::Release);
    }

    /// Whether its endpoints are known (there may be none).
    pub fn is_warm(&self) -> bool {
        self.warm.load(Ordering::Acquire)
    }

    /// Chooses an endpoint. Takes no lock and allocates nothing, but for a new address of an `ORIGINAL_DST` cluster
    /// and the first pick after an ejection is over.
    ///
    /// # Errors
    /// Why there is none.
    pub fn pick(&self, cx: &mut PickContext<'_>) -> Result<Arc<EndpointState>, PickError> {
        let now = self.nanos(cx.now);
        let mut view = self.view.load();
        if now >= view.expires {
            drop(view);
            self.renew(now);
            view = self.view.load();
        }
        if view.is_original_dst() {
            let address = cx.original_dst.ok_or(PickError::NoOriginalDst)?;
            return Ok(self.originals.endpoint(address));
        }
        if view.drops(cx.rng) {
            self.stats.dropped.inc();
            return Err(PickError::Overloaded);
        }
        let Some(picked) = view.pick(cx.rng, cx.avoid) else {
            self.stats.no_endpoint.inc();
            let nobody = view.table.rows().next().is_none();
            return Err(if nobody {
                PickError::NoEndpoints
            } else {
                PickError::AllUnhealthy
            });
        };
        if picked.panicked {
            self.stats.panic_picks.inc();
        }
        Ok(picked.endpoint.clone())
    }

    /// Whether a connection from `peer` to `destination` is one that this cluster has opened itself, and which was captured.
    pub fn is_own_call(&self, peer: SocketAddr, destination: Option<SocketAddr>) -> bool {
        let original = self.view.load().is_original_dst();
        original && destination.is_some_and(|destination| self.own_calls.has(peer, destination))
    }

    /// An attempt at `endpoint` ended: pays for retries when it went well, ejects the endpoint when it fails too often.
    pub fn report(&self, endpoint: &EndpointState, outcome: Outcome, now: Instant) {
        if outcome.is_good() {
            self.breakers.answered(now);
        } else {
            endpoint.count_failure();
        }
        if matches!(outcome, Outcome::ConnectFailed | Outcome::ConnectTimedOut) {
            self.stats.connect_failures.inc();
        }
        if outcome == Outcome::ConnectTimedOut {
            self.stats.connect_timeouts.inc();
        }
        let view = self.view.load();
        let Some(limits) = &view.outlier else {
            return;
        };
        if endpoint.record.note(outcome, limits) {
            drop(view);
            self.eject(endpoint, self.nanos(now));
        }
    }

    /// Whether `id` is one of its endpoints now, whatever its health.
    pub fn has_endpoint(&self, id: EndpointId) -> bool {
        let view = self.view.load();
        if view.is_original_dst() {
            return self.originals.all().iter().any(|state| state.id == id);
        }
        let mut rows = view.table.groups.iter().flat_map(|group| &group.rows);
        rows.any(|row| row.state.id == id)
    }

    /// Every endpoint, for the admin page.
    pub fn endpoints(&self, now: Instant) -> Vec<EndpointStatus> {
        let now = self.nanos(now);
        let view = self.view.load_full();
        if view.is_original_dst() {
            let status = |state| EndpointStatus {
                state,
                locality: Locality::default(),
                priority: 0,
                weight: 1,
                health: Health::Healthy,
                ejected: false,
            };
            return self.originals.all().into_iter().map(status).collect();
        }
        let rows = view
            .table
            .groups
            .iter()
            .flat_map(|group| group.rows.iter().map(move |row| (group, row)));
        rows.map(|(group, row)| EndpointStatus {
            state: row.state.clone(),
            locality: group.locality.clone(),
            priority: group.priority,
            weight: row.weight,
            health: row.health,
            ejected: row.state.record.is_ejected(now),
        })
        .collect()
    }

    /// Ejects an endpoint that has failed once too often, if not too many are ejected already.
    fn eject(&self, endpoint: &EndpointState, now: u64) {
        // Whoever builds a view now will not see the ejection; the next failure comes back here.
        let Ok(_one_at_a_time) = self.writer.try_lock() else {
            return;
        };
        let view = self.view.load_full();
        let Some(limits) = &view.outlier else {
            return;
        };
        let (mut total, mut ejected, mut ours) = (0u64, 0u64, false);
        for row in view.table.rows() {
            total += 1;
            ejected += u64::from(row.state.record.is_ejected(now));
            ours |= row.state.id == endpoint.id;
        }
        if !ours || endpoint.record.is_ejected(now) {
            return;
        }
        if ejected >= (total * u64::from(limits.ejected_percent_max) / 100).max(1) {
            self.stats.ejections_suppressed.inc();
            return;
        }
        endpoint.record.eject(now, limits);
        self.stats.ejections.inc();
        self.put(view.table.clone(), now);
    }

    /// An ejection is over: the first to notice builds the next view, the others use this one a little longer.
    fn renew(&self, now: u64) {
        let Ok(_one_at_a_time) = self.writer.try_lock() else {
            return;
        };
        let view = self.view.load_full();
        if now >= view.expires {
            self.put(view.table.clone(), now);
        }
    }

    fn rebuild(&self, now: u64, table: impl FnOnce(&Arc<EndpointTable>) -> Arc<EndpointTable>) {
        let _one_at_a_time = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.view.load_full();
        self.put(table(&old.table), now);
    }

    fn put(&self, table: Arc<EndpointTable>, now: u64) {
        self.count_endpoints(&table, now);
        let config = self.config();
        self.view.store(Arc::new(View::build(
            table,
            &config,
            now,
            fastrand::u64(..),
        )));
    }

    fn count_endpoints(&self, table: &EndpointTable, now: u64) {
        let mut by_health = [0i64; 4];
        let mut ejected = 0;
        for row in table.rows() {
            let [healthy, degraded, draining, unhealthy] = &mut by_health;
            match row.health {
                Health::Healthy => *healthy += 1,
                Health::Degraded => *degraded += 1,
                Health::Draining => *draining += 1,
                Health::Unhealthy => *unhealthy += 1,
            }
            ejected += i64::from(row.state.record.is_ejected(now));
        }
        for (gauge, count) in self.stats.endpoints.iter().zip(by_health) {
            gauge.store(count, Ordering::Relaxed);
        }
        self.stats.ejected_active.store(ejected, Ordering::Relaxed);
    }

    /// Nanoseconds since the cluster was made.
    fn nanos(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.epoch))
    }
}

#[cfg(test)]
mod tests;
