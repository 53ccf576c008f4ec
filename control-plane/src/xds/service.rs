//! The discovery services, each a gRPC service of two streaming methods.

use std::convert::Infallible;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use futures_util::StreamExt;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Response, Status, Streaming};
use weft_xds_proto::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};

use super::codec::PushCodec;
use super::push::Push;
use super::server::Core;
use super::session::Session;
use super::stream::{self, Request, StreamContext};
use crate::accept::Peer;
use crate::identity::{CertificateLost, ClientCertificate, Shown};
use crate::snapshot::ResourceType;

/// Which discovery service.
pub(crate) trait Which: Send + Sync + 'static {
    const NAME: &'static str;
    /// The paths of its state-of-the-world and its incremental method.
    const METHODS: [&'static str; 2];
    /// Its name in the status.
    const SHORT: &'static str;
    /// The one type that it serves; `None`: all.
    const SERVES: Option<ResourceType>;
}

macro_rules! which {
    ($name:ident, $service:literal, $stream:literal, $delta:literal, $short:literal, $serves:expr) => {
        #[derive(Debug)]
        pub(crate) enum $name {}
        impl Which for $name {
            const NAME: &'static str = $service;
            const METHODS: [&'static str; 2] = [
                concat!("/", $service, "/", $stream),
                concat!("/", $service, "/", $delta),
            ];
            const SHORT: &'static str = $short;
            const SERVES: Option<ResourceType> = $serves;
        }
    };
}

which!(
    Aggregated,
    "envoy.service.discovery.v3.AggregatedDiscoveryService",
    "StreamAggregatedResources",
    "DeltaAggregatedResources",
    "ADS",
    None
);
which!(
    Listeners,
    "envoy.service.listener.v3.ListenerDiscoveryService",
    "StreamListeners",
    "DeltaListeners",
    "LDS",
    Some(ResourceType::Listener)
);
which!(
    Routes,
    "envoy.service.route.v3.RouteDiscoveryService",
    "StreamRoutes",
    "DeltaRoutes",
    "RDS",
    Some(ResourceType::Route)
);
which!(
    Clusters,
    "envoy.service.cluster.v3.ClusterDiscoveryService",
    "StreamClusters",
    "DeltaClusters",
    "CDS",
    Some(ResourceType::Cluster)
);
which!(
    Endpoints,
    "envoy.service.endpoint.v3.EndpointDiscoveryService",
    "StreamEndpoints",
    "DeltaEndpoints",
    "EDS",
    Some(ResourceType::Endpoint)
);

which!(
    Secrets,
    "envoy.service.secret.v3.SecretDiscoveryService",
    "StreamSecrets",
    "DeltaSecrets",
    "SDS",
    Some(ResourceType::Secret)
);

/// A discovery service.
#[derive(Debug)]
pub(crate) struct Discovery<W> {
    core: Arc<Core>,
    which: PhantomData<W>,
}

impl<W> Discovery<W> {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self {
            core,
            which: PhantomData,
        }
    }
}

impl<W> Clone for Discovery<W> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.core))
    }
}

impl<W: Which> NamedService for Discovery<W> {
    const NAME: &'static str = W::NAME;
}

impl<W: Which> Service<http::Request<Body>> for Discovery<W> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let [sotw, delta] = W::METHODS;
        let method = Method {
            core: Arc::clone(&self.core),
            short: W::SHORT,
            serves: W::SERVES,
        };
        let limit = self.core.config.request_bytes_max;
        match request.uri().path() {
            path if path == sotw => Box::pin(async move {
                let mut grpc = Grpc::new(PushCodec::<DiscoveryRequest>::default())
                    .max_decoding_message_size(limit);
                Ok(grpc.streaming(SotwMethod(method), request).await)
            }),
            path if path == delta => Box::pin(async move {
                let mut grpc = Grpc::new(PushCodec::<DeltaDiscoveryRequest>::default())
                    .max_decoding_message_size(limit);
                Ok(grpc.streaming(DeltaMethod(method), request).await)
            }),
            // `FetchX`, the REST form, is answered as gRPC answers a method that is not there.
            path => {
                let status = Status::unimplemented(format!("{path} is not served"));
                Box::pin(async move { Ok(status.into_http()) })
            }
        }
    }
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type PushStream = ReceiverStream<Result<Push, Status>>;

