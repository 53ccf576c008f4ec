//! Reading heads: line by line, each line once, however the bytes arrive.

use super::chars;
use super::framing::Facts;
use super::{H1Limits, target};
use crate::http::codec::{ProtocolError, ReadBuf};
use crate::http::head::{Field, Flags, Head, Known, Method, Span, Start, Version};

/// What a head belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Request,
    Response,
    Trailers,
}

/// A head being read.
#[derive(Debug)]
pub(super) struct HeadReader {
    head: Head,
    facts: Facts,
    kind: Kind,
    in_fields: bool,
    /// Where the line being read starts.
    at: usize,
    /// Up to where no LF was found.
    seen: usize,
    blank_lines: u32,
    target: Span,
}

impl HeadReader {
    /// Reads a head of `kind` into `head`, which is empty.
    pub(super) fn new(kind: Kind, head: Head) -> Self {
        Self {
            head,
            facts: Facts::default(),
            kind,
            in_fields: kind == Kind::Trailers,
            at: 0,
            seen: 0,
            blank_lines: 0,
            target: Span::default(),
        }
    }

    /// Takes bytes from `input` up to the end of the head; whether that was reached. If not, it has taken all.
    pub(super) fn read(
        &mut self,
        input: &mut ReadBuf,
        limits: &H1Limits,
    ) -> Result<bool, ProtocolError> {
        if self.head.bytes.is_empty() {
            // Mostly the whole head is there: it is read where it lies, then copied once.
            let end = self.read_lines(input.filled(), limits)?;
            let bytes = input.take(end.unwrap_or(usize::MAX));
            self.head.bytes.extend_from_slice(bytes);
            return Ok(end.is_some());
        }
        let had = self.head.bytes.len();
        let room = (self.bytes_max(limits) + 1).saturating_sub(had);
        let fresh = input.filled();
        let fresh = fresh.get(..room).unwrap_or(fresh);
        self.head.bytes.extend_from_slice(fresh);
        let bytes = std::mem::take(&mut self.head.bytes);
        let end = self.read_lines(&bytes, limits);
        self.head.bytes = bytes;
        let end = end?;
        if let Some(end) = end {
            self.head.bytes.truncate(end);
        }
        input.take(self.head.bytes.len().saturating_sub(had));
        Ok(end.is_some())
    }

    /// Reads the lines that are complete in `bytes`, which start where the head starts; where the head ends, if it does.
    fn read_lines(
        &mut self,
        bytes: &[u8],
        limits: &H1Limits,
    ) -> Result<Option<usize>, ProtocolError> {
        loop {
            let unseen = bytes.get(self.seen..).unwrap_or_default();
            let Some(found) = memchr::memchr(b'\n', unseen) else {
                self.seen = bytes.len();
                self.check_size(bytes.len(), limits)?;
                return Ok(None);
            };
            let (start, lf) = (self.at, self.seen + found);
            self.check_size(lf + 1, limits)?;
            // RFC 9112 §2.2 lets a recipient take LF alone for a line's end. We do not: others do not either, and
            // where two differ in this, they differ in what a message is.
            let line = bytes
                .get(start..lf)
                .and_then(|line| line.strip_suffix(b"\r"))
                .ok_or(ProtocolError::BareLf)?;
            self.at = lf + 1;
            self.seen = lf + 1;
            match (self.in_fields, self.kind) {
                (true, _) if line.is_empty() => {
                    self.head.lines_end = Span::new(start, start).start;
                    return Ok(Some(self.at));
                }
                (true, _) => self.field(line, start, limits)?,
                (false, Kind::Response) => self.status_line(line, start)?,
                (false, Kind::Request | Kind::Trailers) => {
                    self.request_line(line, start, limits)?;
                }
            }
        }
    }

    fn bytes_max(&self, limits: &H1Limits) -> usize {
        match self.kind {
            Kind::Trailers => limits.trailer_bytes_max as usize,
            Kind::Request | Kind::Response => limits.header_bytes_max as usize,
        }
    }

    /// Whether a head of `len` bytes so far is within its limits.
    fn check_size(&self, len: usize, limits: &H1Limits) -> Result<(), ProtocolError> {
        // The line's CRLF is not counted; while the line is not complete, its CR may be among the bytes.
        let line_max = limits.request_line_bytes_max as usize + 2;
        if self.kind == Kind::Request && !self.in_fields && len - self.at > line_max {
            return Err(ProtocolError::RequestLineTooLong);
        }
        if len <= self.bytes_max(limits) {
            return Ok(());
        }
        Err(match self.kind {
            Kind::Request if !self.in_fields => ProtocolError::RequestLineTooLong,
            Kind::Request | Kind::Response => ProtocolError::HeadTooLarge,
            Kind::Trailers => ProtocolError::TrailersTooLarge,
        })
    }

    /// `request-line = method SP request-target SP HTTP-version` (RFC 9112 §3).
    fn request_line(
        &mut self,
        line: &[u8],
        start: usize,
        limits: &H1Limits,
    ) -> Result<(), ProtocolError> {
        if line.is_empty() {
            // RFC 9112 §2.2: an empty line before a request is ignored.
            self.blank_lines += 1;
            if self.blank_lines > limits.blank_lines_max {
                return Err(ProtocolError::BlankLines);
            }
            return Ok(());
        }
        let method_end = memchr::memchr(b' ', line).ok_or(ProtocolError::BadRequestLine)?;
        let (name, rest) = line.split_at(method_end);
        if !chars::is_token(name) {
            return Err(ProtocolError::BadMethod);
        }
        let rest = rest.get(1..).unwrap_or_default();
        let target_end = memchr::memchr(b' ', rest).ok_or(ProtocolError::BadRequestLine)?;
        let (target, version) = rest.split_at(target_end);
        self.head.version = version_of(version.get(1..).unwrap_or_default())?;
        if !chars::is_target(target) {
            return Err(ProtocolError::BadTarget);
        }
        let target_start = start + method_end + 1;
        self.target = Span::new(target_start, target_start + target_end);
        let method = Method::standard(name)
            .unwrap_or_else(|| Method::Other(Span::new(start, start + method_end)));
        self.head.start = Start::Request {
            method,
            path: Span::default(),
            authority: Span::default(),
            scheme: Default::default(),
        };
        self.in_fields = true;
        Ok(())
    }

