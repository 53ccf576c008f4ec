//! The gRPC server: which services it offers and within which bounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use weft_xds_proto::pb::envoy::service::status::v3::client_status_discovery_service_server::ClientStatusDiscoveryServiceServer;

use super::csds::Csds;
use super::push::Push;
use super::service::{Aggregated, Clusters, Discovery, Endpoints, Listeners, Routes, Secrets};
use super::session::{Answer, SessionLimits};
use crate::accept::seats::Seats;
use crate::accept::secure::SecureListener;
use crate::accept::{Bound, Peer, XDS_CONNECTIONS_MAX, accept};
use crate::identity::{Gate, Limiter};
use crate::snapshot::{ResourceType, SnapshotStore};
use crate::source::workloads::Registry;
use crate::status::StatusBoard;

/// Bounds of the xDS server.
#[derive(Clone, Debug)]
pub struct XdsConfig {
    /// Connections open at once. Default 20,000.
    pub connections_max: usize,
    /// Streams open at once. Default 20,000.
    pub streams_max: usize,
    /// Bounds of one stream.
    pub session: SessionLimits,
    /// Bytes of one request. Default 4 MiB.
    pub request_bytes_max: usize,
    /// Silence after which a connection is asked for a sign of life. Default 30 s.
    pub keepalive_interval: Duration,
    /// How long that sign may take. Default 10 s.
    pub keepalive_timeout: Duration,
}

impl Default for XdsConfig {
    fn default() -> Self {
        Self {
            connections_max: XDS_CONNECTIONS_MAX,
            streams_max: 20_000,
            session: SessionLimits::default(),
            request_bytes_max: 4 * 1024 * 1024,
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(10),
        }
    }
}

/// What all streams share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) snapshots: Arc<SnapshotStore>,
    pub(crate) board: Arc<StatusBoard>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) config: XdsConfig,
    pub(crate) counters: XdsCounters,
    pub(crate) stream_ids: AtomicU64,
    pub(crate) streams: AtomicUsize,
    pub(crate) stop: watch::Receiver<bool>,
    /// Of what is said of clients that want what they may not have.
    pub(crate) limiter: Limiter,
}

impl Core {
    /// Whether less than half of the streams that there can be are open.
    pub(crate) fn has_streams_to_spare(&self) -> bool {
        self.streams.load(Ordering::Relaxed) < self.config.streams_max / 2
    }
}

/// What is counted.
#[derive(Debug, Default)]
pub struct XdsCounters {
    /// By type, in the order of [`ResourceType::ALL`].
    pub types: [TypeCounters; ResourceType::ALL.len()],
    /// Streams ended for a broken rule.
    pub refused_streams: AtomicU64,
}

/// What is counted of one type.
#[derive(Debug, Default)]
pub struct TypeCounters {
    /// Responses sent.
    pub pushes: AtomicU64,
    /// Resources in them.
    pub resources: AtomicU64,
    /// Responses acknowledged.
    pub acks: AtomicU64,
    /// Responses refused.
    pub nacks: AtomicU64,
}

impl XdsCounters {
    /// Each type with its counters.
    pub fn by_type(&self) -> impl Iterator<Item = (ResourceType, &TypeCounters)> {
        ResourceType::ALL.into_iter().zip(&self.types)
    }

    pub(crate) fn pushed(&self, push: &Push) {
        let Some(counters) =
            ResourceType::from_type_url(push.type_url()).and_then(|it| self.of(it))
        else {
            return; // A type that is not served: what is said of it is that it is not there.
        };
        counters.pushes.fetch_add(1, Ordering::Relaxed);
        let resources = push.resources().len() as u64;
        counters.resources.fetch_add(resources, Ordering::Relaxed);
    }

