//! An ADS server, and a server of secrets (SDS), that a test holds in its hand: it tells what it was given, and remembers
//! everything that it is asked.
//!
//! Both protocols. Each subscription is answered from the resources put in; every change is pushed to who is subscribed. A
//! name asked for that is not there is told as removed (incremental) or left out (state of the world).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use prost::Name;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream, UnixListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status, Streaming};
use weft_xds_proto::pb::envoy::service::discovery::v3 as pb;
use weft_xds_proto::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use weft_xds_proto::pb::envoy::service::secret::v3::secret_discovery_service_server::{
    SecretDiscoveryService, SecretDiscoveryServiceServer,
};
use weft_xds_proto::pb::google::protobuf::Any;

mod messages;

/// A running server; it ends with this guard.
pub struct AdsServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// What a client said.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Number of its stream, from 1.
    pub stream: usize,
    /// The kind of resource.
    pub type_url: String,
    /// Names subscribed to (incremental) or all names (state of the world).
    pub names: Vec<String>,
    /// Names unsubscribed from.
    pub unsubscribed: Vec<String>,
    /// Versions that the client holds, at the start of a stream.
    pub held: BTreeMap<String, String>,
    /// The nonce that is answered; empty for a request that answers nothing.
    pub nonce: String,
    /// The faults of a NACK.
    pub error: Option<String>,
    /// Id of the node, in the first request of a stream.
    pub node: Option<String>,
}

#[derive(Default)]
struct State {
    /// By type URL and name: version and resource.
    resources: BTreeMap<(String, String), (u64, Any)>,
    version: u64,
    streams: usize,
    asked: Vec<Asked>,
}

struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
    streams: Mutex<JoinSet<()>>,
}

impl AdsServer {
    /// A server on a free port that has nothing to tell yet.
    ///
    /// # Errors
    /// If no port can be bound.
    pub async fn start() -> std::io::Result<Self> {
        Self::on(TcpListener::bind("127.0.0.1:0").await?)
    }

    /// A server on a port that the test chose: the one of a server that went away.
    ///
    /// # Errors
    /// If the listener's address cannot be read.
    pub fn on(listener: TcpListener) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        Ok(Self::serve(address, TcpListenerStream::new(listener)))
    }

    /// A server on a Unix socket.
    pub fn on_unix(listener: UnixListener) -> Self {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        Self::serve(nowhere, UnixListenerStream::new(listener))
    }

    fn serve<S>(
        address: SocketAddr,
        sockets: impl Stream<Item = std::io::Result<S>> + Send + 'static,
    ) -> Self
    where
        S: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: watch::Sender::new(0),
            streams: Mutex::default(),
        });
        let all = AggregatedDiscoveryServiceServer::new(Service(shared.clone()));
        let secrets = SecretDiscoveryServiceServer::new(Service(shared.clone()));
        let task = tokio::spawn(async move {
            let mut server = tonic::transport::Server::builder();
            let server = server.add_service(all).add_service(secrets);
            // It runs until it is aborted; a test that depends on it fails by itself.
            drop(server.serve_with_incoming(sockets).await);
        });
        Self {
            address,
            shared,
            task,
        }
    }

    /// Where it listens, on TCP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tells `resource` from now on, under `name`.
    pub fn put<M: Name>(&self, name: &str, resource: &M) {
        self.put_any(
            name,
            Any {
                type_url: M::type_url(),
                value: resource.encode_to_vec(),
            },
        );
    }

    /// Tells `resource` from now on, whatever it is.
    pub fn put_any(&self, name: &str, resource: Any) {
        self.change(|state| {
            state.version += 1;
            let key = (resource.type_url.clone(), name.to_owned());
            state.resources.insert(key, (state.version, resource));
        });
    }

    /// Tells the resource no longer.
    pub fn remove(&self, type_url: &str, name: &str) {
        self.change(|state| {
            state.version += 1;
            state
                .resources
                .remove(&(type_url.to_owned(), name.to_owned()));
        });
    }

    /// Breaks all streams; clients come back.
    pub fn break_streams(&self) {
        lock(&self.shared.streams).abort_all();
    }

    /// Everything that clients said so far.
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.shared.state).asked.clone()
    }

    /// The last refusal of a kind.
    pub fn last_nack(&self, type_url: &str) -> Option<String> {
        let asked = self.asked();
        asked
            .into_iter()
            .rev()
            .filter(|it| it.type_url == type_url)
            .find_map(|it| it.error)
    }

    /// How many responses of a kind were acknowledged.
    pub fn acks(&self, type_url: &str) -> usize {
        let of_kind =
            |it: &&Asked| it.type_url == type_url && !it.nonce.is_empty() && it.error.is_none();
        self.asked().iter().filter(of_kind).count()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = lock(&self.shared.state);
        change(&mut state);
        let version = state.version;
        drop(state);
        self.shared.changed.send_replace(version);
    }
}

impl Drop for AdsServer {
    fn drop(&mut self) {
        self.task.abort();
        self.break_streams();
    }
}

struct Service(Arc<Shared>);

type Told<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Service {
    type StreamAggregatedResourcesStream = Told<pb::DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Told<pb::DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<pb::DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        let asked = request.into_inner().map(|it| it.map(Asked::from_sotw));
        let answers = self.0.begin(asked).map(|answer| Ok(answer.into_sotw()));
        Ok(Response::new(Box::pin(answers)))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<pb::DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let asked = request.into_inner().map(|it| it.map(Asked::from_delta));
        let answers = self.0.begin(asked).map(|answer| Ok(answer.into_delta()));
        Ok(Response::new(Box::pin(answers)))
    }
}

