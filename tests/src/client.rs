//! Clients: single connections that are looked at closely, and steady load that counts failures.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, timeout};

use crate::content::Content;
use crate::http2::Http2;

/// Bound of one request of a test.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// One HTTP/1.1 connection that is kept.
pub struct Http1 {
    sender: SendRequest<Content>,
    connection: JoinHandle<()>,
}

impl Http1 {
    /// Connects to `address`.
    ///
    /// # Errors
    /// If it cannot.
    pub async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(async move {
            let _ = connection.with_upgrades().await;
        });
        Ok(Self { sender, connection })
    }

    /// Sends `request` and reads the whole answer.
    ///
    /// # Errors
    /// If the connection ends, or nothing whole comes back within 10 s.
    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<Response<Bytes>> {
        let exchange = async {
            let request = request.map(BodyExt::boxed_unsync);
            let (head, body) = self.begin(request).await?.into_parts();
            Ok::<_, anyhow::Error>(Response::from_parts(head, body.collect().await?.to_bytes()))
        };
        timeout(REQUEST_TIMEOUT, exchange)
            .await
            .context("no whole answer within 10 s")?
    }

    /// Sends `request` and gives what comes back, whose content is still to be read.
    ///
    /// # Errors
    /// If the connection ends.
    pub async fn begin(&mut self, request: Request<Content>) -> anyhow::Result<Response<Incoming>> {
        self.sender.ready().await?;
        Ok(self.sender.send_request(request).await?)
    }

    /// `GET path` with this `Host`.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn get(&mut self, host: &str, path: &str) -> anyhow::Result<Response<Bytes>> {
        self.send(
            Request::get(path)
                .header("host", host)
                .body(Full::default())?,
        )
        .await
    }

    /// Whether the other side has closed it.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

impl Drop for Http1 {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// A kept connection of either protocol.
pub enum Client {
    /// HTTP/1.1: one exchange at a time.
    Http1(Http1),
    /// HTTP/2.
    Http2(Http2),
}

impl Client {
    /// Sends `request` and gives what comes back, whose content is still to be read.
    ///
    /// # Errors
    /// If the connection or the stream ends.
    pub async fn begin(&mut self, request: Request<Content>) -> anyhow::Result<Response<Incoming>> {
        match self {
            Self::Http1(client) => client.begin(request).await,
            Self::Http2(client) => client.begin(request).await,
        }
    }

    /// What a request for a path of `web` asks for, in the client's form.
    pub fn target(&self, path: &str) -> String {
        match self {
            Self::Http1(_) => path.to_owned(),
            Self::Http2(_) => format!("http://web{path}"),
        }
    }

    /// Whether the other side has closed it, or said that it will.
    pub fn is_closed(&self) -> bool {
        match self {
            Self::Http1(client) => client.is_closed(),
            Self::Http2(client) => client.is_closed(),
        }
    }
}

/// `GET path` on a connection of its own.
///
/// # Errors
/// If it cannot connect or nothing whole comes back within 10 s.
pub async fn get(address: SocketAddr, host: &str, path: &str) -> anyhow::Result<Response<Bytes>> {
    Http1::connect(address).await?.get(host, path).await
}

/// Who served the answer: its `x-served-by`.
///
/// # Errors
/// If it is not a 200 with that header; says what it is instead.
pub fn served_by(response: &Response<Bytes>) -> anyhow::Result<&str> {
    ensure!(
        response.status() == 200,
        "{}: {}",
        response.status(),
        String::from_utf8_lossy(response.body())
    );
    Ok(response
        .headers()
        .get("x-served-by")
        .context("no x-served-by")?
        .to_str()?)
}

/// Requests at a steady rate over a few kept connections, until stopped.
pub struct SteadyLoad {
    stop: Arc<AtomicBool>,
    clients: JoinSet<LoadReport>,
}

/// What came back of a load.
#[derive(Clone, Debug, Default)]
pub struct LoadReport {
    /// Requests sent.
    pub requests: u64,
    /// Those without an answer of status 200.
    pub failures: u64,
    /// Why the first of them failed.
    pub first_failures: Vec<String>,
    /// Answers by `x-served-by`.
    pub served_by: BTreeMap<String, u64>,
    /// Latency of each request in microseconds.
    pub latencies_us: Vec<u64>,
}

impl SteadyLoad {
    /// `GET path` with this `Host`, `rate` times a second, spread over `connections` kept connections.
    pub fn start(address: SocketAddr, host: &str, path: &str, rate: u32, connections: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        let period = Duration::from_secs(1) * connections / rate.max(1);
        for _ in 0..connections {
            clients.spawn(client(
                address,
                host.to_owned(),
                path.to_owned(),
                period,
                stop.clone(),
            ));
        }
        Self { stop, clients }
    }

    /// Sends no more and says what came back.
    pub async fn stop(self) -> LoadReport {
        self.stop.store(true, Ordering::Relaxed);
        let mut whole = LoadReport::default();
        for part in self.clients.join_all().await {
            whole.add(part);
        }
        whole
    }
}

impl LoadReport {
    /// The latency that `share` (0 to 1) of the requests did not exceed, in microseconds.
    pub fn latency_us(&self, share: f64) -> u64 {
        let mut sorted = self.latencies_us.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() as f64 * share).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
    }

    /// Takes what another load has seen into account.
    pub fn add(&mut self, part: LoadReport) {
        self.requests += part.requests;
        self.failures += part.failures;
        self.first_failures.extend(part.first_failures);
        self.first_failures.truncate(5);
        self.latencies_us.extend(part.latencies_us);
        for (name, count) in part.served_by {
            *self.served_by.entry(name).or_default() += count;
        }
    }

    fn note(&mut self, outcome: anyhow::Result<String>, latency: Duration) {
        self.requests += 1;
        self.latencies_us
            .push(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
        match outcome {
            Ok(name) => *self.served_by.entry(name).or_default() += 1,
            Err(error) => {
                self.failures += 1;
                if self.first_failures.len() < 5 {
                    self.first_failures.push(format!("{error:#}"));
                }
            }
        }
    }
}

async fn client(
    address: SocketAddr,
    host: String,
    path: String,
    period: Duration,
    stop: Arc<AtomicBool>,
) -> LoadReport {
    let mut report = LoadReport::default();
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut kept: Option<Http1> = None;
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let sent = Instant::now();
        let outcome = request(address, &host, &path, &mut kept).await;
        if outcome.is_err() {
            kept = None;
        }
        report.note(outcome, sent.elapsed());
    }
    report
}

async fn request(
    address: SocketAddr,
    host: &str,
    path: &str,
    kept: &mut Option<Http1>,
) -> anyhow::Result<String> {
    // A connection that the proxy closed between two requests is no failure: a client opens another.
    if kept.as_ref().is_some_and(Http1::is_closed) {
        *kept = None;
    }
    let connection = match kept {
        Some(connection) => connection,
        None => kept.insert(Http1::connect(address).await?),
    };
    let response = connection.get(host, path).await?;
    Ok(served_by(&response)?.to_owned())
}
