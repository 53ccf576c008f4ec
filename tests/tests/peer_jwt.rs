//! Envoy and `weft-proxy` judge tokens alike: the same filter, the same requests, the same statuses and bodies.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use http::Request;
use http_body_util::Full;
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value, json};
use tokio::process::{Child, Command};
use weft_tests::client::Http1;
use weft_tests::eventually::eventually_within;
use weft_tests::peers::{Peer, find};
use weft_tests::proxy::ProxyProcess;
use weft_tests::tokens::{KeyServer, Signer, key_set};
use weft_tests::upstream::Upstream;

const DEADLINE: Duration = Duration::from_secs(30);
const TYPES: &str = "type.googleapis.com/envoy.extensions";

/// What `/NAME/…` requires.
fn rules() -> Value {
    let of = |name: &str, requires: Value| json!({ "match": { "prefix": format!("/{name}/") }, "requires": requires });
    json!([
        of("one", json!({ "provider_name": "one" })),
        of("remote", json!({ "provider_name": "remote" })),
        of("custom", json!({ "provider_name": "custom" })),
        of("audience", json!({ "provider_and_audiences": { "provider_name": "one", "audiences": ["other"] } })),
        of("any", json!({ "requires_any": { "requirements": [{ "provider_name": "one" }, { "provider_name": "two" }] } })),
        of("all", json!({ "requires_all": { "requirements": [{ "provider_name": "one" }, { "provider_name": "custom" }] } })),
        of("optional", json!({ "requires_any": { "requirements": [{ "provider_name": "one" }, { "allow_missing": {} }] } })),
        of("lenient", json!({ "requires_any": { "requirements": [{ "provider_name": "one" }, { "allow_missing_or_failed": {} }] } })),
        { "match": { "prefix": "/open/" } },
    ])
}

fn bootstrap(
    at: SocketAddr,
    upstream: SocketAddr,
    keys: SocketAddr,
    local: &str,
    two: &str,
) -> String {
    let cluster = |name: &str, at: SocketAddr| {
        let endpoint = json!({ "endpoint": { "address": { "socket_address": { "address": at.ip().to_string(), "port_value": at.port() } } } });
        json!({ "name": name, "type": "STATIC", "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": [endpoint] }] } })
    };
    let providers = json!({
        "one": { "issuer": "one", "audiences": ["web"], "local_jwks": { "inline_string": local }, "payload_in_metadata": "payload",
            "forward_payload_header": "x-payload", "claim_to_headers": [{ "header_name": "x-sub", "claim_name": "sub" }, { "header_name": "x-deep", "claim_name": "in.deep" }] },
        "two": { "issuer": "two", "local_jwks": { "inline_string": two }, "forward": true },
        "remote": { "issuer": "remote", "remote_jwks": { "http_uri": { "uri": "http://keys.test/jwks", "cluster": "keys", "timeout": "5s" } } },
        "custom": { "issuer": "one", "local_jwks": { "inline_string": local }, "clock_skew_seconds": 5,
            "from_headers": [{ "name": "X-Token", "value_prefix": "Token " }, { "name": "x-bare" }], "from_params": ["jwt"], "from_cookies": ["session"] },
    });
    let jwt = json!({ "@type": format!("{TYPES}.filters.http.jwt_authn.v3.JwtAuthentication"), "providers": providers, "rules": rules(), "bypass_cors_preflight": true });
    let claim = json!({ "metadata": { "filter": "envoy.filters.http.jwt_authn", "path": [{ "key": "payload" }, { "key": "admin" }], "value": { "bool_match": true } } });
    let admins = json!({ "permissions": [{ "header": { "name": "x-admin", "present_match": true } }], "principals": [{ "not_id": claim }] });
    let rbac = json!({ "@type": format!("{TYPES}.filters.http.rbac.v3.RBAC"), "rules": { "action": "DENY", "policies": { "p": admins } } });
    let routes = json!([{ "match": { "prefix": "/" }, "route": { "cluster": "app" } }]);
    let manager = json!({
        "@type": format!("{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"), "stat_prefix": "h",
        "route_config": { "name": "r", "virtual_hosts": [{ "name": "v", "domains": ["*"], "routes": routes }] },
        "http_filters": [
            { "name": "envoy.filters.http.jwt_authn", "typed_config": jwt },
            { "name": "rbac", "typed_config": rbac },
            { "name": "router", "typed_config": { "@type": format!("{TYPES}.filters.http.router.v3.Router") } },
        ],
    });
    let listener = json!({
        "name": "l", "address": { "socket_address": { "address": at.ip().to_string(), "port_value": at.port() } },
        "filter_chains": [{ "filters": [{ "name": "http", "typed_config": manager }] }],
    });
    json!({
        "node": { "id": "node", "cluster": "test" },
        "static_resources": { "listeners": [listener], "clusters": [cluster("app", upstream), cluster("keys", keys)] },
    })
    .to_string()
}

