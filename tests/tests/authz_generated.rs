//! What `weft authz check` says of generated policies and calls is what the proxy answers on the wire.
//!
//! `WEFT_AUTHZ_PAIRS` says how many pairs are asked (3,000), `WEFT_AUTHZ_SEED` from which random numbers.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use prost::Message;
use weft_config::gateway_api::parse;
use weft_control_plane::authz::{AuthzError, Caller, Question, check};
use weft_control_plane::translate::{Index, inbound_listener};
use weft_tests::ads::AdsServer;
use weft_tests::bootstrap::{ads, message};
use weft_tests::client::Http1;
use weft_tests::eventually::eventually_within;
use weft_tests::pki::Pki;
use weft_tests::proxy::ProxyProcess;
use weft_xds_proto::any;
use weft_xds_proto::pb::envoy::config::core::v3::TransportSocket;
use weft_xds_proto::pb::envoy::config::listener::v3::{Listener, filter::ConfigType};
use weft_xds_proto::pb::envoy::config::route::v3::{
    DirectResponseAction, Route, RouteMatch, route::Action, route_match::PathSpecifier,
};
use weft_xds_proto::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_connection_manager::RouteSpecifier,
};
use weft_xds_proto::type_url;

const DEADLINE: Duration = Duration::from_secs(30);
/// Calls for each set of policies.
const CALLS: usize = 50;
const TLS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";
const HTTP: &str = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

/// Who calls: the name of a certificate and the identity in it; nobody without.
const CALLERS: [(&str, Option<&str>); 3] = [
    ("web", Some("spiffe://td/ns/shop/sa/web")),
    ("admin", Some("spiffe://other/ns/ops/sa/admin")),
    ("nobody", None),
];

const SERVICE: &str = "apiVersion: mesh.weft.dev/v1alpha1\nkind: MeshService\nmetadata: {name: reviews}\nspec: {ports: [{port: 9080, \
                       appProtocol: http}], discovery: {workloads: {selector: {app: reviews}}}}\n";

/// One of these, or none.
fn some<'a>(rng: &mut fastrand::Rng, of: &[&'a str]) -> &'a str {
    match rng.u8(..3) {
        0 => rng.choice(of).copied().unwrap_or_default(),
        _ => "",
    }
}

fn source(rng: &mut fastrand::Rng) -> String {
    let fields = [
        some(
            rng,
            &[
                "identities: ['spiffe://td/ns/shop/sa/web'],",
                "identities: ['spiffe://td/*'],",
                "identities: ['*'],",
            ],
        ),
        some(
            rng,
            &[
                "notIdentities: ['spiffe://other/ns/ops/sa/admin'],",
                "notIdentities: ['*'],",
            ],
        ),
        some(rng, &["namespaces: [shop],", "namespaces: [ops, other],"]),
        some(
            rng,
            &[
                "notNamespaces: [shop],",
                "trustDomains: [td],",
                "notTrustDomains: [td],",
            ],
        ),
        some(
            rng,
            &[
                "addresses: [127.0.0.0/8],",
                "addresses: [10.0.0.0/8],",
                "notAddresses: [127.0.0.1],",
            ],
        ),
    ];
    match fields.concat() {
        nothing if nothing.is_empty() => "{addresses: ['0.0.0.0/0']}".to_owned(),
        fields => format!("{{{fields}}}"),
    }
}

fn operation(rng: &mut fastrand::Rng) -> String {
    let fields = [
        some(rng, &["ports: [9080],", "ports: [80],", "notPorts: [80],"]),
        some(
            rng,
            &[
                "methods: [GET],",
                "methods: [POST, PUT],",
                "notMethods: [DELETE],",
            ],
        ),
        some(
            rng,
            &[
                "paths: [/admin],",
                "paths: ['/admin/*', '*.png'],",
                "paths: ['/a*', /b],",
            ],
        ),
        some(rng, &["notPaths: ['/admin*'],", "notPaths: ['*.png'],"]),
        some(
            rng,
            &[
                "hosts: [a.test],",
                "hosts: ['*.test'],",
                "notHosts: [a.test],",
            ],
        ),
        some(
            rng,
            &[
                "headers: [{name: x-tier, values: [gold, 's*']}],",
                "headers: [{name: X-Tier}],",
                "headers: [{name: x-tier, notValues: [gold]}],",
            ],
        ),
    ];
    match fields.concat() {
        nothing if nothing.is_empty() => "{paths: ['*']}".to_owned(),
        fields => format!("{{{fields}}}"),
    }
}

fn list(rng: &mut fastrand::Rng, name: &str, one: fn(&mut fastrand::Rng) -> String) -> String {
    match rng.usize(..3) {
        0 => String::new(),
        count => {
            let parts: Vec<String> = (0..count).map(|_| one(rng)).collect();
            format!("{name}: [{}],", parts.join(", "))
        }
    }
}

