//! The four forms of a request target (RFC 9112 §3.2).

use super::chars::{self, Port};
use crate::http::codec::ProtocolError;
use crate::http::head::{Head, Method, Scheme, Span, Start};

/// Reads the target at `target` of `head` and completes its start line. `host` is where the value of `Host` is.
pub(super) fn settle(
    head: &mut Head,
    method: Method,
    target: Span,
    host: Option<Span>,
) -> Result<(), ProtocolError> {
    let mut scheme = Scheme::Http;
    let host = host.unwrap_or_default();
    // RFC 9112 §3.2: a Host with an invalid value is refused, even where the target overrides it.
    if !host.is_empty() && !chars::is_authority(head.slice(host), Port::Optional) {
        return Err(ProtocolError::BadHost);
    }
    let (path, authority) = match (method, head.slice(target)) {
        (Method::Connect, text) => {
            // §3.2.3: authority-form is for CONNECT alone, and CONNECT for it.
            if !chars::is_authority(text, Port::Required) {
                return Err(ProtocolError::BadTarget);
            }
            (Span::default(), target)
        }
        (_, [b'/', ..]) => (target, host),         // §3.2.1
        (Method::Options, b"*") => (target, host), // §3.2.4
        _ => {
            let parts = absolute(head.slice(target))?;
            scheme = parts.scheme;
            let start = target.start as usize;
            let authority = Span::new(start + parts.authority, start + parts.path);
            (
                absolute_path(head, method, Span::new(start + parts.path, target.end())),
                authority,
            )
        }
    };
    head.start = Start::Request {
        method,
        path,
        authority,
        scheme,
    };
    // §3.2.2: what Host says is ignored where the target has an authority, and replaced by it.
    if authority != host && head.slice(authority) != head.slice(host) {
        head.settle_host(authority);
    }
    Ok(())
}

struct Absolute {
    scheme: Scheme,
    /// Offset of the authority in the target.
    authority: usize,
    /// Offset of the path, behind the authority.
    path: usize,
}

/// absolute-form (RFC 9112 §3.2.2) of the schemes a proxy can serve.
fn absolute(text: &[u8]) -> Result<Absolute, ProtocolError> {
    let colon = memchr::memchr(b':', text).ok_or(ProtocolError::BadTarget)?;
    let (name, rest) = text.split_at(colon);
    let scheme = if name.eq_ignore_ascii_case(b"http") {
        Scheme::Http
    } else if name.eq_ignore_ascii_case(b"https") {
        Scheme::Https
    } else {
        return Err(ProtocolError::BadTarget);
    };
    let rest = rest.strip_prefix(b"://").ok_or(ProtocolError::BadTarget)?;
    let len = memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len());
    let (authority, _) = rest.split_at(len);
    // RFC 9110 §4.2.1: an empty host is refused; §4.2.4: so is user information.
    if !chars::is_authority(authority, Port::Optional) {
        return Err(ProtocolError::BadTarget);
    }
    Ok(Absolute {
        scheme,
        authority: colon + 3,
        path: colon + 3 + len,
    })
}

/// The path and query of an absolute-form target, in the form in which they are sent on.
fn absolute_path(head: &mut Head, method: Method, path: Span) -> Span {
    match head.slice(path) {
        [b'/', ..] => path,
        // RFC 9112 §3.2.4: the last proxy sends `*` for OPTIONS without path and query.
        [] if method == Method::Options => head.put(b"*"),
        [] => head.put(b"/"),
        _ => {
            let start = head.bytes.len();
            head.bytes.push(b'/');
            head.bytes
                .extend_from_within(path.start as usize..path.end());
            Span::new(start, head.bytes.len())
        }
    }
}
