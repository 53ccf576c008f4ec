//! A message head: one recycled buffer, fields as spans into it.
//!
//! Nothing is copied out of the buffer and nothing in it ever moves: an edit appends bytes and points a span at
//! them, a removal sets a flag. Order and case of the fields are those of the wire.

mod edit;
mod field;
mod known;
mod pool;
#[cfg(test)]
mod tests;

use weft_config::route::RequestHead;

pub use self::field::{Field, FieldRef, Flags, Span};
pub use self::known::Known;
pub use self::pool::HeadPool;

/// The version a message was received in. What we send is always our own version (RFC 9110 §6.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
    /// HTTP/2.
    Http2,
}

/// A request method. Case-sensitive (RFC 9110 §9.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// `GET`.
    #[default]
    Get,
    /// `HEAD`.
    Head,
    /// `POST`.
    Post,
    /// `PUT`.
    Put,
    /// `DELETE`.
    Delete,
    /// `CONNECT`.
    Connect,
    /// `OPTIONS`.
    Options,
    /// `TRACE`.
    Trace,
    /// `PATCH`.
    Patch,
    /// Any other, where it stands in the head's buffer.
    Other(Span),
}

impl Method {
    /// The standard method called `name`; `None` for any other.
    pub fn standard(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"CONNECT" => Self::Connect,
            b"OPTIONS" => Self::Options,
            b"TRACE" => Self::Trace,
            b"PATCH" => Self::Patch,
            _ => return None,
        })
    }

    /// Whether a request of this method may be repeated without harm (RFC 9110 §9.2.2).
    pub fn is_idempotent(self) -> bool {
        matches!(
            self,
            Self::Get | Self::Head | Self::Put | Self::Delete | Self::Options | Self::Trace
        )
    }
}

/// The scheme of a request's target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// `http`; what a request that names none is taken for.
    #[default]
    Http,
    /// `https`.
    Https,
}

/// What a head starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// A request.
    Request {
        /// Its method.
        method: Method,
        /// Path and query; `*` in asterisk-form, empty for `CONNECT`.
        path: Span,
        /// Host and port; empty when an HTTP/1.0 client named none.
        authority: Span,
        /// The target's scheme.
        scheme: Scheme,
    },
    /// A response.
    Response {
        /// Its status code, 100 to 999.
        status: u16,
    },
    /// The fields behind a body.
    Trailers,
}

/// A message head: a request's, a response's, or the trailers of either.
///
/// Build one with [`Head::request`] and [`Head::response`], or take a recycled one from a [`HeadPool`].
#[derive(Clone, Debug)]
pub struct Head {
    pub(crate) bytes: Vec<u8>,
    pub(crate) fields: Vec<Field>,
    pub(crate) start: Start,
    pub(crate) version: Version,
    /// The reason phrase as received; empty when there was none or the status was rewritten.
    pub(crate) reason: Span,
    /// Where the block of field lines ends in `bytes`; lines of fields with [`Flags::LINE`] lie before it.
    pub(crate) lines_end: u32,
    pub(crate) upgrade: bool,
}

impl Default for Head {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            fields: Vec::new(),
            start: Start::Trailers,
            version: Version::Http11,
            reason: Span::default(),
            lines_end: 0,
            upgrade: false,
        }
    }
}

impl Head {
    /// An empty head of trailers.
    pub fn new() -> Self {
        Self::default()
    }

    /// A request's head without fields. `Host` is written from `authority` when it is sent.
    pub fn request(method: &[u8], authority: &[u8], path: &[u8]) -> Self {
        let mut head = Self::default();
        head.start_request(method, authority, path);
        head
    }

    /// A response's head without fields.
    pub fn response(status: u16) -> Self {
        Self {
            start: Start::Response { status },
            ..Self::default()
        }
    }

