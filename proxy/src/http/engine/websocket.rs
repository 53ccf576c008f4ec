//! WebSockets between HTTP/1 and HTTP/2 (RFC 6455, RFC 8441).
//!
//! An HTTP/1 handshake proves by a key and its digest that both sides mean it; extended CONNECT has neither. So towards
//! HTTP/1 a key is made, and the digest of a key that came over HTTP/1 is what the answer says.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha1::{Digest, Sha1};

use crate::http::head::Head;

const KEY: &[u8] = b"sec-websocket-key";
const ACCEPT: &[u8] = b"sec-websocket-accept";

/// RFC 6455 §1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Makes a request for extended CONNECT out of one for an upgrade; what its answer is to say over HTTP/1.
pub(super) fn without_key(request: &mut Head) -> Option<Box<str>> {
    let key = request.get_name(KEY)?;
    let accept =
        BASE64_STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize());
    request.remove_name(KEY);
    Some(accept.into())
}

/// Makes a request for an upgrade out of one for extended CONNECT.
pub(super) fn with_key(request: &mut Head, rng: &mut fastrand::Rng) {
    let websocket = request
        .upgrade()
        .is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket"));
    if websocket && request.get_name(KEY).is_none() {
        let key = BASE64_STANDARD.encode(rng.u128(..).to_be_bytes());
        request.add(KEY, key.as_bytes());
    }
}

/// The answer to an upgrade, for a downstream that asked over HTTP/1 (`accept`) or over HTTP/2.
pub(super) fn answer(head: &mut Head, accept: Option<&str>) {
    match accept {
        Some(accept) => head.set(ACCEPT, accept.as_bytes()),
        None => drop(head.remove_name(ACCEPT)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_the_specification() {
        let mut request = Head::request(b"GET", b"a", b"/chat");
        request.add(b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ==");
        let accept = without_key(&mut request);
        assert_eq!(accept.as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert_eq!(request.get_name(KEY), None);
    }
}
