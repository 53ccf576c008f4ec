//! The TCP proxy: a connection on a TCP chain gets an upstream connection and becomes a tunnel.

use std::borrow::Cow;
use std::sync::Arc;

use smallvec::SmallVec;
use tokio::time::Instant;
use weft_config::flag::ResponseFlag;

use super::admission::ConnectionGuard;
use super::facts::ConnectionFacts;
use super::serve::UNKNOWN;
use crate::balance::{
    ActiveGuard, BreakerGuard, Cluster, EndpointId, EndpointState, Outcome, PickContext, PickError,
};
use crate::endpoint::{self, ConnectError, OWN_CALL, OwnCall};
use crate::policy::Permit;
use crate::policy::revoked::{connection_revoked, revoked};
use crate::snapshot::{Snapshot, TcpView};
use crate::stream::Stream;
use crate::telemetry::ConnectionLog;
use crate::tls::Inside;
use crate::tunnel::{self, Close, Preread, TunnelOptions};
use crate::worker::Worker;

/// A connection that is to be passed on.
pub(super) struct Passing {
    pub(super) stream: Stream,
    pub(super) facts: ConnectionFacts,
    pub(super) first_bytes: Vec<u8>,
    pub(super) guard: ConnectionGuard,
    pub(super) permit: Permit,
}

/// An upstream connection and the counts that it is part of.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) stream: Stream,
    _own_call: Option<OwnCall>,
    cluster: Arc<Cluster>,
    active: ActiveGuard,
    breaker: BreakerGuard,
}

/// Why there is no upstream connection.
#[derive(Debug)]
pub(super) struct ConnectFailure {
    flags: SmallVec<[ResponseFlag; 2]>,
    details: Cow<'static, str>,
    cluster: Option<Arc<Cluster>>,
    endpoint: Option<Arc<EndpointState>>,
}

/// A connection with both its sockets, about to be a tunnel.
pub(super) struct Carried {
    down: Stream,
    up: Connected,
    options: TunnelOptions,
    log: ConnectionLog,
    guard: ConnectionGuard,
    facts: Box<ConnectionFacts>,
}

/// Connects upstream, unless `dialled` has done so; `None`: it failed and downstream was reset.
pub(super) async fn carry(
    worker: &Worker,
    view: &Arc<TcpView>,
    passing: Passing,
    dialled: Option<Result<Connected, ConnectFailure>>,
) -> Option<Carried> {
    let Passing {
        stream,
        facts,
        first_bytes,
        guard,
        permit,
    } = passing;
    let mut log = ConnectionLog::begin(
        &view.scope,
        facts.peer,
        facts.destination(),
        facts.tls.as_ref(),
        Instant::now(),
    );
    if let Some(shadow) = permit.shadow() {
        log.note(|| shadow.shadow_details());
    }
    let connected = match dialled {
        Some(outcome) => outcome,
        None => connect(worker, &facts, view.clone(), &permit).await,
    };
    match connected {
        Ok(up) => {
            log.routed(&up.cluster.stats);
            log.upstream(up.active.endpoint());
            let options = TunnelOptions {
                preread: Preread {
                    from_downstream: first_bytes,
                    from_upstream: Vec::new(),
                },
                idle_timeout: view.proxy.idle_timeout,
                drain: worker.drain.watch(),
            };
            Some(Carried {
                down: stream,
                up,
                options,
                log,
                guard,
                facts: Box::new(facts),
            })
        }
        Err(failure) => {
            failure.tell(&mut log);
            log.finish(Instant::now());
            // An orderly end would look like a server with nothing to say.
            stream.abort();
            None
        }
    }
}

impl Carried {
    /// Carries bytes to the end and logs it.
    pub(super) async fn run(self, worker: &Worker) {
        let Self {
            down,
            up,
            options,
            mut log,
            guard,
            facts,
        } = self;
        let Connected {
            stream,
            _own_call,
            cluster: _,
            active,
            breaker,
        } = up;
        let mut denied = None;
        let revoked = async {
            let judge = |snapshot: &Snapshot| connection_revoked(snapshot, &facts);
            denied = Some(revoked(&worker.snapshot, judge).await);
        };
        let ends = tunnel::between(&worker.pools, down, stream, options, revoked).await;
        drop((active, breaker, guard));
        log.received(ends.to_upstream);
        log.sent(ends.to_downstream);
        if let Some((limit, details)) = ends.close.limit() {
            log.limit(limit);
            log.details(details);
        }
        match ends.close {
            Close::Orderly => {}
            Close::DownstreamReset => log.flag(ResponseFlag::DC),
            Close::UpstreamReset => log.flag(ResponseFlag::UC),
            Close::Idle | Close::HalfClosed => log.flag(ResponseFlag::SI),
            Close::Drained => {
                log.flag(ResponseFlag::LR);
                log.details("drain_time_over");
            }
            Close::Revoked => {
                log.flag(ResponseFlag::UAEX);
                log.details(denied.map_or_else(String::new, |denied| denied.details()));
            }
        }
        log.finish(Instant::now());
    }
}

impl ConnectFailure {
    fn new(flag: ResponseFlag, details: impl Into<Cow<'static, str>>) -> Self {
        Self {
            flags: SmallVec::from_slice(&[flag]),
            details: details.into(),
            cluster: None,
            endpoint: None,
        }
    }

    fn at(mut self, cluster: &Arc<Cluster>) -> Self {
        self.cluster = Some(cluster.clone());
        self
    }

