//! The sockets of the admin pages: few connections, small heads, short lives.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::pages::{self, Asked};
use super::{AdminState, Pages};

const CONNECTIONS_MAX: usize = 64;
const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECTION_LIFE_MAX: Duration = Duration::from_secs(300);

/// What may come free again, such as descriptors, is not asked for more often than this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves pages on a bound socket for ever.
pub async fn serve(listener: TcpListener, state: Arc<AdminState>, pages: Pages) {
    let mut open = Connections::default();
    let loopback = listener
        .local_addr()
        .is_ok_and(|address: SocketAddr| address.ip().is_loopback());
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "admin connection not accepted");
                sleep_until(Instant::now() + ACCEPT_PAUSE).await;
                continue;
            }
        };
        open.make_room();
        let state = state.clone();
        open.add(tokio::spawn(async move {
            let life = connection(stream, state, pages, loopback);
            if tokio::time::timeout(CONNECTION_LIFE_MAX, life)
                .await
                .is_err()
            {
                tracing::debug!("admin connection lived too long");
            }
        }));
    }
}

/// The connections that are open, the oldest first.
#[derive(Default)]
struct Connections(VecDeque<JoinHandle<()>>);

impl Connections {
    /// Where all places are taken the oldest connection is closed: whoever holds places, the kubelet still hears whether
    /// we live, and it needs its place for a moment only.
    fn make_room(&mut self) {
        self.0.retain(|connection| !connection.is_finished());
        if self.0.len() >= CONNECTIONS_MAX
            && let Some(oldest) = self.0.pop_front()
        {
            oldest.abort();
        }
    }

    fn add(&mut self, connection: JoinHandle<()>) {
        self.0.push_back(connection);
    }
}

async fn connection(stream: TcpStream, state: Arc<AdminState>, pages: Pages, loopback: bool) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer(&state, pages, loopback, &request);
        async move { Ok::<_, Infallible>(answer) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "admin connection failed");
    }
}

fn answer(
    state: &AdminState,
    pages: Pages,
    loopback: bool,
    request: &Request<Incoming>,
) -> Response<Full<Bytes>> {
    let field = |name| request.headers().get(name)?.to_str().ok();
    pages::answer(
        state,
        pages,
        Asked {
            post: request.method() == hyper::Method::POST,
            path: request.uri().path(),
            query: request.uri().query().unwrap_or(""),
            host: field(header::HOST).unwrap_or(""),
            origin: request
                .headers()
                .contains_key(header::ORIGIN)
                .then(|| field(header::ORIGIN).unwrap_or("")),
            loopback,
        },
    )
}
