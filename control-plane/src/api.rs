//! The HTTP API: the one way in which the CLI, and any other program, reads and changes the desired state.
//!
//! JSON in and out, described by `GET /openapi.json`. A change answers with a stream of [`model::ApplyEvent`], one JSON
//! object a line. On anything but loopback every request carries `Authorization: Bearer TOKEN`, and what may be done depends
//! on the role of the token: asking, changing the desired state, or making tokens.

mod api_tokens;
mod authz;
mod body;
mod certificates;
pub mod check;
mod guard;
mod metrics;
pub mod model;
mod openapi;
mod read;
mod tokens;
mod write;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRef};
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::guard::{Door, Guard, PeerAddr};
use self::model::ErrorBody;
use crate::accept::{Bound, Connections, accept};
use crate::app::Mesh;
use crate::identity::Role;

/// Bytes of one request body.
const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Bytes of the head of a request.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// How long a head may take, from the end of the answer before it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a body may take, from the end of its head: what is allowed at most comes in that at a megabyte a second.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

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

/// Who may use the API besides those who have a token of the store.
#[derive(Clone, Copy, Default)]
pub(crate) struct Access<'a> {
    /// A token with which everything may be done.
    pub(crate) token: Option<&'a str>,
    /// Whether loopback needs a token too; it does where one is given here.
    pub(crate) required: bool,
}

/// The running API.
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Server {
    /// Serves on `socket` as many connections as `bound` allows, until [`Self::shutdown`].
    ///
    /// # Errors
    /// If the socket has no address.
    pub(crate) fn start(
        socket: TcpListener,
        mesh: Arc<Mesh>,
        access: Access<'_>,
        bound: Arc<Bound>,
    ) -> std::io::Result<Self> {
        let address = socket.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let router = router(mesh, access, address);
        let task = tokio::spawn(serve(socket, router, bound, stopped));
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
        if tokio::time::timeout(Duration::from_secs(1), &mut self.task)
            .await
            .is_err()
        {
            self.task.abort();
        }
    }
}

/// Serves until `stopped`, and then what runs to its end.
async fn serve(
    socket: TcpListener,
    router: Router,
    bound: Arc<Bound>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut open = Connections::new(bound);
    loop {
        tokio::select! {
            stream = accept(&socket) => open.add(connection(stream, router.clone(), stopped.clone())),
            () = is_true(&mut stopped) => break,
        }
    }
    drop(socket);
    open.ended().await;
}

async fn connection(stream: TcpStream, router: Router, mut stopped: watch::Receiver<bool>) {
    let peer = PeerAddr(stream.peer_addr().ok());
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = is_true(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an API connection failed");
    }
}

/// Resolves once it is true, or nobody is left to say so.
async fn is_true(stopped: &mut watch::Receiver<bool>) {
    let _gone = stopped.wait_for(|stopped| *stopped).await;
}

