//! Envoy and `weft-proxy` judge alike: one bootstrap with a listener for each set of rules, the same requests to both.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;
use weft_tests::envoy::Envoy;
use weft_tests::eventually::eventually_within;
use weft_tests::peers::{Peer, find};
use weft_tests::pki::Pki;
use weft_tests::proxy::ProxyProcess;
use weft_tests::upstream::Upstream;

const DEADLINE: Duration = Duration::from_secs(30);
const ANSWER: Duration = Duration::from_secs(10);
const EXTENSIONS: &str = "type.googleapis.com/envoy.extensions";

/// Rules of one policy `p` that a request must match to be let in.
const HTTP_RULES: &[(&str, &str)] = &[
    (
        "get",
        "permissions: [{header: {name: ':method', string_match: {exact: GET}}}], principals: [{any: true}]",
    ),
    (
        "path",
        "permissions: [{url_path: {path: {exact: /admin}}}], principals: [{any: true}]",
    ),
    (
        "prefix",
        "permissions: [{url_path: {path: {prefix: /admin/}}}], principals: [{any: true}]",
    ),
    (
        "anycase",
        "permissions: [{url_path: {path: {exact: /admin, ignore_case: true}}}], principals: [{any: true}]",
    ),
    (
        "regex",
        "permissions: [{url_path: {path: {safe_regex: {regex: '/a[a-z]+(/.*)?'}}}}], principals: [{any: true}]",
    ),
    (
        "whole",
        "permissions: [{header: {name: ':path', string_match: {contains: 'q='}}}], principals: [{any: true}]",
    ),
    (
        "host",
        "permissions: [{header: {name: ':authority', string_match: {exact: a.test}}}], principals: [{any: true}]",
    ),
    (
        "hostfield",
        "permissions: [{header: {name: host, string_match: {prefix: a.}}}], principals: [{any: true}]",
    ),
    (
        "team",
        "permissions: [{header: {name: x-team, string_match: {exact: red}}}], principals: [{any: true}]",
    ),
    (
        "teams",
        "permissions: [{header: {name: X-Team, string_match: {exact: 'red,blue'}}}], principals: [{any: true}]",
    ),
    (
        "noteam",
        "permissions: [{header: {name: x-team, string_match: {exact: red}, invert_match: true}}], principals: [{any: true}]",
    ),
    (
        "absent",
        "permissions: [{header: {name: x-team, present_match: true, invert_match: true}}], principals: [{any: true}]",
    ),
    (
        "empty",
        "permissions: [{header: {name: x-team, string_match: {exact: ''}, treat_missing_header_as_empty: true}}], principals: [{any: true}]",
    ),
    (
        "range",
        "permissions: [{header: {name: x-age, range_match: {start: 18, end: 65}}}], principals: [{any: true}]",
    ),
    (
        "not",
        "permissions: [{not_rule: {url_path: {path: {prefix: /admin}}}}], principals: [{any: true}]",
    ),
    (
        "both",
        "permissions: [{and_rules: {rules: [{header: {name: ':method', string_match: {exact: GET}}}, {or_rules: {rules: [{url_path: {path: {exact: /admin}}}, {header: {name: x-team, present_match: true}}]}}]}}], principals: [{not_id: {header: {name: x-age, present_match: true}}}]",
    ),
    (
        "loopback",
        "permissions: [{destination_ip: {address_prefix: 127.0.0.0, prefix_len: 8}}], principals: [{direct_remote_ip: {address_prefix: 127.0.0.1, prefix_len: 32}}]",
    ),
    (
        "elsewhere",
        "permissions: [{destination_ip: {address_prefix: 10.0.0.0, prefix_len: 8}}], principals: [{any: true}]",
    ),
    (
        "forwarded",
        "permissions: [{any: true}], principals: [{remote_ip: {address_prefix: 192.0.2.0, prefix_len: 24}}]",
    ),
    (
        "lowport",
        "permissions: [{destination_port_range: {start: 1, end: 1024}}], principals: [{any: true}]",
    ),
    (
        "noname",
        "permissions: [{requested_server_name: {exact: ''}}], principals: [{any: true}]",
    ),
];

