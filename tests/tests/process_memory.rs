//! `weft-proxy` with a budget of memory: it sheds load before the budget is spent, and serves again when the load is gone.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;
use weft_tests::client::{Http1, get};
use weft_tests::eventually::eventually_within;
use weft_tests::process::built;
use weft_tests::upstream::Upstream;

/// Bound of each step, on a machine that has much else to do.
const STEP: Duration = Duration::from_secs(60);

/// What fits between the proxy at rest and the refusal of connections.
const ROOM: u64 = 24 << 20;

/// Lines of a head that has no end, and bytes of each: about 480 KiB for the proxy to hold.
const LINES: usize = 60;
const LINE: usize = 8 * 1024;

fn bootstrap(upstream: SocketAddr) -> String {
    let port = upstream.port();
    format!(
        "
node: {{id: n, cluster: c}}
static_resources:
  listeners:
  - name: web
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: web
          max_request_headers_kb: 1024
          route_config:
            name: web
            virtual_hosts:
            - {{name: all, domains: ['*'], routes: [{{match: {{prefix: /}}, route: {{cluster: web}}}}]}}
          http_filters:
          - name: router
            typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: web
    type: STATIC
    load_assignment: {{cluster_name: web, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}}}]}}]}}
"
    )
}

/// A running `weft-proxy`; it is killed with this guard.
struct Proxy {
    web: SocketAddr,
    metrics: SocketAddr,
    log: Arc<Mutex<Vec<Value>>>,
    _process: Child,
}

impl Proxy {
    async fn start(upstream: SocketAddr, memory_max: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("bootstrap.yaml");
        std::fs::write(&file, bootstrap(upstream))?;
        let mut process = Command::new(built("weft-proxy")?)
            .arg("--bootstrap")
            .arg(&file)
            .args(["--memory-max", memory_max, "--concurrency", "1"])
            .args(["--log-format", "json", "--admin-listen", "127.0.0.1:0"])
            .args(["--metrics-listen", "127.0.0.1:0"])
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(process.stderr.take().context("a pipe")?).lines();
        let log: Arc<Mutex<Vec<Value>>> = Arc::default();
        let written = log.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                let mut log = written.lock().unwrap_or_else(PoisonError::into_inner);
                log.push(line);
            }
        });
        let place = |role: &'static str| {
            let log = log.clone();
            eventually_within(STEP, role, move || {
                let log = log.lock().unwrap_or_else(PoisonError::into_inner);
                let line = log.iter().find(|line| {
                    line["role"] == role || (line["listener"] == role && line["role"].is_string())
                });
                let address = line.and_then(|line| line["address"].as_str()?.parse().ok());
                std::future::ready(address.with_context(|| format!("{log:?}")))
            })
        };
        let (web, metrics) = (place("web").await, place("metrics").await);
        Ok(Self {
            web,
            metrics,
            log,
            _process: process,
        })
    }

    /// The sample of this name and these labels; 0 where there is none.
    async fn sample(&self, name: &str) -> anyhow::Result<f64> {
        let page = get(self.metrics, "localhost", "/metrics").await?;
        ensure!(page.status() == 200, "{}", page.status());
        let page = std::str::from_utf8(page.body())?;
        let value = page
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(value.map_or(Ok(0.0), str::parse)?)
    }

    /// How often the log says so of refusing requests.
    fn logged(&self, message: &str) -> usize {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let said = log.iter().filter(|line| {
            line["message"] == message && line["action"] == "stop_accepting_requests"
        });
        said.count()
    }
}

/// Connections, some of which have sent a part of a head.
struct Load {
    idle: Vec<TcpStream>,
    holding: Vec<TcpStream>,
}

impl Load {
    async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let mut idle = Vec::new();
        for _ in 0..300 {
            idle.push(TcpStream::connect(address).await?);
        }
        Ok(Self {
            idle,
            holding: Vec::new(),
        })
    }

    /// Has some more of them hold memory.
    async fn rise(&mut self) -> anyhow::Result<()> {
        let line = format!("x: {}\r\n", "a".repeat(LINE));
        let head = format!("GET / HTTP/1.1\r\nhost: web\r\n{}", line.repeat(LINES));
        for _ in 0..2 {
            let mut stream = self.idle.pop().context("no connection is left to fill")?;
            // The proxy may refuse it meanwhile.
            drop(timeout(STEP, stream.write_all(head.as_bytes())).await?);
            self.holding.push(stream);
        }
        Ok(())
    }
}

