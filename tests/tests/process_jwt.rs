//! Tokens with the real programs: `weft serve`, two sidecars, and an issuer whose keys change.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use anyhow::ensure;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use jsonwebtoken::Algorithm;
use serde_json::json;
use weft_tests::client::Http1;
use weft_tests::eventually::eventually_within;
use weft_tests::proxy::ProxyProcess;
use weft_tests::tokens::{KeyServer, Signer, key_set};
use weft_tests::upstream::Upstream;
use weft_tests::weft::Weft;

const DEADLINE: Duration = Duration::from_secs(30);

/// Rounds of requests between two keys.
const ROUNDS: usize = 50;

async fn sidecar(
    weft: &Weft,
    service: &str,
    app: Option<SocketAddr>,
) -> anyhow::Result<ProxyProcess> {
    let account = format!("default/{service}");
    let token = weft
        .run(&["token", "create", "--service-account", &account], "")
        .await?;
    ensure!(token.code == Some(0), "{token:?}");
    let (token, at) = (token.out.trim(), format!("https://{}", weft.secure()));
    let bundle = weft.folder().join("ca/root-cert.pem").display().to_string();
    let port = app.map(|app| app.port().to_string());
    let mut arguments = vec![
        "--control-plane",
        &at,
        "--trust-bundle",
        &bundle,
        "--join-token",
        token,
        "--service",
        service,
    ];
    arguments.extend([
        "--address",
        "127.0.0.1",
        "--inbound-listen",
        "127.0.0.1:0",
        "--outbound-listen",
        "127.0.0.1:0",
    ]);
    if let Some(port) = &port {
        arguments.extend(["--app-port", port]);
    }
    ProxyProcess::sidecar(&arguments).await
}

fn token(signer: &Signer, role: &str) -> anyhow::Result<String> {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)?
        .as_secs();
    signer.sign(&json!({ "iss": "idp", "sub": "alice", "role": role, "exp": now + 600 }))
}

async fn ask(at: SocketAddr, path: &str, token: &str) -> anyhow::Result<Response<Bytes>> {
    let request = Request::get(path)
        .header("host", "web")
        .header("x-role", "admin");
    let request = request.header("authorization", format!("Bearer {token}"));
    Http1::connect(at)
        .await?
        .send(request.body(Full::default())?)
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_changes_its_keys_and_no_good_token_is_refused() -> anyhow::Result<()> {
    let app = Upstream::http("web").await;
    let mut signer = Signer::new("k0", Algorithm::RS256)?;
    let keys = KeyServer::start(key_set(&[&signer])?).await?;
    let weft = Weft::serve(&[]).await?;
    let policies = format!(
        "apiVersion: mesh.weft.dev/v1alpha1
kind: MeshService
metadata: {{name: web}}
spec: {{ports: [{{port: 80, appProtocol: http}}], discovery: {{workloads: {{selector: {{app: web}}}}}}}}
---
apiVersion: mesh.weft.dev/v1alpha1
kind: AuthenticationPolicy
metadata: {{name: users}}
spec:
  mtls: {{mode: STRICT}}
  jwt:
    required: true
    providers: [{{issuer: idp, jwksUri: 'http://{}/keys', outputClaimToHeaders: [{{header: x-role, claim: role}}]}}]
---
apiVersion: mesh.weft.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {{name: admins}}
spec: {{action: Deny, rules: [{{to: [{{paths: ['/admin*']}}], when: [{{claim: role, values: [user]}}]}}]}}
",
        keys.address()
    );
    let applied = weft.run(&["apply", "-f", "-"], &policies).await?;
    ensure!(applied.code == Some(0), "{applied:?}");
    let web = sidecar(&weft, "web", Some(app.address())).await?;
    let caller = sidecar(&weft, "caller", None).await?;
    let at = caller.address_of("outbound").await;
    let good = token(&signer, "user")?;
    eventually_within(DEADLINE, "the workload answers", || {
        let good = good.clone();
        async move {
            let answer = ask(at, "/", &good).await?;
            ensure!(answer.status() == 200, "{answer:?}");
            Ok(())
        }
    })
    .await;
    let (mut requests, mut refused) = (0, Vec::new());
    for turn in 1..=3 {
        let next = Signer::new(&format!("k{turn}"), Algorithm::RS256)?;
        keys.serve(key_set(&[&signer, &next])?);
        signer = next;
        let (user, admin) = (token(&signer, "user")?, token(&signer, "admin")?);
        for _ in 0..ROUNDS {
            for (path, token, status) in [
                ("/", &user, 200),
                ("/admin", &admin, 200),
                ("/admin", &user, 403),
            ] {
                let answer = ask(at, path, token).await?;
                requests += 1;
                if answer.status() != status {
                    refused.push(format!("turn {turn}: {path} {answer:?}"));
                }
            }
        }
    }
    println!("{requests} requests, keys fetched {} times", keys.asked());
    assert_eq!(refused, Vec::<String>::new());
    let heard = ask(at, "/head", &token(&signer, "user")?).await?;
    let heard = String::from_utf8_lossy(heard.body()).into_owned();
    assert!(
        heard.contains("x-role: user\n") && !heard.contains("admin"),
        "{heard}"
    );
    let metrics = web.metrics().await?;
    let allowed = "weft_jwt_requests_total{filter=\"default/web\",outcome=\"allowed\"}";
    assert!(metrics.contains(allowed), "{metrics}");
    Ok(())
}