    /// Makes this an empty head of trailers again, keeping the memory it has.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.fields.clear();
        self.start = Start::Trailers;
        self.version = Version::Http11;
        self.reason = Span::default();
        self.lines_end = 0;
        self.upgrade = false;
    }

    /// What the head starts with.
    pub fn start(&self) -> Start {
        self.start
    }

    /// The version it was received in.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The request's method; `None` for responses and trailers.
    pub fn method(&self) -> Option<Method> {
        match self.start {
            Start::Request { method, .. } => Some(method),
            Start::Response { .. } | Start::Trailers => None,
        }
    }

    /// The request's method as text; empty for responses and trailers.
    pub fn method_bytes(&self) -> &[u8] {
        match self.method() {
            Some(Method::Get) => b"GET",
            Some(Method::Head) => b"HEAD",
            Some(Method::Post) => b"POST",
            Some(Method::Put) => b"PUT",
            Some(Method::Delete) => b"DELETE",
            Some(Method::Connect) => b"CONNECT",
            Some(Method::Options) => b"OPTIONS",
            Some(Method::Trace) => b"TRACE",
            Some(Method::Patch) => b"PATCH",
            Some(Method::Other(span)) => self.slice(span),
            None => b"",
        }
    }

    /// The request's path and query; empty for `CONNECT`, responses and trailers.
    pub fn path(&self) -> &[u8] {
        match self.start {
            Start::Request { path, .. } => self.slice(path),
            Start::Response { .. } | Start::Trailers => b"",
        }
    }

    /// The request's host and port, as sent; empty for responses and trailers.
    pub fn authority(&self) -> &[u8] {
        match self.start {
            Start::Request { authority, .. } => self.slice(authority),
            Start::Response { .. } | Start::Trailers => b"",
        }
    }

    /// The scheme of the request's target; `http` for responses and trailers.
    pub fn scheme(&self) -> Scheme {
        match self.start {
            Start::Request { scheme, .. } => scheme,
            Start::Response { .. } | Start::Trailers => Scheme::Http,
        }
    }

    /// The response's status; 0 for requests and trailers.
    pub fn status(&self) -> u16 {
        match self.start {
            Start::Response { status } => status,
            Start::Request { .. } | Start::Trailers => 0,
        }
    }

    /// The bytes of `span`.
    pub fn slice(&self, span: Span) -> &[u8] {
        span.of(&self.bytes)
    }

    /// The fields that were not removed, in order. Those of this hop are among them.
    pub fn fields(&self) -> impl Iterator<Item = FieldRef<'_>> {
        self.fields
            .iter()
            .filter(|field| !field.flags.has(Flags::DROPPED))
            .map(|field| self.view(field))
    }

    /// The fields that go on to the next hop, in order.
    pub fn forwarded(&self) -> impl Iterator<Item = FieldRef<'_>> {
        self.fields()
            .filter(|field| !field.flags.has(Flags::HOP_BY_HOP))
    }

    /// The value of the first field called `known`.
    pub fn get(&self, known: Known) -> Option<&[u8]> {
        self.fields
            .iter()
            .find(|field| field.known == known && !field.flags.has(Flags::DROPPED))
            .map(|field| self.slice(field.value))
    }

    /// The values of all fields called `known`, in order.
    pub fn get_all(&self, known: Known) -> impl Iterator<Item = &[u8]> {
        self.fields()
            .filter(move |field| field.known == known)
            .map(|field| field.value)
    }

    /// The value of the first field called `name`, in any case.
    pub fn get_name(&self, name: &[u8]) -> Option<&[u8]> {
        match Known::of(name) {
            Known::Other => self
                .fields()
                .find(|field| field.name.eq_ignore_ascii_case(name))
                .map(|field| field.value),
            known => self.get(known),
        }
    }

    /// The protocol the message asks to switch to (or switches to, in a 101), when that may be passed on.
    ///
    /// Set by the codec when `Connection` names `upgrade` (RFC 9110 §7.8); never for `h2c`, which RFC 9113 §3.1 retired.
    pub fn upgrade(&self) -> Option<&[u8]> {
        if self.upgrade {
            self.get(Known::Upgrade)
        } else {
            None
        }
    }

    fn view<'a>(&'a self, field: &Field) -> FieldRef<'a> {
        FieldRef {
            name: self.slice(field.name),
            value: self.slice(field.value),
            known: field.known,
            flags: field.flags,
        }
    }
}

impl RequestHead for Head {
    fn method(&self) -> &[u8] {
        self.method_bytes()
    }

    fn authority(&self) -> &[u8] {
        self.authority()
    }

    fn path_and_query(&self) -> &[u8] {
        self.path()
    }

    fn any_value(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> Option<bool> {
        if name.starts_with(':') || name == "host" {
            return self.header(name).map(test);
        }
        let named = |field: &FieldRef<'_>| field.name.eq_ignore_ascii_case(name.as_bytes());
        let mut found = None;
        for field in self.fields().filter(named) {
            if test(field.value) {
                return Some(true);
            }
            found = Some(false);
        }
        found
    }

    fn each_value<'h>(&'h self, name: &str, each: &mut dyn FnMut(&'h [u8])) {
        let named = |field: &FieldRef<'_>| field.name.eq_ignore_ascii_case(name.as_bytes());
        for field in self.fields().filter(named) {
            each(field.value);
        }
    }

    /// `:method`, `:authority` and `:path` are understood too, as matchers written for Envoy name them.
    fn header(&self, name: &str) -> Option<&[u8]> {
        let pseudo = match name {
            ":method" => self.method_bytes(),
            ":path" => self.path(),
            ":authority" | "host" => self.authority(),
            ":scheme" => match self.scheme() {
                Scheme::Http => &b"http"[..],
                Scheme::Https => b"https",
            },
            _ => return self.get_name(name.as_bytes()),
        };
        (!pseudo.is_empty()).then_some(pseudo)
    }
}
