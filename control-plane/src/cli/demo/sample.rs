//! The sample application: four services, one of them in two versions, each beside a sidecar.
//!
//! ```text
//! load ─► storefront ─► catalog
//!                    └► reviews v1 | v2 ─► ratings
//! ```
//! A workload answers with one JSON object that names it and holds the answers of those it asked, so that the load
//! sees who served each part of a request.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::future::{join_all, try_join_all};
use http::header::HOST;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;

use super::proof;
use super::sidecar::{Joining, Sidecar};
use crate::api::model::{TokenCreated, TokenRequest};
use crate::app::Running;
use crate::cli::client::Client as ApiClient;

/// The port that every service of the sample has in the mesh.
pub(super) const SERVICE_PORT: u16 = 9080;

/// Where traffic enters the mesh.
const ENTRANCE: &str = "storefront";

/// Service, version, and the services that it asks.
const WORKLOADS: [(&str, &str, &[&str]); 5] = [
    (ENTRANCE, "v1", &["catalog", "reviews"]),
    ("catalog", "v1", &[]),
    ("reviews", "v1", &["ratings"]),
    ("reviews", "v2", &["ratings"]),
    ("ratings", "v1", &[]),
];

/// The running application.
pub(super) struct Sample {
    workloads: Vec<Workload>,
}

/// One process' worth of the application, with its sidecar.
pub(super) struct Workload {
    name: &'static str,
    version: &'static str,
    sidecar: Sidecar,
    server: JoinHandle<()>,
}

impl Sample {
    /// Starts all workloads and their sidecars, and waits until each sidecar is ready.
    ///
    /// # Errors
    /// If a port cannot be bound, or a sidecar does not start or does not get ready.
    pub(super) async fn start(
        control_plane: &Running,
        client: &ApiClient,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let trust_bundle = folder.join("root-cert.pem");
        let bundle = control_plane.mesh().authority().bundle();
        let roots = bundle.borrow().pem().to_owned();
        std::fs::write(&trust_bundle, roots).context("writing the mesh's roots")?;
        let secure = format!("https://{}", control_plane.secure_address());
        let (secure, trust_bundle) = (&secure, &trust_bundle);
        let start = |(name, version, asks): &(&'static str, &'static str, _)| {
            let (name, version, asks) = (*name, *version, *asks);
            async move {
                let joining = Joining {
                    control_plane: secure.clone(),
                    trust_bundle: trust_bundle.clone(),
                    token: token(client, name).await?,
                };
                Workload::start(name, version, asks, &joining, folder).await
            }
        };
        let workloads = try_join_all(WORKLOADS.iter().map(start)).await?;
        let sample = Self { workloads };
        try_join_all(sample.workloads.iter().map(|w| w.sidecar.ready())).await?;
        Ok(sample)
    }

    /// The inbound address of the storefront's sidecar, where traffic enters.
    pub(super) fn entrance(&self) -> SocketAddr {
        let storefront = self.workloads.iter().find(|w| w.name == ENTRANCE);
        storefront
            .expect("the list of workloads names a storefront")
            .sidecar
            .inbound()
    }

    /// Name, version and admin address of each workload.
    pub(super) fn admin_pages(
        &self,
    ) -> impl Iterator<Item = (&'static str, &'static str, SocketAddr)> {
        self.workloads
            .iter()
            .map(|w| (w.name, w.version, w.sidecar.admin()))
    }

    /// Whether the sidecars behind the entrance took TLS of the mesh, and take nothing else.
    pub(super) async fn speaks_mtls(&self) -> bool {
        let inner = self.workloads.iter().filter(|it| it.name != ENTRANCE);
        let proofs = inner.map(|it| proof::takes_mtls_alone(&it.sidecar));
        join_all(proofs).await.into_iter().all(|proved| proved)
    }

    /// Ends the sidecars, then the workloads.
    pub(super) async fn stop(self) {
        for workload in self.workloads {
            workload.sidecar.stop().await;
            workload.server.abort();
        }
    }
}

