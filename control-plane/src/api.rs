//! The HTTP API: the one way in which the CLI, and any other program, reads and changes the desired state.
//!
//! JSON in and out, described by `GET /openapi.json`. A change answers with a stream of [`model::ApplyEvent`], one JSON
//! object a line. On anything but loopback every request carries `Authorization: Bearer TOKEN`.

pub mod check;
mod guard;
mod metrics;
pub mod model;
mod openapi;
mod read;
mod write;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRef};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::guard::Token;
use self::model::ErrorBody;
use crate::app::Mesh;

/// Bytes of one request body.
const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What the handlers share.
#[derive(Clone)]
struct Shared {
    mesh: Arc<Mesh>,
}

impl FromRef<Shared> for Arc<Mesh> {
    fn from_ref(shared: &Shared) -> Self {
        shared.mesh.clone()
    }
}

/// The running API.
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Server {
    /// Serves on `socket` until [`Self::shutdown`]. With a token every request below `/v1` must carry it.
    ///
    /// # Errors
    /// If the socket has no address.
    pub fn start(
        socket: TcpListener,
        mesh: Arc<Mesh>,
        token: Option<&str>,
    ) -> std::io::Result<Self> {
        let address = socket.local_addr()?;
        let (stop, mut stopped) = watch::channel(false);
        let router = router(mesh, token.map(Token::new), address);
        // Events are small and follow each other: with Nagle's algorithm each would wait for the other side's delayed ACK.
        let socket = socket.tap_io(|stream| {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "an API connection keeps Nagle's algorithm");
            }
        });
        let task = tokio::spawn(async move {
            let until_stopped = async move {
                let _ = stopped.wait_for(|stopped| *stopped).await;
            };
            if let Err(error) = axum::serve(socket, router)
                .with_graceful_shutdown(until_stopped)
                .await
            {
                tracing::error!(%error, "HTTP API ended");
            }
        });
        Ok(Self {
            address,
            stop,
            task,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no new requests and ends. What runs is cut after a second: streams of progress have no natural end.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        if tokio::time::timeout(std::time::Duration::from_secs(1), &mut self.task)
            .await
            .is_err()
        {
            self.task.abort();
        }
    }
}

/// The routes, for [`Server`] and for tests.
fn router(mesh: Arc<Mesh>, token: Option<Token>, address: SocketAddr) -> Router {
    let api = Router::new()
        .route("/v1/apply", post(write::apply))
        .route("/v1/rollback", post(write::rollback))
        .route("/v1/objects", get(read::objects))
        .route("/v1/objects/{kind}/{namespace}/{name}", get(read::object))
        .route(
            "/v1/objects/{kind}/{namespace}/{name}/description",
            get(read::object_description),
        )
        .route("/v1/services", get(read::services))
        .route("/v1/services/{namespace}/{name}", get(read::service))
        .route("/v1/endpoints", get(read::endpoints))
        .route("/v1/revisions", get(read::revisions))
        .route("/v1/findings", get(read::findings))
        .route("/v1/proxies", get(read::proxies))
        .route("/v1/proxies/{name}/admin/{*page}", get(read::proxy_page))
        .layer(axum::middleware::from_fn_with_state(
            (token, address),
            guard::check,
        ));
    Router::new()
        .merge(api)
        .route("/openapi.json", get(openapi::document))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(metrics::ready))
        .route("/metrics", get(metrics::metrics))
        .fallback(|| async { Refused::not_found("no such page: see /openapi.json") })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(Shared { mesh })
}

/// An answer that says no.
#[derive(Debug)]
struct Refused {
    status: StatusCode,
    body: ErrorBody,
}

impl Refused {
    fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self {
            status,
            body: ErrorBody {
                error: error.into(),
                faults: Vec::new(),
            },
        }
    }

    fn not_found(error: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, error)
    }

    fn invalid(error: impl Into<String>, faults: Vec<String>) -> Self {
        let body = ErrorBody {
            error: error.into(),
            faults,
        };
        Self {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            body,
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.status, axum::Json(self.body)).into_response()
    }
}
