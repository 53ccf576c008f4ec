//! Tokens in a mesh: judged beside the workload, told to it and to `AuthorizationPolicy`, while keys change.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use weft_tests::client::Http1;
use weft_tests::eventually::{eventually, eventually_within};
use weft_tests::tokens::{KeyServer, Signer, key_set};
use weft_tests::upstream::Upstream;
use weft_tests::weave::{Mesh, Sidecar, mtls, workload_service};

const ISSUER: &str = "https://idp.test";

fn policy(jwt: &str) -> String {
    format!(
        "---\napiVersion: mesh.weft.dev/v1alpha1\nkind: AuthenticationPolicy\nmetadata: {{name: tokens}}\nspec: {{targetRefs: [{{group: \
         mesh.weft.dev, kind: MeshService, name: web}}], jwt: {jwt}}}\n"
    )
}

fn access(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: mesh.weft.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}}}\nspec: {{targetRefs: [{{group: \
         mesh.weft.dev, kind: MeshService, name: web}}], {spec}}}\n"
    )
}

fn claims(more: &Value) -> anyhow::Result<Value> {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)?
        .as_secs();
    let mut all = serde_json::Map::new();
    let given = json!({ "iss": ISSUER, "sub": "alice", "aud": "web", "exp": now + 600 });
    for (name, value) in [&given, more]
        .iter()
        .filter_map(|it| it.as_object())
        .flatten()
    {
        all.insert(name.clone(), value.clone());
    }
    Ok(all.into())
}

async fn ask(
    at: SocketAddr,
    path: &str,
    token: Option<&str>,
    forged: &[(&str, &str)],
) -> anyhow::Result<Response<Bytes>> {
    let mut request = Request::get(path).header("host", "web");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    for (name, value) in forged {
        request = request.header(*name, *value);
    }
    let mut client = Http1::connect(at).await?;
    client.send(request.body(Full::default())?).await
}

