//! Messages that two recipients could read differently, and the rule by which each is refused.

use super::*;
use ProtocolError as E;

/// The error with which a server refuses `bytes`, if it does.
fn refusal(bytes: &str) -> Option<E> {
    let latin: Vec<u8> = bytes.chars().map(|c| c as u8).collect();
    serve(latin).into_iter().find_map(|seen| match seen {
        Seen::Error(error) => Some(error),
        _ => None,
    })
}

#[test]
fn ambiguous_framing_fields_are_refused() {
    let cases: &[(&str, E)] = &[
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            E::LengthAndEncoding,
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            E::LengthAndEncoding,
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 0",
            E::LengthAndEncoding,
        ),
        (
            "Transfer-Encoding: identity\r\nContent-Length: 5",
            E::LengthAndEncoding,
        ),
        ("Content-Length: 5\r\nContent-Length: 6", E::ManyLengths),
        ("Content-Length: 5\r\nContent-Length: 5", E::ManyLengths),
        ("Content-Length: 5\r\ncontent-length: 0", E::ManyLengths),
        ("Content-Length: 5, 5", E::ManyLengths),
        ("Content-Length: 5,6", E::ManyLengths),
        ("Content-Length: ,5", E::ManyLengths),
        ("Content-Length: +5", E::BadLength),
        ("Content-Length: -5", E::BadLength),
        ("Content-Length: 0x5", E::BadLength),
        ("Content-Length: 5 5", E::BadLength),
        ("Content-Length: 5.0", E::BadLength),
        ("Content-Length: 5e1", E::BadLength),
        ("Content-Length: 1_0", E::BadLength),
        ("Content-Length: \"5\"", E::BadLength),
        ("Content-Length:", E::BadLength),
        ("Content-Length: 9223372036854775808", E::BadLength),
        ("Content-Length: 18446744073709551621", E::BadLength),
        ("Content-Length: \u{a0}5", E::BadLength),
        ("Content-Length: 5\u{b}", E::BadFieldValue),
        ("Content-Length: 5\0", E::BadFieldValue),
        ("Transfer-Encoding: identity", E::NotFinallyChunked),
        ("Transfer-Encoding: gzip", E::NotFinallyChunked),
        ("Transfer-Encoding:", E::NotFinallyChunked),
        ("Transfer-Encoding: chunked, identity", E::NotFinallyChunked),
        ("Transfer-Encoding: chunked, chunked", E::NotFinallyChunked),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            E::NotFinallyChunked,
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
            E::NotFinallyChunked,
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding:",
            E::NotFinallyChunked,
        ),
        ("Transfer-Encoding: ,chunked", E::NotFinallyChunked),
        ("Transfer-Encoding: chunked,", E::NotFinallyChunked),
        (
            "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
            E::UnknownCoding,
        ),
        ("Transfer-Encoding: gzip, chunked", E::UnknownCoding),
        ("Transfer-Encoding: identity, chunked", E::UnknownCoding),
        ("Transfer-Encoding: xchunked", E::NotFinallyChunked),
        ("Transfer-Encoding: chunkedx", E::NotFinallyChunked),
        ("Transfer-Encoding: chunk", E::NotFinallyChunked),
        ("Transfer-Encoding: chunked;q=1", E::NotFinallyChunked),
        ("Transfer-Encoding: \"chunked\"", E::NotFinallyChunked),
        ("Transfer-Encoding: 'chunked'", E::NotFinallyChunked),
        ("Transfer-Encoding: chunked x", E::NotFinallyChunked),
        ("Transfer-Encoding: \u{ff}chunked", E::NotFinallyChunked),
        ("Transfer-Encoding: \u{a0}chunked", E::NotFinallyChunked),
        ("Transfer-Encoding: \u{b}chunked", E::BadFieldValue),
        ("Transfer-Encoding: \u{c}chunked", E::BadFieldValue),
        ("Transfer-Encoding: chunked\u{1}", E::BadFieldValue),
        ("Transfer-Encoding: \0chunked", E::BadFieldValue),
        ("Transfer-Encoding: chun\rked", E::BareCr),
        ("Transfer-Encoding : chunked", E::SpaceBeforeColon),
        ("Transfer-Encoding\t: chunked", E::SpaceBeforeColon),
        ("Content-Length : 5", E::SpaceBeforeColon),
        ("Transfer-Encoding\u{b}: chunked", E::BadFieldName),
        ("Transfer-Encoding\0: chunked", E::BadFieldName),
        ("Transfer\u{ad}-Encoding: chunked", E::BadFieldName),
        ("\u{feff}Transfer-Encoding: chunked", E::BadFieldName),
        ("Transfer-Encoding", E::BadFieldName),
        (": chunked", E::BadFieldName),
        ("(x): y", E::BadFieldName),
        (" Transfer-Encoding: chunked", E::ObsFold),
        ("X:\r\n Transfer-Encoding: chunked", E::ObsFold),
        ("Transfer-Encoding: x\r\n\tchunked", E::ObsFold),
        ("X: y\r\n\r\tTransfer-Encoding: chunked", E::BadFieldName),
        ("X: y\rTransfer-Encoding: chunked", E::BareCr),
        ("X: y\r\rContent-Length: 5", E::BareCr),
        ("X: y\nTransfer-Encoding: chunked", E::BareLf),
        ("X: y\n\nGET /admin HTTP/1.1", E::BareLf),
        ("X: y\n", E::BareLf),
        ("X: y\r", E::BareCr),
        ("Host: b", E::ManyHosts),
        ("host: a", E::ManyHosts),
    ];
    for (fields, error) in cases {
        let bytes = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\nhello0\r\n\r\n");
        assert_eq!(refusal(&bytes), Some(*error), "{fields:?}");
    }
}

