//! One bootstrap with a server of secrets, gRPC C-core's, makes Envoy and `weft-proxy` the two ends of mTLS.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::Mutex;
use weft_tests::client::{SteadyLoad, get, served_by};
use weft_tests::envoy::{Envoy, free_address};
use weft_tests::eventually::eventually_within;
use weft_tests::peers::{Peer, find, python};
use weft_tests::pki::Pki;
use weft_tests::process::Talker;
use weft_tests::proxy::ProxyProcess;
use weft_tests::secrets::{first_certificate, shown_at};
use weft_tests::upstream::Upstream;

const DEADLINE: Duration = Duration::from_secs(30);
const TYPES: &str = "type.googleapis.com/envoy.extensions";

fn socket(address: SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } })
}

fn http(cluster: &str) -> Value {
    json!([{ "name": "http", "typed_config": {
        "@type": format!("{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": cluster,
        "route_config": { "name": "r", "virtual_hosts": [{ "name": "v", "domains": ["*"], "routes": [
            { "match": { "prefix": "/" }, "route": { "cluster": cluster } },
        ] }] },
        "http_filters": [{ "name": "router", "typed_config": {
            "@type": format!("{TYPES}.filters.http.router.v3.Router"),
        } }],
    } }])
}

fn cluster(name: &str, address: &Value, further: Value) -> Value {
    let mut cluster = json!({
        "name": name, "type": "STATIC", "connect_timeout": "2s",
        "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address } }] }] },
    });
    if let (Some(cluster), Value::Object(further)) = (cluster.as_object_mut(), further) {
        cluster.extend(further);
    }
    cluster
}

fn http2() -> Value {
    json!({ "typed_extension_protocol_options": { "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": format!("{TYPES}.upstreams.http.v3.HttpProtocolOptions"),
        "explicit_http_config": { "http2_protocol_options": {} },
    } } })
}

/// What a server of secrets calls what it tells, and by which protocol it is asked.
#[derive(Clone, Copy)]
struct Told {
    own: &'static str,
    roots: &'static str,
    /// How the names begin of those who may call.
    callers: &'static str,
    api_type: &'static str,
}

/// A TLS context of either side, whose certificate and whose roots the cluster `agent` tells.
fn tls(context: &str, told: Told) -> Value {
    let api_type = told.api_type;
    let source = json!({ "resource_api_version": "V3", "api_config_source": {
        "api_type": api_type, "transport_api_version": "V3",
        "grpc_services": [{ "envoy_grpc": { "cluster_name": "agent" } }],
    } });
    let mut config = json!({
        "@type": format!("{TYPES}.transport_sockets.tls.v3.{context}"),
        "common_tls_context": {
            "tls_certificate_sds_secret_configs": [{ "name": told.own, "sds_config": source }],
            "combined_validation_context": {
                "default_validation_context": { "match_typed_subject_alt_names": [
                    { "san_type": "URI", "matcher": { "prefix": told.callers } },
                ] },
                "validation_context_sds_secret_config": { "name": told.roots, "sds_config": source },
            },
        },
    });
    let (field, value) = match context {
        "DownstreamTlsContext" => ("require_client_certificate", json!(true)),
        _ => ("sni", json!("other.test")),
    };
    if let Some(config) = config.as_object_mut() {
        config.insert(field.to_owned(), value);
    }
    json!({ "name": "tls", "typed_config": config })
}

/// Where one end listens.
#[derive(Clone, Copy)]
struct End {
    /// For mTLS, before the application.
    inbound: SocketAddr,
    /// In plain, towards the other end.
    outbound: SocketAddr,
}

impl End {
    fn free() -> anyhow::Result<Self> {
        Ok(Self {
            inbound: free_address()?,
            outbound: free_address()?,
        })
    }

    fn bootstrap(self, other: Self, agent: &Value, told: Told, app: SocketAddr) -> String {
        let inbound = json!({
            "filters": http("app"), "transport_socket": tls("DownstreamTlsContext", told),
        });
        let listener = |name: &str, at: SocketAddr, chain: Value| json!({ "name": name, "address": socket(at), "filter_chains": [chain] });
        let socket_of_other = json!({ "transport_socket": tls("UpstreamTlsContext", told) });
        json!({
            "node": { "id": "node", "cluster": "test" },
            "static_resources": {
                "listeners": [
                    listener("inbound", self.inbound, inbound),
                    listener("outbound", self.outbound, json!({ "filters": http("other") })),
                ],
                "clusters": [
                    cluster("app", &socket(app), json!({})),
                    cluster("other", &socket(other.inbound), socket_of_other),
                    cluster("agent", agent, http2()),
                ],
            },
        })
        .to_string()
    }
}

