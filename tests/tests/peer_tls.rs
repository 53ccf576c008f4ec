//! One bootstrap makes Envoy and `weft-proxy` two ends of mTLS, whichever is which.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;
use weft_tests::client::{Http1, SteadyLoad, get, served_by};
use weft_tests::envoy::{Envoy, free_address};
use weft_tests::eventually::eventually_within;
use weft_tests::peers::{Peer, find};
use weft_tests::pki::Pki;
use weft_tests::proxy::ProxyProcess;
use weft_tests::upstream::Upstream;

const DEADLINE: Duration = Duration::from_secs(30);

const CLIENT: &str = "spiffe://td/ns/a/sa/client";
const SERVER: &str = "spiffe://td/ns/b/sa/server";

/// Which program is an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Weft,
    Envoy,
}

/// A running end; it is killed with this guard.
enum Running {
    Weft(Box<ProxyProcess>),
    Envoy { _envoy: Envoy },
}

/// What is spoken between the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Between {
    Http1,
    Http2,
    Tcp,
}

/// client (plain) → outbound ═ mTLS ═ inbound → upstream (plain)
struct Scene {
    pki: Pki,
    outbound: SocketAddr,
    inbound: SocketAddr,
    ends: Vec<Running>,
    _folder: tempfile::TempDir,
}

impl Scene {
    /// `friend`: the only URI that the inbound side lets in.
    async fn start(
        (out, into): (End, End),
        between: Between,
        friend: &str,
        upstream: SocketAddr,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let pki = Pki::new(folder.path())?;
        pki.issue("client", CLIENT)?;
        pki.issue("server", SERVER)?;
        let (outbound, inbound) = (free_address()?, free_address()?);
        let files = folder.path();
        let texts = [
            (out, outbound_side(files, outbound, inbound, between)),
            (
                into,
                inbound_side(files, inbound, upstream, between, friend),
            ),
        ];
        let mut ends = Vec::new();
        for (at, (end, text)) in texts.into_iter().enumerate() {
            ends.push(match end {
                End::Weft => Running::Weft(Box::new(ProxyProcess::start(&text, &[]).await?)),
                End::Envoy => {
                    let program = find(Peer::Envoy).context("no Envoy")?;
                    let _envoy = Envoy::start(&program, files, &format!("envoy-{at}"), &text)?;
                    Running::Envoy { _envoy }
                }
            });
        }
        Ok(Self {
            pki,
            outbound,
            inbound,
            ends,
            _folder: folder,
        })
    }

    fn weft(&self, at: usize) -> anyhow::Result<&ProxyProcess> {
        match self.ends.get(at) {
            Some(Running::Weft(proxy)) => Ok(proxy),
            _ => anyhow::bail!("end {at} is no weft-proxy"),
        }
    }
}

const TLS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";
const HTTP: &str = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const TCP: &str = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";

/// What both sides have of TLS: own certificate, root, the URI of the other.
fn context(files: &Path, own: &str, other: &str, between: Between) -> String {
    let files = files.display();
    let alpn = match between {
        Between::Http1 => "http/1.1",
        Between::Http2 => "h2",
        Between::Tcp => "raw",
    };
    format!(
        "common_tls_context: {{tls_params: {{tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3}}, \
         alpn_protocols: [{alpn}], tls_certificates: [{{certificate_chain: {{filename: {files}/{own}.pem}}, private_key: \
         {{filename: {files}/{own}.key}}}}], validation_context: {{trusted_ca: {{filename: {files}/ca.pem}}, \
         match_typed_subject_alt_names: [{{san_type: URI, matcher: {{exact: '{other}'}}}}]}}}}"
    )
}

fn action(between: Between, cluster: &str, options: &str) -> String {
    match between {
        Between::Tcp => format!(
            "[{{name: tcp, typed_config: {{'@type': {TCP}, stat_prefix: t, cluster: {cluster}}}}}]"
        ),
        Between::Http1 | Between::Http2 => format!(
            "[{{name: http, typed_config: {{'@type': {HTTP}, stat_prefix: h, {options} route_config: {{name: r, virtual_hosts: \
             [{{name: v, domains: ['*'], routes: [{{match: {{prefix: /}}, route: {{cluster: {cluster}}}}}]}}]}}, http_filters: \
             [{{name: router, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}]}}}}]"
        ),
    }
}