    fn tell(&self, log: &mut ConnectionLog) {
        if let Some(cluster) = &self.cluster {
            log.routed(&cluster.stats);
        }
        if let Some(endpoint) = &self.endpoint {
            log.upstream(endpoint);
        }
        self.flags.iter().for_each(|flag| log.flag(*flag));
        log.details(self.details.clone());
    }
}

/// Opens an upstream connection: cluster by weight and endpoint are chosen anew for each attempt, by the snapshot in
/// force then; endpoints that failed are avoided. Whoever asks has a permit to show.
pub(super) async fn connect(
    worker: &Worker,
    facts: &ConnectionFacts,
    mut view: Arc<TcpView>,
    _permit: &Permit,
) -> Result<Connected, ConnectFailure> {
    let attempts = view.proxy.connect_attempts_max.max(1);
    let mut avoid: SmallVec<[EndpointId; 4]> = SmallVec::new();
    let mut attempt = 1;
    loop {
        let (mut failure, endpoint) = match try_once(worker, facts, &view, &avoid).await {
            Ok(connected) => return Ok(connected),
            Err(failure) => {
                let endpoint = failure.endpoint.as_ref().map(|endpoint| endpoint.id);
                (failure, endpoint)
            }
        };
        // Without an endpoint to blame, another attempt would end the same.
        let Some(endpoint) = endpoint.filter(|_| attempt < attempts) else {
            if attempts > 1 && failure.endpoint.is_some() {
                failure.flags.push(ResponseFlag::URX);
            }
            return Err(failure);
        };
        avoid.push(endpoint);
        attempt += 1;
        if let Some(now) = tcp_view(worker, facts) {
            view = now;
        }
    }
}

/// The TCP chain that takes this connection in the snapshot in force.
fn tcp_view(worker: &Worker, facts: &ConnectionFacts) -> Option<Arc<TcpView>> {
    let snapshot = worker.snapshot.current();
    let listener = snapshot.listener(&facts.listener)?;
    listener.find_chain(facts)?.tcp().cloned()
}

async fn try_once(
    worker: &Worker,
    facts: &ConnectionFacts,
    view: &TcpView,
    avoid: &[EndpointId],
) -> Result<Connected, ConnectFailure> {
    let (cluster, active) = pick(worker, facts, view, avoid)?;
    let Some(breaker) = cluster.breakers.try_acquire_connection() else {
        return Err(ConnectFailure::new(ResponseFlag::UO, "connections_max").at(&cluster));
    };
    let (_, mut dial) = cluster.dial(active.endpoint(), Inside::Bytes);
    dial.beside = facts.beside;
    let opened = endpoint::connect(&active.endpoint().address, &dial).await;
    let outcome = match &opened {
        Ok(_) => Outcome::Connected,
        Err(ConnectError::Timeout { .. }) => Outcome::ConnectTimedOut,
        Err(ConnectError::Io { .. } | ConnectError::Tls { .. }) => Outcome::ConnectFailed,
    };
    cluster.report(active.endpoint(), outcome, Instant::now());
    match opened {
        Ok(stream) => Ok(Connected {
            _own_call: dial.own_calls.and_then(|calls| calls.note(&stream)),
            stream,
            cluster,
            active,
            breaker,
        }),
        Err(error) => {
            let mut failure =
                ConnectFailure::new(ResponseFlag::UF, format!("connect: {error}")).at(&cluster);
            failure.endpoint = Some(active.endpoint().clone());
            Err(failure)
        }
    }
}

fn pick(
    worker: &Worker,
    facts: &ConnectionFacts,
    view: &TcpView,
    avoid: &[EndpointId],
) -> Result<(Arc<Cluster>, ActiveGuard), ConnectFailure> {
    let rng = &mut *worker.rng.borrow_mut();
    let Some(cluster) = by_weight(&view.clusters, rng) else {
        return Err(ConnectFailure::new(ResponseFlag::NC, "cluster_not_found"));
    };
    if cluster.is_own_call(facts.peer, facts.original_dst) {
        let details = format!("{}: {OWN_CALL}", facts.destination());
        return Err(ConnectFailure::new(ResponseFlag::NR, details).at(cluster));
    }
    let mut cx = PickContext {
        now: Instant::now(),
        rng,
        avoid,
        original_dst: facts.original_dst,
    };
    match cluster.pick(&mut cx) {
        Ok(endpoint) => Ok((cluster.clone(), endpoint.begin())),
        Err(error) => {
            let unknown = &*facts.listener == UNKNOWN && error == PickError::NoEndpoints;
            let details = if unknown {
                let destination = facts.destination();
                format!("{destination} is nobody of the mesh, and the policy is REGISTRY_ONLY")
            } else {
                error.to_string()
            };
            Err(ConnectFailure::new(error.flag(), details).at(cluster))
        }
    }
}

/// One of the clusters, by weight; `None`: the one drawn is not known (or there is none).
fn by_weight<'c>(
    clusters: &'c [(Option<Arc<Cluster>>, u32)],
    rng: &mut fastrand::Rng,
) -> Option<&'c Arc<Cluster>> {
    let total: u64 = clusters.iter().map(|(_, weight)| u64::from(*weight)).sum();
    let mut drawn = rng.u64(..total.max(1));
    for (cluster, weight) in clusters {
        match drawn.checked_sub(u64::from(*weight)) {
            Some(rest) => drawn = rest,
            None => return cluster.as_ref(),
        }
    }
    None
}
