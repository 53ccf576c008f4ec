//! `weft-proxy` with a budget of memory: it sheds load before the budget is spent, and serves again when the load is gone.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use weft_tests::client::{Http1, get};
use weft_tests::eventually::eventually_within;
use weft_tests::proxy::ProxyProcess;
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

/// A running `weft-proxy` and its only listener.
struct Proxy {
    process: ProxyProcess,
    web: SocketAddr,
}

impl Proxy {
    async fn start(upstream: SocketAddr, memory_max: &str) -> anyhow::Result<Self> {
        let arguments = ["--memory-max", memory_max, "--concurrency", "1"];
        let process = ProxyProcess::start(&bootstrap(upstream), &arguments).await?;
        let web = process.address_of("web").await;
        Ok(Self { process, web })
    }

    async fn sample(&self, name: &str) -> anyhow::Result<f64> {
        self.process.sample(name).await
    }

    /// How often the log says so of refusing requests.
    fn logged(&self, message: &str) -> usize {
        self.process.logged(|line| {
            line["message"] == message && line["action"] == "stop_accepting_requests"
        })
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
