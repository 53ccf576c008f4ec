//! What must hold of protocol detection for any first bytes.
//!
//! - A verdict depends on the bytes alone: once given, more bytes do not change it.
//! - There is one for any bytes as many as are ever looked at.

use weft_proxy::detect::classify::{Protocol, REQUEST_LINE_BYTES_MAX};
use weft_proxy::detect::{classify, classify_http};

/// The empty line that may come before a request line.
const EMPTY_LINE: usize = 2;

pub(crate) fn first_bytes(data: &[u8]) {
    settles(data, classify);
    settles(data, classify_http);
    let enough = data.len() >= REQUEST_LINE_BYTES_MAX + EMPTY_LINE;
    assert!(!enough || classify(data).is_some(), "bounded");
    // Where anything may come, HTTP/2 is what it is where only HTTP may.
    let anything = classify(data) == Some(Protocol::Http2);
    assert_eq!(anything, classify_http(data) == Some(Protocol::Http2));
}

fn settles(data: &[u8], verdict: fn(&[u8]) -> Option<Protocol>) {
    let mut settled = None;
    for (length, _) in data.iter().enumerate() {
        let (so_far, _) = data.split_at(length + 1);
        let now = verdict(so_far);
        assert!(settled.is_none() || now == settled, "at {length}");
        settled = now;
    }
}
