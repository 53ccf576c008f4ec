//! The ADS stream: connecting, one stream, coming back after a loss. Decides nothing about resources.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Code, Streaming};
use weft_config::causes::with_causes;
use weft_xds_proto::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;

use super::channel;
use super::status::Status;
use super::wire::{Protocol, Received, Request};
use crate::balance::Cluster;
use crate::dns::Resolver;
use crate::tls::ClientContext;

mod addresses;
mod backoff;

pub(crate) use addresses::Addresses;
pub use backoff::Backoff;

/// Where the server is and how it is spoken to.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where it is.
    pub target: Target,
    /// Which protocol is spoken.
    pub protocol: Protocol,
    /// TLS; `None`: in plain.
    pub security: Option<Security>,
    /// Larger responses break the stream. Default 64 MiB.
    pub message_bytes_max: usize,
}

/// How a server is spoken to over TLS.
#[derive(Clone, Debug)]
pub struct Security {
    /// Our certificate, and who the server must be.
    pub context: Arc<ClientContext>,
    /// How many certificates there have been to show; nothing is tried before the first.
    pub held: watch::Receiver<u64>,
}

impl Security {
    /// Waits until there have been more certificates than `shown`; their number, or `None`: there will be no more.
    async fn after(&self, shown: u64) -> Option<u64> {
        let mut held = self.held.clone();
        let now = held.wait_for(|held| *held > shown).await;
        now.map(|held| *held).ok()
    }
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
    /// We left it, to come back at once and show our new certificate: a server ends streams with the certificate that was shown.
    Renewed,
}

/// Requests on their way. A server that lets more than this pile up does not read.
const REQUESTS_MAX: usize = 4_096;

impl Server {
    /// Returns when there are newer certificates than `shown`.
    async fn renewed(&self, shown: u64) {
        let renewed = match &self.security {
            Some(security) => security.after(shown).await,
            None => None,
        };
        if renewed.is_none() {
            std::future::pending().await
        }
    }
}

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
        let shown = match &server.security {
            None => 0,
            Some(security) => match security.after(0).await {
                Some(shown) => shown,
                None => return,
            },
        };
        let why = match addresses.next(&server.target, &resolver, &mut rng).await {
            Ok(address) => {
                status.trying(&address.to_string());
                let mut attempt = Attempt {
                    server: &server,
                    events: &events,
                    answered: false,
                };
                let began = Instant::now();
                let ended = tokio::select! {
                    why = attempt.run(address) => Some(why),
                    () = server.renewed(shown) => None,
                };
                if attempt.answered {
                    backoff.lived(began.elapsed());
                    addresses = Addresses::default();
                }
                match ended {
                    Some(why) => why,
                    None if events.send(Event::Renewed).await.is_err() => return,
                    None => continue,
                }
            }
            Err(why) => why,
        };
        if events.send(Event::Ended(why)).await.is_err() {
            return;
        }
        sleep_until(Instant::now() + backoff.next(&mut rng)).await;
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
        let tls = self.server.security.as_ref().map(|it| &it.context);
        let channel = match channel::open(address, tls).await {
            Ok(channel) => channel,
            Err(why) => return why,
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