/// Requests without `Connection: close` and their end.
const REQUESTS: &[&str] = &[
    "GET /admin HTTP/1.1\r\nHost: a.test\r\n",
    "POST /admin HTTP/1.1\r\nHost: b.test\r\nContent-Length: 0\r\n",
    "GET /ADMIN HTTP/1.1\r\nHost: A.test\r\n",
    "GET /admin?q=1 HTTP/1.1\r\nHost: a.test:80\r\n",
    "GET /admin/ HTTP/1.1\r\nHost: a.test\r\n",
    "GET //admin HTTP/1.1\r\nHost: a.test\r\n",
    "GET /x/../admin HTTP/1.1\r\nHost: a.test\r\n",
    "GET /%61dmin HTTP/1.1\r\nHost: a.test\r\n",
    "GET /admin%2Fusers HTTP/1.1\r\nHost: a.test\r\n",
    "GET /admin;a=b HTTP/1.1\r\nHost: a.test\r\n",
    "GET /./admin//users HTTP/1.1\r\nHost: a.test\r\n",
    "GET /items HTTP/1.1\r\nHost: c.test\r\nX-Team: red\r\n",
    "GET /items HTTP/1.1\r\nHost: c.test\r\nx-team: red\r\nX-TEAM: blue\r\n",
    "GET /items HTTP/1.1\r\nHost: c.test\r\nx-team: blue\r\nx-team: red\r\n",
    "GET /items HTTP/1.1\r\nHost: c.test\r\nx-team: red,blue\r\nx-age: 1\r\nx-age: 30\r\n",
    "GET /items HTTP/1.1\r\nHost: c.test\r\nX-Team:\r\nX-Age: 18\r\n",
    "PUT /items HTTP/1.1\r\nHost: c.test\r\nX-Age: 65\r\nX-Forwarded-For: 192.0.2.9\r\nContent-Length: 0\r\n",
    "GET /none HTTP/1.1\r\nHost: a.test\r\n",
];

/// Rules that are asked with certificates.
const PRINCIPALS: &[(&str, &str)] = &[
    (
        "named",
        "permissions: [{any: true}], principals: [{authenticated: {principal_name: {exact: 'spiffe://td/ns/a/sa/one'}}}]",
    ),
    (
        "namespace",
        "permissions: [{any: true}], principals: [{authenticated: {principal_name: {prefix: 'spiffe://td/ns/b/'}}}]",
    ),
    (
        "anybody",
        "permissions: [{any: true}], principals: [{authenticated: {principal_name: {safe_regex: {regex: '.*'}}}}]",
    ),
    (
        "subject",
        "permissions: [{any: true}], principals: [{authenticated: {principal_name: {contains: CN=two}}}]",
    ),
    (
        "encrypted",
        "permissions: [{any: true}], principals: [{authenticated: {}}]",
    ),
    (
        "plain",
        "permissions: [{any: true}], principals: [{not_id: {authenticated: {}}}]",
    ),
    (
        "sni",
        "permissions: [{requested_server_name: {exact: b.test}}], principals: [{any: true}]",
    ),
];

/// Rules for connections whose bytes are passed on.
const TCP_RULES: &[(&str, &str)] = &[
    (
        "tcp-any",
        "permissions: [{any: true}], principals: [{any: true}]",
    ),
    (
        "tcp-peer",
        "permissions: [{any: true}], principals: [{direct_remote_ip: {address_prefix: 10.0.0.0, prefix_len: 8}}]",
    ),
    (
        "tcp-path",
        "permissions: [{url_path: {path: {prefix: /}}}], principals: [{any: true}]",
    ),
    (
        "tcp-nopath",
        "permissions: [{not_rule: {url_path: {path: {prefix: /}}}}], principals: [{any: true}]",
    ),
    (
        "tcp-plain",
        "permissions: [{any: true}], principals: [{authenticated: {}}]",
    ),
];

