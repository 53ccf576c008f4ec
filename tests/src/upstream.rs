//! Upstreams: small servers that say who they are.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::content::{self, Checker};

/// A running upstream; it ends with this guard.
pub struct Upstream {
    address: SocketAddr,
    served: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Upstream {
    /// An HTTP/1.1 server whose answers name it: status 200, header `x-served-by`, body `NAME METHOD PATH`; a request
    /// body is echoed after that. Below `/stream`, and of gRPC, the body is echoed alone and as it comes. A path that ends in
    /// `/bytes/N` is so much of [`content`]; one that ends in `/check` answers how much of it came, and in
    /// `/head` what was asked, field by field.
    pub async fn http(name: &str) -> Self {
        let name: Arc<str> = name.into();
        Self::start(move |stream, served| {
            let name = name.clone();
            async move {
                let service = service_fn(move |request| {
                    served.fetch_add(1, Ordering::Relaxed);
                    echo(name.clone(), request)
                });
                let _ = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .with_upgrades()
                    .await;
            }
        })
        .await
    }

    /// As [`Self::http`], over HTTP/2 without TLS. A gRPC request ends with status 0.
    pub async fn http2(name: &str) -> Self {
        Self::http2_with_window(name, 65_535).await
    }

    /// A gRPC server that ends each call at once with this status, and answers none whose method is `Silent`.
    pub async fn grpc_status(status: u16) -> Self {
        Self::start(move |stream, served| async move {
            let service = service_fn(move |request: Request<Incoming>| {
                served.fetch_add(1, Ordering::Relaxed);
                async move {
                    if request.uri().path().ends_with("/Silent") {
                        std::future::pending::<()>().await;
                    }
                    Response::builder()
                        .header("content-type", "application/grpc")
                        .header("grpc-status", status)
                        .body(Full::<Bytes>::default())
                }
            });
            let _ = http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        })
        .await
    }

    /// As [`Self::http2`], with streams whose content has this window.
    pub async fn http2_with_window(name: &str, window: u32) -> Self {
        let name: Arc<str> = name.into();
        Self::start(move |stream, served| {
            let name = name.clone();
            async move {
                let service = service_fn(move |request| {
                    served.fetch_add(1, Ordering::Relaxed);
                    echo(name.clone(), request)
                });
                let _ = http2::Builder::new(TokioExecutor::new())
                    .initial_stream_window_size(window)
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            }
        })
        .await
    }

    /// A WebSocket server that answers each text with `NAME TEXT`.
    pub async fn websocket(name: &str) -> Self {
        let name: Arc<str> = name.into();
        Self::start(move |stream, served| {
            let name = name.clone();
            async move { websocket(name, stream, served).await }
        })
        .await
    }

    /// A TCP server that writes its name and a newline at once, then echoes.
    pub async fn tcp(name: &str) -> Self {
        let greeting: Arc<str> = format!("{name}\n").into();
        Self::start(move |mut stream, served| {
            let greeting = greeting.clone();
            async move {
                served.fetch_add(1, Ordering::Relaxed);
                if stream.write_all(greeting.as_bytes()).await.is_err() {
                    return;
                }
                let mut buffer = vec![0; 16 * 1024];
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    if stream
                        .write_all(buffer.get(..count).unwrap_or_default())
                        .await
                        .is_err()
                    {
                        return;
                    }
                }
            }
        })
        .await
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests (HTTP), messages (WebSocket) or connections (TCP) served so far.
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    async fn start<F>(serve: impl Fn(TcpStream, Arc<AtomicU64>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port on loopback");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let served = Arc::new(AtomicU64::new(0));
        let counter = served.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                connections.spawn(serve(stream, counter.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Self {
            address,
            served,
            task,
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn echo(
    name: Arc<str>,
    request: Request<Incoming>,
) -> Result<Response<UnsyncBoxBody<Bytes, hyper::Error>>, Infallible> {
    let (head, body) = request.into_parts();
    let mut response = Response::builder().header("x-served-by", &*name);
    let kind = head.headers.get("content-type");
    let body = if kind.is_some_and(|kind| kind == "application/grpc") {
        response = response.header("content-type", "application/grpc");
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let trailers = std::future::ready(Some(Ok(trailers)));
        body.with_trailers(trailers).boxed_unsync()
    } else if head.uri.path().starts_with("/stream") {
        body.boxed_unsync()
    } else if let Some(bytes) = head.uri.path().split_once("/bytes/").map(|(_, it)| it) {
        StreamBody::new(content::pieces(bytes.parse().unwrap_or(0))).boxed_unsync()
    } else if head.uri.path().ends_with("/head") {
        let lines = head.headers.iter().map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes());
            format!("{name}: {value}\n")
        });
        let whole = Full::from(format!("{}\n{}", head.uri, lines.collect::<String>()));
        whole.map_err(|never| match never {}).boxed_unsync()
    } else if head.uri.path().ends_with("/check") {
        let found = check(body).await;
        let found = found.unwrap_or_else(|error| format!("{error:#}"));
        let whole = Full::from(found);
        whole.map_err(|never| match never {}).boxed_unsync()
    } else {
        let mut answer = format!("{name} {} {}", head.method, head.uri).into_bytes();
        match body.collect().await {
            Ok(body) => answer.extend_from_slice(&body.to_bytes()),
            Err(error) => answer.extend_from_slice(format!(" cut short: {error}").as_bytes()),
        }
        let whole = Full::from(answer);
        whole.map_err(|never| match never {}).boxed_unsync()
    };
    Ok(response
        .body(body)
        .expect("a name of the test is a valid header value"))
}

/// How many bytes of the known content came.
async fn check(mut body: Incoming) -> anyhow::Result<String> {
    let mut checker = Checker::default();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            checker.take(&data)?;
        }
    }
    Ok(checker.taken().to_string())
}

async fn websocket(name: Arc<str>, stream: TcpStream, served: Arc<AtomicU64>) {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::Message;

    let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else {
        return;
    };
    while let Some(Ok(message)) = socket.next().await {
        let Message::Text(text) = message else {
            continue;
        };
        served.fetch_add(1, Ordering::Relaxed);
        if socket
            .send(Message::text(format!("{name} {text}")))
            .await
            .is_err()
        {
            return;
        }
    }
}
