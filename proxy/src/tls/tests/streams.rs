use std::future::poll_fn;
use std::io;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::authority::{Authority, dns, downstream, upstream};
use super::handshakes::{Shaken, shake};
use crate::stream::{Plain, Stream};
use crate::tls::{HandshakeError, Secrets, TlsStream, accept};

async fn pair() -> (TlsStream, TlsStream) {
    let authority = Authority::new("root");
    let server = authority.issue(&[dns("server.test")]);
    let down = downstream(
        json!({ "tls_certificates": [server.json()], "alpn_protocols": ["h2", "http/1.1"] }),
        json!({}),
    );
    let up = upstream(json!({ "alpn_protocols": ["http/1.1"] }), json!({}));
    let (down, up): Shaken = shake(&Secrets::new(), &down, &up).await;
    (down.unwrap(), up.unwrap())
}

#[tokio::test]
async fn the_protocol_is_one_that_both_sides_speak() {
    let (down, up) = pair().await;
    assert_eq!(down.facts().alpn.as_deref(), Some("http/1.1"));
    assert_eq!(up.facts().alpn.as_deref(), Some("http/1.1"));
}

#[tokio::test]
async fn many_bytes_arrive_both_ways_at_once_and_the_end_of_each() {
    const BYTES: usize = 3_000_000;
    let (down, up) = pair().await;
    let content: Vec<u8> = (0..BYTES).map(|at| (at * 31 % 251) as u8).collect();
    let one = |stream: TlsStream, content: Vec<u8>| async move {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let wrote = tokio::spawn(async move {
            writer.write_all(&content).await.unwrap();
            writer.shutdown().await.unwrap();
        });
        let mut heard = Vec::new();
        reader.read_to_end(&mut heard).await.unwrap();
        wrote.await.unwrap();
        heard
    };
    let (at_down, at_up) = tokio::join!(one(down, content.clone()), one(up, content.clone()));
    assert!(at_down == content && at_up == content);
}

#[tokio::test]
async fn an_end_that_was_not_announced_is_a_failure() {
    let (down, mut up) = pair().await;
    drop(down);
    let error = up.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn bytes_that_a_socket_does_not_take_are_told_when_it_has_taken_them() {
    let (mut down, mut up) = pair().await;
    let content = vec![7; 64 * 1024];
    let mut taken = 0;
    // Until the socket is full: nothing is told of bytes that still wait.
    while let Some(bytes) = up.try_write(&content).unwrap() {
        taken += bytes;
    }
    let mut heard = vec![0; 64 * 1024];
    let mut total = 0;
    while total < taken {
        total += down.read(&mut heard).await.unwrap();
    }
    poll_fn(|cx| up.socket().poll_write_ready(cx))
        .await
        .unwrap();
    let told = loop {
        match up.try_write(&content).unwrap() {
            Some(bytes) => break bytes,
            None => poll_fn(|cx| up.socket().poll_write_ready(cx))
                .await
                .unwrap(),
        }
    };
    assert_eq!(told, content.len());
    while total < taken + told {
        total += down.read(&mut heard).await.unwrap();
    }
    assert_eq!(total, taken + told);
}

#[tokio::test]
async fn what_is_heard_is_kept_for_whoever_reads() {
    let (mut down, up) = pair().await;
    down.write_all(b"220 ready").await.unwrap();
    let mut up = Stream::from(up);
    poll_fn(|cx| up.poll_heard(cx)).await;
    let Stream::Tls(mut up) = up else { panic!() };
    let mut heard = [0; 9];
    up.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"220 ready");
}

#[tokio::test]
async fn bytes_that_are_no_tls_end_the_handshake() {
    let authority = Authority::new("root");
    let server = authority.issue(&[dns("server.test")]);
    let down = downstream(json!({ "tls_certificates": [server.json()] }), json!({}));
    let context = Secrets::new().server(&down);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0x16, 3, 1, 0xff, 0xff, 1, 0, 0],
        &[0x16; 70_000],
    ] {
        let mut near = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let far = Plain::Tcp(listener.accept().await.unwrap().0);
        let shaking = tokio::spawn({
            let context = context.clone();
            async move { accept(&context, far, Vec::new(), None).await }
        });
        near.write_all(bytes).await.unwrap();
        near.shutdown().await.unwrap();
        let shaken = shaking.await.unwrap();
        assert!(
            matches!(
                shaken,
                Err(HandshakeError::Protocol(_) | HandshakeError::Closed)
            ),
            "{shaken:?}"
        );
    }
}
