//! Who gets a connection whose protocol is not declared.

use super::*;
use crate::detect::classify::{HTTP2_PREFACE, REQUEST_LINE_BYTES_MAX};

/// HTTP where it is recognised, TCP otherwise; silence for `patience` is opaque.
fn detecting(patience: Duration) -> Listener {
    let mut listener = listener("a", "127.0.0.1:0", tcp());
    listener.detection = Detection {
        enabled: true,
        timeout: patience,
    };
    listener.filter_chains.push(FilterChain {
        name: "http".into(),
        matches: FilterChainMatch {
            application_protocols: vec!["http/1.1".into(), "h2c".into()],
            ..FilterChainMatch::default()
        },
        tls: None,
        access: Vec::new(),
        action: http(DownstreamCodec::Auto),
    });
    listener
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_server_that_greets_is_heard_without_waiting_for_the_client() {
    let mut proxy = Proxy::start(1, 1000);
    let cluster = proxy.cluster(&[echo(b"220 ready\r\n").await]);
    assert!(proxy.apply(&[(detecting(LONG), Some(cluster))]).is_empty());
    let mut client = proxy.connect("a").await;
    hears(&mut client, b"220 ready\r\n").await;
    says(&mut client, b"EHLO me\r\n").await;
}

#[tokio::test]
async fn http_split_anywhere_reaches_http_whole() {
    let mut proxy = Proxy::start(1, 1000);
    let cluster = proxy.cluster(&[echo(b"").await]);
    assert!(proxy.apply(&[(detecting(LONG), Some(cluster))]).is_empty());
    let request = b"GET / HTTP/1.1\r\n";
    for split in 1..request.len() {
        let mut client = proxy.connect("a").await;
        client.set_nodelay(true).unwrap();
        client.write_all(&request[..split]).await.unwrap();
        tokio::task::yield_now().await;
        client.write_all(&request[split..]).await.unwrap();
        assert_eq!(
            proxy.http_given().await,
            (Some(Protocol::Http1), request.to_vec())
        );
    }
}

#[tokio::test]
async fn opaque_first_bytes_reach_the_upstream_in_order() {
    let mut proxy = Proxy::start(1, 1000);
    let cluster = proxy.cluster(&[echo(b"").await]);
    assert!(proxy.apply(&[(detecting(LONG), Some(cluster))]).is_empty());
    for bytes in [
        &b"*1\r\n$4\r\nPING\r\n"[..],
        &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc],
    ] {
        let mut client = proxy.connect("a").await;
        says(&mut client, bytes).await;
        says(&mut client, b"and more").await;
    }
}

#[tokio::test]
async fn a_client_silent_for_too_long_becomes_opaque() {
    let mut proxy = Proxy::start(1, 1000);
    let cluster = proxy.cluster(&[echo(b"").await]);
    assert!(
        proxy
            .apply(&[(detecting(Duration::from_millis(30)), Some(cluster))])
            .is_empty()
    );
    let mut client = proxy.connect("a").await;
    eventually("taken as opaque", || {
        proxy.metrics.limits.get(Limit::DetectionTime) == 1
    })
    .await;
    says(&mut client, b"GET / HTTP/1.1\r\n").await;
}

#[tokio::test]
async fn http_works_although_the_opaque_upstream_cannot_be_reached() {
    let mut proxy = Proxy::start(1, 1000);
    let cluster = proxy.cluster(&[nobody().await]);
    assert!(
        proxy
            .apply(&[(detecting(LONG), Some(cluster.clone()))])
            .is_empty()
    );
    let mut client = proxy.connect("a").await;
    eventually("dialled in vain", || {
        cluster.stats.connect_failures.get() >= 1
    })
    .await;
    client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    assert_eq!(proxy.http_given().await.0, Some(Protocol::Http1));
    // Whereas one with nothing to say is not kept for the whole of the deadline.
    let mut silent = proxy.connect("a").await;
    let end = timeout(Duration::from_secs(10), silent.read(&mut [0]))
        .await
        .expect("within 10 s");
    assert!(end.is_err(), "{end:?}");
}

#[tokio::test]
async fn a_declared_codec_is_not_looked_for() {
    let mut proxy = Proxy::start(1, 1000);
    let declared = listener("a", "127.0.0.1:0", http(DownstreamCodec::Http1));
    assert!(proxy.apply(&[(declared, None)]).is_empty());
    let _silent = proxy.connect("a").await;
    assert_eq!(
        proxy.http_given().await,
        (Some(Protocol::Http1), Vec::new())
    );
}

#[tokio::test]
async fn http2_is_known_by_its_preface() {
    let mut proxy = Proxy::start(1, 1000);
    assert!(
        proxy
            .apply(&[(
                listener("a", "127.0.0.1:0", http(DownstreamCodec::Auto)),
                None
            )])
            .is_empty()
    );
    let mut client = proxy.connect("a").await;
    client.write_all(HTTP2_PREFACE).await.unwrap();
    assert_eq!(
        proxy.http_given().await,
        (Some(Protocol::Http2), HTTP2_PREFACE.to_vec())
    );
    // What is no HTTP at all is for the HTTP/1 codec to refuse.
    let mut client = proxy.connect("a").await;
    client.write_all(b"\0\0").await.unwrap();
    assert_eq!(
        proxy.http_given().await,
        (Some(Protocol::Http1), b"\0\0".to_vec())
    );
}

#[tokio::test]
async fn a_first_line_longer_than_is_looked_at_is_counted() {
    let mut proxy = Proxy::start(1, 1000);
    let cluster = proxy.cluster(&[echo(b"").await]);
    assert!(proxy.apply(&[(detecting(LONG), Some(cluster))]).is_empty());
    let long = "a".repeat(REQUEST_LINE_BYTES_MAX);
    for (line, counted) in [
        (format!("GET /{} HTTP/1.1\r\n", &long[..5000]), 0),
        (format!("GET /{long} HTTP/1.1\r\n"), 1),
    ] {
        let mut client = proxy.connect("a").await;
        client.write_all(line.as_bytes()).await.unwrap();
        assert_eq!(proxy.http_given().await.0, Some(Protocol::Http1));
        let met = proxy.metrics.limits.get(Limit::DetectionBytes);
        assert_eq!(met, counted, "{} bytes", line.len());
    }
}
