//! What the first bytes of a connection say about its protocol. Pure: bytes in, verdict out.

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// A TLS ClientHello came first.
    Tls,
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2 by prior knowledge.
    Http2,
    /// Anything else, or silence, or the server spoke first.
    Opaque,
}

/// The bytes every HTTP/2 connection begins with (RFC 9113 §3.4).
pub const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Request lines are looked at up to this length; what is longer and began with a registered method is HTTP/1.
pub const REQUEST_LINE_BYTES_MAX: usize = 8 * 1024;

/// Method names are looked at up to this length.
const METHOD_BYTES_MAX: usize = 24;

/// Says what `bytes`, the first of a connection, speak; `None` while more are needed.
///
/// The verdict depends on the bytes alone and not on how they were split: once given, more bytes do not change it.
/// At most [`REQUEST_LINE_BYTES_MAX`] bytes are ever needed.
pub fn classify(bytes: &[u8]) -> Option<Protocol> {
    match bytes.first()? {
        TLS_HANDSHAKE => classify_tls(bytes),
        _ if HTTP2_PREFACE.starts_with(bytes) && bytes.len() < HTTP2_PREFACE.len() => None,
        _ if bytes.starts_with(HTTP2_PREFACE) => Some(Protocol::Http2),
        _ => classify_http1(bytes),
    }
}

/// Says whether `bytes` are HTTP/2 where only HTTP can be meant: all that does not begin with the HTTP/2 preface is
/// left to the HTTP/1 codec to answer or refuse.
pub fn classify_http(bytes: &[u8]) -> Option<Protocol> {
    if bytes.starts_with(HTTP2_PREFACE) {
        return Some(Protocol::Http2);
    }
    if HTTP2_PREFACE.starts_with(bytes) {
        return None;
    }
    Some(Protocol::Http1)
}

const TLS_HANDSHAKE: &u8 = &0x16;

/// RFC 8446 §5.1: a record of type handshake, legacy version 3.x, 1 to 2^14 bytes (§5.1; 2^14 + 2048 in TLS 1.2),
/// whose first byte is `client_hello`.
fn classify_tls(bytes: &[u8]) -> Option<Protocol> {
    const RECORD_BYTES_MAX: u16 = (1 << 14) + 2048;
    const CLIENT_HELLO: u8 = 1;
    let holds = match *bytes {
        [_] => return None,
        [_, 3] => return None,
        [_, 3, minor] | [_, 3, minor, _] if minor <= 4 => return None,
        [_, 3, minor, high, low] if minor <= 4 && record_fits(high, low, RECORD_BYTES_MAX) => {
            return None;
        }
        [_, 3, minor, high, low, CLIENT_HELLO, ..] => {
            minor <= 4 && record_fits(high, low, RECORD_BYTES_MAX)
        }
        _ => false,
    };
    Some(if holds {
        Protocol::Tls
    } else {
        Protocol::Opaque
    })
}

fn record_fits(high: u8, low: u8, max: u16) -> bool {
    (1..=max).contains(&u16::from_be_bytes([high, low]))
}

/// RFC 9112 §3: `method SP request-target SP HTTP-version`, empty lines before it tolerated (§2.2): servers skip more than one.
///
/// The version is what tells HTTP from the many line protocols that begin with a word (`GET key` is valid Redis).
fn classify_http1(bytes: &[u8]) -> Option<Protocol> {
    let more_may_come = bytes.len() < REQUEST_LINE_BYTES_MAX;
    let mut line = bytes.get(..REQUEST_LINE_BYTES_MAX).unwrap_or(bytes);
    while let Some(rest) = line.strip_prefix(b"\r\n") {
        line = rest;
    }
    if matches!(line, [] | [b'\r']) {
        return (!more_may_come).then_some(Protocol::Opaque);
    }
    let end = memchr::memchr(b'\n', line);
    let whole = end.and_then(|end| line.get(..end)).unwrap_or(line);
    let Some(space) = memchr::memchr(b' ', whole) else {
        let may_become_method = more_may_come
            && end.is_none()
            && whole.len() <= METHOD_BYTES_MAX
            && whole.iter().all(is_token);
        return if may_become_method {
            None
        } else {
            Some(Protocol::Opaque)
        };
    };
    let (method, rest) = whole.split_at(space);
    if method.is_empty() || method.len() > METHOD_BYTES_MAX || !method.iter().all(is_token) {
        return Some(Protocol::Opaque);
    }
    if !rest.iter().all(is_request_line_byte) {
        return Some(Protocol::Opaque);
    }
    if end.is_some() {
        return Some(if ends_in_version(rest) {
            Protocol::Http1
        } else {
            Protocol::Opaque
        });
    }
    if more_may_come {
        return None;
    }
    Some(if METHODS.contains(&method) {
        Protocol::Http1
    } else {
        Protocol::Opaque
    })
}

/// ` target HTTP/1.x`, with or without the CR; the target is not empty and has no spaces.
fn ends_in_version(rest: &[u8]) -> bool {
    let rest = rest.strip_suffix(b"\r").unwrap_or(rest);
    let mut words = rest.split(|b| *b == b' ');
    let shape = (words.next(), words.next(), words.next(), words.next());
    let (Some(b""), Some(target), Some(version), None) = shape else {
        return false;
    };
    !target.is_empty() && matches!(version, b"HTTP/1.1" | b"HTTP/1.0")
}

/// Methods of the IANA registry that proxies meet, for request lines too long to be seen whole.
const METHODS: &[&[u8]] = &[
    b"GET",
    b"HEAD",
    b"POST",
    b"PUT",
    b"DELETE",
    b"CONNECT",
    b"OPTIONS",
    b"TRACE",
    b"PATCH",
    b"PROPFIND",
    b"REPORT",
    b"SEARCH",
];

/// `tchar` of RFC 9110 §5.6.2.
fn is_token(b: &u8) -> bool {
    matches!(
        b,
        b'!' | b'#'
            | b'$'
            | b'%'
            | b'&'
            | b'\''
            | b'*'
            | b'+'
            | b'-'
            | b'.'
            | b'^'
            | b'_'
            | b'`'
            | b'|'
            | b'~'
    ) || b.is_ascii_alphanumeric()
}

/// Visible bytes, the spaces between words, bytes above ASCII that sloppy clients send, and the CR of the line's end.
fn is_request_line_byte(b: &u8) -> bool {
    *b >= b' ' && *b != 0x7f || *b == b'\r'
}

#[cfg(test)]
mod tests;