async fn mesh(app: &Upstream) -> anyhow::Result<(Mesh, Sidecar, Sidecar)> {
    let mesh = Mesh::start().await?;
    mesh.apply(&workload_service("web", 80, "app: web")).await?;
    let caller = mesh.member("caller", "v1", None).await?;
    let web = mesh.member("web", "v1", Some(app.address())).await?;
    let at = caller.outbound();
    eventually("the workload answers", || async move {
        let answer = ask(at, "/", None, &[]).await?;
        ensure!(answer.status() == 200, "{answer:?}");
        Ok(())
    })
    .await;
    Ok((mesh, caller, web))
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_judged_and_what_they_say_reaches_policies_and_the_workload()
-> anyhow::Result<()> {
    let app = Upstream::http("web").await;
    let (mesh, caller, web) = mesh(&app).await?;
    let at = caller.outbound();
    let (signer, stranger) = (
        Signer::new("a", Algorithm::RS256)?,
        Signer::new("a", Algorithm::RS256)?,
    );
    let jwt = |required: bool| {
        let keys = key_set(&[&signer])?;
        anyhow::Ok(policy(&format!(
            "{{required: {required}, providers: [{{issuer: '{ISSUER}', audiences: [web], jwks: '{keys}', outputPayloadToHeader: x-payload, \
             outputClaimToHeaders: [{{header: x-user, claim: sub}}, {{header: x-role, claim: realm.role}}]}}]}}"
        )))
    };
    let admin = access(
        "admins",
        "rules: [{to: [{notPaths: ['/admin*']}]}, {to: [{paths: ['/admin*']}], when: [{claim: realm.role, values: [admin]}]}]",
    );
    mesh.apply(&format!("{}{admin}", jwt(false)?)).await?;
    let of = |more: Value| signer.sign(&claims(&more)?);
    let plain = of(json!({}))?;
    let admin = of(json!({ "realm": { "role": "admin" } }))?;
    let forged = [
        ("x-user", "mallory"),
        ("X-Role", "admin"),
        ("x-payload", "e30"),
        ("X_User", "mallory"),
    ];

    // Without a token nobody is an admin, and nothing that a caller says of himself reaches the workload.
    let answer = ask(at, "/head", None, &forged).await?;
    let heard = String::from_utf8_lossy(answer.body()).into_owned();
    assert_eq!(answer.status(), 200, "{heard}");
    for name in ["x-user", "x_user", "x-role", "x-payload"] {
        assert!(!heard.contains(name), "{heard}");
    }
    assert_eq!(ask(at, "/admin", None, &forged).await?.status(), 403);
    assert_eq!(
        ask(at, "/admin", Some(&plain), &forged).await?.status(),
        403
    );
    assert_eq!(
        ask(at, "/admin", Some(&admin), &forged).await?.status(),
        200
    );
    let answer = ask(at, "/admin/head", Some(&admin), &forged).await?;
    let heard = String::from_utf8_lossy(answer.body()).into_owned();
    assert!(
        heard.contains("x-user: alice\n") && heard.contains("x-role: admin\n"),
        "{heard}"
    );
    assert!(heard.contains("x-payload: ey"), "{heard}");
    assert!(
        !heard.contains("mallory") && !heard.contains("authorization"),
        "{heard}"
    );
    for (token, status, body) in [
        (
            stranger.sign(&claims(&json!({}))?)?,
            401,
            "Jwt verification fails",
        ),
        (
            of(json!({ "iss": "x" }))?,
            401,
            "Jwt issuer is not configured",
        ),
        (
            of(json!({ "aud": "x" }))?,
            403,
            "Audiences in Jwt are not allowed",
        ),
        (of(json!({ "exp": 1 }))?, 401, "Jwt is expired"),
    ] {
        let answer = ask(at, "/", Some(&token), &[]).await?;
        assert_eq!(
            (answer.status().as_u16(), &answer.body()[..]),
            (status, body.as_bytes())
        );
    }

    // Wherever a token stands that does not hold, and however its scheme is written.
    let both = format!("/?access_token={plain}&access_token=x.y.z");
    for (path, scheme) in [(&*both, "Basic"), ("/", "bearer"), ("/", "BEARER")] {
        let forged = [("authorization", &*format!("{scheme} x.y.z"))];
        assert_eq!(
            ask(at, path, None, &forged).await?.status(),
            401,
            "{path} {scheme}"
        );
    }

    mesh.apply(&jwt(true)?).await?;
    let answer = ask(at, "/", None, &[]).await?;
    assert_eq!(
        (answer.status().as_u16(), &answer.body()[..]),
        (401, &b"Jwt is missing"[..])
    );
    assert_eq!(ask(at, "/", Some(&plain), &[]).await?.status(), 200);
    for sidecar in [caller, web] {
        sidecar.stop().await;
    }
    mesh.stop().await;
    Ok(())
}

/// Requests one after the other, each with the token that is current; what went wrong.
fn load(
    at: SocketAddr,
    token: watch::Receiver<String>,
    stop: Arc<AtomicBool>,
) -> JoinHandle<anyhow::Result<(u64, Vec<String>)>> {
    tokio::spawn(async move {
        let (mut count, mut wrong) = (0, Vec::new());
        while !stop.load(Ordering::Relaxed) {
            let current = token.borrow().clone();
            let answer = ask(at, "/", Some(&current), &[]).await?;
            count += 1;
            if answer.status() != 200 {
                wrong.push(format!("{answer:?}"));
            }
        }
        Ok((count, wrong))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_change_cost_no_request_that_brings_a_good_token() -> anyhow::Result<()> {
    let app = Upstream::http("web").await;
    let (mesh, caller, web) = mesh(&app).await?;
    let at = caller.outbound();
    let mut signer = Signer::new("k0", Algorithm::ES256)?;
    let keys = KeyServer::start(key_set(&[&signer])?).await?;
    let uri = format!("http://{}/keys", keys.address());
    let of = |signer: &Signer| signer.sign(&claims(&json!({}))?);
    mesh.apply(&policy(&format!(
        "{{required: true, providers: [{{issuer: '{ISSUER}', jwksUri: '{uri}'}}]}}"
    )))
    .await?;
    let (tokens, token) = watch::channel(of(&signer)?);
    let stop = Arc::new(AtomicBool::new(false));
    let loads: Vec<_> = (0..4)
        .map(|_| load(at, token.clone(), stop.clone()))
        .collect();
    for turn in 1..=3 {
        let next = Signer::new(&format!("k{turn}"), Algorithm::ES256)?;
        // The issuer tells of its new key when it begins to use it, not before.
        keys.serve(key_set(&[&signer, &next])?);
        let good = of(&next)?;
        tokens.send_replace(good.clone());
        let answer = ask(at, "/", Some(&good), &[]).await?;
        assert_eq!(answer.status(), 200, "turn {turn}: {answer:?}");
        signer = next;
    }
    // While nobody hands out keys, those before stay.
    keys.break_down(true);
    let asked = keys.asked();
    let unknown = Signer::new("unknown", Algorithm::ES256)?;
    let answer = ask(at, "/", Some(&of(&unknown)?), &[]).await?;
    assert_eq!(answer.status(), 401, "{answer:?}");
    eventually_within(Duration::from_secs(20), "keys were asked for", || async {
        let now = keys.asked();
        ensure!(now > asked, "{now}");
        Ok(())
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    let mut requests = 0;
    for load in loads {
        let (count, wrong) = load.await.context("a load")??;
        assert_eq!(wrong, Vec::<String>::new());
        requests += count;
    }
    println!("{requests} requests, keys fetched {} times", keys.asked());
    assert!(requests > 100 && keys.asked() < 20);
    for sidecar in [caller, web] {
        sidecar.stop().await;
    }
    mesh.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_a_service_of_the_mesh_are_fetched_through_its_sidecar() -> anyhow::Result<()> {
    let app = Upstream::http("web").await;
    let (mesh, caller, web) = mesh(&app).await?;
    let at = caller.outbound();
    let signer = Signer::new("a", Algorithm::ES256)?;
    let keys = KeyServer::start(key_set(&[&signer])?).await?;
    let idp = mesh.member("idp", "v1", Some(keys.address())).await?;
    let uri = "http://idp:8080/keys";
    let strict = mtls("STRICT");
    let jwt = policy(&format!(
        "{{required: true, providers: [{{issuer: '{ISSUER}', jwksUri: '{uri}'}}]}}"
    ));
    mesh.apply(&format!(
        "{}{strict}{jwt}",
        workload_service("idp", 8080, "app: idp")
    ))
    .await?;
    let token = signer.sign(&claims(&json!({}))?)?;
    eventually("keys came", || {
        let token = token.clone();
        async move {
            let answer = ask(at, "/", Some(&token), &[]).await?;
            ensure!(answer.status() == 200, "{answer:?}");
            Ok(())
        }
    })
    .await;
    assert!(keys.asked() > 0);
    for sidecar in [caller, web, idp] {
        sidecar.stop().await;
    }
    mesh.stop().await;
    Ok(())
}