struct Method {
    core: Arc<Core>,
    short: &'static str,
    serves: Option<ResourceType>,
}

struct SotwMethod(Method);

struct DeltaMethod(Method);

impl StreamingService<DiscoveryRequest> for SotwMethod {
    type Response = Push;
    type ResponseStream = PushStream;
    type Future = BoxFuture<Result<Response<PushStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<DiscoveryRequest>>) -> Self::Future {
        let session = Session::sotw(self.0.serves, self.0.core.config.session);
        let started = self
            .0
            .start(request, session, |proto| Request::Sotw(proto.into()));
        Box::pin(std::future::ready(started))
    }
}

impl StreamingService<DeltaDiscoveryRequest> for DeltaMethod {
    type Response = Push;
    type ResponseStream = PushStream;
    type Future = BoxFuture<Result<Response<PushStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<DeltaDiscoveryRequest>>) -> Self::Future {
        let session = Session::delta(self.0.serves, self.0.core.config.session);
        let started = self
            .0
            .start(request, session, |proto| Request::Delta(proto.into()));
        Box::pin(std::future::ready(started))
    }
}

impl Method {
    /// Starts the task of a stream; it ends with the stream.
    fn start<M: Send + 'static>(
        &self,
        request: tonic::Request<Streaming<M>>,
        session: Session,
        read: fn(M) -> Request,
    ) -> Result<Response<PushStream>, Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let certificate = peer.as_ref().map(prove).transpose()?.flatten();
        let open = OpenStream::new(&self.core)?;
        let session = session.of(certificate.as_ref().map(|it| it.identity.clone()));
        let context = StreamContext {
            core: Arc::clone(&self.core),
            peer,
            certificate,
            service: self.short,
        };
        let requests = request.into_inner().map(move |message| message.map(read));
        let (responses, receiver) = mpsc::channel(RESPONSES_WAITING_MAX);
        tokio::spawn(async move {
            stream::run(session, context, requests, responses).await;
            drop(open);
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// Who asks, by his certificate: where there is TLS there must be one, and it must be good still.
fn prove(peer: &Peer) -> Result<Option<Arc<ClientCertificate>>, Status> {
    match &peer.caller().shown {
        Shown::Plain => Ok(None),
        Shown::Nothing => Err(Status::unauthenticated(
            "xDS is served with TLS to those alone who show a certificate of this mesh",
        )),
        Shown::Certificate(certificate) => {
            let checked = certificate.check(Timestamp::now());
            checked.map_err(|why| lost(certificate, why))?;
            Ok(Some(Arc::clone(certificate)))
        }
    }
}

/// What a client hears whose certificate is no longer good.
pub(super) fn lost(certificate: &ClientCertificate, why: CertificateLost) -> Status {
    let serial = &certificate.serial;
    Status::unauthenticated(format!(
        "the certificate {serial} of this connection {why}: connect again with a new one"
    ))
}

/// Counts an open stream.
struct OpenStream(Arc<Core>);

impl OpenStream {
    fn new(core: &Arc<Core>) -> Result<Self, Status> {
        let open = Self(Arc::clone(core));
        let limit = core.config.streams_max;
        if core.streams.fetch_add(1, Ordering::Relaxed) >= limit {
            return Err(Status::resource_exhausted(format!(
                "this control plane serves at most {limit} streams"
            )));
        }
        Ok(open)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Responses made but not yet taken by the connection; everything later is still to be asked of the session.
const RESPONSES_WAITING_MAX: usize = 1;
