//! What a TLS client asks for in its first message.

use std::sync::Arc;

use rustls::server::Acceptor;

/// What a ClientHello asks for (RFC 8446 §4.1.2), as far as filter chains match it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// The name of the server, lower case (RFC 6066 §3).
    pub server_name: Option<Arc<str>>,
    /// The protocols that may be spoken inside, by preference (RFC 7301).
    pub alpn: Vec<Arc<str>>,
}

/// What bytes that began as a ClientHello turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HelloScan {
    /// The beginning of one.
    More,
    /// One.
    Whole(Hello),
    /// None: a handshake will say why.
    Broken,
}

/// Longest ClientHello that is looked at: with hybrid key shares and a ticket one has some 2 KiB.
pub const HELLO_BYTES_MAX: usize = 64 * 1024;

/// Protocols of one ClientHello that are looked at.
const ALPN_MAX: usize = 64;

/// Looks at the first bytes of a TLS connection, all of them that there are.
pub fn scan_hello(bytes: &[u8]) -> HelloScan {
    let mut acceptor = Acceptor::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        match acceptor.read_tls(&mut rest) {
            Ok(0) | Err(_) => return HelloScan::Broken,
            Ok(_) => {}
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => return HelloScan::Whole(Hello::of(&accepted.client_hello())),
            Err(_) => return HelloScan::Broken,
        }
    }
    match bytes.len() < HELLO_BYTES_MAX {
        true => HelloScan::More,
        false => HelloScan::Broken,
    }
}

impl Hello {
    fn of(hello: &rustls::server::ClientHello<'_>) -> Self {
        let text = |bytes: &[u8]| Arc::from(String::from_utf8_lossy(bytes));
        let alpn = hello.alpn().into_iter().flatten();
        Self {
            server_name: hello
                .server_name()
                .map(|name| name.to_ascii_lowercase().into()),
            alpn: alpn.take(ALPN_MAX).map(text).collect(),
        }
    }
}
