//! Endpoints of HTTP/2 that say what they take.

use http::Response;
use weft_config::cluster::UpstreamProtocol;

use super::*;

/// An endpoint of HTTP/2, made by `build`; `answer` answers each request.
pub(super) async fn endpoint<F: Future<Output = ()> + 'static>(
    build: impl Fn(&mut h2::server::Builder) + 'static,
    answer: impl Fn(http::Request<h2::RecvStream>, h2::server::SendResponse<bytes::Bytes>) -> F
    + Clone
    + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut builder = h2::server::Builder::new();
            build(&mut builder);
            let answer = answer.clone();
            spawn_local(async move {
                let Ok(mut connection) = builder.handshake(stream).await else {
                    return;
                };
                while let Some(Ok((request, respond))) = connection.accept().await {
                    spawn_local(answer(request, respond));
                }
            });
        }
    });
    address
}

pub(super) fn over_http2(to: SocketAddr) -> Setup {
    Setup {
        cluster: Box::new(|cluster| cluster.protocol = UpstreamProtocol::Http2),
        ..Setup::to([to])
    }
}

#[test]
fn an_endpoint_that_takes_one_stream_at_a_time_refuses_nobody() {
    local(async {
        let to = endpoint(
            |builder| {
                builder.max_concurrent_streams(1);
            },
            |_, mut respond| async move {
                tokio::task::yield_now().await;
                let mut body = respond.send_response(Response::new(()), false).unwrap();
                body.send_data("hello".into(), true).unwrap();
            },
        )
        .await;
        let rig = over_http2(to).start().await;
        let mut clients = Vec::new();
        for _ in 0..40 {
            let mut client = rig.connect().await;
            client
                .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
                .await;
            clients.push(client);
        }
        for mut client in clients {
            let answer = client.message().await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
        rig.settles().await;
    });
}

pub(super) const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// An endpoint that says again what it hears in tunnels, which it takes or not.
async fn repeater(taken: bool) -> SocketAddr {
    endpoint(
        move |builder| {
            if taken {
                builder.enable_connect_protocol();
            }
        },
        |request, mut respond| async move {
            assert_eq!(request.method(), "CONNECT");
            assert_eq!(request.headers().get("sec-websocket-key"), None);
            let mut body = respond.send_response(Response::new(()), false).unwrap();
            let mut read = request.into_body();
            while let Some(Ok(bytes)) = read.data().await {
                read.flow_control().release_capacity(bytes.len()).unwrap();
                body.send_data(bytes, false).unwrap();
            }
            body.send_data(Default::default(), true).unwrap();
        },
    )
    .await
}

pub(super) fn with_upgrades(to: SocketAddr) -> Setup {
    let mut setup = over_http2(to);
    setup.cluster = Box::new(|cluster| {
        cluster.protocol = UpstreamProtocol::Http2;
        cluster.http2.allow_connect = true;
    });
    setup.upgrades.push("websocket".into());
    setup
}

#[test]
fn what_stands_right_behind_an_upgrade_goes_through_its_tunnel() {
    local(async {
        let rig = with_upgrades(repeater(true).await).start().await;
        let mut client = rig.connect().await;
        client.send(format!("{UPGRADE}early")).await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        client.until("early").await;
        client.send(" and late").await;
        client.until(" and late").await;
        client.0.shutdown().await.unwrap();
        assert_eq!(client.rest().await, "");
        rig.settles().await;
        let counted = r#"weft_http_received_bytes_total{cluster="c",direction="inbound"} 14"#;
        let scraped = rig.metrics.scrape();
        assert!(scraped.contains(counted), "{scraped}");
    });
}

#[test]
fn an_upgrade_with_content_is_not_asked_for_over_http2() {
    local(async {
        let rig = with_upgrades(repeater(true).await).start().await;
        for (length, content) in [
            ("Content-Length: 5", "hello"),
            ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n"),
        ] {
            let request = UPGRADE.replace("\r\n\r\n", &format!("\r\n{length}\r\n\r\n{content}"));
            let answer = rig.ask(&request).await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
            assert_eq!(flag(&answer), "DPE", "{answer}");
        }
        let none = UPGRADE.replace("\r\n\r\n", "\r\nContent-Length: 0\r\n\r\n");
        let mut client = rig.connect().await;
        client.send(none).await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        drop(client);
        rig.settles().await;
    });
}

#[test]
fn an_upgrade_waits_for_the_endpoint_to_take_it_and_goes_where_it_is_allowed() {
    for (taken, allowed) in [(true, true), (false, true), (true, false)] {
        local(async move {
            let to = repeater(taken).await;
            let mut setup = over_http2(to);
            setup.cluster = Box::new(move |cluster| {
                cluster.protocol = UpstreamProtocol::Http2;
                cluster.http2.allow_connect = allowed;
            });
            setup.upgrades.push("websocket".into());
            let rig = setup.start().await;
            let mut client = rig.connect().await;
            client.send(UPGRADE).await;
            let head = client.head().await;
            if taken && allowed {
                assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
                let accept = "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
                assert!(
                    head.to_lowercase().contains(&accept.to_lowercase()),
                    "{head}"
                );
                client.send("frames").await;
                client.until("frames").await;
                client.0.shutdown().await.unwrap();
                assert_eq!(client.rest().await, "");
            } else {
                assert_eq!(flag(&head), "LR", "{head}");
            }
            drop(client);
            rig.settles().await;
        });
    }
}
