//! `weft serve` under those who mean it harm.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::interval;
use weft_tests::client::get;
use weft_tests::upstream::Upstream;
use weft_tests::weave::{Sidecar, sidecar_config, workload_service};
use weft_tests::weft::Weft;

fn api(weft: &Weft) -> anyhow::Result<SocketAddr> {
    let address = weft.api().strip_prefix("http://").context("a URL")?;
    Ok(address.parse()?)
}

#[tokio::test]
async fn whoever_holds_connections_keeps_nobody_from_the_api() -> anyhow::Result<()> {
    let weft = Weft::serve(&[]).await?;
    let mut held = Vec::new();
    for _ in 0..700 {
        let mut stream = TcpStream::connect(api(&weft)?).await?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\n").await?;
        held.push(stream);
    }
    let ready = get(api(&weft)?, "localhost", "/readyz").await?;
    assert_eq!(ready.status(), 200);
    let oldest = held.first_mut().context("there are some")?;
    let mut said = [0; 16];
    let closed = oldest.read(&mut said);
    let closed = tokio::time::timeout(Duration::from_secs(10), closed).await?;
    assert!(
        !matches!(closed, Ok(1..)),
        "the oldest makes room: {closed:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_request_that_never_comes_is_not_waited_for() -> anyhow::Result<()> {
    let weft = Weft::serve(&[]).await?;
    let mut stream = TcpStream::connect(api(&weft)?).await?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: ").await?;
    let mut said = Vec::new();
    let ended = stream.read_to_end(&mut said);
    tokio::time::timeout(Duration::from_secs(30), ended)
        .await
        .context("the connection stays open")??;
    Ok(())
}

/// Opens a connection that says nothing every few milliseconds, and holds 200 of them.
async fn open_silent_ones(address: SocketAddr) {
    let mut held = std::collections::VecDeque::new();
    let mut ticks = interval(Duration::from_millis(5));
    loop {
        if let Ok(stream) = TcpStream::connect(address).await {
            held.push_back(stream);
        }
        if held.len() > 200 {
            held.pop_front();
            ticks.tick().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_keep_nobody_from_either_server() -> anyhow::Result<()> {
    let weft = Weft::serve_within(128, &[]).await?;
    let app = Upstream::http("web").await;
    let ended = weft
        .run(
            &["apply", "-f", "-"],
            &workload_service("web", 80, "app: web"),
        )
        .await?;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let config = || sidecar_config(weft.xds(), "web", "v1", Some(app.address()));
    let before = Sidecar::start(config()).await?;
    let mut hostile = tokio::task::JoinSet::new();
    hostile.spawn(open_silent_ones(api(&weft)?));
    hostile.spawn(open_silent_ones(weft.xds()));
    weft_tests::eventually("both bounds are met", || async {
        let page = get(api(&weft)?, "localhost", "/metrics").await?;
        let page = String::from_utf8_lossy(page.body()).into_owned();
        for server in ["api", "xds"] {
            let name = format!("connections_max_met_total{{server=\"{server}\"}} ");
            let met = page.split(&name).nth(1).context("not there")?;
            anyhow::ensure!(!met.starts_with('0'), "{server}");
        }
        Ok::<_, anyhow::Error>(())
    })
    .await;
    let after = Sidecar::start(config()).await?;
    let page = get(api(&weft)?, "localhost", "/metrics").await?;
    let page = String::from_utf8_lossy(page.body());
    assert!(
        page.contains("weft_control_plane_streams 2\n"),
        "those who speak stay: {page}"
    );
    hostile.shutdown().await;
    before.stop().await;
    after.stop().await;
    Ok(())
}

#[tokio::test]
async fn what_was_read_from_a_mesh_with_files_can_be_applied_and_changed() -> anyhow::Result<()> {
    let weft = Weft::serve(&[]).await?;
    let object = "apiVersion: mesh.weft.dev/v1alpha1\nkind: MeshService\nmetadata:\n  name: a\n  annotations: \
                  {mesh.weft.dev/file: a.yaml}\nspec:\n  ports: [{port: 80}]\n  discovery: {workloads: {selector: \
                  {app: a}}}\n";
    for input in [object.to_owned(), object.replace("80", "81")] {
        let ended = weft.run(&["apply", "-f", "-"], &input).await?;
        assert_eq!(ended.code, Some(0), "{}", ended.err);
    }
    let ended = weft.run(&["delete", "meshservice", "a"], "").await?;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    Ok(())
}
