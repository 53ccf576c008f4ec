//! hyper agrees with itself through `weft-proxy`: its clients and servers of HTTP/1.1 and HTTP/2, in all four pairings.

mod ends;
mod messages;
mod scene;
mod server;

use anyhow::{Context, ensure};
use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::handshake::{client::generate_key, derive_accept_key};
use weft_tests::client::Client;
use weft_tests::content::{Content, whole};
use weft_tests::http2::Exchange;

use self::scene::{Pairing, in_each, open};

/// Exchanges at once.
const MANY: usize = 150;

#[tokio::test(flavor = "multi_thread")]
async fn many_exchanges_at_once_do_not_mix() -> anyhow::Result<()> {
    in_each(async |scene, pairing| {
        // All of HTTP/2 are streams of one connection.
        let mut clients = vec![scene.client(pairing).await?];
        let mut exchanges: Vec<Exchange> = Vec::new();
        for index in 0..MANY {
            if index > 0 && pairing.downstream == Version::HTTP_11 {
                clients.push(scene.client(pairing).await?);
            }
            let client = clients.last_mut().context("at least one")?;
            exchanges.push(open(client, pairing, "echo").await?);
        }
        for round in 0..3 {
            for (index, exchange) in exchanges.iter_mut().enumerate() {
                exchange.say(format!("{index:>4} {round}")).await?;
            }
            for (index, exchange) in exchanges.iter_mut().enumerate() {
                let came = exchange.hear(6).await?;
                ensure!(came == format!("{index:>4} {round}"), "{index}: {came:?}");
            }
        }
        for exchange in exchanges {
            exchange.end().await?;
        }
        Ok(())
    })
    .await
}

/// A request for a WebSocket: an upgrade of HTTP/1.1 with this key, or RFC 8441.
fn websocket(client: &Client, pairing: Pairing, key: &str) -> anyhow::Result<Request<Content>> {
    let http2 = pairing.downstream == Version::HTTP_2;
    let method = if http2 { "CONNECT" } else { "GET" };
    let mut request = pairing
        .request(client, method, "websocket")
        .header("sec-websocket-version", "13");
    if !http2 {
        request = request
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-key", key);
    }
    let mut request = request.body(whole(""))?;
    if http2 {
        let extensions = request.extensions_mut();
        extensions.insert(Protocol::from_static("websocket"));
    }
    Ok(request)
}

fn expect_upgrade(answer: &Response<Incoming>, pairing: Pairing, key: &str) -> anyhow::Result<()> {
    if pairing.downstream == Version::HTTP_2 {
        ensure!(answer.status() == 200, "{answer:?}");
        return Ok(());
    }
    ensure!(answer.status() == 101, "{answer:?}");
    let accept = answer.headers().get("sec-websocket-accept");
    let wanted = derive_accept_key(key.as_bytes());
    ensure!(accept.is_some_and(|it| *it == wanted), "{answer:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_goes_through_and_ends_on_either_side() -> anyhow::Result<()> {
    in_each(async |scene, pairing| {
        let mut client = scene.client(pairing).await?;
        let key = generate_key();
        let answer = client.begin(websocket(&client, pairing, &key)?).await?;
        expect_upgrade(&answer, pairing, &key)?;
        let mut stream = TokioIo::new(hyper::upgrade::on(answer).await?);
        for size in [1, 1000, 50_000] {
            let said = vec![b'x'; size];
            stream.write_all(&said).await?;
            let mut heard = vec![0; size];
            stream.read_exact(&mut heard).await?;
            ensure!(heard == said, "another came back than {size} bytes");
        }
        stream.shutdown().await?;
        let rest = stream.read_to_end(&mut Vec::new()).await?;
        ensure!(rest == 0, "{rest} bytes more");
        Ok(())
    })
    .await
}
