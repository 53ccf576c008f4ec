//! Writing heads and bodies, framed anew.

use super::chars;
use crate::http::codec::{Out, Refused};
use crate::http::head::{Field, Flags, Head, Known, Method, Start};

/// How the body being written is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none; what is given all the same is dropped (a response to `HEAD`, a 304).
    Bodiless,
    /// By `Content-Length`: this much is left.
    Length(u64),
    /// By chunks.
    Chunked,
    /// By the end of the connection.
    Close,
}

/// What is said to the next hop besides the fields that were forwarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hop {
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
    /// Whether a `Content-Length` among the fields is left out: none may stand in a 1xx, a 204 or a tunnel's 2xx.
    pub(super) without_length: bool,
    /// What is added to frame the body.
    pub(super) framing: Added,
}

/// A framing field that the head does not have yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Added {
    #[default]
    Nothing,
    ZeroLength,
    Chunked,
}

/// The one `Content-Length` of `head`, among the fields that go on.
pub(super) fn length_of(head: &Head) -> Result<Option<u64>, Refused> {
    let mut all = head
        .forwarded()
        .filter(|field| field.known == Known::ContentLength);
    match (all.next(), all.next()) {
        (None, _) => Ok(None),
        (Some(it), None) => Ok(Some(chars::decimal(it.value).ok_or(Refused::Length)?)),
        (Some(_), Some(_)) => Err(Refused::Length),
    }
}

/// A request's head.
pub(super) fn request(head: &Head, hop: Hop, out: &mut Out) -> Result<(), Refused> {
    let Start::Request { method, .. } = head.start() else {
        return Err(Refused::WrongHead);
    };
    let target = match (method, head.path()) {
        (Method::Connect, _) => head.authority(), // RFC 9112 §3.2.3
        (_, b"") => b"/",                         // RFC 9112 §3.2.1
        (Method::Options, b"*") => b"*",          // RFC 9112 §3.2.4
        (_, path @ [b'/', ..]) => path,
        _ => return Err(Refused::Target),
    };
    if !chars::is_target(target) {
        return Err(Refused::Target);
    }
    if let Method::Other(_) = method
        && !chars::is_token(head.method_bytes())
    {
        return Err(Refused::Method);
    }
    out.extend(head.method_bytes());
    out.extend(b" ");
    out.extend(target);
    out.extend(b" HTTP/1.1\r\n");
    if head.get(Known::Host).is_none() {
        // RFC 9112 §3.2: first of all fields, and empty where there is no authority.
        line(b"Host", head.authority(), out)?;
    }
    fields(head, hop, out)?;
    finish(head, hop, out);
    Ok(())
}

/// A response's head.
pub(super) fn response(head: &Head, hop: Hop, out: &mut Out) -> Result<(), Refused> {
    let Start::Response { status } = head.start() else {
        return Err(Refused::WrongHead);
    };
    if status == 200 && head.reason.is_empty() {
        out.extend(b"HTTP/1.1 200 OK\r\n");
    } else {
        let reason = match head.slice(head.reason) {
            b"" => reason_of(status).as_bytes(),
            reason => reason,
        };
        let digits = [status / 100, status / 10 % 10, status % 10];
        if !(100..=999).contains(&status) {
            return Err(Refused::Status);
        }
        out.extend(b"HTTP/1.1 ");
        out.extend(&digits.map(|digit| b'0' + digit as u8));
        out.extend(b" ");
        out.extend(reason);
        out.extend(b"\r\n");
    }
    fields(head, hop, out)?;
    finish(head, hop, out);
    Ok(())
}

/// The trailer section, with the empty line that ends it.
pub(super) fn trailers(head: &Head, out: &mut Out) -> Result<(), Refused> {
    let hop = Hop {
        without_length: true,
        ..Hop::default()
    };
    fields(head, hop, out)?;
    out.extend(b"\r\n");
    Ok(())
}

/// A chunk's size line.
pub(super) fn chunk_size(mut size: usize, out: &mut Out) {
    let mut text = *b"0000000000000000\r\n";
    let mut start = 16;
    for (at, place) in text.iter_mut().enumerate().take(16).rev() {
        let digit = (size & 0xf) as u8;
        *place = if digit < 10 {
            b'0' + digit
        } else {
            b'a' + digit - 10
        };
        start = at;
        size >>= 4;
        if size == 0 {
            break;
        }
    }
    out.extend(text.get(start..).unwrap_or_default());
}

/// The fields that go on, in order: runs of untouched lines by copy, the others one by one.
fn fields(head: &Head, hop: Hop, out: &mut Out) -> Result<(), Refused> {
    let mut run = 0..0;
    let mut all = head.fields.iter().peekable();
    while let Some(field) = all.next() {
        let next = all.peek().map_or(u32::MAX, |next| next.name.start);
        if is_left_out(field, hop) {
            continue;
        }
        if field.flags.has(Flags::LINE) {
            // A line ends where the next one starts, or with the block.
            let (start, end) = (field.name.start as usize, next.min(head.lines_end) as usize);
            if run.end != start {
                copy(head, &run, out);
                run.start = start;
            }
            run.end = end;
        } else {
            copy(head, &run, out);
            run = 0..0;
            line(head.slice(field.name), head.slice(field.value), out)?;
        }
    }
    copy(head, &run, out);
    Ok(())
}

fn copy(head: &Head, run: &std::ops::Range<usize>, out: &mut Out) {
    if !run.is_empty() {
        out.extend(head.bytes.get(run.clone()).unwrap_or_default());
    }
}

fn is_left_out(field: &Field, hop: Hop) -> bool {
    field.flags.any(Flags::DROPPED | Flags::HOP_BY_HOP)
        || (hop.without_length && field.known == Known::ContentLength)
}

fn line(name: &[u8], value: &[u8], out: &mut Out) -> Result<(), Refused> {
    if !chars::is_token(name) {
        return Err(Refused::FieldName);
    }
    if !chars::is_field_value(value) {
        return Err(Refused::FieldValue);
    }
    out.extend(name);
    out.extend(b": ");
    out.extend(value);
    out.extend(b"\r\n");
    Ok(())
}

/// What this hop adds, and the empty line.
fn finish(head: &Head, hop: Hop, out: &mut Out) {
    out.extend(match hop.framing {
        Added::Nothing => b"",
        Added::ZeroLength => b"Content-Length: 0\r\n",
        Added::Chunked => &b"Transfer-Encoding: chunked\r\n"[..],
    });
    // RFC 9110 §10.1.4: whoever sends TE names it in Connection.
    let te = matches!(head.start(), Start::Request { .. })
        && head.forwarded().any(|field| field.known == Known::Te);
    let mut lead: &[u8] = b"Connection: ";
    for (option, said) in [
        (&b"close"[..], hop.close),
        (b"keep-alive", hop.keep_alive && !hop.close),
        (b"Upgrade", hop.upgrade),
        (b"TE", te),
    ] {
        if said {
            out.extend(lead);
            out.extend(option);
            lead = b", ";
        }
    }
    if lead == b", " {
        out.extend(b"\r\n");
    }
    if hop.upgrade
        && let Some(protocol) = head.upgrade()
    {
        out.extend(b"Upgrade: ");
        out.extend(protocol);
        out.extend(b"\r\n");
    }
    out.extend(b"\r\n");
}

/// The usual reason phrase (RFC 9110 §15), or nothing.
fn reason_of(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        511 => "Network Authentication Required",
        _ => "",
    }
}