/// The routes, for [`Server`] and for tests.
fn router(mesh: Arc<Mesh>, access: Access<'_>, address: SocketAddr) -> Router {
    let Access { token, required } = access;
    let guard = Arc::new(Guard::new(mesh.clone(), token, required, address));
    let door = |role| {
        let guard = guard.clone();
        axum::middleware::from_fn_with_state(Door { guard, role }, guard::check)
    };
    let body = || axum::middleware::from_fn(body::read);
    // What a change would do may be asked by whoever may ask: the handlers look again at who asks.
    let state = Router::new()
        .route("/v1/apply", post(write::apply))
        .layer(body())
        .layer(door(Role::Read));
    let changes = Router::new()
        .route("/v1/rollback", post(write::rollback))
        .layer(body())
        .layer(door(Role::Write));
    let tokens = Router::new()
        .route("/v1/tokens", get(tokens::list).post(tokens::create))
        .route("/v1/tokens/{id}/revoke", post(tokens::revoke))
        .route(
            "/v1/api-tokens",
            get(api_tokens::list).post(api_tokens::create),
        )
        .route("/v1/api-tokens/{id}/revoke", post(api_tokens::revoke))
        .layer(body())
        .layer(door(Role::Admin));
    let api = Router::new()
        .route("/v1/objects", get(read::objects))
        .route("/v1/objects/{kind}/{namespace}/{name}", get(read::object))
        .route(
            "/v1/objects/{kind}/{namespace}/{name}/description",
            get(read::object_description),
        )
        .route("/v1/services", get(read::services))
        .route("/v1/services/{namespace}/{name}", get(read::service))
        .route("/v1/endpoints", get(read::endpoints))
        .route("/v1/endpoints/left-out", get(read::left_out))
        .route("/v1/revisions", get(read::revisions))
        .route("/v1/findings", get(read::findings))
        .route("/v1/proxies", get(read::proxies))
        .route("/v1/certificates", get(certificates::list))
        .route("/v1/proxies/{name}/admin/{*page}", get(read::proxy_page))
        .route("/v1/authz/check", post(authz::check))
        .layer(body())
        .layer(door(Role::Read));
    Router::new()
        .merge(api)
        .merge(state)
        .merge(changes)
        .merge(tokens)
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

/// Why somebody may not do what he asked for: an answer carries it to the guard, who says so in the audit log.
#[derive(Clone, Debug)]
struct Denied(String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let denied = (self.status == StatusCode::FORBIDDEN).then(|| self.body.error.clone());
        let mut answer = (self.status, axum::Json(self.body)).into_response();
        if let Some(why) = denied {
            answer.extensions_mut().insert(Denied(why));
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, Bytes};
    use axum::http::header::{CONTENT_TYPE, HOST};
    use futures_util::stream;
    use tokio::time::{Instant, sleep_until, timeout};
    use tonic::codegen::Service;

    use super::*;
    use crate::app::{Config, ControlPlane};

    /// A body that never ends: a space each second.
    fn slow() -> Body {
        Body::from_stream(stream::unfold((), async |()| {
            sleep_until(Instant::now() + Duration::from_secs(1)).await;
            Some((Ok::<_, std::io::Error>(Bytes::from_static(b" ")), ()))
        }))
    }

    /// Status and JSON of an answer.
    async fn ask(router: &mut Router, request: Request<Body>) -> (StatusCode, serde_json::Value) {
        let answer = router.call(request).await.unwrap();
        let status = answer.status();
        let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await;
        (status, serde_json::from_slice(&body.unwrap()).unwrap())
    }

    fn post_json(path: &str, body: &serde_json::Value) -> Request<Body> {
        Request::post(path)
            .header(HOST, "localhost")
            .header(CONTENT_TYPE, "application/json")
            .body(body.to_string().into())
            .unwrap()
    }

    #[tokio::test]
    async fn a_join_token_is_shown_once_and_listed_until_it_is_revoked() {
        let plane = ControlPlane::start(Config::for_demo()).await.unwrap();
        let mut router = router(plane.mesh().clone(), Access::default(), plane.api_address());
        let list = || {
            let request = Request::get("/v1/tokens").header(HOST, "localhost");
            request.body(Body::empty()).unwrap()
        };
        let wanted = serde_json::json!({
            "namespace": "default", "service_account": "reviews", "ttl_seconds": 60, "uses": 2,
        });
        let (status, made) = ask(&mut router, post_json("/v1/tokens", &wanted)).await;
        assert_eq!(status, StatusCode::OK, "{made}");
        let token = made["token"].as_str().unwrap();
        let (_, listed) = ask(&mut router, list()).await;
        assert!(!listed.to_string().contains(token));
        assert_eq!(
            (&listed[0]["id"], &listed[0]["state"]),
            (&made["id"], &"usable".into())
        );
        let path = format!("/v1/tokens/{}/revoke", made["id"].as_str().unwrap());
        let (status, _) = ask(&mut router, post_json(&path, &serde_json::json!({}))).await;
        assert_eq!(status, StatusCode::OK);
        let (_, listed) = ask(&mut router, list()).await;
        assert_eq!(listed[0]["state"], "revoked");
        plane.shutdown().await;
    }

    #[tokio::test]
    async fn a_join_token_that_cannot_be_is_refused_for_its_reason() {
        let plane = ControlPlane::start(Config::for_demo()).await.unwrap();
        let mut router = router(plane.mesh().clone(), Access::default(), plane.api_address());
        let cases = [
            ("a/b", 60, 1, "namespace"),
            ("default", 0, 1, "time to live"),
            ("default", u64::MAX, 1, "time to live"),
            ("default", 60, 0, "uses"),
        ];
        for (namespace, ttl, uses, why) in cases {
            let wanted = serde_json::json!({
                "namespace": namespace, "service_account": "reviews", "ttl_seconds": ttl, "uses": uses,
            });
            let (status, said) = ask(&mut router, post_json("/v1/tokens", &wanted)).await;
            assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
            assert!(said["error"].as_str().unwrap().contains(why), "{said}");
        }
        let unknown = post_json("/v1/tokens/0000/revoke", &serde_json::json!({}));
        assert_eq!(ask(&mut router, unknown).await.0, StatusCode::NOT_FOUND);
        plane.shutdown().await;
    }

    #[tokio::test]
    async fn a_body_that_comes_too_slowly_is_not_waited_for() {
        let plane = ControlPlane::start(Config::for_demo()).await.unwrap();
        let mut router = router(plane.mesh().clone(), Access::default(), plane.api_address());
        tokio::time::pause();
        for path in ["/v1/apply", "/v1/rollback"] {
            let request = Request::post(path)
                .header(HOST, "localhost")
                .header(CONTENT_TYPE, "application/json")
                .body(slow())
                .unwrap();
            let answer = timeout(Duration::from_secs(600), router.call(request));
            let answer = answer.await.expect("within ten minutes").unwrap();
            assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);
        }
    }
}
