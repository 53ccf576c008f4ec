//! A proxy before two servers of hyper, and clients of hyper.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;
use weft_tests::bootstrap::{StaticCluster, one_listener};
use weft_tests::client::{Client, Http1};
use weft_tests::content::Checker;
use weft_tests::http2::{Exchange, Http2, bit_by_bit};
use weft_tests::proxy::ProxyProcess;

use crate::server::Server;

/// Bound of what comes true by itself, on a machine that has much else to do.
const STEP: Duration = Duration::from_secs(60);

const OPTIONS: &str =
    "http2_protocol_options: {allow_connect: true}, upgrade_configs: [{upgrade_type: websocket}],";

const ROUTES: &str = "{match: {prefix: /h2}, route: {cluster: h2, timeout: 0s}}, {match: {prefix: /}, route: {cluster: h1, \
                      timeout: 0s}}";

/// Downstream and upstream.
const PAIRINGS: [(Version, Version); 4] = [
    (Version::HTTP_11, Version::HTTP_11),
    (Version::HTTP_11, Version::HTTP_2),
    (Version::HTTP_2, Version::HTTP_11),
    (Version::HTTP_2, Version::HTTP_2),
];

/// A proxy before a server of each protocol.
pub(crate) struct Scene {
    pub(crate) proxy: ProxyProcess,
    web: SocketAddr,
    servers: [Server; 2],
}

/// What is spoken before and behind the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pairing {
    pub(crate) downstream: Version,
    pub(crate) upstream: Version,
}

impl Scene {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let servers = [Server::start(false).await?, Server::start(true).await?];
        let clusters: Vec<_> = [("h1", false), ("h2", true)]
            .into_iter()
            .zip(&servers)
            .map(|((name, http2), server)| StaticCluster {
                name,
                address: server.address(),
                http2,
            })
            .collect();
        let bootstrap = one_listener(OPTIONS, ROUTES, &clusters);
        let proxy = ProxyProcess::start(&bootstrap, &["--concurrency", "1"]).await?;
        let web = proxy.address_of("web").await;
        Ok(Self {
            proxy,
            web,
            servers,
        })
    }

    pub(crate) async fn client(&self, pairing: Pairing) -> anyhow::Result<Client> {
        Ok(match pairing.downstream {
            Version::HTTP_2 => Client::Http2(Http2::connect(self.web).await?),
            _ => Client::Http1(Http1::connect(self.web).await?),
        })
    }

    pub(crate) fn server(&self, pairing: Pairing) -> &Server {
        let [one, two] = &self.servers;
        match pairing.upstream {
            Version::HTTP_2 => two,
            _ => one,
        }
    }
}

impl Pairing {
    /// A request for something of its server.
    pub(crate) fn request(
        self,
        client: &Client,
        method: &str,
        what: &str,
    ) -> http::request::Builder {
        let upstream = match self.upstream {
            Version::HTTP_2 => "h2",
            _ => "h1",
        };
        let target = client.target(&format!("/{upstream}/{what}"));
        let request = Request::builder().method(method).uri(target);
        match self.downstream {
            Version::HTTP_2 => request,
            _ => request.header("host", "web"),
        }
    }
}

/// Runs a case in each pairing, and says which one failed.
pub(crate) async fn in_each(
    case: impl AsyncFn(&Scene, Pairing) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let scene = Scene::start().await?;
    for (downstream, upstream) in PAIRINGS {
        let pairing = Pairing {
            downstream,
            upstream,
        };
        let ended = timeout(STEP, case(&scene, pairing)).await;
        ended
            .with_context(|| format!("{pairing:?} was not over after {STEP:?}"))?
            .with_context(|| format!("{pairing:?}"))?;
    }
    Ok(())
}

/// Begins an exchange whose content comes bit by bit; the first piece of it has come back.
pub(crate) async fn open(
    client: &mut Client,
    pairing: Pairing,
    what: &str,
) -> anyhow::Result<Exchange> {
    let (to, content) = bit_by_bit();
    to.send(Bytes::from_static(b"first")).await?;
    let request = pairing.request(client, "POST", what).body(content)?;
    let mut exchange = Exchange::begun(to, client.begin(request).await?)?;
    let first = exchange.hear(5).await?;
    ensure!(first == "first", "{first:?}");
    Ok(exchange)
}

/// The whole of an answer with this status.
pub(crate) async fn text(answer: Response<Incoming>, status: u16) -> anyhow::Result<Bytes> {
    ensure!(answer.status() == status, "{answer:?}");
    Ok(answer.into_body().collect().await?.to_bytes())
}

/// The content of an answer is so much of what is known.
pub(crate) async fn expect_content(answer: Response<Incoming>, bytes: u64) -> anyhow::Result<()> {
    let mut checker = Checker::default();
    checker.take(&text(answer, 200).await?)?;
    ensure!(checker.taken() == bytes, "{} of {bytes}", checker.taken());
    Ok(())
}