fn policies(rng: &mut fastrand::Rng) -> String {
    let mut text = SERVICE.to_owned();
    for number in 0..rng.usize(1..4) {
        let deny = rng.bool();
        let rules: Vec<String> = (0..rng.usize(usize::from(deny)..3))
            .map(|_| {
                let from = list(rng, "from", source);
                format!("{{{from} {}}}", list(rng, "to", operation))
            })
            .collect();
        let action = if deny { "Deny" } else { "Allow" };
        let mode = if rng.u8(..5) == 0 {
            "DryRun"
        } else {
            "Enforce"
        };
        let revoke = if rng.bool() { "Keep" } else { "Close" };
        text += &format!(
            "---\napiVersion: mesh.weft.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {{name: p{number}}}\nspec: {{action: {action}, \
             mode: {mode}, onRevoke: {revoke}, rules: [{}]}}\n",
            rules.join(", ")
        );
    }
    text
}

fn call(rng: &mut fastrand::Rng) -> (usize, Question) {
    let one = |rng: &mut fastrand::Rng, of: &[&str]| {
        rng.choice(of).copied().unwrap_or_default().to_owned()
    };
    let who = rng.usize(..CALLERS.len());
    let mut question: Question =
        serde_json::from_value(serde_json::json!({ "from": {}, "to": "reviews" })).expect("a call");
    question.from = Caller {
        identity: CALLERS.get(who).and_then(|it| it.1).map(str::to_owned),
        address: None,
    };
    question.method = one(rng, &["GET", "POST", "PUT", "DELETE"]);
    let paths = [
        "/",
        "/admin",
        "/Admin",
        "/admin/",
        "/admin/x.png",
        "//admin",
        "/b/../admin?x=/b",
        "/%61dmin",
        "/admin%2fx",
        "/a.png?q",
        "/b",
        "/../b",
        "/a/./../b",
        "/admin;x",
        "/ab",
    ];
    question.path = one(rng, &paths);
    question.host = Some(one(
        rng,
        &["a.test", "A.TEST:80", "b.a.test", "a.test.", "other"],
    ));
    if rng.bool() {
        let mut values: Vec<String> = Vec::new();
        for _ in 0..rng.usize(1..3) {
            values.push(one(rng, &["gold", "silver", "bronze", "Gold"]));
        }
        question.headers.insert("x-tier".to_owned(), values);
    }
    (who, question)
}

/// The listener of the translation, on a port of its own, with TLS, and with an answer in place of the application.
fn served(index: &Index, files: &Path) -> anyhow::Result<Listener> {
    let service = index.services().values().next().context("a service")?;
    let resource = inbound_listener(index, service, &[], 9080);
    let mut listener = Listener::decode(resource.value())?;
    let files = files.display();
    let socket: TransportSocket = message(&format!(
        "{{name: tls, typed_config: {{'@type': {TLS}.DownstreamTlsContext, require_client_certificate: false, common_tls_context: \
         {{alpn_protocols: [http/1.1], tls_certificates: [{{certificate_chain: {{filename: {files}/server.pem}}, private_key: {{filename: \
         {files}/server.key}}}}], validation_context: {{trusted_ca: {{filename: {files}/ca.pem}}}}}}}}}}"
    ))?;
    let bare: Listener =
        message("{name: inbound, address: {socket_address: {address: 127.0.0.1, port_value: 0}}}")?;
    listener.name = bare.name;
    listener.address = bare.address;
    // All chains of HTTP have the same rules; the TLS is the test's own.
    listener
        .filter_chains
        .retain(|chain| chain.name.starts_with("http|"));
    for chain in &mut listener.filter_chains {
        chain.transport_socket = Some(socket.clone());
        let filter = chain.filters.last_mut().context("a filter")?;
        let Some(ConfigType::TypedConfig(config)) = &mut filter.config_type else {
            anyhow::bail!("no configuration");
        };
        let mut manager: HttpConnectionManager = any::unpack(config)?;
        let Some(RouteSpecifier::RouteConfig(routes)) = &mut manager.route_specifier else {
            anyhow::bail!("no routes");
        };
        for host in &mut routes.virtual_hosts {
            host.routes = vec![Route {
                r#match: Some(RouteMatch {
                    path_specifier: Some(PathSpecifier::Prefix("/".to_owned())),
                    ..RouteMatch::default()
                }),
                action: Some(Action::DirectResponse(DirectResponseAction {
                    status: 200,
                    ..DirectResponseAction::default()
                })),
                ..Route::default()
            }];
        }
        *config = any::pack(&manager);
    }
    Ok(listener)
}