fn bootstrap(listener: &str, at: SocketAddr, chain: &str, cluster: &str) -> String {
    format!(
        "
node: {{id: node, cluster: test}}
static_resources:
  listeners:
  - name: {listener}
    address: {{socket_address: {{address: {}, port_value: {}}}}}
    filter_chains: [{chain}]
  clusters: [{cluster}]
",
        at.ip(),
        at.port()
    )
}

fn cluster(name: &str, at: SocketAddr, further: &str) -> String {
    format!(
        "{{name: {name}, type: STATIC, connect_timeout: 5s, {further} load_assignment: {{cluster_name: {name}, endpoints: \
         [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: {}, port_value: {}}}}}}}}}]}}]}}}}",
        at.ip(),
        at.port()
    )
}

fn outbound_side(files: &Path, at: SocketAddr, to: SocketAddr, between: Between) -> String {
    let spoken = match between {
        Between::Http2 => {
            "typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {'@type': \
             type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: \
             {http2_protocol_options: {}}}},"
        }
        Between::Http1 | Between::Tcp => "",
    };
    let context = context(files, "client", SERVER, between);
    let socket = format!(
        "{spoken} transport_socket: {{name: tls, typed_config: {{'@type': {TLS}.UpstreamTlsContext, sni: b.test, {context}}}}},"
    );
    let filters = action(between, "far", "");
    bootstrap(
        "outbound",
        at,
        &format!("{{filters: {filters}}}"),
        &cluster("far", to, &socket),
    )
}

fn inbound_side(
    files: &Path,
    at: SocketAddr,
    to: SocketAddr,
    between: Between,
    friend: &str,
) -> String {
    let context = context(files, "server", friend, between);
    let filters = action(
        between,
        "app",
        "forward_client_cert_details: SANITIZE_SET, set_current_client_cert_details: {uri: true},",
    );
    let chain = format!(
        "{{filters: {filters}, transport_socket: {{name: tls, typed_config: {{'@type': {TLS}.DownstreamTlsContext, \
         require_client_certificate: true, {context}}}}}}}"
    );
    bootstrap("inbound", at, &chain, &cluster("app", to, ""))
}

const PAIRS: [(End, End); 3] = [
    (End::Weft, End::Weft),
    (End::Weft, End::Envoy),
    (End::Envoy, End::Weft),
];

