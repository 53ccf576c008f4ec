//! Writing heads as field blocks.

use super::hpack::{Encoder, Indexing};
use super::spelling;
use crate::http::codec::{Refused, chars};
use crate::http::head::{FieldRef, Flags, Head, Known, Method, Scheme, Start};

/// What a head becomes on this hop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hop {
    /// The request is an extended CONNECT, the response opens its tunnel (RFC 8441).
    pub(super) extended: bool,
    /// Whether a `Content-Length` is left out: none may stand in a 1xx, a 204 or before a tunnel (RFC 9110 §8.6).
    pub(super) without_length: bool,
    /// Whether there is room to tell how names are spelled.
    pub(super) spelled: bool,
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

/// Whether all of `head` can be written. Afterwards it must be written: what a block puts into the tables stays there.
pub(super) fn check(head: &Head) -> Result<(), Refused> {
    for field in head.forwarded() {
        // What was not edited was checked by the codec that read it.
        if !field.flags.has(Flags::ADDED) {
            continue;
        }
        if field.known == Known::Other && !chars::is_token(field.name) {
            return Err(Refused::FieldName);
        }
        if !chars::is_field_value(field.value) {
            return Err(Refused::FieldValue);
        }
    }
    Ok(())
}

/// Whether `head` is as small as the peer wants heads to be (RFC 9113 §10.5.1); `true`: with room for its spelling, too.
pub(super) fn check_size(head: &Head, max: u32) -> Result<bool, Refused> {
    // What is not written counts here too, and names in full.
    let at_most =
        head.bytes.len() + (head.fields.len() + PSEUDO_FIELDS) * (FIELD_BYTES + NAME_BYTES);
    if at_most <= max as usize {
        return Ok(true);
    }
    let bytes = size_of(head);
    match bytes <= max as usize {
        true => Ok(false),
        false => Err(Refused::HeadTooLarge { bytes, max }),
    }
}

/// Bytes of `head` as RFC 9113 §6.5.2 counts them.
fn size_of(head: &Head) -> usize {
    let field = |name: &[u8], value: &[u8]| name.len() + value.len() + FIELD_BYTES;
    let pseudo = match head.start() {
        Start::Request { scheme, .. } => {
            let scheme = match scheme {
                Scheme::Http => b"http".as_slice(),
                Scheme::Https => b"https",
            };
            field(b":method", head.method_bytes())
                + field(b":scheme", scheme)
                + field(b":authority", head.authority())
                + field(b":path", head.path())
        }
        Start::Response { .. } => field(b":status", b"200"),
        Start::Trailers => 0,
    };
    let written = head
        .forwarded()
        .filter(|it| !is_left_out(it, Hop::default()));
    let fields = written.map(|it| field(it.name, chars::trim(it.value)));
    pseudo + fields.sum::<usize>()
}

/// What a field counts beside name and value (RFC 9113 §6.5.2).
const FIELD_BYTES: usize = 32;

/// No name that heads do not hold themselves is longer.
const NAME_BYTES: usize = 48;

/// A message has so many at most.
const PSEUDO_FIELDS: usize = 5;

/// The pseudo-fields of a request (RFC 9113 §8.3.1), which are all in order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'h> {
    method: &'h [u8],
    scheme: Option<Scheme>,
    authority: &'h [u8],
    path: Option<&'h [u8]>,
    protocol: Option<&'h [u8]>,
}

impl<'h> Target<'h> {
    /// What the request `head` asks for.
    pub(super) fn of(head: &'h Head, hop: Hop) -> Result<Self, Refused> {
        let Start::Request { method, scheme, .. } = head.start() else {
            return Err(Refused::WrongHead);
        };
        if let Method::Other(_) = method
            && !chars::is_token(head.method_bytes())
        {
            return Err(Refused::Method);
        }
        let authority = head.authority();
        if !authority.is_empty() && !chars::is_target(authority) {
            return Err(Refused::Target);
        }
        if method == Method::Connect {
            // RFC 9113 §8.5: scheme and path are left out.
            return Ok(Self {
                method: b"CONNECT",
                scheme: None,
                authority: Some(authority)
                    .filter(|it| !it.is_empty())
                    .ok_or(Refused::Target)?,
                path: None,
                protocol: None,
            });
        }
        let path = match (method, head.path()) {
            (Method::Options, b"*") => &b"*"[..],
            (_, b"") => b"/",
            (_, path @ [b'/', ..]) if chars::is_target(path) => path,
            _ => return Err(Refused::Target),
        };
        let mut target = Self {
            method: head.method_bytes(),
            scheme: Some(scheme),
            authority,
            path: Some(path),
            protocol: None,
        };
        if hop.extended {
            target.method = b"CONNECT";
            target.protocol = Some(asked_protocol(head).ok_or(Refused::Switch)?);
        }
        Ok(target)
    }

    fn write(&self, encoder: &mut Encoder, out: &mut Vec<u8>) {
        match self.method {
            b"GET" => encoder.fixed(2, out),
            b"POST" => encoder.fixed(3, out),
            method => encoder.field(b":method", method, Indexing::WhenRepeated, out),
        }
        match self.scheme {
            Some(Scheme::Http) => encoder.fixed(6, out),
            Some(Scheme::Https) => encoder.fixed(7, out),
            None => {}
        }
        if !self.authority.is_empty() {
            encoder.field(b":authority", self.authority, Indexing::WhenRepeated, out);
        }
        match self.path {
            Some(b"/") => encoder.fixed(4, out),
            Some(path) => encoder.field(b":path", path, Indexing::WhenRepeated, out),
            None => {}
        }
        if let Some(protocol) = self.protocol {
            encoder.field(b":protocol", protocol, Indexing::WhenRepeated, out);
        }
    }
}

