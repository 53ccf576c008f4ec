//! Connections of every kind, with exchanges on them that last.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use futures_util::{SinkExt, StreamExt, TryStreamExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use weft_tests::client::Http1;

use super::EXCHANGE;
use super::scene::Scene;
use super::shared::{self, Shared};

/// Exchanges at the same time.
const AT_ONCE: usize = 64;

/// Connections that were opened before all changes.
pub(crate) struct Open {
    http: Vec<Http1>,
    tcp: Vec<TcpStream>,
    websockets: Vec<WebSocketStream<TcpStream>>,
    shared: Vec<Shared>,
    turn: u64,
}

impl Open {
    pub(crate) async fn connect(scene: &Scene, count: usize) -> anyhow::Result<Self> {
        let all = || stream::iter(0..count);
        Ok(Self {
            http: all()
                .map(|_| Http1::connect(scene.web))
                .buffer_unordered(AT_ONCE)
                .try_collect()
                .await?,
            tcp: all()
                .map(|_| tcp(scene.tcp))
                .buffer_unordered(AT_ONCE)
                .try_collect()
                .await?,
            websockets: all()
                .map(|_| websocket(scene.web))
                .buffer_unordered(AT_ONCE)
                .try_collect()
                .await?,
            shared: stream::iter(0..count.div_ceil(shared::EXCHANGES))
                .map(|_| Shared::connect(scene.web))
                .buffer_unordered(AT_ONCE)
                .try_collect()
                .await?,
            turn: 0,
        })
    }

    /// One exchange on each connection; the first answer is to be as told.
    pub(crate) async fn exchange(&mut self, scene: &Scene) -> anyhow::Result<()> {
        self.turn += 1;
        let text = format!("turn {}", self.turn);
        stream::iter(self.http.iter_mut().map(anyhow::Ok))
            .try_for_each_concurrent(AT_ONCE, |it| async move {
                ensure!(!it.is_closed(), "an HTTP connection was closed");
                scene.told.judge(&it.get("web", "/").await?)?;
                ensure!(!it.is_closed(), "an HTTP connection was closed");
                Ok(())
            })
            .await
            .context("HTTP/1.1")?;
        stream::iter(self.tcp.iter_mut().map(anyhow::Ok))
            .try_for_each_concurrent(AT_ONCE, |it| echo_tcp(it, &text))
            .await
            .context("TCP")?;
        stream::iter(self.websockets.iter_mut().map(anyhow::Ok))
            .try_for_each_concurrent(AT_ONCE, |it| echo_websocket(it, &text))
            .await
            .context("WebSocket")?;
        stream::iter(self.shared.iter_mut().map(anyhow::Ok))
            .try_for_each_concurrent(AT_ONCE, |it| it.exchange(&scene.told, &text))
            .await
            .context("HTTP/2")
    }

    /// Ends what lasts, each in its own way.
    pub(crate) async fn end(self) -> anyhow::Result<()> {
        stream::iter(self.shared.into_iter().map(anyhow::Ok))
            .try_for_each_concurrent(AT_ONCE, Shared::end)
            .await
            .context("HTTP/2")
    }
}

async fn tcp(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    let mut greeting = [0; 4];
    timeout(EXCHANGE, stream.read_exact(&mut greeting)).await??;
    ensure!(&greeting == b"tcp\n", "{greeting:?}");
    Ok(stream)
}

async fn echo_tcp(stream: &mut TcpStream, text: &str) -> anyhow::Result<()> {
    stream.write_all(text.as_bytes()).await?;
    let mut echo = vec![0; text.len()];
    timeout(EXCHANGE, stream.read_exact(&mut echo)).await??;
    ensure!(echo == text.as_bytes(), "{text:?} came back as {echo:?}");
    Ok(())
}

async fn websocket(address: SocketAddr) -> anyhow::Result<WebSocketStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let handshake = tokio_tungstenite::client_async("ws://web/ws", stream);
    Ok(timeout(EXCHANGE, handshake).await??.0)
}

async fn echo_websocket(socket: &mut WebSocketStream<TcpStream>, text: &str) -> anyhow::Result<()> {
    socket.send(Message::text(text)).await?;
    let answer = timeout(EXCHANGE, socket.next()).await?;
    let answer = answer.context("closed")??;
    ensure!(
        answer == Message::text(format!("ws {text}")),
        "{text:?} came back as {answer:?}"
    );
    Ok(())
}
