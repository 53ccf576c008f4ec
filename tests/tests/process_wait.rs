//! `weft-proxy wait`: who must not start before the sidecar waits for it, and no longer than he likes.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::Command;
use weft_tests::netns::ended;
use weft_tests::process::built;
use weft_tests::weft::Ended;

/// Waits for a sidecar whose metrics are at `address`.
async fn wait(address: &str, timeout: &str) -> anyhow::Result<Ended> {
    let mut command = Command::new(built("weft-proxy")?);
    command.args(["wait", "--timeout", timeout, "--metrics-listen", address]);
    ended(command, "").await
}

/// Answers `/ready` with these statuses one after the other, the last one again and again.
async fn says(statuses: &'static [&'static str]) -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        let mut statuses = statuses.iter().peekable();
        while let Ok((mut stream, _)) = listener.accept().await {
            let status = match statuses.peek() {
                Some(status) => **status,
                None => return,
            };
            if statuses.len() > 1 {
                statuses.next();
            }
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).await;
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    Ok(format!("0.0.0.0:{}", address.port()))
}

#[tokio::test]
async fn it_ends_well_once_the_sidecar_is_ready() -> anyhow::Result<()> {
    let address = says(&[
        "503 Service Unavailable",
        "503 Service Unavailable",
        "200 OK",
    ])
    .await?;
    let ended = wait(&address, "30s").await?;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    Ok(())
}

#[tokio::test]
async fn it_gives_up_and_says_what_it_heard_last() -> anyhow::Result<()> {
    let address = says(&["503 Service Unavailable"]).await?;
    let ended = wait(&address, "200ms").await?;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.err.contains("503 Service Unavailable"), "{ended:?}");
    let nobody = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let ended = wait(&nobody.to_string(), "200ms").await?;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.err.contains("refused"), "{ended:?}");
    let ended = wait("127.0.0.1:1", "never").await?;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    Ok(())
}
