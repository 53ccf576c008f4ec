//! From the fields of a block to a head: what a message may be made of (RFC 9113 §8).

use super::H2Limits;
use super::hpack::{Decoded, Fields, Kind};
use super::spelling;
use crate::http::codec::{ProtocolError, chars};
use crate::http::head::{Field, Flags, Head, Known, Method, Scheme, Span, Start, Version};

/// What a block is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Request,
    Response,
    Trailers,
    /// It belongs to nothing any more: only the tables are kept in step.
    Nothing,
}

/// Makes a head of the fields of a block. The first fault is kept, and then the rest is passed over.
#[derive(Debug)]
pub(super) struct Reader {
    head: Head,
    expected: Expected,
    bytes_left: u32,
    fields_left: u32,
    fault: Option<ProtocolError>,
    /// Whether there was a field that is no pseudo-field.
    in_fields: bool,
    cookies: u32,
    /// Whether the spelling of names may be told.
    spelled: bool,
    host: Option<Span>,
    length: Option<u64>,
    pseudo: Pseudo,
}

/// A block that makes no message.
#[derive(Debug)]
pub(super) struct Unread {
    /// To be used again.
    pub(super) head: Head,
    pub(super) error: ProtocolError,
    /// It is a request, of which everything but the fields that did not fit is in `head`.
    pub(super) is_known: bool,
}

/// The values of the pseudo-fields (RFC 9113 §8.3).
#[derive(Debug, Default)]
struct Pseudo {
    method: Option<Span>,
    scheme: Option<Span>,
    authority: Option<Span>,
    path: Option<Span>,
    status: Option<Span>,
    protocol: Option<Span>,
}

/// What a head says about its stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) length: Option<u64>,
    /// There is a `:protocol` (RFC 8441 §4).
    pub(super) extended: bool,
}

impl Fields for Reader {
    fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.head.bytes
    }

    fn field(&mut self, field: Decoded) {
        if let Err(fault) = self.take(field) {
            self.fault = Some(fault);
            self.head.bytes.truncate(field.name.start as usize);
        }
    }

    fn has_enough(&self) -> bool {
        self.fault.is_some() || self.expected == Expected::Nothing
    }
}

impl Reader {
    /// Reads into `head`, which is empty.
    pub(super) fn new(head: Head, expected: Expected, limits: &H2Limits) -> Self {
        Self {
            head,
            expected,
            bytes_left: limits.header_bytes_max,
            fields_left: limits.header_count_max,
            fault: None,
            in_fields: false,
            cookies: 0,
            spelled: false,
            host: None,
            length: None,
            pseudo: Pseudo::default(),
        }
    }

    /// The peer may tell how names were spelled.
    pub(super) fn expect_spelling(&mut self) {
        self.spelled = matches!(self.expected, Expected::Request | Expected::Response);
    }

    fn take(&mut self, field: Decoded) -> Result<(), ProtocolError> {
        // RFC 9113 §6.5.2: how a field list is measured.
        let cost = field
            .name
            .len
            .saturating_add(field.value.len)
            .saturating_add(32);
        let left = self.bytes_left.checked_sub(cost);
        self.bytes_left = left.ok_or_else(|| self.over(ProtocolError::HeadTooLarge))?;
        match field.is.kind {
            Kind::Field => {}
            // RFC 9113 §8.2.1: a request or response with such names is malformed.
            Kind::UpperCase => return Err(ProtocolError::UpperCaseName),
            Kind::NoToken => return Err(ProtocolError::BadFieldName),
            kind => return self.pseudo(kind, field),
        }
        let is_ours = self.spelled && field.is.known == Known::XWeftSpelling;
        let left = self.fields_left.checked_sub(u32::from(!is_ours));
        self.fields_left = left.ok_or_else(|| self.over(ProtocolError::TooManyFields))?;
        if !field.good_value {
            return Err(ProtocolError::BadFieldValue);
        }
        self.in_fields = true;
        let known = field.is.known;
        let mut flags = match known {
            Known::Other => Flags::default(),
            _ => self.note(known, field.value)?,
        };
        if field.never_index {
            flags.set(Flags::NEVER_INDEX);
        }
        self.head.fields.push(Field {
            name: field.name,
            value: field.value,
            known,
            flags,
        });
        Ok(())
    }

    fn over(&self, error: ProtocolError) -> ProtocolError {
        match self.expected {
            Expected::Trailers => ProtocolError::TrailersTooLarge,
            _ => error,
        }
    }

