//! Both sides of every bound.

use super::*;
use ProtocolError as E;

fn tight() -> H1Limits {
    H1Limits {
        request_line_bytes_max: 30,
        header_bytes_max: 80,
        header_count_max: 3,
        trailer_bytes_max: 20,
        trailer_count_max: 2,
        chunk_extension_bytes_max: 8,
        blank_lines_max: 1,
        interim_max: 1,
    }
}

/// The error with which a server of tight limits refuses `bytes`, however they arrive.
fn refusal(bytes: &str) -> Option<E> {
    let whole = serve_with(tight(), [bytes.as_bytes()]);
    let dripped = serve_with(tight(), bytes.as_bytes().chunks(1));
    assert_eq!(whole, dripped, "{bytes:?}");
    whole.into_iter().find_map(|seen| match seen {
        Seen::Error(error) => Some(error),
        _ => None,
    })
}

fn line(len: usize) -> String {
    let path = "a".repeat(len - "GET / HTTP/1.1".len());
    format!("GET /{path} HTTP/1.1")
}

#[test]
fn request_lines() {
    assert_eq!(refusal(&format!("{}\r\nHost: a\r\n\r\n", line(30))), None);
    let long = format!("{}\r\nHost: a\r\n\r\n", line(31));
    assert_eq!(refusal(&long), Some(E::RequestLineTooLong));
    assert_eq!(refusal(&"x".repeat(33)), Some(E::RequestLineTooLong));
    assert_eq!(E::RequestLineTooLong.status(), 414);
}

fn of_len(len: usize) -> String {
    let start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
    format!("{start}{}\r\n\r\n", "y".repeat(len - start.len() - 4))
}

#[test]
fn heads() {
    assert_eq!(refusal(&of_len(80)), None);
    assert_eq!(refusal(&of_len(81)), Some(E::HeadTooLarge));
    assert_eq!(refusal(of_len(120).trim_end()), Some(E::HeadTooLarge));
    assert_eq!(E::HeadTooLarge.status(), 431);
    let fields = |count: usize| "X: y\r\n".repeat(count - 1);
    let start = "GET / HTTP/1.1\r\nHost: a\r\n";
    assert_eq!(refusal(&format!("{start}{}\r\n", fields(3))), None);
    let many = format!("{start}{}\r\n", fields(4));
    assert_eq!(refusal(&many), Some(E::TooManyFields));
}

#[test]
fn blank_lines() {
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(refusal(&format!("\r\n{request}\r\n{request}")), None);
    let two = format!("\r\n\r\n{request}");
    assert_eq!(refusal(&two), Some(E::BlankLines));
}

fn chunked(chunks: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}")
}

#[test]
fn chunk_extensions_count_over_the_whole_body() {
    // Counted with the CR that ends them.
    assert_eq!(refusal(&chunked("1;a=bcd\r\nx\r\n0\r\n\r\n")), None);
    let one = chunked("1;a=bcdefg\r\nx\r\n0\r\n\r\n");
    assert_eq!(refusal(&one), Some(E::ChunkExtensionsTooLong));
    let three = chunked(&"1;abc\r\nx\r\n".repeat(3));
    assert_eq!(refusal(&three), Some(E::ChunkExtensionsTooLong));
}

#[test]
fn trailers() {
    assert_eq!(refusal(&chunked("0\r\na: b\r\nc: d\r\n\r\n")), None);
    let many = chunked("0\r\na:b\r\nc:d\r\ne:f\r\n\r\n");
    assert_eq!(refusal(&many), Some(E::TrailersTooLarge));
    let long = chunked("0\r\na: 0123456789abcdef\r\n\r\n");
    assert_eq!(refusal(&long), Some(E::TrailersTooLarge));
}

#[test]
fn a_head_larger_than_any_read_is_taken_in_parts() {
    let value = "v".repeat(50_000);
    let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {value}\r\n\r\n");
    for size in [1, 7, 4096, 16384] {
        let seen = serve_with(H1Limits::default(), bytes.as_bytes().chunks(size));
        let expected = head("GET a /", &[("Host", "a"), ("X", value.as_str())], true);
        assert!(seen == [expected], "pieces of {size}");
    }
}