/// Whether a new connection is closed without an answer.
async fn is_refused(address: SocketAddr) -> anyhow::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    let asked = b"GET / HTTP/1.1\r\nhost: web\r\n\r\n";
    if stream.write_all(asked).await.is_err() {
        return Ok(true);
    }
    let read = timeout(STEP, stream.read(&mut [0; 16])).await?;
    Ok(!matches!(read, Ok(1..)))
}

/// Asks on a kept connection until load is shed, which `load` is raised for.
async fn until_shed(kept: &mut Http1, load: &mut Load) -> anyhow::Result<()> {
    loop {
        let answer = kept.get("web", "/").await?;
        if answer.status() != 503 {
            load.rise().await?;
            continue;
        }
        let flag = answer.headers().get("x-weft-response-flag");
        ensure!(flag.is_some_and(|flag| flag == "OM"), "{answer:?}");
        let body = String::from_utf8_lossy(answer.body()).into_owned();
        ensure!(body.contains("short of memory"), "{body}");
        return Ok(());
    }
}

/// What the proxy holds at rest, having served.
async fn at_rest(upstream: SocketAddr) -> anyhow::Result<u64> {
    let proxy = Proxy::start(upstream, "1Gi").await?;
    ensure!(get(proxy.web, "web", "/").await?.status() == 200);
    Ok(proxy.sample("process_resident_memory_bytes").await? as u64)
}

#[tokio::test]
async fn load_is_shed_before_the_budget_is_spent_and_taken_again_when_it_is_gone()
-> anyhow::Result<()> {
    let upstream = Upstream::http("a").await;
    let budget = (at_rest(upstream.address()).await? + ROOM) * 10 / 9;
    let proxy = Proxy::start(upstream.address(), &budget.to_string()).await?;
    let mut kept = Http1::connect(proxy.web).await?;
    assert_eq!(kept.get("web", "/").await?.status(), 200);
    let mut running = TcpStream::connect(proxy.web).await?;
    let begun = b"POST /running HTTP/1.1\r\nhost: web\r\nconnection: close\r\ncontent-length: 10\r\n\r\n12345";
    running.write_all(begun).await?;
    let mut load = Load::open(proxy.web).await?;

    until_shed(&mut kept, &mut load).await?;
    loop {
        if is_refused(proxy.web).await? {
            break;
        }
        until_shed(&mut kept, &mut load).await?;
    }
    let max = proxy.sample("weft_overload_memory_max_bytes").await?;
    assert_eq!(max as u64, budget);
    for limit in ["shed_requests", "shed_connections"] {
        let name = format!("weft_limit_hits_total{{limit=\"{limit}\"}}");
        assert!(proxy.sample(&name).await? >= 1.0, "{limit}");
    }
    assert!(proxy.logged("load is shed") >= 1);
    let active = "weft_overload_active{action=\"stop_accepting_requests\"}";
    while proxy.sample(active).await? < 1.0 {
        until_shed(&mut kept, &mut load).await?;
    }

    // What ran before goes on.
    running.write_all(b"67890").await?;
    let mut answer = String::new();
    timeout(STEP, running.read_to_string(&mut answer)).await??;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("1234567890"),
        "{answer}"
    );

    drop(load);
    eventually_within(STEP, "requests are served again", || async {
        let answer = get(proxy.web, "web", "/").await?;
        ensure!(answer.status() == 200, "{answer:?}");
        let active = proxy.sample(active).await?;
        ensure!(active == 0.0, "{active}");
        let told = (
            proxy.logged("load is shed"),
            proxy.logged("load is no longer shed"),
        );
        ensure!(told.0 == told.1, "{told:?}");
        Ok::<_, anyhow::Error>(())
    })
    .await;
    assert_eq!(kept.get("web", "/").await?.status(), 200);
    Ok(())
}