/// A port that was free a moment ago: Envoy cannot be handed sockets.
fn address() -> anyhow::Result<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn envoy(program: &Path, folder: &Path, config: &str) -> anyhow::Result<Child> {
    let file = folder.join("envoy.json");
    std::fs::write(&file, config)?;
    let own = std::fs::File::create(folder.join("envoy.log"))?;
    let mut command = Command::new(program);
    command.args(["-c".as_ref(), file.as_os_str()]);
    command.args([
        "--concurrency",
        "1",
        "-l",
        "warning",
        "--disable-hot-restart",
    ]);
    Ok(command
        .stdout(own.try_clone()?)
        .stderr(own)
        .kill_on_drop(true)
        .spawn()?)
}

/// A request: method, path, fields.
type Asked = (&'static str, String, Vec<(&'static str, String)>);

async fn answer(at: SocketAddr, asked: &Asked) -> anyhow::Result<String> {
    let (method, path, fields) = asked;
    let mut request = Request::builder()
        .method(*method)
        .uri(path)
        .header("host", "a.test");
    for (name, value) in fields {
        request = request.header(*name, value);
    }
    let mut client = Http1::connect(at).await?;
    let answer = client.send(request.body(Full::default())?).await?;
    let challenge = answer.headers().get("www-authenticate");
    let challenge = challenge.map_or(Ok(""), |it| it.to_str())?.to_owned();
    // Envoy repeats the query, in which a token may stand.
    let invalid = challenge.contains("error=");
    let challenge = match challenge.split_once('?') {
        Some((place, _)) if invalid => format!("{place}\", error=\"invalid_token\""),
        Some((place, _)) => format!("{place}\""),
        None => challenge,
    };
    let body = String::from_utf8_lossy(answer.body()).into_owned();
    Ok(format!("{} {body:?} {challenge}", answer.status()))
}

fn now() -> anyhow::Result<u64> {
    Ok(SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)?
        .as_secs())
}

/// Tokens with what is wrong about each.
fn tokens(one: &Signer, other: &Signer) -> anyhow::Result<Vec<(&'static str, String)>> {
    let now = now()?;
    let claims = |more: Value| {
        let mut all = Map::new();
        let given = json!({ "iss": "one", "sub": "alice", "aud": "web", "exp": now + 600, "in": { "deep": "x" } });
        for (name, value) in [given, more].iter().filter_map(Value::as_object).flatten() {
            all.insert(name.clone(), value.clone());
        }
        Value::Object(all)
    };
    let of = |more: Value| one.sign(&claims(more));
    let good = of(json!({}))?;
    let mut parts = good.split('.');
    let (head, body) = (parts.next().context("head")?, parts.next().context("body")?);
    let tail = parts.next().context("tail")?;
    let first = if tail.starts_with('A') { "B" } else { "A" };
    let flipped = format!("{first}{}", tail.get(1..).context("a signature")?);
    Ok(vec![
        ("good", good.clone()),
        ("admin", of(json!({ "admin": true }))?),
        ("no admin", of(json!({ "admin": "true" }))?),
        ("audience list", of(json!({ "aud": ["x", "web"] }))?),
        ("audience wrong", of(json!({ "aud": "x" }))?),
        ("audience missing", of(json!({ "aud": [] }))?),
        ("audience other", of(json!({ "aud": ["other"] }))?),
        ("issuer wrong", of(json!({ "iss": "x" }))?),
        ("issuer two", of(json!({ "iss": "two" }))?),
        ("issuer remote", of(json!({ "iss": "remote" }))?),
        ("expired", of(json!({ "exp": now - 120 }))?),
        ("expired a little", of(json!({ "exp": now - 30 }))?),
        ("early", of(json!({ "nbf": now + 120 }))?),
        ("early a little", of(json!({ "nbf": now + 30 }))?),
        ("iss number", of(json!({ "iss": 1 }))?),
        ("sub number", of(json!({ "sub": 1 }))?),
        ("aud number", of(json!({ "aud": 1 }))?),
        ("exp text", of(json!({ "exp": "1" }))?),
        ("nbf text", of(json!({ "nbf": "1" }))?),
        ("iat text", of(json!({ "iat": "1" }))?),
        ("jti number", of(json!({ "jti": 1 }))?),
        ("no kid", one.sign_as(None, &claims(json!({})))?),
        ("unknown kid", one.sign_as(Some("x"), &claims(json!({})))?),
        (
            "other key",
            other.sign_as(Some(&one.name), &claims(json!({})))?,
        ),
        ("changed", format!("{head}.{body}.{flipped}")),
        ("two parts", format!("{head}.{body}")),
        ("four parts", format!("{good}.x")),
        ("garbage", "garbage".to_owned()),
        ("head no base64", format!("%%.{body}.{tail}")),
        ("head no json", format!("e30x.{body}.{tail}")),
        ("head no alg", format!("e30.{body}.{tail}")),
        ("alg none", format!("eyJhbGciOiJub25lIn0.{body}.{tail}")),
        ("body no json", format!("{head}.e30x.{tail}")),
        ("tail no base64", format!("{head}.{body}.%%")),
    ])
}

