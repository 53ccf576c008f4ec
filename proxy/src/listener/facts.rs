//! What is known of a connection before any of its requests.

use std::net::SocketAddr;
use std::sync::Arc;

use weft_config::listener::Direction;

use crate::detect::Protocol;

/// What is known of an accepted connection.
///
/// A connection keeps these facts and its listener's name, never the listener itself: what applies to it is looked
/// up in the snapshot in force, by request (HTTP) or by connection attempt (TCP).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionFacts {
    /// Name of the listener that accepted it.
    pub listener: Arc<str>,
    /// The downstream's address.
    pub peer: SocketAddr,
    /// Our address on this connection.
    pub local: SocketAddr,
    /// Where the downstream meant to go, if the listener asks for it and the connection was redirected.
    pub original_dst: Option<SocketAddr>,
    /// Which way the listener's traffic goes.
    pub direction: Direction,
    /// What the first bytes said; `None` where nothing was looked at.
    pub protocol: Option<Protocol>,
}

impl ConnectionFacts {
    /// The address that filter chains match: the original destination, or our own.
    pub fn destination(&self) -> SocketAddr {
        self.original_dst.unwrap_or(self.local)
    }

    /// `application_protocols` as Envoy's `http_inspector` names what was found.
    pub fn application_protocol(&self) -> Option<&'static str> {
        match self.protocol? {
            Protocol::Http1 => Some("http/1.1"),
            Protocol::Http2 => Some("h2c"),
            Protocol::Tls | Protocol::Opaque => None,
        }
    }

    /// `transport_protocol` of a filter chain match: `tls` for a ClientHello, else `raw_buffer`.
    pub fn transport_protocol(&self) -> &'static str {
        match self.protocol {
            Some(Protocol::Tls) => "tls",
            _ => "raw_buffer",
        }
    }
}