    pub(crate) fn answered(&self, answer: Option<Answer>) {
        let Some((answer, counters)) = answer.and_then(|it| Some((it, self.of(it.kind)?))) else {
            return;
        };
        let counter = match answer.accepted {
            true => &counters.acks,
            false => &counters.nacks,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn of(&self, kind: ResourceType) -> Option<&TypeCounters> {
        self.by_type()
            .find(|(it, _)| *it == kind)
            .map(|(_, counters)| counters)
    }
}

/// The xDS server.
#[derive(Clone, Debug)]
pub struct XdsServer {
    core: Arc<Core>,
    /// Of all ports together.
    seats: Arc<Seats>,
}

impl XdsServer {
    /// A server that serves what `snapshots` holds until `stop` becomes true.
    pub fn new(
        config: XdsConfig,
        snapshots: Arc<SnapshotStore>,
        board: Arc<StatusBoard>,
        registry: Arc<Registry>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self {
            seats: Seats::new(Bound::new("xds", config.connections_max)),
            core: Arc::new(Core {
                snapshots,
                board,
                registry,
                config,
                counters: XdsCounters::default(),
                stream_ids: AtomicU64::new(1),
                streams: AtomicUsize::new(0),
                stop,
                limiter: Limiter::default(),
            }),
        }
    }

    /// What has been counted.
    pub fn counters(&self) -> &XdsCounters {
        &self.core.counters
    }

    /// Whether it was told to stop, so that streams end for no reason of the proxies'.
    pub fn is_stopping(&self) -> bool {
        *self.core.stop.borrow()
    }

    /// Streams that are open.
    pub fn streams(&self) -> usize {
        self.core.streams.load(Ordering::Relaxed)
    }

    /// Its connections.
    pub(crate) fn bound(&self) -> &Bound {
        self.seats.bound()
    }

    /// Serves on `listener`, and `further` services besides, until the stop given to [`Self::new`].
    ///
    /// # Errors
    /// If the listening socket fails.
    pub async fn serve(
        self,
        listener: TcpListener,
        further: tonic::service::Routes,
    ) -> Result<(), tonic::transport::Error> {
        let seats = Arc::clone(&self.seats);
        let incoming = unfold(listener, move |listener| {
            let seats = Arc::clone(&seats);
            async move {
                loop {
                    let stream = accept(&listener).await;
                    if let Some(connection) = seats.admit(stream).await {
                        return Some((Ok::<_, std::io::Error>(connection), listener));
                    }
                }
            }
        });
        self.serve_all(incoming, further).await
    }

    /// As [`Self::serve`], with TLS, to whom `gate` lets in.
    ///
    /// # Errors
    /// If the listening socket fails.
    pub(crate) async fn serve_secure(
        self,
        listener: TcpListener,
        gate: Arc<Gate>,
        further: tonic::service::Routes,
    ) -> Result<(), tonic::transport::Error> {
        let listener = SecureListener::new(listener, Arc::clone(&self.seats), gate);
        let incoming = unfold(listener, async |mut listener| {
            let connection = listener.next().await;
            Some((Ok::<_, std::io::Error>(connection), listener))
        });
        self.serve_all(incoming, further).await
    }

    async fn serve_all<C>(
        self,
        incoming: impl Stream<Item = std::io::Result<C>>,
        further: tonic::service::Routes,
    ) -> Result<(), tonic::transport::Error>
    where
        C: AsyncRead + AsyncWrite + Connected<ConnectInfo = Peer> + Unpin + Send + 'static,
    {
        let core = self.core;
        let config = &core.config;
        let mut stop = core.stop.clone();
        Server::builder()
            .http2_keepalive_interval(Some(config.keepalive_interval))
            .http2_keepalive_timeout(Some(config.keepalive_timeout))
            .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
            .timeout(ANSWER_WITHIN)
            .http2_max_pending_accept_reset_streams(Some(32))
            .add_routes(further)
            .add_service(Discovery::<Aggregated>::new(Arc::clone(&core)))
            .add_service(Discovery::<Listeners>::new(Arc::clone(&core)))
            .add_service(Discovery::<Routes>::new(Arc::clone(&core)))
            .add_service(Discovery::<Clusters>::new(Arc::clone(&core)))
            .add_service(Discovery::<Endpoints>::new(Arc::clone(&core)))
            .add_service(Discovery::<Secrets>::new(Arc::clone(&core)))
            .add_service(ClientStatusDiscoveryServiceServer::new(Csds::new(
                Arc::clone(&core),
            )))
            .serve_with_incoming_shutdown(incoming, async move {
                let _closed = stop.wait_for(|stop| *stop).await;
            })
            .await
    }
}

/// A proxy needs one, a client with separate services six, and one for each secret that it asks for by itself.
const STREAMS_PER_CONNECTION_MAX: u32 = 128;

/// How long it may take until an answer begins, the reading of a single request included: half a request is not kept for longer. Streams live on.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
