//! HTTP/1.0 and HTTP/1.1 (RFC 9112).
//!
//! One [`Conn`] carries one exchange at a time. A server's reads a request and stops; when the response has ended, it
//! goes on with what was pipelined. `read` and `write` say where in its message each direction is.

mod chunked;
mod emit;
mod framing;
mod parse;
mod read;
mod target;
#[cfg(test)]
mod tests;
mod write;

use self::chunked::Chunked;
use self::emit::Framing;
use self::parse::HeadReader;
use super::{StreamId, chars};
use crate::http::head::{Head, Known, Method, Version};

/// What one connection may cost us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct H1Limits {
    /// Bytes of a request line. Default 16 KiB; more is a 414.
    pub request_line_bytes_max: u32,
    /// Bytes of a head, start line included. Default 60 KiB, as Envoy's; more is a 431.
    pub header_bytes_max: u32,
    /// Fields of a head. Default 100, as Envoy's; more is a 431.
    pub header_count_max: u32,
    /// Bytes of the trailers of one message. Default 16 KiB.
    pub trailer_bytes_max: u32,
    /// Fields of the trailers of one message. Default 100.
    pub trailer_count_max: u32,
    /// Bytes of all chunk extensions of one message. Default 16 KiB.
    pub chunk_extension_bytes_max: u32,
    /// Empty lines before a request. Default 2.
    pub blank_lines_max: u32,
    /// Interim responses to one request. Default 16.
    pub interim_max: u32,
}

impl Default for H1Limits {
    fn default() -> Self {
        Self {
            request_line_bytes_max: 16 * 1024,
            header_bytes_max: 60 * 1024,
            header_count_max: 100,
            trailer_bytes_max: 16 * 1024,
            trailer_count_max: 100,
            chunk_extension_bytes_max: 16 * 1024,
            blank_lines_max: 2,
            interim_max: 16,
        }
    }
}

/// One HTTP/1 connection.
#[derive(Debug)]
pub struct Conn {
    role: Role,
    limits: H1Limits,
    /// The exchange under way, or the last one.
    stream: StreamId,
    read: Read,
    write: Write,
    exchange: Exchange,
    /// Whether an exchange is under way.
    active: bool,
    /// Whether the connection persists after this exchange, as far as is known (RFC 9112 §9.3).
    persists: bool,
    /// Whether this exchange is the last one by our own will.
    draining: bool,
    /// Whether the connection is used up.
    over: bool,
    /// A head of which only a part was there.
    partial: Option<Box<HeadReader>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Server,
    Client,
}

/// Where we are in what the peer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    /// At a head, or within one.
    Head,
    /// In a body of which this much is left.
    Length(u64),
    Chunked(Chunked),
    Trailers,
    UntilClose,
    /// The message has ended.
    Done,
    /// Behind an upgrade.
    Raw,
    /// Nobody wants what still comes.
    Discard,
    /// A rule was broken: nothing more can be understood.
    Failed,
}

/// Where we are in what we send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Write {
    Head,
    Body(Framing),
    Done,
    /// Behind an upgrade.
    Raw,
}

/// What must be known of a request until its response has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Exchange {
    /// Of method `HEAD`: its response has no body.
    head: bool,
    /// Of method `CONNECT`: a 2xx opens a tunnel.
    connect: bool,
    /// It asks for an upgrade that was passed on.
    upgrade: bool,
    /// Made by an HTTP/1.0 client.
    http10: bool,
    /// Interim responses so far.
    interims: u32,
}

impl Exchange {
    fn of(request: &Head) -> Self {
        Self {
            head: request.method() == Some(Method::Head),
            connect: request.method() == Some(Method::Connect),
            upgrade: request.upgrade().is_some(),
            http10: request.version() == Version::Http10,
            interims: 0,
        }
    }

    /// Whether a response of `status` opens a tunnel or switches protocols.
    fn switches(&self, status: u16) -> bool {
        status == 101 || (self.connect && (200..300).contains(&status))
    }

    /// Whether a final response of `status` has no body whatever its fields say (RFC 9112 §6.3).
    fn is_bodiless(&self, status: u16) -> bool {
        self.head || status == 204 || status == 304
    }
}

impl Conn {
    /// The codec of a downstream connection: reads requests, writes responses.
    pub fn server(limits: H1Limits) -> Self {
        Self::new(Role::Server, Read::Head, limits)
    }

    /// The codec of an upstream connection: writes requests, reads responses.
    pub fn client(limits: H1Limits) -> Self {
        Self::new(Role::Client, Read::Done, limits)
    }

