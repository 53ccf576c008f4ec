//! What a proxy notes on a request: who sent it, how, and its number.

use std::fmt::Write;
use std::net::IpAddr;

use weft_config::listener::HttpConnectionManager;

use super::exchange::Exchange;
use crate::http::head::{Head, Known, Scheme};

impl Exchange {
    /// Notes the downstream in `X-Forwarded-For` and `-Proto` as configured, and makes sure of an `x-request-id`.
    pub(super) fn receive_forwarded(
        &mut self,
        hcm: &HttpConnectionManager,
        rng: &mut fastrand::Rng,
        text: &mut String,
    ) {
        let peer = self.facts.peer.ip().to_canonical();
        let head = &mut self.head;
        self.client = client(head, hcm, peer);
        text.clear();
        if hcm.use_remote_address {
            let _ = write!(text, "{peer}");
            head.append(b"x-forwarded-for", text.as_bytes());
        }
        self.receive_client_cert(hcm.forward_client_cert, text);
        let (head, encrypted) = (&mut self.head, self.facts.tls.is_some());
        // A hop that is not trusted does not say how the request came.
        let told = head.get(Known::XForwardedProto).is_some();
        if !told || (hcm.use_remote_address && hcm.xff_num_trusted_hops == 0) {
            let scheme: &[u8] = match head.scheme() {
                _ if encrypted => b"https",
                Scheme::Http => b"http",
                Scheme::Https => b"https",
            };
            head.set(b"x-forwarded-proto", scheme);
        }
        if head.get(Known::XRequestId).is_none() {
            head.add_known(Known::XRequestId, &request_id(rng));
        }
    }
}

/// The address that the request came from, as far as hops are trusted.
fn client(head: &Head, hcm: &HttpConnectionManager, peer: IpAddr) -> IpAddr {
    let hops = hcm.xff_num_trusted_hops as usize;
    let back = match (hcm.use_remote_address, hops) {
        (true, 0) => return peer,
        (true, hops) => hops - 1,
        (false, hops) => hops,
    };
    let mut newest_first = head
        .get_all(Known::XForwardedFor)
        .collect::<smallvec::SmallVec<[&[u8]; 2]>>()
        .into_iter()
        .rev()
        .flat_map(|line| line.rsplit(|byte| *byte == b','));
    newest_first
        .nth(back)
        .and_then(|entry| std::str::from_utf8(entry.trim_ascii()).ok())
        .and_then(|entry| entry.parse::<IpAddr>().ok())
        .unwrap_or(peer)
}

/// A random UUID (RFC 9562 §5.4).
fn request_id(rng: &mut fastrand::Rng) -> [u8; 36] {
    let mut bytes = rng.u128(..).to_be_bytes();
    let [.., six, _, eight, _, _, _, _, _, _, _] = &mut bytes;
    *six = (*six & 0x0f) | 0x40;
    *eight = (*eight & 0x3f) | 0x80;
    let mut id = [b'-'; 36];
    let mut places = id.iter_mut();
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            places.next();
        }
        for nibble in [byte >> 4, byte & 15] {
            if let Some(place) = places.next() {
                *place = if nibble < 10 {
                    b'0' + nibble
                } else {
                    b'a' + nibble - 10
                };
            }
        }
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_a_random_uuid() {
        let id = request_id(&mut fastrand::Rng::with_seed(1));
        let text = std::str::from_utf8(&id).unwrap();
        let parts: Vec<_> = text.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert_eq!(&text[14..15], "4");
        assert!(matches!(&text[19..20], "8" | "9" | "a" | "b"));
    }
}