/// One of the two, and where its listeners are.
struct End {
    at: BTreeMap<String, SocketAddr>,
    log: std::path::PathBuf,
    _process: Process,
}

enum Process {
    Weft { _proxy: Box<ProxyProcess> },
    Envoy { _envoy: Envoy },
}

/// Every set of rules, to allow and to deny.
fn all() -> impl Iterator<Item = (String, &'static str, &'static str)> {
    let lists = [HTTP_RULES, PRINCIPALS, TCP_RULES].into_iter().flatten();
    lists.flat_map(|(name, policy)| {
        ["ALLOW", "DENY"].map(|action| (format!("{name}-{action}"), action, *policy))
    })
}

fn bootstrap(
    folder: &Path,
    at: &BTreeMap<String, SocketAddr>,
    log: &Path,
    upstream: SocketAddr,
) -> String {
    let listeners: Vec<String> = all()
        .filter_map(|(name, action, policy)| {
            let rules = format!("rules: {{action: {action}, policies: {{p: {{{policy}}}}}}}");
            Some(listener(folder, &name, *at.get(&name)?, &rules, log))
        })
        .collect();
    let (ip, port) = (upstream.ip(), upstream.port());
    format!(
        "node: {{id: node, cluster: test}}
static_resources:
  listeners: [{}]
  clusters:
  - {{name: app, type: STATIC, load_assignment: {{cluster_name: app, endpoints: [{{lb_endpoints: [{{endpoint: {{address: \
        {{socket_address: {{address: {ip}, port_value: {port}}}}}}}}}]}}]}}}}
",
        listeners.join(", ")
    )
}

fn listener(folder: &Path, name: &str, at: SocketAddr, rules: &str, log: &Path) -> String {
    let (folder, log) = (folder.display(), log.display());
    let filters = if name.starts_with("tcp-") {
        format!(
            "{{name: rbac, typed_config: {{'@type': {EXTENSIONS}.filters.network.rbac.v3.RBAC, stat_prefix: s, {rules}}}}}, {{name: tcp, \
             typed_config: {{'@type': {EXTENSIONS}.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: app}}}}"
        )
    } else {
        format!(
            "{{name: http, typed_config: {{'@type': {EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager, \
             stat_prefix: h, normalize_path: true, merge_slashes: true, access_log: [{{name: file, typed_config: {{'@type': \
             {EXTENSIONS}.access_loggers.file.v3.FileAccessLog, path: {log}, log_format: {{text_format_source: {{inline_string: \"{name} \
             %RESPONSE_CODE% %RESPONSE_CODE_DETAILS%\\n\"}}}}}}}}], route_config: {{name: r, virtual_hosts: [{{name: v, domains: ['*'], \
             routes: [{{match: {{path: /none}}, direct_response: {{status: 404}}}}, {{match: {{prefix: /}}, direct_response: {{status: \
             200}}}}]}}]}}, http_filters: [{{name: rbac, typed_config: {{'@type': {EXTENSIONS}.filters.http.rbac.v3.RBAC, {rules}}}}}, \
             {{name: router, typed_config: {{'@type': {EXTENSIONS}.filters.http.router.v3.Router}}}}]}}}}"
        )
    };
    let tls = format!(
        "transport_socket: {{name: tls, typed_config: {{'@type': {EXTENSIONS}.transport_sockets.tls.v3.DownstreamTlsContext, \
         require_client_certificate: false, common_tls_context: {{tls_certificates: [{{certificate_chain: {{filename: {folder}/server.pem}}, private_key: {{filename: \
         {folder}/server.key}}}}], validation_context: {{trusted_ca: {{filename: {folder}/ca.pem}}}}}}}}}}"
    );
    let (ip, port) = (at.ip(), at.port());
    // What has no TLS in its rules is asked in plain text alone.
    let chains = match name.starts_with("tcp-") {
        true => format!("{{filters: [{filters}]}}"),
        false => format!(
            "{{filter_chain_match: {{transport_protocol: tls}}, filters: [{filters}], {tls}}}, {{filter_chain_match: \
             {{transport_protocol: raw_buffer}}, filters: [{filters}]}}"
        ),
    };
    format!(
        "{{name: {name}, address: {{socket_address: {{address: {ip}, port_value: {port}}}}}, listener_filters: [{{name: tls, \
         typed_config: {{'@type': {EXTENSIONS}.filters.listener.tls_inspector.v3.TlsInspector}}}}], filter_chains: [{chains}]}}"
    )
}