    /// Looks at a well-known field; what is to be noted about it.
    fn note(&mut self, known: Known, value: Span) -> Result<Flags, ProtocolError> {
        match known {
            // RFC 9113 §8.2.2: it may say trailers, and nothing else.
            Known::Te if self.head.slice(value).eq_ignore_ascii_case(b"trailers") => {}
            Known::Te => return Err(ProtocolError::BadTe),
            Known::Http2Settings => return Ok(Flags::HOP_BY_HOP),
            _ if known.is_hop_by_hop() => return Err(ProtocolError::HopField),
            // RFC 9110 §6.5.1: fields for framing and routing have no place in trailers. Whoever merged them would be
            // misled.
            Known::ContentLength | Known::Host if self.expected == Expected::Trailers => {
                return Ok(Flags::HOP_BY_HOP);
            }
            Known::ContentLength => {
                if self.length.is_some() {
                    return Err(ProtocolError::ManyLengths);
                }
                let length = chars::decimal(self.head.slice(value));
                self.length = Some(length.ok_or(ProtocolError::BadLength)?);
            }
            Known::Host if self.host.replace(value).is_some() => {
                return Err(ProtocolError::ManyHosts);
            }
            Known::Cookie => self.cookies += 1,
            _ => {}
        }
        Ok(Flags::default())
    }

    /// RFC 9113 §8.3: each once, before other fields, and only those of this kind of message.
    fn pseudo(&mut self, kind: Kind, field: Decoded) -> Result<(), ProtocolError> {
        if self.in_fields {
            return Err(ProtocolError::LatePseudoField);
        }
        if !field.good_value {
            return Err(ProtocolError::BadFieldValue);
        }
        let place = match (self.expected, kind) {
            (Expected::Request, Kind::Method) => &mut self.pseudo.method,
            (Expected::Request, Kind::Scheme) => &mut self.pseudo.scheme,
            (Expected::Request, Kind::Authority) => &mut self.pseudo.authority,
            (Expected::Request, Kind::Path) => &mut self.pseudo.path,
            (Expected::Request, Kind::Protocol) => &mut self.pseudo.protocol,
            (Expected::Response, Kind::Status) => &mut self.pseudo.status,
            _ => return Err(ProtocolError::BadPseudoField),
        };
        match place.replace(field.value) {
            Some(_) => Err(ProtocolError::ManyPseudoFields),
            None => Ok(()),
        }
    }

    /// The head, once the whole block was read. `extended` says whether an extended CONNECT is taken.
    pub(super) fn finish(mut self, extended: bool) -> Result<(Head, Facts), Unread> {
        let error = match self.settle(extended) {
            Ok(facts) => return Ok((self.head, facts)),
            Err(error) => error,
        };
        let too_large = matches!(
            error,
            ProtocolError::HeadTooLarge | ProtocolError::TooManyFields
        );
        let is_known = too_large
            && self.expected == Expected::Request
            && self.settle_request(extended).is_ok();
        Err(Unread {
            head: self.head,
            error,
            is_known,
        })
    }

    fn settle(&mut self, extended: bool) -> Result<Facts, ProtocolError> {
        self.head.version = Version::Http2;
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        match self.expected {
            Expected::Request => self.settle_request(extended)?,
            Expected::Response => {
                let status = self.pseudo.status.ok_or(ProtocolError::NoPseudoField)?;
                self.head.start = Start::Response {
                    status: status_of(self.head.slice(status))?,
                };
            }
            Expected::Trailers | Expected::Nothing => {}
        }
        if self.spelled {
            spelling::apply(&mut self.head);
        }
        if self.cookies > 1 {
            join_cookies(&mut self.head);
        }
        Ok(Facts {
            length: self.length,
            extended: self.pseudo.protocol.is_some(),
        })
    }

    fn settle_request(&mut self, extended: bool) -> Result<(), ProtocolError> {
        let name = self.pseudo.method.ok_or(ProtocolError::NoPseudoField)?;
        let text = self.head.slice(name);
        let method = match Method::standard(text) {
            Some(method) => method,
            None if chars::is_token(text) => Method::Other(name),
            None => return Err(ProtocolError::BadMethod),
        };
        let authority = self.authority(method)?;
        match (method, self.pseudo.protocol) {
            (Method::Connect, None) => self.connect(authority),
            (Method::Connect, Some(protocol)) if extended => {
                self.target(Method::Get, authority)?;
                self.upgrade(protocol)
            }
            // RFC 8441 §4: only with CONNECT, and only after SETTINGS_ENABLE_CONNECT_PROTOCOL.
            (_, Some(_)) => Err(ProtocolError::BadPseudoField),
            (_, None) => self.target(method, authority),
        }
    }

    /// A plain CONNECT (RFC 9113 §8.5): neither scheme nor path.
    fn connect(&mut self, authority: Span) -> Result<(), ProtocolError> {
        if self.pseudo.scheme.is_some() || self.pseudo.path.is_some() {
            return Err(ProtocolError::BadPseudoField);
        }
        self.drop_length();
        self.head.start = Start::Request {
            method: Method::Connect,
            path: Span::default(),
            authority,
            scheme: Scheme::Http,
        };
        Ok(())
    }