#[test]
fn doubtful_hosts_are_refused() {
    let cases = [
        ("", E::NoHost),
        ("X: y\r\n", E::NoHost),
        ("Host: a b\r\n", E::BadHost),
        ("Host: a/b\r\n", E::BadHost),
        ("Host: a@b\r\n", E::BadHost),
        ("Host: a:b\r\n", E::BadHost),
        ("Host: a:80:80\r\n", E::BadHost),
        ("Host: :80\r\n", E::BadHost),
        ("Host: a\\b\r\n", E::BadHost),
        ("Host: a?b\r\n", E::BadHost),
        ("Host: a#b\r\n", E::BadHost),
        ("Host: [::1\r\n", E::BadHost),
        ("Host: http://a\r\n", E::BadHost),
        ("Host: a\u{e9}\r\n", E::BadHost),
        ("Host: a\t\tb\r\n", E::BadHost),
        ("Host: a\0\r\n", E::BadFieldValue),
        (" Host: a\r\n", E::SpaceBeforeFields),
        ("\tHost: a\r\n", E::SpaceBeforeFields),
        ("Host : a\r\n", E::SpaceBeforeColon),
    ];
    for (fields, error) in cases {
        let bytes = format!("GET / HTTP/1.1\r\n{fields}\r\n");
        assert_eq!(refusal(&bytes), Some(error), "{fields:?}");
    }
    let old = "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n";
    assert_eq!(refusal(old), Some(E::ManyHosts));
    let absolute = "GET http://a/ HTTP/1.1\r\nHost: b/c\r\n\r\n";
    assert_eq!(refusal(absolute), Some(E::BadHost));
}