/// Ports of loopback that were free a moment ago: Envoy cannot be handed sockets.
fn addresses() -> anyhow::Result<BTreeMap<String, SocketAddr>> {
    let held = all().map(|(name, ..)| Ok((name, std::net::TcpListener::bind("127.0.0.1:0")?)));
    let held: Vec<_> = held.collect::<anyhow::Result<_>>()?;
    let addresses = held
        .iter()
        .map(|(name, socket)| Ok((name.clone(), socket.local_addr()?)));
    addresses.collect()
}

async fn weft(folder: &Path, upstream: SocketAddr) -> anyhow::Result<End> {
    let (at, log) = (addresses()?, folder.join("weft-access.log"));
    let proxy = ProxyProcess::start(&bootstrap(folder, &at, &log, upstream), &[]).await?;
    Ok(End {
        at,
        log,
        _process: Process::Weft {
            _proxy: Box::new(proxy),
        },
    })
}

fn envoy(program: &Path, folder: &Path, upstream: SocketAddr) -> anyhow::Result<End> {
    let (at, log) = (addresses()?, folder.join("envoy-access.log"));
    let bootstrap = bootstrap(folder, &at, &log, upstream);
    Ok(End {
        at,
        log,
        _process: Process::Envoy {
            _envoy: Envoy::start(program, folder, "envoy", &bootstrap)?,
        },
    })
}

impl End {
    fn of(&self, name: &str) -> anyhow::Result<SocketAddr> {
        self.at
            .get(name)
            .copied()
            .context("a listener of this name")
    }

    /// The status that a plain request is answered with.
    async fn status(&self, name: &str, request: &str) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(self.of(name)?).await?;
        let request = format!("{request}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        // Envoy waits a second for others to close first.
        let mut answer = vec![0; 64];
        let count = timeout(ANSWER, stream.read(&mut answer)).await??;
        status_of(answer.get(..count).unwrap_or_default())
    }

