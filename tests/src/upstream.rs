//! Upstreams: small servers that say who they are.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A running upstream; it ends with this guard.
pub struct Upstream {
    address: SocketAddr,
    served: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Upstream {
    /// An HTTP/1.1 server whose answers name it: status 200, header `x-served-by`, body `NAME METHOD PATH`; a request
    /// body is echoed after that.
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
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let mut answer = format!("{name} {} {}", head.method, head.uri).into_bytes();
    match body.collect().await {
        Ok(body) => answer.extend_from_slice(&body.to_bytes()),
        Err(error) => answer.extend_from_slice(format!(" cut short: {error}").as_bytes()),
    }
    let response = Response::builder()
        .header("x-served-by", &*name)
        .body(Full::from(answer));
    Ok(response.expect("a name of the test is a valid header value"))
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