#[tokio::test(flavor = "multi_thread")]
async fn http_goes_over_mtls_between_every_pair() -> anyhow::Result<()> {
    let upstream = Upstream::http("app").await;
    for pair in PAIRS {
        if find(Peer::Envoy).is_none() && pair != (End::Weft, End::Weft) {
            continue;
        }
        for between in [Between::Http1, Between::Http2] {
            let scene = Scene::start(pair, between, CLIENT, upstream.address()).await?;
            eventually_within(DEADLINE, "an answer", || async {
                let answer = get(scene.outbound, "b.test", "/").await?;
                ensure!(served_by(&answer)? == "app", "{answer:?}");
                Ok(())
            })
            .await;
            let mut client = Http1::connect(scene.outbound).await?;
            let body = Bytes::from(vec![b'x'; 3_000_000]);
            let request = Request::post("/echo")
                .header("host", "b.test")
                .header("x-forwarded-client-cert", "URI=spiffe://td/forged")
                .body(Full::new(body.clone()))?;
            let answer = client.send(request).await?;
            ensure!(
                answer.status() == 200,
                "{pair:?} {between:?}: {}",
                answer.status()
            );
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_goes_over_mtls_between_every_pair() -> anyhow::Result<()> {
    let upstream = Upstream::tcp("app").await;
    for pair in PAIRS {
        if find(Peer::Envoy).is_none() && pair != (End::Weft, End::Weft) {
            continue;
        }
        let scene = Scene::start(pair, Between::Tcp, CLIENT, upstream.address()).await?;
        eventually_within(DEADLINE, "the greeting", || greeting(scene.outbound)).await;
    }
    Ok(())
}

/// What a TCP upstream of the harness says of itself comes first.
async fn greeting(at: SocketAddr) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(at).await?;
    stream.write_all(b"hello\n").await?;
    let mut heard = vec![0; 256];
    let n = timeout(Duration::from_secs(5), stream.read(&mut heard)).await??;
    ensure!(n > 0, "it ended");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_let_in_is_told_apart_in_metrics_and_in_the_answer() -> anyhow::Result<()> {
    let upstream = Upstream::http("app").await;
    let pair = (End::Weft, End::Weft);
    let other = "spiffe://td/ns/c/sa/other";
    let scene = Scene::start(pair, Between::Http2, other, upstream.address()).await?;
    let answer = get(scene.outbound, "b.test", "/").await?;
    assert_eq!(answer.status(), 503);
    assert_eq!(upstream.served(), 0);
    let refused = "weft_listener_tls_handshakes_total{listener=\"inbound\",direction=\"unspecified\",result=\"certificate_wrong_name\"}";
    eventually_within(DEADLINE, "it is counted", || async {
        let count = scene.weft(1)?.sample(refused).await?;
        ensure!(count >= 1.0, "{}", scene.weft(1)?.metrics().await?);
        Ok(())
    })
    .await;
    // Plain text on a port of TLS, and TLS without a certificate.
    let plain = get(scene.inbound, "b.test", "/").await;
    assert!(plain.is_err(), "{plain:?}");
    // It may have ended before it reads the alert: what counts is why it was refused.
    Command::new("openssl")
        .args(["s_client", "-connect", &scene.inbound.to_string()])
        .stdin(Stdio::null())
        .output()
        .await?;
    let refused = "weft_listener_tls_handshakes_total{listener=\"inbound\",direction=\"unspecified\",result=\"no_certificate\"}";
    eventually_within(DEADLINE, "it is counted", || async {
        let count = scene.weft(1)?.sample(refused).await?;
        ensure!(count >= 1.0, "{}", scene.weft(1)?.metrics().await?);
        Ok(())
    })
    .await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_replaced_under_load_and_nobody_notices() -> anyhow::Result<()> {
    let upstream = Upstream::http("app").await;
    for between in [Between::Http1, Between::Http2] {
        let pair = (End::Weft, End::Weft);
        let scene = Scene::start(pair, between, CLIENT, upstream.address()).await?;
        eventually_within(DEADLINE, "an answer", || get(scene.outbound, "b.test", "/")).await;
        let load = SteadyLoad::start(scene.outbound, "b.test", "/", 200, 4);
        for _ in 0..3 {
            let shown = || async {
                let command = Command::new("openssl")
                    .args(["s_client", "-connect", &scene.inbound.to_string()])
                    .stdin(Stdio::null())
                    .output()
                    .await?;
                let text = String::from_utf8_lossy(&command.stdout).into_owned();
                let begin = text.find("-----BEGIN").context("no certificate")?;
                anyhow::Ok(text.get(begin..begin + 400).unwrap_or_default().to_owned())
            };
            let before = shown().await?;
            scene.pki.issue("server", SERVER)?;
            scene.pki.issue("client", CLIENT)?;
            eventually_within(DEADLINE, "the new certificate is shown", || async {
                let now = shown().await?;
                ensure!(now != before, "the old one");
                Ok::<_, anyhow::Error>(())
            })
            .await;
        }
        let report = load.stop().await;
        assert_eq!(report.failures, 0, "{:?}", report.first_failures);
        let own = scene.pki.folder().join("server.pem");
        let expiry = format!(
            "weft_tls_certificate_expiry_time_seconds{{secret=\"{}\"}}",
            own.display()
        );
        assert!(scene.weft(1)?.sample(&expiry).await? > 1.7e9);
    }
    Ok(())
}