/// The protocol that `head` asks to switch to: the one it likes best, for only one can be named (RFC 8441 §4).
pub(super) fn asked_protocol(head: &Head) -> Option<&[u8]> {
    let protocol = chars::members(head.upgrade()?).next()?;
    let good = protocol.split(|byte| *byte == b'/').all(chars::is_token);
    good.then_some(protocol)
}

/// A request's block.
pub(super) fn request(
    head: &Head,
    target: Target<'_>,
    hop: Hop,
    spelling: Option<&mut Vec<u8>>,
    encoder: &mut Encoder,
    out: &mut Vec<u8>,
) {
    encoder.begin(out);
    target.write(encoder, out);
    fields(head, hop, encoder, out);
    spell(head, hop, spelling, encoder, out);
}

/// A response's block.
pub(super) fn response(
    head: &Head,
    hop: Hop,
    spelling: Option<&mut Vec<u8>>,
    encoder: &mut Encoder,
    out: &mut Vec<u8>,
) {
    encoder.begin(out);
    // RFC 8441 §4: what is a 101 on HTTP/1 is a 200 here.
    let status = if hop.extended { 200 } else { head.status() };
    match status {
        200 => encoder.fixed(8, out),
        204 => encoder.fixed(9, out),
        206 => encoder.fixed(10, out),
        304 => encoder.fixed(11, out),
        400 => encoder.fixed(12, out),
        404 => encoder.fixed(13, out),
        500 => encoder.fixed(14, out),
        _ => {
            let digits = [status / 100, status / 10 % 10, status % 10];
            let digits = digits.map(|digit| b'0' + digit as u8);
            encoder.field(b":status", &digits, Indexing::WhenRepeated, out);
        }
    }
    fields(head, hop, encoder, out);
    spell(head, hop, spelling, encoder, out);
}

/// A block of trailers.
pub(super) fn trailers(head: &Head, encoder: &mut Encoder, out: &mut Vec<u8>) {
    let hop = Hop {
        without_length: true,
        ..Hop::default()
    };
    encoder.begin(out);
    fields(head, hop, encoder, out);
}

/// The fields that go on, in order.
fn fields(head: &Head, hop: Hop, encoder: &mut Encoder, out: &mut Vec<u8>) {
    for field in head.forwarded() {
        if is_left_out(&field, hop) {
            continue;
        }
        // RFC 9113 §8.2.1: no whitespace at the ends of a value.
        let (value, indexing) = (chars::trim(field.value), indexing(&field));
        match field.known {
            Known::Other => encoder.field(field.name, value, indexing, out),
            Known::Te => encoder.known_field(Known::Te, b"trailers", indexing, out),
            known => encoder.known_field(known, value, indexing, out),
        }
    }
}

/// How the names of the fields that went on are spelled, where that is told; `Host` is among them.
fn spell(
    head: &Head,
    hop: Hop,
    spelling: Option<&mut Vec<u8>>,
    encoder: &mut Encoder,
    out: &mut Vec<u8>,
) {
    if let Some(scratch) = spelling.filter(|_| hop.spelled) {
        let all = head.forwarded();
        let told = all.filter(|it| it.known == Known::Host || !is_left_out(it, hop));
        spelling::write(head, told, scratch, encoder, out);
    }
}

/// RFC 9113 §8.2.2: no field of a connection of HTTP/1; §8.3.1: the authority stands for `Host`.
fn is_left_out(field: &FieldRef<'_>, hop: Hop) -> bool {
    match field.known {
        // What an application says of spelling is for nobody.
        Known::Host | Known::XWeftSpelling => true,
        Known::ContentLength => hop.without_length,
        // The codec that read it let it through for its member `trailers`.
        Known::Te => false,
        known => known.is_hop_by_hop(),
    }
}

/// RFC 7541 §7.1: what somebody may want to guess goes into no table: credentials, and cookies short enough to be tried.
fn indexing(field: &FieldRef<'_>) -> Indexing {
    match field.known {
        _ if field.flags.has(Flags::NEVER_INDEX) => Indexing::Never,
        Known::Authorization | Known::ProxyAuthorization | Known::SetCookie => Indexing::Never,
        Known::Cookie if field.value.len() < 20 => Indexing::Never,
        Known::ContentLength
        | Known::GrpcTimeout
        | Known::Traceparent
        | Known::B3
        | Known::XB3Traceid
        | Known::XB3Spanid
        | Known::XEnvoyExpectedRqTimeoutMs
        | Known::XEnvoyUpstreamServiceTime
        | Known::XRequestId => Indexing::Pointless,
        _ => Indexing::WhenRepeated,
    }
}

/// Whether `head` has fields that are written as trailers.
pub(super) fn has_trailers(head: &Head) -> bool {
    let hop = Hop {
        without_length: true,
        ..Hop::default()
    };
    head.forwarded().any(|field| !is_left_out(&field, hop))
}
