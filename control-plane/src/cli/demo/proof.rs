//! What shows that a sidecar takes TLS of the mesh, and nothing else.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::sidecar::Sidecar;

/// Bound on each of the two questions.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// What counts handshakes that went well, one of them in the label `result`.
const HANDSHAKES: &str = "weft_listener_tls_handshakes_total{";

/// Whether other sidecars came over TLS, and a request in plain text is not answered.
pub(super) async fn takes_mtls_alone(sidecar: &Sidecar) -> bool {
    let metrics = ask(sidecar.metrics(), "/metrics").await;
    let shaken = |line: &str| {
        let count = line
            .rsplit(' ')
            .next()
            .and_then(|it| it.parse::<f64>().ok());
        line.starts_with(HANDSHAKES)
            && (line.contains("result=\"ok\"") || line.contains("result=\"resumed\""))
            && count.is_some_and(|count| count > 0.0)
    };
    let over_tls = metrics.is_some_and(|page| page.lines().any(shaken));
    over_tls && ask(sidecar.inbound(), "/").await.is_none()
}

/// The answer to `GET path` in plain text; `None`: there is none.
async fn ask(address: SocketAddr, path: &str) -> Option<String> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        Some(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = timeout(ANSWER_WITHIN, exchange).await.ok().flatten();
    answer.filter(|answer| answer.starts_with("HTTP/"))
}