impl Workload {
    async fn start(
        name: &'static str,
        version: &'static str,
        asks: &'static [&'static str],
        joining: &Joining,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let socket = TcpListener::bind("127.0.0.1:0")
            .await
            .with_context(|| format!("binding a port for {name}"))?;
        let app_port = socket.local_addr()?.port();
        let answerer = Arc::new(Answerer::new(name, version, asks));
        let server = tokio::spawn(serve(socket, answerer.clone()));
        let sidecar = Sidecar::start(
            name,
            version,
            app_port,
            joining,
            &folder.join(format!("{name}-{version}")),
        )
        .await?;
        ensure!(
            answerer.outbound.set(sidecar.outbound()).is_ok(),
            "{name} was started twice"
        );
        Ok(Self {
            name,
            version,
            sidecar,
            server,
        })
    }
}

/// A join token for the service account `name`.
async fn token(client: &ApiClient, name: &str) -> anyhow::Result<String> {
    let request = TokenRequest {
        namespace: "default".to_owned(),
        service_account: name.to_owned(),
        ttl_seconds: 60,
        uses: 1,
    };
    let made = client.post_bytes("/v1/tokens", &request).await?;
    let made: TokenCreated = serde_json::from_slice(&made)?;
    Ok(made.token)
}

async fn serve(socket: TcpListener, answerer: Arc<Answerer>) {
    while let Ok((stream, _)) = socket.accept().await {
        let answerer = answerer.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let answerer = answerer.clone();
                async move { Ok::<_, Infallible>(answerer.answer(request).await) }
            });
            // A connection that ends badly is the peer's affair: the load counts what it misses.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// What a workload does with a request: asks those it depends on through its sidecar, and puts their answers together.
struct Answerer {
    name: &'static str,
    version: &'static str,
    asks: &'static [&'static str],
    outbound: OnceCell<SocketAddr>,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Answerer {
    fn new(name: &'static str, version: &'static str, asks: &'static [&'static str]) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self {
            name,
            version,
            asks,
            outbound: OnceCell::new(),
            client,
        }
    }

    async fn answer(&self, _request: Request<Incoming>) -> Response<Full<Bytes>> {
        match try_join_all(self.asks.iter().map(|service| self.ask(service))).await {
            Ok(parts) => self.respond(StatusCode::OK, json!({"parts": parts})),
            Err(error) => self.respond(
                StatusCode::BAD_GATEWAY,
                json!({"error": format!("{error:#}")}),
            ),
        }
    }

    async fn ask(&self, service: &str) -> anyhow::Result<Value> {
        let outbound = self
            .outbound
            .get()
            .context("the sidecar has not started yet")?;
        let request = Request::get(format!("http://{outbound}/{service}"))
            .header(HOST, format!("{service}:{SERVICE_PORT}"))
            .body(Full::default())?;
        let limit = Duration::from_secs(10);
        let response = tokio::time::timeout(limit, self.client.request(request))
            .await
            .with_context(|| format!("{service} did not answer within {limit:?}"))?
            .with_context(|| format!("asking {service}"))?;
        let status = response.status();
        let body = response
            .into_body()
            .collect()
            .await
            .with_context(|| format!("reading the answer of {service}"))?;
        let body = body.to_bytes();
        ensure!(
            status == StatusCode::OK,
            "{service} answered {status}: {}",
            String::from_utf8_lossy(&body)
        );
        serde_json::from_slice(&body)
            .with_context(|| format!("the answer of {service} is not JSON"))
    }

    fn respond(&self, status: StatusCode, mut body: Value) -> Response<Full<Bytes>> {
        if let Some(fields) = body.as_object_mut() {
            fields.insert("service".to_owned(), self.name.into());
            fields.insert("version".to_owned(), self.version.into());
        }
        let mut response = Response::new(Full::from(body.to_string()));
        *response.status_mut() = status;
        response.headers_mut().insert(
            "content-type",
            http::HeaderValue::from_static("application/json"),
        );
        response
    }
}
