//! Signals that are meant for others: what runs in the background or under a terminal is not ended by them.

use anyhow::{Context, ensure};
use rustix::process::Signal;
use weft_tests::bootstrap::{StaticCluster, one_listener};
use weft_tests::client::get;
use weft_tests::eventually;
use weft_tests::proxy::ProxyProcess;
use weft_tests::upstream::Upstream;
use weft_tests::weft::Weft;

#[tokio::test]
async fn a_proxy_lives_through_sighup_and_opens_its_access_log_anew_at_sigusr1()
-> anyhow::Result<()> {
    let upstream = Upstream::http("up").await;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("access.log");
    let log = format!(
        "access_log: [{{name: f, typed_config: {{'@type': type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, \
         path: {}}}}}],",
        path.display()
    );
    let clusters = [StaticCluster {
        name: "c",
        address: upstream.address(),
        http2: false,
    }];
    let route = "{match: {prefix: /}, route: {cluster: c}}";
    let proxy = ProxyProcess::start(&one_listener(&log, route, &clusters), &[]).await?;
    let web = proxy.address_of("web").await;
    proxy.signal(Signal::HUP)?;
    ensure!(get(web, "a", "/first").await?.status() == 200);
    let read = |what: &'static str| {
        let read = std::fs::read_to_string(&path);
        async move {
            let read = read.context("no file")?;
            ensure!(read.contains(what), "{read:?}");
            Ok(())
        }
    };
    eventually("the request is logged", || read("/first")).await;
    std::fs::rename(&path, folder.path().join("access.log.1"))?;
    proxy.signal(Signal::USR1)?;
    eventually("the file is there again", || read("")).await;
    ensure!(get(web, "a", "/second").await?.status() == 200);
    eventually("requests are logged in it", || read("/second")).await;
    Ok(())
}

#[tokio::test]
async fn a_control_plane_lives_through_sighup() -> anyhow::Result<()> {
    let weft = Weft::serve(&[]).await?;
    weft.signal(Signal::HUP)?;
    let api = weft.api().strip_prefix("http://").context("a URL")?;
    let ready = get(api.parse()?, "localhost", "/readyz").await?;
    ensure!(ready.status() == 200, "{}", ready.status());
    Ok(())
}
