//! What goes both ways: content, trailers, answers on the way.

use std::sync::{Arc, Mutex};

use anyhow::ensure;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Version};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use weft_tests::content::{self, Content, whole};

use crate::scene::{expect_content, in_each, open, text};

/// Around what the pieces, frames and windows on the way hold.
const SIZES: [u64; 9] = [
    0, 1, 16_383, 16_384, 16_385, 65_535, 65_536, 65_537, 3_000_000,
];

#[tokio::test(flavor = "multi_thread")]
async fn content_of_all_sizes_goes_both_ways_byte_for_byte() -> anyhow::Result<()> {
    in_each(async |scene, pairing| {
        let mut client = scene.client(pairing).await?;
        for bytes in SIZES {
            let get = pairing.request(&client, "GET", &bytes.to_string());
            let answer = client.begin(get.body(whole(""))?).await?;
            expect_content(answer, bytes).await?;
            // Of an unknown length, and of one that is said.
            for said in [false, true] {
                let mut post = pairing.request(&client, "POST", "check");
                if said {
                    post = post.header("content-length", bytes);
                }
                let answer = client.begin(post.body(content::known(bytes))?).await?;
                let came = text(answer, 200).await?;
                ensure!(came == bytes.to_string(), "{came:?} of {bytes}");
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_piece_is_answered_before_the_next_is_said() -> anyhow::Result<()> {
    in_each(async |scene, pairing| {
        let mut client = scene.client(pairing).await?;
        let mut exchange = open(&mut client, pairing, "echo").await?;
        for piece in ["one", "another", &"a longer one ".repeat(2000)] {
            exchange.echo(piece).await?;
        }
        exchange.end().await?;
        Ok(())
    })
    .await
}

/// Content with trailers behind it. It does not say its length: with one, HTTP/1.1 has no room for trailers.
fn with_trailers(text: &'static str) -> Content {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-first", HeaderValue::from_static("1"));
    trailers.insert("x-second", HeaderValue::from_static("two words"));
    let frames = [
        Frame::data(Bytes::from_static(text.as_bytes())),
        Frame::trailers(trailers),
    ];
    StreamBody::new(tokio_stream::iter(frames.map(Ok))).boxed_unsync()
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_go_both_ways() -> anyhow::Result<()> {
    in_each(async |scene, pairing| {
        let mut client = scene.client(pairing).await?;
        for text in ["with content", ""] {
            let request = pairing
                .request(&client, "POST", "echo")
                .header("te", "trailers")
                .header("trailer", "x-first, x-second");
            let answer = client.begin(request.body(with_trailers(text))?).await?;
            let came = answer.into_body().collect().await?;
            let trailers = came.trailers().cloned().unwrap_or_default();
            ensure!(
                trailers.get("x-first").is_some_and(|it| it == "1")
                    && trailers.get("x-second").is_some_and(|it| it == "two words"),
                "{trailers:?}"
            );
            let came = came.to_bytes();
            ensure!(came == text, "{came:?}");
        }
        Ok(())
    })
    .await
}

/// hyper's server of HTTP/1.1 says 100 once somebody reads, that of HTTP/2 says nothing; its client of HTTP/2 does not tell.
#[tokio::test(flavor = "multi_thread")]
async fn who_expects_to_be_told_to_go_on_is_told_what_the_server_says() -> anyhow::Result<()> {
    in_each(async |scene, pairing| {
        let mut client = scene.client(pairing).await?;
        let heard = Arc::new(Mutex::new(Vec::new()));
        let noted = heard.clone();
        let request = pairing
            .request(&client, "POST", "check")
            .header("expect", "100-continue");
        let mut request = request.body(content::known(1000))?;
        hyper::ext::on_informational(&mut request, move |interim| {
            let mut noted = noted.lock().expect("nobody panics with it");
            noted.push(interim.status().as_u16());
        });
        let came = text(client.begin(request).await?, 200).await?;
        ensure!(came == "1000", "{came:?}");
        let heard = heard.lock().expect("nobody panics with it").clone();
        let both = (pairing.downstream, pairing.upstream) == (Version::HTTP_11, Version::HTTP_11);
        ensure!(heard == vec![100; usize::from(both)], "{heard:?}");
        Ok(())
    })
    .await
}