/// The server of secrets, and the folder of what it tells.
struct Agent {
    server: Talker,
    port: u16,
}

impl Agent {
    async fn start(folder: &Path, port: u16) -> anyhow::Result<Option<Self>> {
        let Some(mut command) = python("sds_server.py") else {
            return Ok(None);
        };
        command.arg(folder.join("agent.sock")).arg(port.to_string());
        let mut server = Talker::start(command)?;
        let line = server.line().await?;
        let port = line.strip_prefix("listening ").context("a port")?.parse()?;
        Ok(Some(Self { server, port }))
    }

    /// Tells what the files hold now.
    async fn tell(&mut self, folder: &Path) -> anyhow::Result<()> {
        let folder = folder.display();
        for line in [
            format!("certificate own {folder}/own.pem {folder}/own.key"),
            format!("roots roots {folder}/ca.pem"),
        ] {
            ensure!(self.server.ask(&line).await? == "told");
        }
        Ok(())
    }
}

async fn both_show(ends: [End; 2], folder: &Path) -> anyhow::Result<()> {
    let wanted = first_certificate(&folder.join("own.pem"))?;
    for end in ends {
        eventually_within(DEADLINE, "the certificate is shown", || async {
            ensure!(shown_at(end.inbound).await? == wanted, "another one");
            Ok(())
        })
        .await;
    }
    Ok(())
}

