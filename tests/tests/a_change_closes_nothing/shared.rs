//! Connections of HTTP/2, each with exchanges that last beside requests that do not.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use weft_tests::http2::{Exchange, Http2, grpc_message};

use super::told::Told;

/// Exchanges of each connection that are no gRPC, half of them with an upstream of HTTP/1.
pub(crate) const EXCHANGES: usize = 20;
/// Calls of gRPC of each, with messages both ways.
pub(crate) const CALLS: usize = 4;

/// A connection and what lasts on it.
pub(crate) struct Shared {
    connection: Http2,
    exchanges: Vec<Exchange>,
    calls: Vec<Exchange>,
}

impl Shared {
    pub(crate) async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let connection = Http2::connect(address).await?;
        let mut exchanges = Vec::new();
        for number in 0..EXCHANGES {
            let path = ["/stream/h1", "/stream/h2"][number % 2];
            exchanges.push(connection.open("web", path, None).await?);
        }
        let mut calls = Vec::new();
        for _ in 0..CALLS {
            let path = "/stream/h2.Echo/Both";
            let call = connection.open("web", path, Some("application/grpc"));
            calls.push(call.await?);
        }
        Ok(Self {
            connection,
            exchanges,
            calls,
        })
    }

    /// A request of its own, which is to be treated as told, and a word on all that lasts.
    pub(crate) async fn exchange(&mut self, told: &Told, text: &str) -> anyhow::Result<()> {
        ensure!(!self.connection.is_closed(), "a connection was closed");
        told.judge(&self.connection.get("web", "/").await?)?;
        for exchange in &mut self.exchanges {
            exchange.echo(text).await.context("an exchange")?;
        }
        let message = grpc_message(text.as_bytes());
        for call in &mut self.calls {
            call.say(message.clone()).await.context("a call")?;
        }
        for call in &mut self.calls {
            let echo = call.hear(message.len()).await.context("a call")?;
            ensure!(echo == message, "{message:?} came back as {echo:?}");
        }
        ensure!(!self.connection.is_closed(), "a connection was closed");
        Ok(())
    }

    /// Ends all in order.
    pub(crate) async fn end(self) -> anyhow::Result<()> {
        for exchange in self.exchanges {
            exchange.end().await.context("an exchange")?;
        }
        for call in self.calls {
            let trailers = call.end().await.context("a call")?;
            let status = trailers.get("grpc-status").context("no status")?;
            ensure!(status == "0", "{trailers:?}");
        }
        Ok(())
    }
}
