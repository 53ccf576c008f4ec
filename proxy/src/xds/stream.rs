//! The ADS stream: connecting, one stream, coming back after a loss. Decides nothing about resources.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Streaming};
use weft_config::causes::with_causes;
use weft_config::cluster::DnsFamily;
use weft_config::endpoint::Address;
use weft_xds_proto::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;

use super::status::Status;
use super::wire::{Protocol, Received, Request};
use crate::balance::{Cluster, EndpointId, PickContext};
use crate::dns::Resolver;

mod backoff;

pub use backoff::Backoff;

/// Where the server is and how it is spoken to.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where it is.
    pub target: Target,
    /// Which protocol is spoken.
    pub protocol: Protocol,
    /// Larger responses break the stream. Default 64 MiB.
    pub message_bytes_max: usize,
}

/// Where the server is.
#[derive(Clone, Debug)]
pub enum Target {
    /// A host, resolved anew for each attempt.
    Host {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// Endpoints of clusters, in order of preference.
    Clusters(Vec<Arc<Cluster>>),
}

/// Default of [`Server::message_bytes_max`].
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// What the stream tells.
#[derive(Debug)]
pub enum Event {
    /// A stream is up; requests go in here.
    Began(mpsc::Sender<Request>),
    /// A response.
    Received(Received),
    /// The stream is gone, or could not be opened.
    Ended(String),
}

/// Requests on their way. A server that lets more than this pile up does not read.
const REQUESTS_MAX: usize = 4_096;
/// Bound on opening a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Silence after which a ping is sent, and how long its answer may take: a frozen server is left within their sum.
const PING_AFTER: Duration = Duration::from_secs(4);
const PING_TIMEOUT: Duration = Duration::from_secs(4);

/// Keeps a stream up until dropped.
pub async fn run(
    server: Server,
    resolver: Resolver,
    status: Arc<Status>,
    events: mpsc::Sender<Event>,
) {
    let mut backoff = Backoff::default();
    let mut rng = fastrand::Rng::new();
    let mut addresses = Addresses::default();
    loop {
        let why = match addresses.next(&server.target, &resolver, &mut rng).await {
            Ok(address) => {
                status.trying(&address.to_string());
                let mut attempt = Attempt {
                    server: &server,
                    events: &events,
                    answered: false,
                };
                let began = Instant::now();
                let why = attempt.run(address).await;
                if attempt.answered {
                    backoff.lived(began.elapsed());
                    addresses = Addresses::default();
                }
                why
            }
            Err(why) => why,
        };
        if events.send(Event::Ended(why)).await.is_err() {
            return;
        }
        sleep_until(Instant::now() + backoff.next(&mut rng)).await;
    }
}

/// The next address to try.
#[derive(Debug, Default)]
struct Addresses {
    attempts: usize,
    failed: Vec<EndpointId>,
}

impl Addresses {
    async fn next(
        &mut self,
        target: &Target,
        resolver: &Resolver,
        rng: &mut fastrand::Rng,
    ) -> Result<SocketAddr, String> {
        match target {
            Target::Host { host, port } => {
                let answer = resolver.lookup(host, DnsFamily::All).await;
                let found = answer.map_err(|error| error.to_string())?.addresses;
                let index = self.attempts.checked_rem(found.len()).unwrap_or(0);
                self.attempts += 1;
                let ip = found
                    .get(index)
                    .ok_or_else(|| format!("{host} has no address"))?;
                Ok(SocketAddr::new(*ip, *port))
            }
            Target::Clusters(clusters) => self.pick(clusters, rng),
        }
    }

    /// An endpoint that did not fail yet, of the first cluster that has one; then all over again.
    fn pick(
        &mut self,
        clusters: &[Arc<Cluster>],
        rng: &mut fastrand::Rng,
    ) -> Result<SocketAddr, String> {
        for _round in 0..2 {
            for cluster in clusters {
                let picked = cluster.pick(&mut PickContext {
                    now: Instant::now(),
                    rng,
                    avoid: &self.failed,
                    original_dst: None,
                });
                let Ok(endpoint) = picked else { continue };
                if self.failed.contains(&endpoint.id) {
                    continue;
                }
                self.failed.push(endpoint.id);
                match &endpoint.address {
                    Address::Socket(address) => return Ok(*address),
                    Address::Pipe(path) => {
                        return Err(format!("{path}: an xDS server on a pipe is not supported"));
                    }
                }
            }
            self.failed.clear();
        }
        let names: Vec<_> = clusters.iter().map(|cluster| &*cluster.name).collect();
        Err(format!("no endpoint in cluster {}", names.join(", ")))
    }
}

/// One connection and its stream.
struct Attempt<'a> {
    server: &'a Server,
    events: &'a mpsc::Sender<Event>,
    /// Whether the server said anything.
    answered: bool,
}

impl Attempt<'_> {
    /// Runs a stream to its end; why it ended.
    async fn run(&mut self, address: SocketAddr) -> String {
        let channel = match connect(address).await {
            Ok(channel) => channel,
            Err(error) => return format!("connecting to {address}: {}", with_causes(&error)),
        };
        let (sender, receiver) = mpsc::channel(REQUESTS_MAX);
        // The requests go in before the server's first word: some servers send no head before that.
        if self.events.send(Event::Began(sender)).await.is_err() {
            return "stopped".to_owned();
        }
        let requests = ReceiverStream::new(receiver);
        let mut client = AggregatedDiscoveryServiceClient::new(channel)
            .max_decoding_message_size(self.server.message_bytes_max);
        let ended = match self.server.protocol {
            Protocol::Delta => {
                let requests = requests.filter_map(|it| match it {
                    Request::Delta(request) => Some(*request),
                    Request::Sotw(_) => None,
                });
                match client.delta_aggregated_resources(requests).await {
                    Ok(stream) => self.pump(stream.into_inner(), Received::from_delta).await,
                    Err(status) => Err(status),
                }
            }
            Protocol::Sotw => {
                let requests = requests.filter_map(|it| match it {
                    Request::Sotw(request) => Some(*request),
                    Request::Delta(_) => None,
                });
                match client.stream_aggregated_resources(requests).await {
                    Ok(stream) => self.pump(stream.into_inner(), Received::from_sotw).await,
                    Err(status) => Err(status),
                }
            }
        };
        match ended {
            Ok(()) => "the server ended the stream".to_owned(),
            Err(status) => self.explain(&status),
        }
    }

    async fn pump<M: Default>(
        &mut self,
        stream: Streaming<M>,
        read: impl Fn(M) -> Received,
    ) -> Result<(), tonic::Status>
    where
        Streaming<M>: Stream<Item = Result<M, tonic::Status>> + Unpin,
    {
        let mut stream = stream;
        while let Some(message) = stream.next().await {
            let received = read(message?);
            self.answered = true;
            if self.events.send(Event::Received(received)).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn explain(&self, status: &tonic::Status) -> String {
        match (status.code(), self.server.protocol) {
            (Code::Unimplemented, Protocol::Delta) => {
                "the server does not speak incremental xDS: start with --xds sotw, or api_type GRPC in the bootstrap"
                    .to_owned()
            }
            (Code::Unimplemented, Protocol::Sotw) => {
                "the server does not speak state-of-the-world ADS: start with --xds delta, or api_type DELTA_GRPC in \
                 the bootstrap"
                    .to_owned()
            }
            (code, _) => format!("{code:?}: {}", with_causes(status)),
        }
    }
}

async fn connect(address: SocketAddr) -> Result<Channel, tonic::transport::Error> {
    Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(1 << 20)
        .connect()
        .await
}
