//! What is known of a connection before any of its requests.

use std::net::SocketAddr;
use std::sync::Arc;

use weft_config::listener::Direction;

use crate::detect::{Hello, Protocol};
use crate::endpoint::Beside;
use crate::tls::TlsFacts;

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
    /// What the way to an application beside us depends on, where it does not go by our own loopback address alone.
    pub beside: Option<Beside>,
    /// Which way the listener's traffic goes.
    pub direction: Direction,
    /// What is spoken, inside of TLS where there is TLS; `None` where nothing was looked at.
    pub protocol: Option<Protocol>,
    /// What its ClientHello asked for, where it began with one.
    pub hello: Option<Arc<Hello>>,
    /// What its handshake has shown, where TLS ends here.
    pub tls: Option<Arc<TlsFacts>>,
}

impl ConnectionFacts {
    /// The address that filter chains match: the original destination, or our own.
    pub fn destination(&self) -> SocketAddr {
        self.original_dst.unwrap_or(self.local)
    }

    /// Whether one of `application_protocols` is spoken: of TLS, what the client offers; of others what was found, as Envoy's
    /// `http_inspector` names it.
    pub fn speaks(&self, wanted: &str) -> bool {
        if let Some(hello) = &self.hello {
            return hello.alpn.iter().any(|offered| &**offered == wanted);
        }
        match self.protocol {
            Some(Protocol::Http1) => wanted == "http/1.1",
            Some(Protocol::Http2) => wanted == "h2c",
            Some(Protocol::Tls | Protocol::Opaque) | None => false,
        }
    }

    /// The name that a TLS client asks for.
    pub fn server_name(&self) -> Option<&str> {
        self.hello.as_ref()?.server_name.as_deref()
    }

    /// `transport_protocol` of a filter chain match: `tls` for a ClientHello, else `raw_buffer`.
    pub fn transport_protocol(&self) -> &'static str {
        match self.protocol {
            _ if self.hello.is_some() => "tls",
            Some(Protocol::Tls) => "tls",
            _ => "raw_buffer",
        }
    }
}
