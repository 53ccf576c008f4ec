//! Streams of xDS: connecting, one stream, coming back after a loss. Decides nothing about resources.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::Channel;
use tonic::{Code, Streaming};
use weft_config::causes::with_causes;
use weft_config::tls::SecretName;
use weft_xds_proto::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use weft_xds_proto::pb::envoy::service::secret::v3::secret_discovery_service_client::SecretDiscoveryServiceClient;

use super::channel::{self, Way};
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
    /// What it is asked for.
    pub service: Service,
    /// Where it is.
    pub target: Target,
    /// Which protocol is spoken.
    pub protocol: Protocol,
    /// TLS; `None`: in plain, or as the cluster says through which it is reached.
    pub security: Option<Security>,
    /// Larger responses break the stream. Default 64 MiB.
    pub message_bytes_max: usize,
}

/// What a server is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Everything on one stream (ADS).
    Aggregated,
    /// Secrets (SDS).
    Secrets,
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

/// Largest response of a server of secrets: what gRPC takes unless it is told otherwise. A bundle of all roots of the web has some
/// 250 KiB.
pub const SECRETS_BYTES_MAX: usize = 4 << 20;

/// Where a stream tells what happens to it.
#[derive(Clone, Debug)]
pub struct Outbox {
    /// The secret that the stream is for; `None`: it is that of ADS.
    pub of: Option<Arc<SecretName>>,
    /// Who is told.
    pub events: mpsc::Sender<Said>,
}

/// What a stream tells.
#[derive(Debug)]
pub struct Said {
    /// The secret that the stream is for; `None`: it is that of ADS.
    pub by: Option<Arc<SecretName>>,
    /// What it tells.
    pub event: Event,
}

/// Nobody listens any more.
#[derive(Clone, Copy, Debug)]
struct Unheard;

impl Outbox {
    async fn tell(&self, event: Event) -> Result<(), Unheard> {
        let said = Said {
            by: self.of.clone(),
            event,
        };
        self.events.send(said).await.map_err(|_| Unheard)
    }
}

/// What happens to a stream.
#[derive(Debug)]
pub enum Event {
    /// The server is being tried at this address.
    Trying(String),
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
pub async fn run(server: Server, resolver: Resolver, outbox: Outbox) {
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
            Ok(way) => {
                if outbox.tell(Event::Trying(way.place())).await.is_err() {
                    return;
                }
                let mut attempt = Attempt {
                    server: &server,
                    outbox: &outbox,
                    answered: false,
                };
                let began = Instant::now();
                let ended = tokio::select! {
                    why = attempt.run(&way) => Some(why),
                    () = server.renewed(shown) => None,
                };
                if attempt.answered {
                    backoff.lived(began.elapsed());
                    addresses = Addresses::default();
                }
                match ended {
                    Some(why) => why,
                    None if outbox.tell(Event::Renewed).await.is_err() => return,
                    None => continue,
                }
            }
            Err(why) => why,
        };
        if outbox.tell(Event::Ended(why)).await.is_err() {
            return;
        }
        sleep_until(Instant::now() + backoff.next(&mut rng)).await;
    }
}

/// One connection and its stream.
struct Attempt<'a> {
    server: &'a Server,
    outbox: &'a Outbox,
    /// Whether the server said anything.
    answered: bool,
}

impl Attempt<'_> {
    /// Runs a stream to its end; why it ended.
    async fn run(&mut self, way: &Way) -> String {
        let tls = self.server.security.as_ref().map(|it| &it.context);
        let channel = match channel::open(way, tls).await {
            Ok(channel) => channel,
            Err(why) => return why,
        };
        let (sender, receiver) = mpsc::channel(REQUESTS_MAX);
        // The requests go in before the server's first word: some servers send no head before that.
        if self.outbox.tell(Event::Began(sender)).await.is_err() {
            return "stopped".to_owned();
        }
        let requests = ReceiverStream::new(receiver);
        let ended = match self.server.protocol {
            Protocol::Delta => self.delta(channel, requests).await,
            Protocol::Sotw => self.sotw(channel, requests).await,
        };
        match ended {
            Ok(()) => "the server ended the stream".to_owned(),
            Err(status) => self.explain(&status),
        }
    }

    async fn delta(
        &mut self,
        channel: Channel,
        requests: ReceiverStream<Request>,
    ) -> Result<(), tonic::Status> {
        let bytes_max = self.server.message_bytes_max;
        let requests = requests.filter_map(|it| match it {
            Request::Delta(request) => Some(*request),
            Request::Sotw(_) => None,
        });
        let stream = match self.server.service {
            Service::Aggregated => {
                let client = AggregatedDiscoveryServiceClient::new(channel);
                let mut client = client.max_decoding_message_size(bytes_max);
                client.delta_aggregated_resources(requests).await?
            }
            Service::Secrets => {
                let client = SecretDiscoveryServiceClient::new(channel);
                let mut client = client.max_decoding_message_size(bytes_max);
                client.delta_secrets(requests).await?
            }
        };
        self.pump(stream.into_inner(), Received::from_delta).await
    }

    async fn sotw(
        &mut self,
        channel: Channel,
        requests: ReceiverStream<Request>,
    ) -> Result<(), tonic::Status> {
        let bytes_max = self.server.message_bytes_max;
        let requests = requests.filter_map(|it| match it {
            Request::Sotw(request) => Some(*request),
            Request::Delta(_) => None,
        });
        let stream = match self.server.service {
            Service::Aggregated => {
                let client = AggregatedDiscoveryServiceClient::new(channel);
                let mut client = client.max_decoding_message_size(bytes_max);
                client.stream_aggregated_resources(requests).await?
            }
            Service::Secrets => {
                let client = SecretDiscoveryServiceClient::new(channel);
                let mut client = client.max_decoding_message_size(bytes_max);
                client.stream_secrets(requests).await?
            }
        };
        self.pump(stream.into_inner(), Received::from_sotw).await
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
            if self.outbox.tell(Event::Received(received)).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn explain(&self, status: &tonic::Status) -> String {
        let (delta, sotw) = match self.server.service {
            Service::Aggregated => (
                "start with --xds delta, or api_type DELTA_GRPC in the bootstrap",
                "start with --xds sotw, or api_type GRPC in the bootstrap",
            ),
            Service::Secrets => (
                "say api_type DELTA_GRPC in its sds_config",
                "say api_type GRPC in its sds_config",
            ),
        };
        match (status.code(), self.server.protocol) {
            (Code::Unimplemented, Protocol::Delta) => {
                format!("the server does not speak incremental xDS: {sotw}")
            }
            (Code::Unimplemented, Protocol::Sotw) => {
                format!("the server does not speak state-of-the-world xDS: {delta}")
            }
            (code, _) => format!("{code:?}: {}", with_causes(status)),
        }
    }
}
