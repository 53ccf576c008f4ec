//! How exchanges and connections end.

use std::future::ready;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::Version;
use weft_tests::content::whole;
use weft_tests::eventually;
use weft_tests::http2::bit_by_bit;

use crate::scene::{Pairing, Scene, expect_content, in_each, open, text};

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_does_not_look_whole() -> anyhow::Result<()> {
    in_each(async |scene, pairing| {
        let mut client = scene.client(pairing).await?;
        let mut exchange = open(&mut client, pairing, "broken").await?;
        exchange.say("second").await?;
        ensure!(exchange.end().await.is_err(), "it ended");
        // The connection of HTTP/2 goes on.
        if pairing.downstream == Version::HTTP_11 {
            client = scene.client(pairing).await?;
        }
        let get = pairing.request(&client, "GET", "10").body(whole(""))?;
        expect_content(client.begin(get).await?, 10).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_before_the_end_of_its_request_is_heard_whole() -> anyhow::Result<()> {
    in_each(async |scene, pairing| {
        let mut client = scene.client(pairing).await?;
        let (to, content) = bit_by_bit();
        to.send(Bytes::from(vec![b'x'; 10_000])).await?;
        let request = pairing.request(&client, "POST", "refuse").body(content)?;
        let said = text(client.begin(request).await?, 413).await?;
        ensure!(said == "refused", "{said:?}");
        drop(to);
        let mut client = scene.client(pairing).await?;
        let get = pairing.request(&client, "GET", "10").body(whole(""))?;
        expect_content(client.begin(get).await?, 10).await
    })
    .await
}

/// Whether so much has come true.
fn at_least(wanted: u64, seen: u64) -> Result<(), String> {
    let come = (seen >= wanted).then_some(());
    come.ok_or_else(|| format!("{seen} of {wanted}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_learns_of_an_exchange_that_was_given_up() -> anyhow::Result<()> {
    in_each(async |scene, pairing| {
        let server = scene.server(pairing);
        let wanted = server.given_up() + 1;
        let mut client = scene.client(pairing).await?;
        let get = pairing.request(&client, "GET", "hang").body(whole(""))?;
        drop(client.begin(get).await?);
        eventually("an answer is given up", || {
            ready(at_least(wanted, server.given_up()))
        })
        .await;
        if pairing.downstream == Version::HTTP_2 {
            // hyper goes on with the request of an answer that was dropped.
            return Ok(());
        }
        // A request whose content has not ended.
        let wanted = server.given_up() + 1;
        let mut client = scene.client(pairing).await?;
        let (to, content) = bit_by_bit();
        to.send(Bytes::from_static(b"?")).await?;
        let post = pairing.request(&client, "POST", "hang").body(content)?;
        drop(client.begin(post).await?);
        drop(client);
        eventually("a request is given up", || {
            ready(at_least(wanted, server.given_up()))
        })
        .await;
        Ok(())
    })
    .await
}

/// A GOAWAY, or the last answer of a connection of HTTP/1.1.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_on_a_connection_that_its_server_retires_goes_on_and_the_rest_elsewhere()
-> anyhow::Result<()> {
    in_each(async |scene, pairing| {
        let server = scene.server(pairing);
        let mut client = scene.client(pairing).await?;
        let mut exchange = open(&mut client, pairing, "retire").await?;
        let connections = server.connections();
        for _ in 0..20 {
            let mut other = scene.client(pairing).await?;
            let get = pairing.request(&other, "GET", "10").body(whole(""))?;
            expect_content(other.begin(get).await?, 10).await?;
        }
        if pairing.upstream == Version::HTTP_2 {
            ensure!(server.connections() > connections, "no other connection");
        }
        exchange.echo("and it goes on").await?;
        exchange.end().await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_when_the_proxy_drains_goes_on_and_the_client_is_told() -> anyhow::Result<()> {
    for downstream in [Version::HTTP_11, Version::HTTP_2] {
        let scene = Scene::start().await?;
        let pairing = Pairing {
            downstream,
            upstream: Version::HTTP_2,
        };
        let mut client = scene.client(pairing).await?;
        let mut exchange = open(&mut client, pairing, "echo").await?;
        scene.proxy.terminate()?;
        exchange.echo("and it goes on").await?;
        exchange.end().await?;
        eventually("the client is told", || {
            let closed = client.is_closed().then_some(());
            ready(closed.context("the connection is open"))
        })
        .await;
    }
    Ok(())
}