#[tonic::async_trait]
impl SecretDiscoveryService for Service {
    type StreamSecretsStream = Told<pb::DiscoveryResponse>;
    type DeltaSecretsStream = Told<pb::DeltaDiscoveryResponse>;

    async fn stream_secrets(
        &self,
        request: Request<Streaming<pb::DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamSecretsStream>, Status> {
        self.stream_aggregated_resources(request).await
    }

    async fn delta_secrets(
        &self,
        request: Request<Streaming<pb::DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaSecretsStream>, Status> {
        self.delta_aggregated_resources(request).await
    }

    async fn fetch_secrets(
        &self,
        _: Request<pb::DiscoveryRequest>,
    ) -> Result<Response<pb::DiscoveryResponse>, Status> {
        Err(Status::unimplemented("streams alone are served"))
    }
}

/// What one kind of one stream was told.
#[derive(Default)]
struct Subscription {
    is_delta: bool,
    wildcard: bool,
    names: BTreeSet<String>,
    /// Versions told; `None`: told to be absent.
    told: BTreeMap<String, Option<u64>>,
}

/// Resources of one kind, some of them news.
struct Answer {
    type_url: String,
    nonce: String,
    version: u64,
    /// All that the client asked for.
    all: Vec<Any>,
    news: Vec<(String, u64, Any)>,
    removed: Vec<String>,
}

impl Shared {
    fn begin(
        self: &Arc<Self>,
        asked: impl Stream<Item = Result<Asked, Status>> + Send + Unpin + 'static,
    ) -> ReceiverStream<Answer> {
        let (sender, answers) = mpsc::channel(64);
        let run = self.clone().run(asked, sender);
        let _handle: AbortHandle = lock(&self.streams).spawn(run);
        ReceiverStream::new(answers)
    }

    async fn run(
        self: Arc<Self>,
        mut asked: impl Stream<Item = Result<Asked, Status>> + Send + Unpin,
        answers: mpsc::Sender<Answer>,
    ) {
        let mut changed = self.changed.subscribe();
        let stream = {
            let mut state = lock(&self.state);
            state.streams += 1;
            state.streams
        };
        let mut kinds: BTreeMap<String, Subscription> = BTreeMap::new();
        let mut nonce = 0_u64;
        loop {
            tokio::select! {
                request = asked.next() => {
                    let Some(Ok(mut request)) = request else { return };
                    request.stream = stream;
                    let kind = kinds.entry(request.type_url.clone()).or_default();
                    kind.take(&request);
                    lock(&self.state).asked.push(request);
                }
                Ok(()) = changed.changed() => {}
            }
            for (type_url, kind) in &mut kinds {
                let news = kind.news(type_url, &lock(&self.state));
                if let Some(mut answer) = news {
                    nonce += 1;
                    answer.nonce = format!("{stream}.{nonce}");
                    if answers.send(answer).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

impl Subscription {
    fn take(&mut self, asked: &Asked) {
        let is_first = asked.nonce.is_empty() && self.names.is_empty() && !self.wildcard;
        if is_first && asked.names.is_empty() {
            self.wildcard = true;
        }
        if !asked.is_delta() {
            self.names = asked.names.iter().cloned().collect();
            self.told
                .retain(|name, _| self.wildcard || self.names.contains(name));
            return;
        }
        self.is_delta = true;
        for name in &asked.unsubscribed {
            self.names.remove(name);
            self.told.remove(name);
        }
        self.names.extend(asked.names.iter().cloned());
        for (name, version) in &asked.held {
            self.told.insert(name.clone(), version.parse().ok());
        }
    }

    /// What the client has not been told yet.
    fn news(&mut self, type_url: &str, state: &State) -> Option<Answer> {
        let wanted = |name: &String| self.wildcard || self.names.contains(name);
        let of_kind = state
            .resources
            .iter()
            .filter(|((url, name), _)| url == type_url && wanted(name));
        let there: BTreeMap<String, (u64, Any)> = of_kind
            .map(|((_, name), held)| (name.clone(), held.clone()))
            .collect();
        let news: Vec<_> = there
            .iter()
            .filter(|(name, (version, _))| self.told.get(*name) != Some(&Some(*version)))
            .map(|(name, (version, packed))| (name.clone(), *version, packed.clone()))
            .collect();
        let told = self
            .told
            .iter()
            .filter(|(_, version)| version.is_some())
            .map(|(name, _)| name);
        let unknown = self
            .names
            .iter()
            .filter(|name| self.is_delta && !self.told.contains_key(*name));
        let removed: BTreeSet<_> = told
            .chain(unknown)
            .filter(|name| !there.contains_key(*name))
            .cloned()
            .collect();
        if news.is_empty() && removed.is_empty() {
            return None;
        }
        for (name, version, _) in &news {
            self.told.insert(name.clone(), Some(*version));
        }
        for name in &removed {
            self.told.insert(name.clone(), None);
        }
        Some(Answer {
            type_url: type_url.to_owned(),
            nonce: String::new(),
            version: state.version,
            all: there.into_values().map(|(_, packed)| packed).collect(),
            news,
            removed: removed.into_iter().collect(),
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
