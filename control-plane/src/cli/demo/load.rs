//! Steady traffic, and a count of everything that comes back.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use http::Request;
use http::header::HOST;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};

use super::sample::SERVICE_PORT;

/// Requests running at once; beyond it the load waits, as a pool of clients would.
const CONCURRENCY: usize = 64;

/// Bound of one request, above every time-out of the mesh on its way.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Traffic that runs until it is stopped.
pub(super) struct Load {
    counts: Arc<Mutex<Counts>>,
    stop: watch::Sender<bool>,
    driver: JoinHandle<()>,
}

/// What came back so far.
#[derive(Clone)]
pub(super) struct Counts {
    /// Requests that were answered or failed.
    pub requests: u64,
    /// Those that were not answered with 200 by every service on their way.
    pub failures: u64,
    /// Why the first few of them failed.
    pub first_failures: Vec<String>,
    /// Answers by service and version.
    pub served: BTreeMap<(String, String), u64>,
    /// Latency seen at the entrance, in microseconds.
    pub latency: Histogram<u64>,
    /// How long traffic has been flowing.
    pub elapsed: Duration,
}

impl Load {
    /// Sends `rate` requests per second to the sidecar at `entrance`.
    pub(super) fn start(entrance: SocketAddr, rate: u32) -> Self {
        let counts = Arc::new(Mutex::new(Counts::new()));
        let (stop, stopped) = watch::channel(false);
        let driver = tokio::spawn(drive(entrance, rate, counts.clone(), stopped));
        Self {
            counts,
            stop,
            driver,
        }
    }

    /// The counts now.
    pub(super) fn counts(&self) -> Counts {
        self.counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Sends no more, waits for what is running, and gives the counts.
    pub(super) async fn stop(self) -> Counts {
        self.stop.send_replace(true);
        // The driver ends by itself: each of its requests has a time-out.
        let _ = self.driver.await;
        self.counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

async fn drive(
    entrance: SocketAddr,
    rate: u32,
    counts: Arc<Mutex<Counts>>,
    mut stopped: watch::Receiver<bool>,
) {
    let client: Client<HttpConnector, Empty<Bytes>> =
        Client::builder(TokioExecutor::new()).build_http();
    let places = Arc::new(Semaphore::new(CONCURRENCY));
    let mut running = JoinSet::new();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let started = Instant::now();
    loop {
        tokio::select! {
            _ = stopped.changed() => break,
            _ = ticks.tick() => {}
        }
        let Ok(place) = places.clone().acquire_owned().await else {
            break;
        };
        let (client, counts) = (client.clone(), counts.clone());
        running.spawn(async move {
            let sent = Instant::now();
            let outcome = one_request(&client, entrance).await;
            counts.lock().unwrap_or_else(PoisonError::into_inner).add(
                outcome,
                sent.elapsed(),
                started.elapsed(),
            );
            drop(place);
        });
        while running.try_join_next().is_some() {}
    }
    running.join_all().await;
}

/// The answer of the storefront, or why there is none.
async fn one_request(
    client: &Client<HttpConnector, Empty<Bytes>>,
    entrance: SocketAddr,
) -> Result<Value, String> {
    let request = Request::get(format!("http://{entrance}/"))
        .header(HOST, format!("storefront:{SERVICE_PORT}"))
        .body(Empty::new())
        .map_err(|e| e.to_string())?;
    let exchange = async {
        let response = client
            .request(request)
            .await
            .map_err(|e| format!("no answer: {:#}", anyhow::Error::new(e)))?;
        let status = response.status();
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(|e| format!("answer cut short: {:#}", anyhow::Error::new(e)))?
            .to_bytes();
        if !status.is_success() {
            return Err(format!("{status}: {}", String::from_utf8_lossy(&body)));
        }
        serde_json::from_slice(&body).map_err(|e| format!("answer is not JSON: {e}"))
    };
    tokio::time::timeout(REQUEST_TIMEOUT, exchange)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {REQUEST_TIMEOUT:?}")))
}

impl Counts {
    fn new() -> Self {
        let latency = Histogram::new_with_bounds(1, 60_000_000, 3)
            .expect("1 µs to 60 s at 3 digits is a valid range");
        Self {
            requests: 0,
            failures: 0,
            first_failures: Vec::new(),
            served: BTreeMap::new(),
            latency,
            elapsed: Duration::ZERO,
        }
    }

    fn add(&mut self, outcome: Result<Value, String>, latency: Duration, elapsed: Duration) {
        self.requests += 1;
        self.elapsed = elapsed;
        self.latency
            .saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
        match outcome {
            Ok(answer) => self.add_served(&answer),
            Err(why) => {
                self.failures += 1;
                if self.first_failures.len() < 5 {
                    self.first_failures.push(why);
                }
            }
        }
    }

    fn add_served(&mut self, answer: &Value) {
        let text = |key| {
            answer
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or("unknown")
                .to_owned()
        };
        *self
            .served
            .entry((text("service"), text("version")))
            .or_default() += 1;
        for part in answer
            .get("parts")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            self.add_served(part);
        }
    }
}