fn questions(one: &Signer, other: &Signer) -> anyhow::Result<Vec<(String, Asked)>> {
    let places: [(&str, fn(&str) -> Asked); 7] = [
        ("bearer", |it| {
            (
                "GET",
                "/x".to_owned(),
                vec![("authorization", format!("Bearer {it}"))],
            )
        }),
        ("parameter", |it| {
            ("GET", format!("/x?a=1&access_token={it}&b=2"), vec![])
        }),
        ("header", |it| {
            (
                "GET",
                "/x".to_owned(),
                vec![("x-token", format!("Token {it}"))],
            )
        }),
        ("bare header", |it| {
            ("GET", "/x".to_owned(), vec![("x-bare", it.to_owned())])
        }),
        ("own parameter", |it| {
            ("GET", format!("/x?jwt={it}"), vec![])
        }),
        ("cookie", |it| {
            (
                "GET",
                "/x".to_owned(),
                vec![("cookie", format!("a=b; session={it}; c=d"))],
            )
        }),
        ("admin", |it| {
            (
                "GET",
                "/x".to_owned(),
                vec![
                    ("authorization", format!("Bearer {it}")),
                    ("x-admin", "1".to_owned()),
                    ("x-sub", "mallory".to_owned()),
                ],
            )
        }),
    ];
    let rules = [
        "one", "remote", "custom", "audience", "any", "all", "optional", "lenient", "open",
        "nothing",
    ];
    let mut questions = Vec::new();
    for rule in rules {
        let mut ask = |what: String, (method, path, fields): Asked| {
            questions.push((
                format!("{rule}: {what}"),
                (method, format!("/{rule}{path}"), fields),
            ));
        };
        ask("nothing".to_owned(), ("GET", "/x".to_owned(), vec![]));
        ask(
            "preflight".to_owned(),
            (
                "OPTIONS",
                "/x".to_owned(),
                vec![
                    ("origin", "http://o".to_owned()),
                    ("access-control-request-method", "GET".to_owned()),
                ],
            ),
        );
        ask(
            "basic".to_owned(),
            (
                "GET",
                "/x".to_owned(),
                vec![("authorization", "Basic abc".to_owned())],
            ),
        );
        for (name, token) in tokens(one, other)? {
            for (place, make) in &places {
                // What is no part of an address cannot be sent there.
                if !(place.contains("parameter") && token.contains('%')) {
                    ask(format!("{name} as {place}"), make(&token));
                }
            }
        }
    }
    Ok(questions)
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_and_weft_judge_tokens_alike() -> anyhow::Result<()> {
    let Some(program) = find(Peer::Envoy) else {
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let (one, other) = (
        Signer::new("a", Algorithm::ES256)?,
        Signer::new("b", Algorithm::ES256)?,
    );
    let local = key_set(&[&one])?;
    let two = key_set(&[&other, &one])?;
    let keys = KeyServer::start(two.clone()).await?;
    let upstream = Upstream::http("app").await;
    let at = [address()?, address()?];
    let [theirs, ours] =
        at.map(|at| bootstrap(at, upstream.address(), keys.address(), &local, &two));
    let _envoy = envoy(&program, folder.path(), &theirs)?;
    let _weft = ProxyProcess::start(&ours, &[]).await?;
    let [theirs, ours] = at;
    eventually_within(DEADLINE, "Envoy answers", || async move {
        answer(theirs, &("GET", "/open/".to_owned(), vec![])).await
    })
    .await;
    let questions = questions(&one, &other)?;
    let (mut differences, mut refused) = (Vec::new(), 0);
    for (what, asked) in &questions {
        let theirs = answer(theirs, asked).await.with_context(|| what.clone())?;
        let ours = answer(ours, asked).await.with_context(|| what.clone())?;
        refused += usize::from(ours.starts_with('4'));
        if theirs != ours {
            differences.push(format!("{what}: Envoy {theirs}, Weft {ours}"));
        }
    }
    println!("{} questions, {refused} refused", questions.len());
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(questions.len() > 2000 && refused > 1000);
    Ok(())
}