    /// A connection to an endpoint that is not spoken HTTP with: the other end of a `CONNECT`. One stream, all bytes.
    pub fn tunnel() -> Self {
        Self {
            write: Write::Raw,
            ..Self::new(Role::Client, Read::Raw, H1Limits::default())
        }
    }

    fn new(role: Role, read: Read, limits: H1Limits) -> Self {
        Self {
            role,
            limits,
            stream: StreamId(0),
            read,
            write: Write::Done,
            exchange: Exchange::default(),
            active: false,
            persists: true,
            draining: false,
            over: false,
            partial: None,
        }
    }

    /// See [`Codec::open`](super::Codec::open).
    pub fn open(&mut self) -> Option<StreamId> {
        if self.role == Role::Server || self.active || self.over || self.draining {
            return None;
        }
        if self.write == Write::Raw {
            self.active = true;
        } else {
            self.begin(Exchange::default());
        }
        Some(self.stream)
    }

    /// See [`Codec::reset`](super::Codec::reset).
    pub fn reset(&mut self, stream: StreamId) {
        if self.active && stream == self.stream {
            self.read = Read::Discard;
            self.write = Write::Done;
            self.active = false;
            self.over = true;
        }
    }

    /// See [`Codec::drain`](super::Codec::drain).
    pub fn drain(&mut self) {
        self.draining = true;
        if !self.active && self.partial.is_none() {
            self.over = true;
        }
    }

    /// See [`Codec::wants_input`](super::Codec::wants_input).
    pub fn wants_input(&self) -> bool {
        match self.read {
            Read::Failed => false,
            // A server waits for its response; a client at rest wants to see that the peer goes away.
            Read::Done => self.role == Role::Client,
            _ => true,
        }
    }

    /// See [`Codec::wants_close`](super::Codec::wants_close).
    pub fn wants_close(&self) -> bool {
        self.over
    }

    /// See [`Codec::ends_with_connection`](super::Codec::ends_with_connection).
    pub fn ends_with_connection(&self) -> bool {
        matches!(self.write, Write::Body(Framing::Close))
    }

    /// See [`Codec::is_idle`](super::Codec::is_idle).
    pub fn is_idle(&self) -> bool {
        !self.active && self.partial.is_none()
    }

    /// See [`Codec::is_tunnel`](super::Codec::is_tunnel).
    pub fn is_tunnel(&self, stream: StreamId) -> bool {
        self.active && stream == self.stream && self.read == Read::Raw && self.write == Write::Raw
    }

    /// See [`Codec::refuse_input`](super::Codec::refuse_input).
    pub fn refuse_input(&mut self) {
        self.fail();
    }

    /// See [`Codec::answerable`](super::Codec::answerable).
    pub fn answerable(&self) -> Option<StreamId> {
        let waits = self.role == Role::Server && self.active && self.write == Write::Head;
        waits.then_some(self.stream)
    }

    fn begin(&mut self, exchange: Exchange) {
        self.stream = StreamId(self.stream.0.wrapping_add(1));
        self.exchange = exchange;
        self.active = true;
        self.write = Write::Head;
    }

    /// One direction has ended its message: go on, or be over.
    fn settle(&mut self) {
        if self.write == Write::Raw && self.read == Read::Done {
            self.read = Read::Raw;
            return;
        }
        if self.read == Read::Raw && self.write == Write::Done {
            self.write = Write::Raw;
            return;
        }
        if self.write != Write::Done || !self.active {
            return;
        }
        match (self.role, self.read) {
            (_, Read::Done) => {
                self.active = false;
                self.over |= !self.persists || self.draining;
                if self.role == Role::Server && !self.over {
                    self.read = Read::Head;
                }
            }
            // RFC 9112 §9.3: who answers without having read the whole request closes the connection.
            (Role::Server, _) => {
                self.active = false;
                self.over = true;
                if self.read != Read::Failed {
                    self.read = Read::Discard;
                }
            }
            (Role::Client, _) => {}
        }
    }

    /// A rule was broken. A server that has not answered yet still can.
    fn fail(&mut self) {
        if self.role == Role::Server && !self.active {
            self.begin(Exchange::default());
        }
        self.read = Read::Failed;
        self.persists = false;
        self.partial = None;
        self.over |= self.answerable().is_none();
    }
}

/// Whether `head` announces a `Content-Length` of anything but nothing.
fn announces_content(head: &Head) -> bool {
    head.get(Known::ContentLength)
        .is_some_and(|value| chars::decimal(value) != Some(0))
}
