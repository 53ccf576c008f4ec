use proptest::prelude::*;

use super::*;

const CLIENT_HELLO: &[u8] = &[
    0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03,
];

#[test]
fn first_bytes_are_told_apart() {
    let table: &[(&[u8], Option<Protocol>)] = &[
        (b"", None),
        // broken or foreign first
        (b"\0", Some(Protocol::Opaque)),
        (b"\x16\x02", Some(Protocol::Opaque)),
        (b"\x16\x03\x05", Some(Protocol::Opaque)),
        (b"\x16\x03\x01\x00\x00", Some(Protocol::Opaque)),
        (b"\x16\x03\x01\xff\xff", Some(Protocol::Opaque)),
        (b"\x16\x03\x01\x00\x05\x02", Some(Protocol::Opaque)),
        (b"\x15\x03\x01\x00\x02\x02\x28", Some(Protocol::Opaque)),
        (b" GET / HTTP/1.1\r\n", Some(Protocol::Opaque)),
        (b"GET /\r\n", Some(Protocol::Opaque)),
        (b"GET key\r\n", Some(Protocol::Opaque)),
        (b"GET  / HTTP/1.1\r\n", Some(Protocol::Opaque)),
        (b"GET / HTTP/1.1 \r\n", Some(Protocol::Opaque)),
        (b"GET / HTTP/1.2\r\n", Some(Protocol::Opaque)),
        (b"GET /\0", Some(Protocol::Opaque)),
        (b"EHLO mail.example\r\n", Some(Protocol::Opaque)),
        (b"*3\r\n$3\r\nGET\r\n", Some(Protocol::Opaque)),
        (b"PRI * HTTP/2.0\r\n\r\nSN", Some(Protocol::Opaque)),
        (b"ABCDEFGHIJKLMNOPQRSTUVWXY", Some(Protocol::Opaque)),
        // not yet
        (b"\x16\x03\x01\x40\x00", None),
        (b"GET", None),
        (b"GET /index HTTP/1.1\r", None),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", None),
        (b"ABCDEFGHIJKLMNOPQRSTUVWX", None),
        // known
        (CLIENT_HELLO, Some(Protocol::Tls)),
        (HTTP2_PREFACE, Some(Protocol::Http2)),
        (b"GET / HTTP/1.1\r\n", Some(Protocol::Http1)),
        (b"GET / HTTP/1.0\n", Some(Protocol::Http1)),
        (b"\r\nPOST /a?b HTTP/1.1\r\nHost: x", Some(Protocol::Http1)),
        (b"\r\n\r\n\r\nGET / HTTP/1.1\r\n", Some(Protocol::Http1)),
        (b"\r\n\r\n", None),
        (b"\r\n\r\n\r", None),
        (b"\r\n\r\nEHLO there\r\n", Some(Protocol::Opaque)),
        (
            b"CONNECT db.example:5432 HTTP/1.1\r\n",
            Some(Protocol::Http1),
        ),
        (b"PRIORITY /x HTTP/1.1\r\n", Some(Protocol::Http1)),
        (b"M-SEARCH * HTTP/1.1\r\n", Some(Protocol::Http1)),
    ];
    for (bytes, expected) in table {
        assert_eq!(
            classify(bytes),
            *expected,
            "{:?}",
            String::from_utf8_lossy(bytes)
        );
    }
}

#[test]
fn a_request_line_beyond_the_bound_is_judged_by_its_method() {
    for (method, expected) in [("GET", Protocol::Http1), ("FETCH", Protocol::Opaque)] {
        let mut line = format!("{method} /").into_bytes();
        line.resize(REQUEST_LINE_BYTES_MAX - 1, b'a');
        assert_eq!(classify(&line), None);
        line.push(b'a');
        assert_eq!(classify(&line), Some(expected), "{method}");
    }
}

#[test]
fn where_only_http_is_meant_the_preface_alone_decides() {
    for len in 0..HTTP2_PREFACE.len() {
        assert_eq!(classify_http(&HTTP2_PREFACE[..len]), None);
    }
    assert_eq!(classify_http(HTTP2_PREFACE), Some(Protocol::Http2));
    assert_eq!(classify_http(b"PRIV"), Some(Protocol::Http1));
    assert_eq!(classify_http(b"\0\xff"), Some(Protocol::Http1));
}

/// Beginnings of every kind, and what they are.
fn beginnings() -> impl Strategy<Value = (Vec<u8>, Protocol)> {
    prop_oneof![
        ("[A-Z]{1,12}", "/[a-z0-9/?=&%]{0,200}", 0..2u8).prop_map(|(method, target, minor)| {
            (
                format!("{method} {target} HTTP/1.{minor}\r\nhost: a\r\n\r\n").into_bytes(),
                Protocol::Http1,
            )
        }),
        Just((HTTP2_PREFACE.to_vec(), Protocol::Http2)),
        (1..=4u8, 1..=16384u16).prop_map(|(minor, len)| {
            let [high, low] = len.to_be_bytes();
            (vec![0x16, 3, minor, high, low, 1, 0, 0], Protocol::Tls)
        }),
        "[A-Z]{4} [a-z.]{1,30}\r\n".prop_map(|line| (line.into_bytes(), Protocol::Opaque)),
    ]
}

proptest! {
    #[test]
    fn the_verdict_is_the_same_wherever_the_bytes_are_split((bytes, expected) in beginnings()) {
        let first = (1..=bytes.len()).find_map(|len| classify(&bytes[..len]));
        prop_assert_eq!(first, Some(expected));
    }

    #[test]
    fn a_verdict_once_given_stands(bytes in proptest::collection::vec(any::<u8>(), 0..64), text in "[ -~\r\n]{0,64}") {
        for bytes in [bytes.as_slice(), text.as_bytes()] {
            let mut verdict = None;
            for len in 0..=bytes.len() {
                let now = classify(&bytes[..len]);
                prop_assert!(verdict.is_none() || now == verdict, "{:?} became {:?}", verdict, now);
                verdict = now;
            }
        }
    }
}
