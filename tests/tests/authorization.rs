//! `AuthorizationPolicy` in a mesh: in force at sidecars once it is applied, on connections that are open too.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use weft_tests::client::Http1;
use weft_tests::eventually;
use weft_tests::upstream::Upstream;
use weft_tests::weave::{Mesh, workload_service};

const DEADLINE: Duration = Duration::from_secs(10);

fn policy(spec: &str) -> String {
    format!(
        "---\napiVersion: mesh.weft.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {{name: who}}\nspec: {{targetRefs: [{{group: \
         mesh.weft.dev, kind: MeshService, name: web}}], {spec}}}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_was_applied_is_in_force_on_an_open_connection() -> anyhow::Result<()> {
    let app = Upstream::http("web").await;
    let mesh = Mesh::start().await?;
    mesh.apply(&workload_service("web", 80, "app: web")).await?;
    let caller = mesh.sidecar("caller", "v1", None).await?;
    let web = mesh.sidecar("web", "v1", Some(app.address())).await?;
    let mut client = Http1::connect(caller.outbound()).await?;
    eventually("the workload answers", || async {
        let answer = weft_tests::client::get(caller.outbound(), "web", "/").await?;
        ensure!(answer.status() == 200, "{answer:?}");
        Ok(())
    })
    .await;
    assert_eq!(client.get("web", "/admin").await?.status(), 200);
    for (spec, path, status) in [
        (
            "action: Deny, rules: [{to: [{paths: ['/admin*']}]}]",
            "/admin",
            403,
        ),
        (
            "action: Deny, rules: [{to: [{paths: ['/admin*']}]}]",
            "//x/..//admin",
            403,
        ),
        (
            "action: Deny, rules: [{to: [{paths: ['/admin*']}]}]",
            "/other",
            200,
        ),
        ("mode: DryRun, action: Deny, rules: [{}]", "/admin", 200),
        ("rules: [{to: [{ports: [80], methods: [POST]}]}]", "/", 403),
        ("rules: [{to: [{ports: [80], methods: [GET]}]}]", "/", 200),
        ("rules: [{from: [{identities: ['*']}]}]", "/", 403),
    ] {
        let began = Instant::now();
        mesh.apply(&policy(spec)).await?;
        let answer = client.get("web", path).await?;
        assert_eq!(answer.status(), status, "{spec} {path}: {answer:?}");
        // Applied means acknowledged; how long that took is for people to read.
        println!("{spec}: {:?}", began.elapsed());
    }
    caller.stop().await;
    web.stop().await;
    mesh.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_cut_by_the_policies_that_say_so_and_by_no_others() -> anyhow::Result<()> {
    let app = Upstream::tcp("web").await;
    let mesh = Mesh::start().await?;
    let service = workload_service("web", 80, "app: web").replace("http", "tcp");
    mesh.apply(&service).await?;
    let web = mesh.sidecar("web", "v1", Some(app.address())).await?;
    let inbound = eventually("it is registered", || async {
        let endpoints: Vec<serde_json::Value> = mesh.client().get("/v1/endpoints").await?;
        let mut found = endpoints
            .iter()
            .filter_map(|it| it.get("address")?.as_str()?.parse::<SocketAddr>().ok());
        found.next().with_context(|| format!("{endpoints:?}"))
    })
    .await;
    let mut open = TcpStream::connect(inbound).await?;
    let mut greeting = [0; 4];
    open.read_exact(&mut greeting).await?;
    mesh.apply(&policy("action: Deny, rules: [{}]")).await?;
    open.write_all(b"still").await?;
    let mut echo = [0; 5];
    timeout(DEADLINE, open.read_exact(&mut echo)).await??;
    let mut refused = [0; 1];
    let another = match TcpStream::connect(inbound).await {
        Ok(mut another) => timeout(DEADLINE, another.read(&mut refused)).await?,
        Err(error) => Err(error),
    };
    assert!(!matches!(another, Ok(1)), "{another:?}");
    mesh.apply(&policy("action: Deny, onRevoke: Close, rules: [{}]"))
        .await?;
    let cut = timeout(DEADLINE, open.read(&mut refused)).await?;
    assert!(!matches!(cut, Ok(1)), "{cut:?}");
    web.stop().await;
    mesh.stop().await;
    Ok(())
}