    /// `status-line = HTTP-version SP status-code SP [ reason-phrase ]` (RFC 9112 §4).
    fn status_line(&mut self, line: &[u8], start: usize) -> Result<(), ProtocolError> {
        let (version, rest) = line
            .split_at_checked(8)
            .ok_or(ProtocolError::BadStatusLine)?;
        self.head.version = version_of(version)?;
        let (status, reason) = match rest {
            // The space behind the code is wanted even without a reason; servers that forget it are many, and nothing
            // else can be meant.
            [b' ', a, b, c] => ([a, b, c], &b""[..]),
            [b' ', a, b, c, b' ', reason @ ..] => ([a, b, c], reason),
            _ => return Err(ProtocolError::BadStatusLine),
        };
        let status = status.iter().try_fold(0, |number: u16, digit| {
            digit
                .is_ascii_digit()
                .then(|| number * 10 + u16::from(*digit - b'0'))
        });
        let status = status
            .filter(|status| *status >= 100)
            .ok_or(ProtocolError::BadStatusLine)?;
        if !chars::is_field_value(reason) {
            return Err(control_byte(reason));
        }
        let end = start + line.len();
        self.head.reason = Span::new(end - reason.len(), end);
        self.head.start = Start::Response { status };
        self.in_fields = true;
        Ok(())
    }

    /// `field-line = field-name ":" OWS field-value OWS` (RFC 9112 §5).
    fn field(&mut self, line: &[u8], start: usize, limits: &H1Limits) -> Result<(), ProtocolError> {
        let name_len = memchr::memchr(b':', line).unwrap_or(0);
        let (name, raw) = line.split_at(name_len);
        let raw = raw.get(1..).unwrap_or_default();
        let known = Known::of(name);
        // A well-known name was compared whole and needs no second look.
        if known == Known::Other && !chars::is_token(name) {
            return Err(self.bad_name(line));
        }
        if !chars::is_field_value(raw) {
            return Err(control_byte(raw));
        }
        let count_max = match self.kind {
            Kind::Trailers => limits.trailer_count_max,
            Kind::Request | Kind::Response => limits.header_count_max,
        };
        if self.head.fields.len() >= count_max as usize {
            return Err(match self.kind {
                Kind::Trailers => ProtocolError::TrailersTooLarge,
                Kind::Request | Kind::Response => ProtocolError::TooManyFields,
            });
        }
        let value = chars::trim_start(raw);
        let value_start = start + name_len + 1 + (raw.len() - value.len());
        let value = chars::trim_end(value);
        let span = Span::new(value_start, value_start + value.len());
        let mut flags = Flags::LINE;
        if known.is_hop_by_hop() {
            flags.set(Flags::HOP_BY_HOP);
        }
        if self.kind == Kind::Trailers {
            // RFC 9110 §6.5.1: fields for framing and routing have no place here. Whoever merged them would be misled.
            if matches!(known, Known::ContentLength | Known::Host) {
                flags.set(Flags::HOP_BY_HOP);
            }
        } else {
            self.facts.note(known, value, span)?;
        }
        self.head.fields.push(Field {
            name: Span::new(start, start + name_len),
            value: span,
            known,
            flags,
        });
        Ok(())
    }

    /// Which rule a line breaks that does not start with a name and a colon.
    fn bad_name(&self, line: &[u8]) -> ProtocolError {
        match line.split_at(chars::token_len(line)) {
            (b"", [b' ' | b'\t', ..]) if self.head.fields.is_empty() => {
                ProtocolError::SpaceBeforeFields
            }
            (b"", [b' ' | b'\t', ..]) => ProtocolError::ObsFold,
            (_, [b' ' | b'\t', ..]) => ProtocolError::SpaceBeforeColon,
            _ => ProtocolError::BadFieldName,
        }
    }

    /// The head, once [`Self::read`] has reached its end: target and `Host` settled, for requests.
    pub(super) fn finish(mut self) -> Result<(Head, Facts), ProtocolError> {
        if let Start::Request { method, .. } = self.head.start {
            // RFC 9112 §3.2: no Host in an HTTP/1.1 request is a 400.
            if self.facts.host.is_none() && self.head.version == Version::Http11 {
                return Err(ProtocolError::NoHost);
            }
            target::settle(&mut self.head, method, self.target, self.facts.host)?;
        }
        Ok((self.head, self.facts))
    }
}

/// `HTTP-version = "HTTP/" DIGIT "." DIGIT`, case-sensitive (RFC 9112 §2.3).
fn version_of(text: &[u8]) -> Result<Version, ProtocolError> {
    match text {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(ProtocolError::UnsupportedVersion)
        }
        _ => Err(ProtocolError::BadVersion),
    }
}

/// Which rule a text with a control byte breaks.
fn control_byte(text: &[u8]) -> ProtocolError {
    if text.contains(&b'\r') {
        ProtocolError::BareCr
    } else {
        ProtocolError::BadFieldValue
    }
}