/// A listener for each caller, which shows that caller's certificate to the one at `to`.
fn callers(files: &Path, to: SocketAddr) -> String {
    let files = files.display();
    let (mut listeners, mut clusters) = (Vec::new(), Vec::new());
    for (name, identity) in CALLERS {
        let certificate = identity.map_or(String::new(), |_| {
            format!(
                "tls_certificates: [{{certificate_chain: {{filename: {files}/{name}.pem}}, private_key: {{filename: {files}/{name}.key}}}}],"
            )
        });
        listeners.push(format!(
            "{{name: {name}, address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}, filter_chains: [{{filters: [{{name: http, \
             typed_config: {{'@type': {HTTP}, stat_prefix: h, route_config: {{name: r, virtual_hosts: [{{name: v, domains: ['*'], routes: \
             [{{match: {{prefix: /}}, route: {{cluster: {name}}}}}]}}]}}, http_filters: [{{name: router, typed_config: {{'@type': \
             type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}]}}}}]}}]}}"
        ));
        clusters.push(format!(
            "{{name: {name}, type: STATIC, load_assignment: {{cluster_name: {name}, endpoints: [{{lb_endpoints: [{{endpoint: {{address: \
             {{socket_address: {{address: {}, port_value: {}}}}}}}}}]}}]}}, transport_socket: {{name: tls, typed_config: {{'@type': \
             {TLS}.UpstreamTlsContext, sni: b.test, common_tls_context: {{alpn_protocols: [http/1.1], {certificate} validation_context: \
             {{trusted_ca: {{filename: {files}/ca.pem}}}}}}}}}}}}",
            to.ip(),
            to.port()
        ));
    }
    format!(
        "node: {{id: node, cluster: test}}\nstatic_resources:\n  listeners: [{}]\n  clusters: [{}]\n",
        listeners.join(", "),
        clusters.join(", ")
    )
}

async fn asked(client: &mut Http1, question: &Question) -> anyhow::Result<u16> {
    let host = question.host.as_deref().unwrap_or_default();
    let mut request = Request::builder()
        .method(question.method.as_str())
        .uri(&question.path)
        .header("host", host);
    for value in question.headers.values().flatten() {
        request = request.header("x-tier", value);
    }
    let answer = client.send(request.body(Full::<Bytes>::default())?).await?;
    Ok(answer.status().as_u16())
}

fn number(name: &str, default: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.and_then(|it| it.parse().ok()).unwrap_or(default)
}

fn indexed(yaml: &str) -> Index {
    let parsed = parse("generated.yaml", yaml);
    assert!(!parsed.has_faults(), "{yaml}\n{:?}", parsed.findings);
    let objects = parsed.documents.into_iter().map(|it| it.object);
    Index::new(objects.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_answers_what_the_check_says() -> anyhow::Result<()> {
    let seed = number("WEFT_AUTHZ_SEED", 1);
    let rounds = number("WEFT_AUTHZ_PAIRS", 3_000) / CALLS as u64;
    let mut rng = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir()?;
    let files = folder.path();
    let pki = Pki::new(files)?;
    pki.issue("server", "spiffe://td/ns/default/sa/reviews")?;
    for (name, identity) in CALLERS {
        pki.issue(name, identity.unwrap_or("spiffe://td/unused"))?;
    }
    let control = AdsServer::start().await?;
    control.put("inbound", &served(&indexed(SERVICE), files)?);
    let proxy = ProxyProcess::start(&ads("node", control.address(), "GRPC", "{}"), &[]).await?;
    let inbound = proxy.address_of("inbound").await;
    let outside = ProxyProcess::start(&callers(files, inbound), &[]).await?;
    let mut clients = Vec::new();
    for (name, _) in CALLERS {
        clients.push(Http1::connect(outside.address_of(name).await).await?);
    }

    let (mut pairs, mut denied) = (0, 0);
    for round in 0..rounds {
        let yaml = policies(&mut rng);
        let index = indexed(&yaml);
        let before = control.acks(type_url::LISTENER);
        control.put("inbound", &served(&index, files)?);
        eventually_within(DEADLINE, "the rules are in force", || {
            let acks = control.acks(type_url::LISTENER);
            let refused = control.last_nack(type_url::LISTENER);
            std::future::ready(match acks > before {
                true => Ok(()),
                false => Err(anyhow::anyhow!("{refused:?}")),
            })
        })
        .await;
        for _ in 0..CALLS {
            let (who, question) = call(&mut rng);
            let said = match check(&question, &index, &[], None, &|_, _| None) {
                Ok(verdict) if verdict.allowed => 200,
                Ok(_) => 403,
                Err(AuthzError::Path { .. }) => 400,
                Err(error) => return Err(error.into()),
            };
            let client = clients.get_mut(who).context("a client")?;
            let answer = asked(client, &question).await?;
            ensure!(
                answer == said,
                "seed {seed}, round {round}: answered {answer}, the check says {said}\n{question:?}\n{yaml}"
            );
            pairs += 1;
            denied += usize::from(said == 403);
        }
    }
    ensure!(
        denied > pairs / 10 && denied < pairs * 9 / 10,
        "{denied} of {pairs} denied"
    );
    println!("{pairs} pairs alike, {denied} denied");
    Ok(())
}