async fn both_answer(ends: [End; 2]) {
    for end in ends {
        eventually_within(DEADLINE, "an answer through both", || async {
            let answer = get(end.outbound, "other.test", "/").await?;
            ensure!(served_by(&answer)? == "app", "{answer:?}");
            Ok(())
        })
        .await;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Unix,
    Tcp,
}

async fn scene(over: Over, api_type: &'static str) -> anyhow::Result<()> {
    let (Some(envoy), folder) = (find(Peer::Envoy), tempfile::tempdir()?) else {
        return Ok(());
    };
    let path = folder.path();
    let Some(mut agent) = Agent::start(path, 0).await? else {
        return Ok(());
    };
    let pki = Pki::new(path)?;
    let issue = || pki.issue("own", "spiffe://td/ns/a/sa/own");
    issue()?;
    let agent_at = match over {
        Over::Unix => json!({ "pipe": { "path": path.join("agent.sock") } }),
        Over::Tcp => socket(SocketAddr::from(([127, 0, 0, 1], agent.port))),
    };
    let app = Upstream::http("app").await;
    let (of_weft, of_envoy) = (End::free()?, End::free()?);
    let ends = [of_weft, of_envoy];
    let told = Told {
        own: "own",
        roots: "roots",
        callers: "spiffe://td/",
        api_type,
    };
    let text = of_envoy.bootstrap(of_weft, &agent_at, told, app.address());
    let _envoy = Envoy::start(&envoy, path, "envoy", &text)?;
    let text = of_weft.bootstrap(of_envoy, &agent_at, told, app.address());
    let weft = ProxyProcess::start(&text, &[]).await?;
    // Nobody listens before it knows what to show.
    let server = Mutex::new(&mut agent.server);
    eventually_within(DEADLINE, "both have asked", || async {
        let streams: u32 = server.lock().await.ask("asked").await?.parse()?;
        ensure!(streams >= 2, "{streams} streams");
        Ok(())
    })
    .await;
    for end in ends {
        assert!(TcpStream::connect(end.inbound).await.is_err());
    }
    assert_eq!(
        weft.logged(|line| line.get("listener").is_some_and(|it| it == "inbound")),
        0
    );
    agent.tell(path).await?;
    both_show(ends, path).await?;
    both_answer(ends).await;
    let loads = ends.map(|end| SteadyLoad::start(end.outbound, "other.test", "/", 100, 2));
    for _ in 0..2 {
        issue()?;
        agent.tell(path).await?;
        both_show(ends, path).await?;
    }
    // The server goes away and comes back with something new.
    let port = agent.port;
    drop(agent);
    both_show(ends, path).await?;
    let port = if over == Over::Tcp { port } else { 0 };
    let mut agent = eventually_within(DEADLINE, "the server starts again", || async {
        Agent::start(path, port).await?.context("no server")
    })
    .await;
    issue()?;
    agent.tell(path).await?;
    both_show(ends, path).await?;
    for load in loads {
        let report = load.stop().await;
        assert_eq!(report.failures, 0, "{:?}", report.first_failures);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_and_weft_take_their_secrets_from_one_server_on_a_unix_socket() -> anyhow::Result<()>
{
    scene(Over::Unix, "GRPC").await
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_and_weft_take_their_secrets_from_one_server_over_tcp_incrementally()
-> anyhow::Result<()> {
    scene(Over::Tcp, "DELTA_GRPC").await
}

/// The bootstrap of the manual for SPIRE, with the addresses of this test.
fn of_the_manual(inbound: SocketAddr, agent: &Path, app: SocketAddr) -> anyhow::Result<String> {
    let manual = include_str!("../../docs/CONFIG.md");
    let (_, rest) = manual
        .split_once("```yaml bootstrap\n")
        .context("a bootstrap")?;
    let (text, _) = rest.split_once("```").context("its end")?;
    let text = text
        .replace(
            "address: 0.0.0.0, port_value: 8443",
            &format!("address: 127.0.0.1, port_value: {}", inbound.port()),
        )
        .replace("port_value: 8080", &format!("port_value: {}", app.port()))
        .replace(
            "/run/spire/sockets/agent.sock",
            agent.to_str().context("a path")?,
        );
    ensure!(!text.contains("/run/spire"), "{text}");
    Ok(text)
}

/// The bootstrap with one listener more, at `stranger`, for somebody whom the agent does not know: it ends the stream that asks for
/// him.
fn with_stranger(text: &str, inbound: SocketAddr, stranger: SocketAddr) -> anyhow::Result<String> {
    let mut whole: Value = serde_json::from_str(text)?;
    let mut further = whole
        .pointer("/static_resources/listeners/0")
        .context("a listener")?
        .to_string();
    for (from, to) in [
        ("\"inbound\"", "\"stranger\""),
        ("\"default\"", "\"spiffe://example.org/stranger\""),
        (&inbound.port().to_string(), &stranger.port().to_string()),
    ] {
        further = further.replace(from, to);
    }
    let listeners = whole.pointer_mut("/static_resources/listeners");
    let listeners = listeners.and_then(Value::as_array_mut);
    listeners
        .context("listeners")?
        .push(serde_json::from_str(&further)?);
    Ok(whole.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn spires_server_of_secrets_makes_mtls_and_a_stranger_harms_nobody() -> anyhow::Result<()> {
    let (Some(envoy), Some(spire)) = (find(Peer::Envoy), find(Peer::SpireSds)) else {
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let path = folder.path();
    let socket_file = path.join("agent.sock");
    let mut command = Command::new(spire);
    command.arg(&socket_file);
    let mut spire = Talker::start(command)?;
    assert_eq!(spire.line().await?, "listening");
    let told = Told {
        own: "default",
        roots: "spiffe://example.org",
        callers: "spiffe://example.org/",
        api_type: "GRPC",
    };
    let app = Upstream::http("app").await;
    let (of_weft, of_envoy) = (End::free()?, End::free()?);
    let agent_at = json!({ "pipe": { "path": socket_file } });
    let text = of_envoy.bootstrap(of_weft, &agent_at, told, app.address());
    let _envoy = Envoy::start(&envoy, path, "envoy", &text)?;
    let text = of_weft.bootstrap(of_envoy, &agent_at, told, app.address());
    let stranger = free_address()?;
    let text = with_stranger(&text, of_weft.inbound, stranger)?;
    let _weft = ProxyProcess::start(&text, &[]).await?;
    let by_the_manual = free_address()?;
    let text = of_the_manual(by_the_manual, &socket_file, app.address())?;
    let _manual = ProxyProcess::start(&text, &[]).await?;
    let inbound = [of_weft.inbound, of_envoy.inbound, by_the_manual];
    let mut before = None;
    let ends = [of_weft, of_envoy];
    both_answer(ends).await;
    let loads = ends.map(|end| SteadyLoad::start(end.outbound, "other.test", "/", 100, 2));
    for _ in 0..3 {
        let now = eventually_within(DEADLINE, "all show the same, and something new", || async {
            let shown = shown_at(inbound[0]).await?;
            ensure!(before.as_ref() != Some(&shown), "the old one");
            for at in inbound {
                ensure!(shown_at(at).await? == shown, "{at} shows another one");
            }
            Ok(shown)
        })
        .await;
        before = Some(now);
        assert_eq!(spire.ask("rotate").await?, "told");
    }
    assert!(shown_at(stranger).await.is_err());
    for load in loads {
        let report = load.stop().await;
        assert_eq!(report.failures, 0, "{:?}", report.first_failures);
    }
    Ok(())
}
