//! The admin and metrics pages: their sockets, and what they ask the rooms.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::spawn_local;
use tracing::info;
use weft_config::tls::{SecretName, SecretOrigin};
use weft_xds_proto::json;
use weft_xds_proto::pb::envoy::config::core::v3::Node;
use weft_xds_proto::pb::google::protobuf::Any;

use self::dump::config_dump;
use super::config::{SetLevel, StartError};
use crate::admin::{AdminState, ClusterShown, Pages, serve};
use crate::balance::Cluster;
use crate::drain::{Drain, Phase};
use crate::identity::Standing;
use crate::snapshot::SnapshotStore;
use crate::telemetry::Metrics;
use crate::tls::Secrets;
use crate::xds::accepted::SharedAccepted;
use crate::xds::status::Report;
use crate::xds::{Kind, Status};

mod dump;

/// The bound sockets of the pages; bound early, because the control plane is told where the admin page is.
pub(super) struct Sockets {
    admin: Option<std::net::TcpListener>,
    metrics: Option<std::net::TcpListener>,
}

/// What the pages ask.
pub(super) struct Rooms {
    pub(super) store: Arc<SnapshotStore>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) status: Arc<Status>,
    pub(super) drain: Drain,
    pub(super) accepted: SharedAccepted,
    /// The bootstrap; `None` in mesh mode.
    pub(super) bootstrap: Option<Any>,
    pub(super) addresses: watch::Receiver<BTreeMap<Arc<str>, SocketAddr>>,
    pub(super) node: Node,
    pub(super) secrets: Arc<Secrets>,
    /// Whether the workload can prove who it is; `None`: it is nobody.
    pub(super) standing: Option<Arc<Standing>>,
    pub(super) logging: Option<SetLevel>,
}

impl Sockets {
    /// Binds what is asked for.
    ///
    /// # Errors
    /// If an address cannot be bound.
    pub(super) fn bind(
        admin: Option<SocketAddr>,
        metrics: Option<SocketAddr>,
    ) -> Result<Self, StartError> {
        Ok(Self {
            admin: bind("admin", admin)?,
            metrics: bind("metrics", metrics)?,
        })
    }

    /// Where the admin pages are.
    pub(super) fn admin(&self) -> Option<SocketAddr> {
        self.admin.as_ref()?.local_addr().ok()
    }

    /// Where the metrics page is.
    pub(super) fn metrics(&self) -> Option<SocketAddr> {
        self.metrics.as_ref()?.local_addr().ok()
    }

    /// Serves the pages until the control thread ends.
    ///
    /// # Errors
    /// If a socket cannot be used.
    pub(super) fn serve(self, rooms: Rooms) -> Result<(), StartError> {
        let state = Arc::new(rooms.state());
        let pages = [
            ("admin", self.admin, Pages::Admin),
            ("metrics", self.metrics, Pages::Metrics),
        ];
        for (role, socket, pages) in pages {
            let Some(socket) = socket else { continue };
            let socket = TcpListener::from_std(socket).map_err(StartError::Thread)?;
            if let Ok(address) = socket.local_addr() {
                info!(role, %address, "listening");
            }
            drop(spawn_local(serve(socket, state.clone(), pages)));
        }
        Ok(())
    }
}

fn bind(
    page: &'static str,
    address: Option<SocketAddr>,
) -> Result<Option<std::net::TcpListener>, StartError> {
    let Some(address) = address else {
        return Ok(None);
    };
    let failed = |source| StartError::Page {
        page,
        address,
        source,
    };
    let socket = std::net::TcpListener::bind(address).map_err(failed)?;
    socket.set_nonblocking(true).map_err(failed)?;
    Ok(Some(socket))
}

