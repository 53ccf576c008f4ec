use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::classify::HTTP2_PREFACE;
use super::*;

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    near.set_nodelay(true).unwrap();
    (near, listener.accept().await.unwrap().0)
}

/// Sends `bytes` one by one, each read before the next is sent.
async fn byte_by_byte(scan: Scan, bytes: &[u8]) -> (Option<Found>, Vec<u8>) {
    let (mut near, far) = pair().await;
    let mut detector = Detector::new(scan);
    let mut found = None;
    for byte in bytes {
        assert_eq!(found, None, "found before the last byte");
        near.write_all(&[*byte]).await.unwrap();
        far.readable().await.unwrap();
        found = detector.look(&far).unwrap();
    }
    (found, detector.into_bytes())
}

#[tokio::test]
async fn protocols_are_recognised_byte_by_byte_and_no_byte_is_lost() {
    let hello = &[0x16, 3, 1, 2, 0, 1];
    let table: &[(Scan, &[u8], Protocol)] = &[
        (Scan::Any, HTTP2_PREFACE, Protocol::Http2),
        (Scan::Http, HTTP2_PREFACE, Protocol::Http2),
        (Scan::Any, hello, Protocol::Tls),
        (Scan::Any, b"GET / HTTP/1.1\r\n", Protocol::Http1),
        (Scan::Any, b"EHLO there\r\n", Protocol::Opaque),
        (Scan::Http, b"PRIV", Protocol::Http1),
    ];
    for (scan, bytes, protocol) in table {
        let run = timeout(Duration::from_secs(10), byte_by_byte(*scan, bytes)).await;
        assert_eq!(
            run.unwrap(),
            (Some(Found::ByBytes(*protocol)), bytes.to_vec())
        );
    }
}

#[tokio::test]
async fn a_downstream_that_ends_early_is_found_by_its_end() {
    let (mut near, far) = pair().await;
    near.write_all(b"GE").await.unwrap();
    near.shutdown().await.unwrap();
    let mut detector = Detector::new(Scan::Any);
    let found = timeout(Duration::from_secs(10), detector.run(&far))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found, Found::ByEnd);
    assert_eq!(detector.undecided(), Protocol::Opaque);
    assert_eq!(detector.into_bytes(), b"GE");
}
