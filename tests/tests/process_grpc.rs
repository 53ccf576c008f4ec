//! HTTP/2 and gRPC through a mesh: `weft serve`, two sidecars, and what users write about calls.

use anyhow::{Context, ensure};
use http::Request;
use http_body_util::BodyExt;
use weft_tests::client::served_by;
use weft_tests::content::whole;
use weft_tests::eventually;
use weft_tests::http2::{Http2, grpc_message};
use weft_tests::upstream::Upstream;
use weft_tests::weave::{Sidecar, sidecar_config, static_service, workload_service};
use weft_tests::weft::Weft;

/// Calls over which weights are judged.
const CALLS: u64 = 1000;

/// What the share of one side may be off by, in percent of all: four times the deviation of chance.
const TOLERANCE: f64 = 6.5;

async fn weft(weft: &Weft, arguments: &[&str], input: &str) -> anyhow::Result<String> {
    let ended = weft.run(arguments, input).await?;
    ensure!(ended.code == Some(0), "{arguments:?}: {ended:?}");
    Ok(ended.out)
}

/// What a call came to: its status, wherever it stood, and the head of the answer.
async fn call(client: &Http2, authority: &str, method: &str) -> anyhow::Result<[String; 2]> {
    let request = Request::post(format!("http://{authority}/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let request = request.body(whole(grpc_message(b"ask")))?;
    let answer = client.begin(request).await?;
    let in_head = answer.headers().get("grpc-status").cloned();
    let head = format!("{answer:?}");
    let body = answer.into_body().collect().await?;
    let in_trailers = body.trailers().and_then(|it| it.get("grpc-status"));
    let status = in_head.as_ref().or(in_trailers);
    let status = status.with_context(|| format!("no status: {head}"))?;
    Ok([status.to_str()?.to_owned(), head])
}

async fn expect_status(
    client: &Http2,
    authority: &str,
    method: &str,
    status: &str,
) -> anyhow::Result<()> {
    let [told, head] = call(client, authority, method).await?;
    ensure!(
        told == status,
        "{method}: status {told}, not {status}: {head}"
    );
    Ok(())
}

/// A request and a call with messages both ways are served by the application behind the other sidecar.
async fn expect_served(client: &Http2, authority: &str, name: &str) -> anyhow::Result<()> {
    let answer = client.get(authority, "/").await?;
    let server = served_by(&answer)?;
    ensure!(server == name, "{server} answered, not {name}");
    Ok(())
}

async fn expect_call(client: &Http2, authority: &str) -> anyhow::Result<()> {
    let method = "/shop.Cart/Both";
    let mut call = client
        .open(authority, method, Some("application/grpc"))
        .await?;
    for text in ["one", "and another"] {
        let message = grpc_message(text.as_bytes());
        call.say(message.clone()).await?;
        let echo = call.hear(message.len()).await?;
        ensure!(echo == message, "{message:?} came back as {echo:?}");
    }
    let trailers = call.end().await?;
    let status = trailers.get("grpc-status").context("no status")?;
    ensure!(status == "0", "{status:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_and_grpc_go_through_two_sidecars_by_name() -> anyhow::Result<()> {
    let control = Weft::serve(&[]).await?;
    let caller = Sidecar::start(sidecar_config(control.xds(), "caller", "v1", None)).await?;
    let client = Http2::connect(caller.outbound()).await?;
    let mut sidecars = Vec::new();
    for (name, protocol) in [
        ("by-grpc", "appProtocol: grpc"),
        ("by-http2", "appProtocol: http2"),
        ("by-nothing", "name: main"),
    ] {
        let app = Upstream::http2(name).await;
        let service = workload_service(name, 9080, &format!("app: {name}"));
        let service = service.replace("appProtocol: http", protocol);
        weft(&control, &["apply", "-f", "-"], &service).await?;
        let config = sidecar_config(control.xds(), name, "v1", Some(app.address()));
        sidecars.push((Sidecar::start(config).await?, app));
        let authority = format!("{name}:9080");
        eventually(name, || expect_served(&client, &authority, name)).await;
        expect_call(&client, &authority).await.context(name)?;
    }
    // Over HTTP/2 to an application that speaks HTTP/1.
    let app = Upstream::http("by-http").await;
    let service = workload_service("by-http", 9080, "app: by-http");
    weft(&control, &["apply", "-f", "-"], &service).await?;
    let config = sidecar_config(control.xds(), "by-http", "v1", Some(app.address()));
    sidecars.push((Sidecar::start(config).await?, app));
    eventually("by-http", || {
        expect_served(&client, "by-http:9080", "by-http")
    })
    .await;
    ensure!(!client.is_closed(), "the connection was closed");
    for (_, app) in &sidecars {
        ensure!(app.served() > 0, "an application was not asked");
    }
    Ok(())
}

/// A `GRPCRoute` of `cart`: one method by weights to two versions, all others of the service to the second.
fn grpc_route(v1: u32, v2: u32) -> String {
    let backend = |name: &str, weight: u32| {
        format!(
            "    - {{group: mesh.weft.dev, kind: MeshService, name: {name}, port: 9080, weight: {weight}}}\n"
        )
    };
    format!(
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {{name: cart}}
spec:
  parentRefs: [{{group: mesh.weft.dev, kind: MeshService, name: cart, port: 9080}}]
  rules:
  - name: add
    matches: [{{method: {{service: shop.Cart, method: Add}}}}]
    backendRefs:
{}{}  - name: others
    matches: [{{method: {{service: shop.Cart}}}}]
    backendRefs:
{}",
        backend("cart-v1", v1),
        backend("cart-v2", v2),
        backend("cart-v2", 1)
    )
}

/// Calls the method that is split, and looks how many of each hundred calls the first version served.
async fn expect_share(client: &Http2, first: &Upstream, percent: f64) -> anyhow::Result<()> {
    let before = first.served();
    for _ in 0..CALLS {
        expect_status(client, "cart:9080", "shop.Cart/Add", "0").await?;
    }
    let share = (first.served() - before) as f64 * 100.0 / CALLS as f64;
    println!("{share} % of {CALLS} calls went to the first version, {percent} % are asked for");
    ensure!((share - percent).abs() <= TOLERANCE, "{share} %");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_route_leads_by_method_and_weight_and_is_split() -> anyhow::Result<()> {
    let control = Weft::serve(&[]).await?;
    let (v1, v2) = (Upstream::http2("v1").await, Upstream::http2("v2").await);
    let services = static_service("cart", 9080, "grpc", &[v1.address(), v2.address()])
        + &static_service("cart-v1", 9080, "grpc", &[v1.address()])
        + &static_service("cart-v2", 9080, "grpc", &[v2.address()]);
    let manifest = services + &grpc_route(90, 10);
    weft(&control, &["apply", "-f", "-"], &manifest).await?;
    let caller = Sidecar::start(sidecar_config(control.xds(), "caller", "v1", None)).await?;
    let client = Http2::connect(caller.outbound()).await?;
    eventually("calls are served", || {
        expect_status(&client, "cart:9080", "shop.Cart/Add", "0")
    })
    .await;
    expect_share(&client, &v1, 90.0).await?;
    let before = (v1.served(), v2.served());
    for _ in 0..50 {
        expect_status(&client, "cart:9080", "shop.Cart/List", "0").await?;
    }
    ensure!(
        (v1.served(), v2.served()) == (before.0, before.1 + 50),
        "another method is split"
    );
    // No rule takes it.
    expect_status(&client, "cart:9080", "shop.Other/Add", "12").await?;
    let told = weft(&control, &["split", "cart", "v1=50", "v2=50"], "").await?;
    ensure!(told.contains("acknowledged by 1 proxy"), "{told}");
    expect_share(&client, &v1, 50.0).await?;
    Ok(())
}

const POLICY: &str = "---
apiVersion: mesh.weft.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: cart}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: GRPCRoute, name: cart}]
  timeouts: {request: 1s}
  retry: {attempts: 2, grpcCodes: [UNAVAILABLE]}
";

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_made_again_and_end_in_time_as_a_policy_says() -> anyhow::Result<()> {
    let control = Weft::serve(&[]).await?;
    let (good, bad) = (
        Upstream::http2("good").await,
        Upstream::grpc_status(14).await,
    );
    // Both versions are the same two endpoints, one of which is never available.
    let both = [good.address(), bad.address()];
    let manifest = ["cart", "cart-v1", "cart-v2"]
        .map(|name| static_service(name, 9080, "grpc", &both))
        .concat()
        + &grpc_route(1, 1);
    weft(&control, &["apply", "-f", "-"], &manifest).await?;
    let caller = Sidecar::start(sidecar_config(control.xds(), "caller", "v1", None)).await?;
    let client = Http2::connect(caller.outbound()).await?;
    eventually("without a policy a call fails", || {
        expect_status(&client, "cart:9080", "shop.Cart/Add", "14")
    })
    .await;
    weft(&control, &["apply", "-f", "-"], POLICY).await?;
    let refused = bad.served();
    // As many as the budget allows in any case. Of two calls of a version, one meets the endpoint that is not available.
    for _ in 0..3 {
        expect_status(&client, "cart:9080", "shop.Cart/Add", "0").await?;
    }
    ensure!(bad.served() > refused, "nothing was made again");
    // The call has no other end than its time.
    let silent = static_service("cart-v2", 9080, "grpc", &[bad.address()]);
    weft(&control, &["apply", "-f", "-"], &silent).await?;
    expect_status(&client, "cart:9080", "shop.Cart/Silent", "4").await?;
    Ok(())
}
