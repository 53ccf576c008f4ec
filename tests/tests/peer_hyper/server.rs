//! A server of hyper, over either protocol, that notes what becomes of its exchanges.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};
use tokio_stream::{Stream, StreamExt};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use weft_tests::content::{self, Checker};

type Body = UnsyncBoxBody<Bytes, anyhow::Error>;

/// A running server; it ends with this guard.
pub(crate) struct Server {
    address: SocketAddr,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

/// What it has seen so far.
#[derive(Default)]
struct Seen {
    connections: AtomicU64,
    /// Exchanges that their downstream gave up.
    given_up: AtomicU64,
}

impl Server {
    /// A server that speaks HTTP/2 without TLS, or HTTP/1.1.
    pub(crate) async fn start(http2: bool) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Seen::default());
        let noted = seen.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                noted.connections.fetch_add(1, Ordering::Relaxed);
                connections.spawn(serve(http2, stream, noted.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self {
            address,
            seen,
            task,
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> u64 {
        self.seen.connections.load(Ordering::Relaxed)
    }

    /// Exchanges that were given up so far.
    pub(crate) fn given_up(&self) -> u64 {
        self.seen.given_up.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(http2: bool, stream: TcpStream, seen: Arc<Seen>) {
    let _ = stream.set_nodelay(true);
    let retire = Arc::new(Notify::new());
    let asked = retire.clone();
    let service = service_fn(move |request| answer(request, seen.clone(), retire.clone()));
    let io = TokioIo::new(stream);
    if http2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.enable_connect_protocol();
        let mut connection = std::pin::pin!(builder.serve_connection(io, service));
        tokio::select! {
            _ = connection.as_mut() => {}
            () = asked.notified() => {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
        }
    } else {
        let connection = http1::Builder::new().serve_connection(io, service);
        let mut connection = std::pin::pin!(connection.with_upgrades());
        tokio::select! {
            _ = connection.as_mut() => {}
            () = asked.notified() => {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
        }
    }
}

/// Answers by the path's last words.
async fn answer(
    request: Request<Incoming>,
    seen: Arc<Seen>,
    retire: Arc<Notify>,
) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let what = path.rsplit('/').next().unwrap_or_default();
    let mut answer = Response::builder();
    let body = match what {
        // Content and trailers come back as they come.
        "echo" => {
            answer = answer.header("trailer", "x-first, x-second");
            request.into_body().map_err(Into::into).boxed_unsync()
        }
        // The connection takes no more requests; this one goes on.
        "retire" => {
            retire.notify_one();
            request.into_body().map_err(Into::into).boxed_unsync()
        }
        "check" => match check(request.into_body()).await {
            Ok(bytes) => text(bytes.to_string()),
            Err(error) => {
                seen.given_up.fetch_add(1, Ordering::Relaxed);
                text(error.to_string())
            }
        },
        "broken" => StreamBody::new(broken(request.into_body())).boxed_unsync(),
        "hang" => StreamBody::new(endless(request.into_body(), GivenUp(seen))).boxed_unsync(),
        "refuse" => {
            answer = answer.status(StatusCode::PAYLOAD_TOO_LARGE);
            text("refused")
        }
        "websocket" => return Ok(websocket(request)),
        bytes => StreamBody::new(content::pieces(bytes.parse().unwrap_or(0))).boxed_unsync(),
    };
    Ok(answer.body(body).expect("these fields are valid"))
}

fn text(text: impl Into<Bytes>) -> Body {
    let whole = Full::new(text.into());
    whole.map_err(|never| match never {}).boxed_unsync()
}

/// How much of the known content came.
async fn check(mut body: Incoming) -> anyhow::Result<u64> {
    let mut checker = Checker::default();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            checker.take(&data)?;
        }
    }
    Ok(checker.taken())
}

/// The first piece comes back; the second breaks the answer off.
fn broken(body: Incoming) -> impl Stream<Item = anyhow::Result<Frame<Bytes>>> {
    let mut pieces = 0;
    body.into_data_stream().map(move |piece| {
        pieces += 1;
        anyhow::ensure!(pieces == 1, "broken off");
        Ok(Frame::data(piece?))
    })
}

/// Counts an answer that nobody waits for any more.
struct GivenUp(Arc<Seen>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.given_up.fetch_add(1, Ordering::Relaxed);
    }
}

/// One piece, and no end unless the request breaks off.
fn endless(request: Incoming, held: GivenUp) -> impl Stream<Item = anyhow::Result<Frame<Bytes>>> {
    let first = Ok(Frame::data(Bytes::from_static(b"first")));
    let broken = request.into_data_stream().filter_map(move |piece| {
        let _ = &held;
        piece.err().map(|error| Err(error.into()))
    });
    tokio_stream::once(first)
        .chain(broken)
        .chain(tokio_stream::pending())
}

/// Takes an upgrade of HTTP/1.1, or a WebSocket's stream of HTTP/2, and sends back what comes.
fn websocket(request: Request<Incoming>) -> Response<Body> {
    let mut answer = Response::new(Body::default());
    if let Some(key) = request.headers().get("sec-websocket-key") {
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes()));
        let accept = accept.expect("a digest is a valid header value");
        let fields = answer.headers_mut();
        fields.insert("connection", HeaderValue::from_static("upgrade"));
        fields.insert("upgrade", HeaderValue::from_static("websocket"));
        fields.insert("sec-websocket-accept", accept);
    }
    tokio::spawn(async move {
        let Ok(stream) = hyper::upgrade::on(request).await else {
            return;
        };
        let (mut read, mut write) = tokio::io::split(TokioIo::new(stream));
        let _ = tokio::io::copy(&mut read, &mut write).await;
        let _ = tokio::io::AsyncWriteExt::shutdown(&mut write).await;
    });
    answer
}
