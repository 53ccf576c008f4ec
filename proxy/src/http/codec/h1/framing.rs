//! What the fields of a head say about the body and the connection.

use super::chars;
use crate::http::codec::ProtocolError;
use crate::http::head::{Field, Flags, Head, Known, Span, Version};

/// Noted while the fields of a head are read.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) host: Option<Span>,
    pub(super) length: Option<u64>,
    encoding: Encoding,
    /// One of the fields that need a second look: `Connection`, `TE`, `Expect`.
    connection: bool,
    te: bool,
    expect: bool,
    upgrade: bool,
}

/// What was seen of `Transfer-Encoding`, all its fields as one list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Encoding {
    /// There was such a field.
    present: bool,
    /// The last coding was chunked.
    chunked: bool,
    /// Some other coding was named.
    other: bool,
}

/// How the end of a body is found (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// Neither field was there.
    Unsaid,
    Known(u64),
    Chunked,
}

impl Facts {
    /// Notes a field of a request or response.
    pub(super) fn note(
        &mut self,
        known: Known,
        value: &[u8],
        at: Span,
    ) -> Result<(), ProtocolError> {
        match known {
            Known::Host if self.host.replace(at).is_some() => return Err(ProtocolError::ManyHosts),
            Known::Host => {}
            Known::ContentLength => {
                // RFC 9112 §6.3: a list is refused or, when all are equal, made one; we refuse.
                if self.length.is_some() || value.contains(&b',') {
                    return Err(ProtocolError::ManyLengths);
                }
                self.length = Some(chars::decimal(value).ok_or(ProtocolError::BadLength)?);
            }
            Known::TransferEncoding => self.encoding.note(value)?,
            Known::Connection => self.connection = true,
            Known::Te => self.te = true,
            Known::Expect => self.expect = true,
            Known::Upgrade => self.upgrade = true,
            _ => {}
        }
        Ok(())
    }

    /// The body's length, once all fields were seen.
    pub(super) fn length(&self, version: Version) -> Result<Length, ProtocolError> {
        if !self.encoding.present {
            return Ok(self.length.map_or(Length::Unsaid, Length::Known));
        }
        // RFC 9112 §6.1: an HTTP/1.0 message with Transfer-Encoding has faulty framing.
        if version == Version::Http10 {
            return Err(ProtocolError::EncodingInHttp10);
        }
        // §6.3: this "ought to be handled as an error"; taking it is how requests are smuggled.
        if self.length.is_some() {
            return Err(ProtocolError::LengthAndEncoding);
        }
        // §6.3: chunked not last, the length cannot be told.
        if !self.encoding.chunked {
            return Err(ProtocolError::NotFinallyChunked);
        }
        if self.encoding.other {
            return Err(ProtocolError::UnknownCoding);
        }
        Ok(Length::Chunked)
    }

    /// Does what the head says of this hop: marks what is not forwarded, and tells whether the connection persists.
    pub(super) fn settle_hop(&self, head: &mut Head) -> bool {
        let options = if self.connection {
            read_connection(head)
        } else {
            Options::default()
        };
        if self.te {
            keep_te_trailers(head);
        }
        if self.expect && head.version == Version::Http10 {
            // RFC 9110 §10.1.1: from an HTTP/1.0 client, 100-continue is ignored.
            head.remove(Known::Expect);
        }
        // RFC 9110 §7.8: an HTTP/1.0 message cannot upgrade; RFC 9113 §3.1: h2c is obsolete, and passing it on would
        // hide the requests behind it from every policy.
        head.upgrade = self.upgrade
            && options.upgrade
            && head.version == Version::Http11
            && head
                .get_all(Known::Upgrade)
                .all(|value| chars::members(value).all(|member| !is_h2c(member)));
        // RFC 9112 §9.3.
        !options.close && (head.version == Version::Http11 || options.keep_alive)
    }
}

impl Encoding {
    fn note(&mut self, value: &[u8]) -> Result<(), ProtocolError> {
        self.present = true;
        for member in chars::members(value) {
            // RFC 9112 §6.1: chunked once and last. An empty member is refused with it: some read it, some do not.
            if self.chunked || member.is_empty() {
                return Err(ProtocolError::NotFinallyChunked);
            }
            if member.eq_ignore_ascii_case(b"chunked") {
                self.chunked = true;
            } else {
                self.other = true;
            }
        }
        Ok(())
    }
}

#[derive(Default)]
struct Options {
    close: bool,
    keep_alive: bool,
    upgrade: bool,
}

/// Reads the connection options and marks the fields they name (RFC 9110 §7.6.1).
fn read_connection(head: &mut Head) -> Options {
    let mut options = Options::default();
    let bytes = std::mem::take(&mut head.bytes);
    // By index: the fields are marked while their list is read.
    for at in 0..head.fields.len() {
        let Some(field) = head.fields.get(at) else {
            break;
        };
        if field.known != Known::Connection {
            continue;
        }
        for option in chars::members(field.value.of(&bytes)) {
            if option.eq_ignore_ascii_case(b"close") {
                options.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                options.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                options.upgrade = true;
            } else if !option.is_empty() {
                mark_named(&mut head.fields, &bytes, option);
            }
        }
    }
    head.bytes = bytes;
    options
}

/// Marks the fields called `name`, except those no message can lose on its way.
fn mark_named(fields: &mut [Field], bytes: &[u8], name: &[u8]) {
    // RFC 9110 §7.6.1: a sender must not name fields meant for all recipients. These two would change where the
    // message goes and where it ends.
    if matches!(Known::of(name), Known::Host | Known::ContentLength) {
        return;
    }
    for field in fields {
        if field.name.of(bytes).eq_ignore_ascii_case(name) {
            field.flags.set(Flags::HOP_BY_HOP);
        }
    }
}

/// `TE` ends here but for its member `trailers`: we pass trailers on (RFC 9110 §10.1.4).
fn keep_te_trailers(head: &mut Head) {
    let asks = head
        .get_all(Known::Te)
        .any(|value| chars::members(value).any(|member| member.eq_ignore_ascii_case(b"trailers")));
    if !asks {
        return;
    }
    let bytes = std::mem::take(&mut head.bytes);
    let whole = head.fields.iter_mut().find(|field| {
        field.known == Known::Te && field.value.of(&bytes).eq_ignore_ascii_case(b"trailers")
    });
    let kept = whole.map(|field| field.flags.unset(Flags::HOP_BY_HOP));
    head.bytes = bytes;
    if kept.is_none() {
        head.add_known(Known::Te, b"trailers");
        if let Some(field) = head.fields.last_mut() {
            field.flags.unset(Flags::HOP_BY_HOP);
        }
    }
}

fn is_h2c(member: &[u8]) -> bool {
    member.eq_ignore_ascii_case(b"h2c")
}
