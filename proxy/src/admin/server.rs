//! The sockets of the admin pages: few connections, small heads, short lives.

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
use tokio::sync::Semaphore;

use super::pages::{self, Asked};
use super::{AdminState, Pages};

const CONNECTIONS_MAX: usize = 64;
const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECTION_LIFE_MAX: Duration = Duration::from_secs(300);

/// Serves pages on a bound socket for ever.
pub async fn serve(listener: TcpListener, state: Arc<AdminState>, pages: Pages) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let loopback = listener
        .local_addr()
        .is_ok_and(|address: SocketAddr| address.ip().is_loopback());
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "admin connection not accepted");
                tokio::task::yield_now().await;
                continue;
            }
        };
        let state = state.clone();
        tokio::spawn(async move {
            let life = connection(stream, state, pages, loopback);
            if tokio::time::timeout(CONNECTION_LIFE_MAX, life)
                .await
                .is_err()
            {
                tracing::debug!("admin connection lived too long");
            }
            drop(place);
        });
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
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    pages::answer(
        state,
        pages,
        Asked {
            post: request.method() == hyper::Method::POST,
            path: request.uri().path(),
            query: request.uri().query().unwrap_or(""),
            host: host.unwrap_or(""),
            loopback,
        },
    )
}
