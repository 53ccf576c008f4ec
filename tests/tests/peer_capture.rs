//! Two pods in network namespaces of their own, and a capture of what goes between them.

use std::time::Duration;

use anyhow::Context;
use tokio::time::timeout;
use weft_tests::peers::python_in_namespace;
use weft_tests::process::built;

const TIMEOUT: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_in_plain_between_two_pods() -> anyhow::Result<()> {
    let Some(mut capture) = python_in_namespace("capture.py").await else {
        return Ok(());
    };
    let capture = capture.arg(built("weft")?).arg(built("weft-proxy")?);
    let output = capture.kill_on_drop(true).output();
    let output = timeout(TIMEOUT, output).await.context("it hangs")??;
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complained}");
    assert!(said.contains("nothing in plain"), "{said}");
    println!("{said}");
    Ok(())
}
