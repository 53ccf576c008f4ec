//! What a caller is given depends on where it is, and what a port is given on what is spoken there.

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weft_proxy::app::Source;
use weft_tests::client::{get, served_by};
use weft_tests::eventually;
use weft_tests::upstream::Upstream;
use weft_tests::weave::{Mesh, Sidecar, static_service, weighted_route};

/// A sidecar that only calls others, in `namespace`.
async fn caller_in(mesh: &Mesh, namespace: &str) -> anyhow::Result<Sidecar> {
    let mut config = mesh.sidecar_config("caller", "v1", None);
    if let Source::Mesh(workload) = &mut config.source {
        workload.namespace = namespace.to_owned();
    }
    Sidecar::start(config).await
}

async fn expect_server(caller: &Sidecar, host: &str, name: &str) -> anyhow::Result<()> {
    let answer = get(caller.outbound(), host, "/").await?;
    let server = served_by(&answer)?;
    ensure!(server == name, "{server} answered, not {name}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_route_moves_the_callers_of_its_namespace_alone() -> anyhow::Result<()> {
    let (v1, v2) = (Upstream::http("v1").await, Upstream::http("v2").await);
    let mesh = Mesh::start().await?;
    let services = static_service("reviews", 80, "http", &[v1.address()])
        + &static_service("reviews-v2", 80, "http", &[v2.address()]);
    mesh.apply(&services).await?;
    let (here, shop) = (
        caller_in(&mesh, "default").await?,
        caller_in(&mesh, "shop").await?,
    );
    for caller in [&here, &shop] {
        eventually("v1 answers", || {
            expect_server(caller, "reviews.default", "v1")
        })
        .await;
    }

    let consumer = weighted_route("reviews", 80, &[("reviews-v2", 1)])
        .replace("{name: reviews}", "{name: patient, namespace: shop}")
        .replace(
            "kind: MeshService, name",
            "kind: MeshService, namespace: default, name",
        );
    let grant = "---
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: shop, namespace: default}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}]
  to: [{group: mesh.weft.dev, kind: MeshService}]
";
    mesh.apply(&(consumer + grant)).await?;
    expect_server(&shop, "reviews.default", "v2").await?; // acknowledged means in force for the very next request
    expect_server(&here, "reviews.default", "v1").await?;
    here.stop().await;
    shop.stop().await;
    mesh.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_that_say_nothing_carry_http_and_what_speaks_first() -> anyhow::Result<()> {
    let (web, mail) = (Upstream::http("web").await, Upstream::tcp("mail").await);
    let mesh = Mesh::start().await?;
    let undeclared = |name: &str| {
        format!(
            "---\napiVersion: mesh.weft.dev/v1alpha1\nkind: MeshService\nmetadata: {{name: {name}}}\nspec:\n  ports: [{{port: \
             80}}]\n  discovery: {{workloads: {{selector: {{app: {name}}}}}}}\n"
        )
    };
    mesh.apply(&(undeclared("web") + &undeclared("mail")))
        .await?;
    let caller = mesh.sidecar("caller", "v1", None).await?;
    let web_sidecar = mesh.sidecar("web", "v1", Some(web.address())).await?;
    let mail_sidecar = mesh.sidecar("mail", "v1", Some(mail.address())).await?;
    eventually("requests go through both sidecars", || {
        expect_server(&caller, "web", "web")
    })
    .await;

    let endpoints: Vec<serde_json::Value> = mesh.client().get("/v1/endpoints").await?;
    let address = endpoints
        .iter()
        .find(|it| {
            it.get("service")
                .is_some_and(|name| name == "mail.default:80")
        })
        .and_then(|it| it.get("address")?.as_str())
        .context("mail has an endpoint")?;
    let mut stream = TcpStream::connect(address).await?;
    let mut greeting = [0; 5];
    stream.read_exact(&mut greeting).await?;
    assert_eq!(&greeting, b"mail\n", "the server spoke first");
    stream.write_all(b"hello").await?;
    let mut echo = [0; 5];
    stream.read_exact(&mut echo).await?;
    assert_eq!(&echo, b"hello");
    drop(stream); // a drain waits for it

    caller.stop().await;
    web_sidecar.stop().await;
    mail_sidecar.stop().await;
    mesh.stop().await;
    Ok(())
}