impl Rooms {
    /// Each page's question, answered from the rooms.
    fn state(self) -> AdminState {
        let Self {
            store,
            metrics,
            status,
            drain,
            accepted,
            bootstrap,
            addresses,
            node,
            secrets,
            standing,
            logging,
        } = self;
        let (ready_status, ready_drain) = (status.clone(), drain.clone());
        let ready_accepted = accepted.clone();
        let (state_status, state_drain) = (status.clone(), drain.clone());
        let (drain_listeners, quit) = (drain.clone(), drain);
        AdminState {
            metrics,
            ready: Box::new(move || {
                readiness(
                    &ready_status,
                    &ready_accepted,
                    &ready_drain,
                    standing.as_deref(),
                )
            }),
            state: Box::new(
                move || match (state_drain.phase(), state_status.is_ready()) {
                    (Phase::Running, true) => "LIVE",
                    (Phase::Running, false) => "INITIALIZING",
                    _ => "DRAINING",
                },
            ),
            node: Box::new(move || {
                json::to_json(&node).unwrap_or_else(|error| json!({"error": error.to_string()}))
            }),
            secrets: Box::new(move || secrets.shown()),
            clusters: {
                let accepted = accepted.clone();
                Box::new(move || clusters_shown(&store, &accepted))
            },
            config_dump: Box::new(move || config_dump(bootstrap.as_ref(), &accepted, &status)),
            listeners: Box::new(move || {
                addresses
                    .borrow()
                    .iter()
                    .map(|(name, at)| (name.clone(), *at))
                    .collect()
            }),
            logging: Box::new(move |level| match &logging {
                Some(SetLevel(set)) => set(level),
                None => Err("the log belongs to the process that embeds this proxy".to_owned()),
            }),
            drain: Box::new(move || drain_listeners.drain_listeners()),
            quit: Box::new(move || quit.quit()),
        }
    }
}

fn readiness(
    status: &Status,
    accepted: &SharedAccepted,
    drain: &Drain,
    standing: Option<&Standing>,
) -> Result<(), String> {
    if drain.phase() != Phase::Running {
        return Err("draining".to_owned());
    }
    // Without one nobody is let in, nor are we where a certificate is asked for.
    if let Some(fault) = standing.and_then(Standing::fault) {
        return Err(fault);
    }
    if !status.is_ready() {
        let report = status.report();
        if let Some(secret) = first_missing(accepted) {
            return Err(waiting_for(&secret, &report));
        }
        let why = report
            .last_error
            .unwrap_or_else(|| "no tables yet".to_owned());
        return Err(match report.server.is_empty() {
            true => format!("waiting for the first tables: {why}"),
            false => format!("waiting for the first tables of {}: {why}", report.server),
        });
    }
    Ok(())
}

/// The first secret that is in use and has not been told.
fn first_missing(accepted: &SharedAccepted) -> Option<SecretName> {
    let accepted = accepted.lock();
    let mut secrets = accepted.secrets().iter();
    let missing = secrets.find(|(_, raw)| raw.is_none());
    missing.map(|(secret, _)| secret.clone())
}

fn waiting_for(secret: &SecretName, report: &Report) -> String {
    let why = match &secret.origin {
        SecretOrigin::Server(_) => {
            let mut streams = report.streams.iter();
            let report = streams.find(|it| *it.secret == *secret);
            report.and_then(|it| it.last_error.as_ref())
        }
        SecretOrigin::Ads => report.last_error.as_ref(),
        _ => None,
    };
    match why {
        None => format!("waiting for {secret}"),
        Some(why) => format!("waiting for {secret}: {why}"),
    }
}

/// Clusters in force, in the order of their names.
fn clusters_shown(store: &SnapshotStore, accepted: &SharedAccepted) -> Vec<ClusterShown> {
    let snapshot = store.current();
    let accepted = accepted.lock();
    let shown = |cluster: &Arc<Cluster>| ClusterShown {
        added_via_api: accepted.get(Kind::Cluster, &cluster.name).is_some(),
        cluster: cluster.clone(),
    };
    let mut clusters: Vec<_> = snapshot.clusters.values().map(shown).collect();
    clusters.sort_by(|a, b| a.cluster.name.cmp(&b.cluster.name));
    clusters
}