    /// Any other request (RFC 9113 §8.3.1): scheme and path are there.
    fn target(&mut self, method: Method, authority: Span) -> Result<(), ProtocolError> {
        let (Some(scheme), Some(path)) = (self.pseudo.scheme, self.pseudo.path) else {
            return Err(ProtocolError::NoPseudoField);
        };
        let scheme = match self.head.slice(scheme) {
            text if text.eq_ignore_ascii_case(b"http") => Scheme::Http,
            text if text.eq_ignore_ascii_case(b"https") => Scheme::Https,
            _ => return Err(ProtocolError::BadScheme),
        };
        match self.head.slice(path) {
            b"*" if method == Method::Options => {}
            text @ [b'/', ..] if chars::is_target(text) => {}
            _ => return Err(ProtocolError::BadTarget),
        }
        self.head.start = Start::Request {
            method,
            path,
            authority,
            scheme,
        };
        Ok(())
    }

    /// Where the request goes. `Host` says the same or nothing (RFC 9113 §8.3.1).
    fn authority(&mut self, method: Method) -> Result<Span, ProtocolError> {
        let tunnel = method == Method::Connect && self.pseudo.protocol.is_none();
        let host = self.host;
        let Some(authority) = self.pseudo.authority.or(host) else {
            return Err(ProtocolError::NoAuthority);
        };
        let port = if tunnel {
            chars::Port::Required
        } else {
            chars::Port::Optional
        };
        if (tunnel && self.pseudo.authority.is_none())
            || !chars::is_authority(self.head.slice(authority), port)
        {
            return Err(ProtocolError::BadHost);
        }
        if let Some(host) = host.filter(|host| *host != authority) {
            let (said, host) = (self.head.slice(authority), self.head.slice(host));
            if !said.eq_ignore_ascii_case(host) {
                return Err(ProtocolError::HostDiffers);
            }
            self.head.settle_host(authority);
        }
        Ok(authority)
    }

    /// An extended CONNECT (RFC 8441 §4) is told as the upgrade that HTTP/1 would have asked for.
    fn upgrade(&mut self, protocol: Span) -> Result<(), ProtocolError> {
        let text = self.head.slice(protocol);
        // RFC 9110 §7.8; RFC 9113 §3.1: h2c is obsolete, and would hide the requests behind it from every policy.
        let good = text.split(|byte| *byte == b'/').all(chars::is_token);
        if !good || text.eq_ignore_ascii_case(b"h2c") {
            return Err(ProtocolError::BadPseudoField);
        }
        self.drop_length();
        add_upgrade(&mut self.head, protocol);
        Ok(())
    }

    /// What goes through a tunnel has no length, whatever a field says (RFC 9110 §9.3.6).
    fn drop_length(&mut self) {
        self.length = None;
        for field in &mut self.head.fields {
            if field.known == Known::ContentLength {
                field.flags.set(Flags::HOP_BY_HOP);
            }
        }
    }
}

/// Notes in `head` that it asks for, or agrees to, the protocol at `value`.
pub(super) fn add_upgrade(head: &mut Head, value: Span) {
    let name = head.put(Known::Upgrade.name().as_bytes());
    head.fields.push(Field {
        name,
        value,
        known: Known::Upgrade,
        flags: Flags::HOP_BY_HOP,
    });
    head.upgrade = true;
}

/// RFC 9113 §8.3.2.
fn status_of(text: &[u8]) -> Result<u16, ProtocolError> {
    match text {
        [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
            let digit = |byte: &u8| u16::from(byte - b'0');
            Ok(digit(a) * 100 + digit(b) * 10 + digit(c))
        }
        _ => Err(ProtocolError::BadStatus),
    }
}

/// Makes one field of several `Cookie` (RFC 9113 §8.2.3). One that is empty adds nothing: a separator that ends the value would
/// be white space that the next hop takes off.
fn join_cookies(head: &mut Head) {
    let start = head.bytes.len();
    let mut flags = Flags::default();
    let cookies = head
        .fields
        .iter()
        .filter(|field| field.known == Known::Cookie);
    for field in cookies {
        if head.bytes.len() > start && !field.value.is_empty() {
            head.bytes.extend_from_slice(b"; ");
        }
        head.bytes
            .extend_from_within(field.value.start as usize..field.value.end());
        flags.set(field.flags);
    }
    let joined = Span::new(start, head.bytes.len());
    let mut placed = false;
    head.fields.retain_mut(|field| {
        if field.known != Known::Cookie {
            return true;
        }
        field.value = joined;
        field.flags = flags;
        !std::mem::replace(&mut placed, true)
    });
}