    /// The status that a request is answered with by whoever shows this certificate.
    async fn status_over_tls(
        &self,
        name: &str,
        folder: &Path,
        who: Option<&str>,
    ) -> anyhow::Result<String> {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-quiet", "-servername", "b.test", "-connect"]);
        command.arg(self.of(name)?.to_string());
        if let Some(who) = who {
            let file = |end: &str| folder.join(format!("{who}.{end}"));
            command
                .arg("-cert")
                .arg(file("pem"))
                .arg("-key")
                .arg(file("key"));
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let mut input = child.stdin.take().context("a pipe")?;
        input
            .write_all(b"GET /admin HTTP/1.1\r\nHost: b.test\r\nConnection: close\r\n\r\n")
            .await?;
        let mut answer = vec![0; 64];
        let mut output = child.stdout.take().context("a pipe")?;
        let count = timeout(ANSWER, output.read(&mut answer)).await??;
        status_of(answer.get(..count).unwrap_or_default())
    }

    /// Whether bytes come through.
    async fn passes(&self, name: &str) -> anyhow::Result<bool> {
        // Who is reset at once may hear so from connecting.
        let Ok(mut stream) = TcpStream::connect(self.of(name)?).await else {
            return Ok(false);
        };
        let mut heard = Vec::new();
        if stream.write_all(b"hello\n").await.is_err() {
            return Ok(false);
        }
        let mut piece = [0; 64];
        while !heard.ends_with(b"hello\n") {
            match timeout(ANSWER, stream.read(&mut piece)).await? {
                Ok(0) | Err(_) => return Ok(false),
                Ok(count) => heard.extend_from_slice(piece.get(..count).unwrap_or_default()),
            }
        }
        Ok(true)
    }

    /// The denials that the access log tells, sorted.
    fn denials(&self) -> anyhow::Result<Vec<String>> {
        let text = std::fs::read_to_string(&self.log)?;
        let denials = text.lines().filter(|line| line.contains(" 403 "));
        let mut denials: Vec<String> = denials.map(str::to_owned).collect();
        denials.sort();
        Ok(denials)
    }
}

fn status_of(answer: &[u8]) -> anyhow::Result<String> {
    let text = String::from_utf8_lossy(answer);
    let status = text.split(' ').nth(1);
    Ok(status
        .with_context(|| format!("no answer: {text:?}"))?
        .to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_and_weft_judge_alike() -> anyhow::Result<()> {
    let Some(program) = find(Peer::Envoy) else {
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let files = folder.path();
    let pki = Pki::new(files)?;
    pki.issue("server", "spiffe://td/ns/b/sa/server")?;
    pki.issue("one", "spiffe://td/ns/a/sa/one")?;
    pki.issue("two", "spiffe://td/ns/b/sa/two")?;
    let upstream = Upstream::tcp("app").await;
    let weft = weft(files, upstream.address()).await?;
    let envoy = envoy(&program, files, upstream.address())?;
    eventually_within(DEADLINE, "Envoy answers", || {
        envoy.status("get-ALLOW", "GET / HTTP/1.1\r\nHost: a\r\n")
    })
    .await;

    let (mut asked, mut denied) = (0, 0);
    let mut differences = Vec::new();
    let mut compare = |what: String, theirs: String, ours: String| {
        asked += 1;
        denied += usize::from(theirs == "403" || theirs == "false");
        if theirs != ours {
            differences.push(format!("{what}: Envoy {theirs}, Weft {ours}"));
        }
    };
    weft.status("get-ALLOW", "GET / HTTP/1.1\r\nHost: a\r\n")
        .await?;
    for (name, ..) in all().filter(|(name, ..)| !name.starts_with("tcp-")) {
        for request in REQUESTS {
            let what = format!("{name}: {request:?}");
            let theirs = envoy
                .status(&name, request)
                .await
                .with_context(|| what.clone())?;
            let ours = weft
                .status(&name, request)
                .await
                .with_context(|| what.clone())?;
            compare(what, theirs, ours);
        }
    }
    for (name, _) in PRINCIPALS {
        for action in ["ALLOW", "DENY"] {
            for who in [Some("one"), Some("two"), None] {
                let name = format!("{name}-{action}");
                let what = format!("{name}: {who:?}");
                let theirs = envoy
                    .status_over_tls(&name, files, who)
                    .await
                    .with_context(|| what.clone())?;
                let ours = weft
                    .status_over_tls(&name, files, who)
                    .await
                    .with_context(|| what.clone())?;
                compare(what, theirs, ours);
            }
        }
    }
    for (name, ..) in all().filter(|(name, ..)| name.starts_with("tcp-")) {
        let theirs = envoy.passes(&name).await?;
        compare(
            name.clone(),
            theirs.to_string(),
            weft.passes(&name).await?.to_string(),
        );
    }
    assert_eq!(differences, Vec::<String>::new());
    assert!(asked > 900 && denied > 300, "{denied} of {asked} denied");
    eventually_within(DEADLINE, "both tell the same policies", || async {
        let (theirs, ours) = (envoy.denials()?, weft.denials()?);
        let same = theirs == ours && !theirs.is_empty();
        ensure!(same, "{} and {} lines", theirs.len(), ours.len());
        Ok(())
    })
    .await;
    Ok(())
}