#[test]
fn malformed_request_lines_are_refused() {
    let cases = [
        ("GET / HTTP/1.1 ", E::BadVersion),
        ("GET  / HTTP/1.1", E::BadVersion),
        (" GET / HTTP/1.1", E::BadMethod),
        ("GET\t/\tHTTP/1.1", E::BadRequestLine),
        ("GET /\tHTTP/1.1", E::BadRequestLine),
        ("GET /a b HTTP/1.1", E::BadVersion),
        ("GET /", E::BadRequestLine),
        ("GET", E::BadRequestLine),
        ("GET / HTTP/2.0", E::UnsupportedVersion),
        ("PRI * HTTP/2.0", E::UnsupportedVersion),
        ("GET / HTTP/1.2", E::UnsupportedVersion),
        ("GET / HTTP/0.9", E::UnsupportedVersion),
        ("GET / HTTP/1.10", E::BadVersion),
        ("GET / HTTP/01.1", E::BadVersion),
        ("GET / HTTP/1", E::BadVersion),
        ("GET / http/1.1", E::BadVersion),
        ("GET / HTTPS/1.1", E::BadVersion),
        ("GET / HTTP/1,1", E::BadVersion),
        ("GET / HTTP/1.1x", E::BadVersion),
        ("GET / ", E::BadVersion),
        ("G(T / HTTP/1.1", E::BadMethod),
        ("G\u{e9}T / HTTP/1.1", E::BadMethod),
        ("\u{1}GET / HTTP/1.1", E::BadMethod),
        ("GET: / HTTP/1.1", E::BadMethod),
        ("GET a HTTP/1.1", E::BadTarget),
        ("GET * HTTP/1.1", E::BadTarget),
        ("GET ?x HTTP/1.1", E::BadTarget),
        ("GET /a#b HTTP/1.1", E::BadTarget),
        ("GET /\u{e9} HTTP/1.1", E::BadTarget),
        ("GET /\u{7f} HTTP/1.1", E::BadTarget),
        ("GET /\0 HTTP/1.1", E::BadTarget),
        ("GET /\r HTTP/1.1", E::BadTarget),
        ("GET ftp://a/ HTTP/1.1", E::BadTarget),
        ("GET http:///x HTTP/1.1", E::BadTarget),
        ("GET http:/a HTTP/1.1", E::BadTarget),
        ("GET http://u@a/ HTTP/1.1", E::BadTarget),
        ("GET http://a:b/ HTTP/1.1", E::BadTarget),
        ("GET a:80 HTTP/1.1", E::BadTarget),
        ("CONNECT / HTTP/1.1", E::BadTarget),
        ("CONNECT a HTTP/1.1", E::BadTarget),
        ("CONNECT a: HTTP/1.1", E::BadTarget),
        ("CONNECT a:0 HTTP/1.1", E::BadTarget),
        ("CONNECT http://a:1 HTTP/1.1", E::BadTarget),
        ("CONNECT u@a:1 HTTP/1.1", E::BadTarget),
    ];
    for (line, error) in cases {
        let bytes = format!("{line}\r\nHost: a\r\n\r\n");
        assert_eq!(refusal(&bytes), Some(error), "{line:?}");
    }
    assert_eq!(refusal("GET / HTTP/1.1\nHost: a\r\n\r\n"), Some(E::BareLf));
    assert_eq!(
        refusal("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        Some(E::BareLf)
    );
    assert_eq!(
        refusal("\r\n\r\n\r\nGET / HTTP/1.1\r\n"),
        Some(E::BlankLines)
    );
    assert_eq!(refusal("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), None);
    assert_eq!(
        refusal("\r\rGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        Some(E::BadMethod)
    );
}

#[test]
fn malformed_chunks_are_refused() {
    let cases = [
        ("\r\n", E::BadChunkSize),
        ("x\r\n", E::BadChunkSize),
        ("-1\r\n", E::BadChunkSize),
        ("+1\r\n", E::BadChunkSize),
        (" 1\r\n", E::BadChunkSize),
        ("0x1\r\n", E::BadChunkSize),
        ("1_0\r\n", E::BadChunkSize),
        ("1g\r\n", E::BadChunkSize),
        (";\r\n", E::BadChunkSize),
        ("00000000000000001\r\n", E::BadChunkSize),
        ("8000000000000000\r\n", E::BadChunkSize),
        ("ffffffffffffffff\r\n", E::BadChunkSize),
        ("fffffffffffffffff\r\n", E::BadChunkSize),
        ("1\u{b}\r\n", E::BadChunkSize),
        ("1\0\r\n", E::BadChunkSize),
        ("1 \r\nx", E::BadChunkExtension),
        ("1\t\r\nx", E::BadChunkExtension),
        ("1 a\r\nx", E::BadChunkExtension),
        ("1;\r\nx", E::BadChunkExtension),
        ("1;;\r\nx", E::BadChunkExtension),
        ("1;=\r\nx", E::BadChunkExtension),
        ("1;a=\r\nx", E::BadChunkExtension),
        ("1;a=\"\r\nx", E::BadChunkExtension),
        ("1;a=\"b\r\nx", E::BadChunkExtension),
        ("1;a=\"b\"c\r\nx", E::BadChunkExtension),
        ("1;a\rb\r\nx", E::BareCr),
        ("1;a\nx", E::BareLf),
        ("1;a=\"\n\"\r\nx", E::BadChunkExtension),
        ("1;a\0\r\nx", E::BadChunkExtension),
        ("1\nx\r\n", E::BareLf),
        ("1\rx\r\n", E::BareCr),
        ("1\r\rx\r\n", E::BareCr),
        ("1\r\nxy\r\n", E::BadChunkEnd),
        ("1\r\nx0\r\n\r\n", E::BadChunkEnd),
        ("1\r\nx\n0\r\n\r\n", E::BadChunkEnd),
        ("1\r\nx\r0\r\n\r\n", E::BadChunkEnd),
        ("0\n\n", E::BareLf),
        ("0\r\n\n", E::BareLf),
        ("0\r\n x: y\r\n\r\n", E::SpaceBeforeFields),
        ("0\r\nx : y\r\n\r\n", E::SpaceBeforeColon),
        ("0\r\nx: y\r\n z\r\n\r\n", E::ObsFold),
        ("0\r\nx: y\n\r\n", E::BareLf),
        ("0\r\nGET / HTTP/1.1\r\n\r\n", E::SpaceBeforeColon),
    ];
    for (chunks, error) in cases {
        let bytes =
            format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        assert_eq!(refusal(&bytes), Some(error), "{chunks:?}");
    }
}

#[test]
fn chunked_is_no_framing_of_http10_and_connect_has_no_content() {
    let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(refusal(old), Some(E::EncodingInHttp10));
    for fields in ["Content-Length: 1", "Transfer-Encoding: chunked"] {
        let bytes = format!("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
        assert_eq!(refusal(&bytes), Some(E::ConnectWithBody), "{fields}");
    }
}

#[test]
fn what_is_refused_can_be_answered_and_ends_the_connection() {
    let (mut conn, mut heads) = (Conn::server(H1Limits::default()), HeadPool::new());
    let (mut input, mut out) = (ReadBuf::default(), Out::new());
    input.extend(b"GET / HTTP/1.1\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
    let error = conn.next(&mut input, &mut heads).unwrap_err();
    assert_eq!(error.status(), 400);
    let stream = conn.answerable().expect("nothing was written yet");
    conn.head(stream, &Head::response(400), true, &mut out)
        .unwrap();
    assert_eq!(
        text(out.pending()),
        "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    assert!(conn.wants_close() && conn.answerable().is_none());
    assert!(conn.next(&mut input, &mut heads).unwrap().is_none());
}
