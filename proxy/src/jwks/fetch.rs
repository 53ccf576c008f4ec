//! One request for keys: HTTP/1.1 to an endpoint of a cluster, on a connection of its own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::Request;
use hyper::client::conn::http1::handshake;
use hyper::header::{ACCEPT, HOST, USER_AGENT};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until, timeout};
use weft_config::jwt::JWKS_BYTES_MAX;
use weft_config::policy::authn::RemoteKeys;

use crate::balance::{Cluster, EndpointState, PickContext, PickError};
use crate::endpoint::{self, ConnectError};
use crate::snapshot::SnapshotStore;
use crate::stream::{Plain, Stream};
use crate::tls::Inside;

/// How often it is looked whether a cluster has come, or got endpoints.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// Why nothing came.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("the cluster is not known")]
    NoCluster,
    #[error(transparent)]
    Pick(#[from] PickError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("speaking HTTP/1.1")]
    Http(#[from] hyper::Error),
    #[error("the answer has the status {0}, and must have 200")]
    Status(u16),
    #[error("the answer is more than {JWKS_BYTES_MAX} bytes")]
    TooLarge,
    #[error("reading the answer: {0}")]
    Body(String),
    #[error("the address of the keys makes no request")]
    Request,
}

pub(super) async fn fetch(
    remote: &RemoteKeys,
    store: &SnapshotStore,
    rng: &mut fastrand::Rng,
) -> Result<Bytes, FetchError> {
    let limit = remote.timeout;
    // What kept it from being asked says more than that time is over.
    let mut kept_from = FetchError::Timeout(limit);
    let asking = async {
        loop {
            match pick(remote, store, rng) {
                Ok((cluster, endpoint)) => return ask(remote, &cluster, &endpoint).await,
                Err(why) => kept_from = why,
            }
            sleep_until(Instant::now() + LOOK_EVERY).await;
        }
    };
    match timeout(limit, asking).await {
        Ok(result) => result,
        Err(_) => Err(kept_from),
    }
}

/// An endpoint. A cluster that was just told of has none yet, and may not be known itself.
fn pick(
    remote: &RemoteKeys,
    store: &SnapshotStore,
    rng: &mut fastrand::Rng,
) -> Result<(Arc<Cluster>, Arc<EndpointState>), FetchError> {
    let snapshot = store.current();
    let cluster = snapshot.cluster(&remote.cluster);
    let cluster = cluster.ok_or(FetchError::NoCluster)?.clone();
    let endpoint = cluster.pick(&mut PickContext {
        now: Instant::now(),
        rng,
        avoid: &[],
        original_dst: None,
    })?;
    Ok((cluster, endpoint))
}

async fn ask(
    remote: &RemoteKeys,
    cluster: &Cluster,
    endpoint: &EndpointState,
) -> Result<Bytes, FetchError> {
    let (_, dial) = cluster.dial(endpoint, Inside::Http1);
    match endpoint::connect(&endpoint.address, &dial).await? {
        Stream::Plain(Plain::Tcp(stream)) => speak(remote, stream).await,
        Stream::Plain(Plain::Unix(stream)) => speak(remote, stream).await,
        Stream::Tls(stream) => speak(remote, *stream).await,
    }
}

async fn speak<S>(remote: &RemoteKeys, stream: S) -> Result<Bytes, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    let request = Request::get(&*remote.path)
        .header(HOST, &*remote.authority)
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, "weft-proxy")
        .body(Empty::<Bytes>::new());
    let request = request.map_err(|_| FetchError::Request)?;
    let answered = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status().as_u16();
        if status != 200 {
            return Err(FetchError::Status(status));
        }
        let body = Limited::new(answer.into_body(), JWKS_BYTES_MAX)
            .collect()
            .await;
        let body = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => FetchError::TooLarge,
            false => FetchError::Body(error.to_string()),
        })?;
        Ok(body.to_bytes())
    };
    let mut connection = std::pin::pin!(connection);
    let mut answered = std::pin::pin!(answered);
    tokio::select! {
        biased;
        answer = &mut answered => answer,
        // Its end is told to whoever waits for the answer, which may lie there complete.
        _ = &mut connection => answered.await,
    }
}
