//! Whether one route matches one request, and if not, why.

use std::fmt;

use memchr::memmem;

use super::{HeaderMatch, PathMatch, QueryMatch, RequestHead, RouteMatch, StringMatch};
use crate::grpc::is_grpc;

/// The first condition of a route that a request does not meet; displayed as a sentence for people.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mismatch<'a> {
    /// The path is another.
    Path {
        /// What the route wants.
        wanted: &'a PathMatch,
        /// Whether case matters.
        case_sensitive: bool,
    },
    /// The method is not `CONNECT`.
    NotConnect,
    /// The method is `CONNECT`, which has no path that could match.
    Pathless,
    /// The request is not gRPC.
    NotGrpc,
    /// This header does not have the value wanted.
    Header(&'a HeaderMatch),
    /// This query parameter does not have the value wanted.
    Query(&'a QueryMatch),
    /// The request is not in the share that the route takes, in parts per million.
    Share(u32),
}

/// A head with its path cut into parts, once for all candidates.
pub(super) struct Request<'h, H> {
    head: &'h H,
    /// The path without query and fragment.
    pub(super) path: &'h [u8],
    query: &'h [u8],
    connect: bool,
    random: u64,
}

impl<'h, H: RequestHead> Request<'h, H> {
    pub(super) fn new(head: &'h H, random: u64) -> Self {
        let (path, query) = split_path(head.path_and_query());
        let connect = head.method() == b"CONNECT";
        Self {
            head,
            path,
            query,
            connect,
            random,
        }
    }

    fn header(&self, name: &str) -> Option<&'h [u8]> {
        match name {
            ":method" => Some(self.head.method()),
            ":authority" | "host" => Some(self.head.authority()),
            ":path" => Some(self.head.path_and_query()),
            name => self.head.header(name),
        }
    }

    fn is_grpc(&self) -> bool {
        self.head.header("content-type").is_some_and(is_grpc)
    }
}

/// Cuts the query (without its `?`) and the fragment off a path.
pub(crate) fn split_path(path_and_query: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr(b'#', path_and_query).unwrap_or(path_and_query.len());
    let whole = path_and_query.get(..end).unwrap_or_default();
    match memchr::memchr(b'?', whole) {
        Some(at) => (
            whole.get(..at).unwrap_or_default(),
            whole.get(at + 1..).unwrap_or_default(),
        ),
        None => (whole, &[]),
    }
}

/// The path without its query and fragment.
pub(crate) fn path_of(path_and_query: &[u8]) -> &[u8] {
    split_path(path_and_query).0
}

impl RouteMatch {
    /// The first condition that `head` does not meet; `None`: all hold.
    ///
    /// `random` is any u64 and decides whether the request is in the share that the route takes.
    pub fn mismatch(&self, head: &impl RequestHead, random: u64) -> Option<Mismatch<'_>> {
        self.mismatch_of(&Request::new(head, random))
    }

    pub(super) fn mismatch_of<H: RequestHead>(
        &self,
        request: &Request<'_, H>,
    ) -> Option<Mismatch<'_>> {
        if let Some(mismatch) = self.path_mismatch(request) {
            return Some(mismatch);
        }
        if self.grpc && !request.is_grpc() {
            return Some(Mismatch::NotGrpc);
        }
        if let Some(header) = self.headers.iter().find(|it| !it.holds(request)) {
            return Some(Mismatch::Header(header));
        }
        if let Some(query) = self.query.iter().find(|it| !it.holds(request.query)) {
            return Some(Mismatch::Query(query));
        }
        // The upper half, because the lower one chooses the weighted cluster.
        let taken = (request.random >> 32) % 1_000_000 < u64::from(self.runtime_per_million);
        (!taken).then_some(Mismatch::Share(self.runtime_per_million))
    }

    fn path_mismatch<H: RequestHead>(&self, request: &Request<'_, H>) -> Option<Mismatch<'_>> {
        if self.path == PathMatch::Connect {
            return (!request.connect).then_some(Mismatch::NotConnect);
        }
        if request.connect && request.path.is_empty() {
            return Some(Mismatch::Pathless);
        }
        let matches = self.path.matches(request.path, self.case_sensitive);
        (!matches).then_some(Mismatch::Path {
            wanted: &self.path,
            case_sensitive: self.case_sensitive,
        })
    }
}

impl PathMatch {
    /// Whether `path`, which has neither query nor fragment, matches. A `CONNECT` matcher matches no path.
    pub fn matches(&self, path: &[u8], case_sensitive: bool) -> bool {
        let same = |a: &[u8], b: &[u8]| match case_sensitive {
            true => a == b,
            false => a.eq_ignore_ascii_case(b),
        };
        let starts = |with: &str| {
            path.get(..with.len())
                .is_some_and(|start| same(start, with.as_bytes()))
        };
        match self {
            Self::Exact(exact) => same(path, exact.as_bytes()),
            Self::Prefix(prefix) => starts(prefix),
            Self::SegmentPrefix(prefix) => {
                starts(prefix) && matches!(path.get(prefix.len()), None | Some(b'/'))
            }
            Self::Regex(pattern) => pattern.0.is_match(path),
            Self::Connect => false,
        }
    }
}

impl StringMatch {
    /// Whether a value that is there matches.
    pub fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => value == exact.as_bytes(),
            Self::ExactIgnoreCase(exact) => value.eq_ignore_ascii_case(exact.as_bytes()),
            Self::Prefix(prefix) => value.starts_with(prefix.as_bytes()),
            Self::Suffix(suffix) => value.ends_with(suffix.as_bytes()),
            Self::Contains(part) => memmem::find(value, part.as_bytes()).is_some(),
            Self::Regex(pattern) => pattern.0.is_match(value),
            Self::Present => true,
            Self::Range(start, end) => std::str::from_utf8(value)
                .ok()
                .and_then(|text| text.parse::<i64>().ok())
                .is_some_and(|number| (*start..*end).contains(&number)),
        }
    }
}

impl HeaderMatch {
    fn holds<H: RequestHead>(&self, request: &Request<'_, H>) -> bool {
        self.holds_for(request.header(&self.name))
    }

    /// Whether the condition holds for a header of which one value may do: `any` says whether one passes the test it is
    /// given, and `None` where there is none. A missing header is judged as by [`Self::holds_for`].
    pub(crate) fn holds_for_any(
        &self,
        any: impl FnOnce(&mut dyn FnMut(&[u8]) -> bool) -> Option<bool>,
    ) -> bool {
        match any(&mut |value| self.value.matches(value)) {
            Some(matched) => matched != self.invert,
            None => self.holds_for(None),
        }
    }

    /// Whether the condition holds for the header's value. A missing header meets no condition on its value, inverted or
    /// not, unless it counts as empty; only its presence can be inverted (`HeaderMatcher`, gRFC A28).
    pub(crate) fn holds_for(&self, value: Option<&[u8]>) -> bool {
        let value = match value {
            None if self.missing_is_empty => Some(&b""[..]),
            value => value,
        };
        match (value, &self.value) {
            (value, StringMatch::Present) => value.is_some() != self.invert,
            (Some(value), wanted) => wanted.matches(value) != self.invert,
            (None, _) => false,
        }
    }
}

impl QueryMatch {
    /// Whether the first parameter of the name has the value wanted. Names and values are compared as sent, without
    /// decoding, as Envoy does; a parameter without `=` has an empty value.
    fn holds(&self, query: &[u8]) -> bool {
        query
            .split(|byte| *byte == b'&')
            .find_map(|pair| {
                let rest = pair.strip_prefix(self.name.as_bytes())?;
                match rest {
                    [] => (!pair.is_empty()).then_some(rest),
                    [b'=', value @ ..] => Some(value),
                    _ => None,
                }
            })
            .is_some_and(|value| self.value.matches(value))
    }
}

impl fmt::Display for Mismatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path {
                wanted,
                case_sensitive,
            } => {
                write!(f, "the path {}", Wanted(wanted))?;
                f.write_str(if *case_sensitive {
                    ""
                } else {
                    " (case ignored)"
                })
            }
            Self::NotConnect => f.write_str("the method is not CONNECT"),
            Self::Pathless => f.write_str("a CONNECT request has no path"),
            Self::NotGrpc => f.write_str("the request is not gRPC"),
            Self::Header(header) => {
                let not = if header.invert { "" } else { "not " };
                let HeaderMatch { name, value, .. } = header;
                write!(f, "the header {name} is {not}{value}")
            }
            Self::Query(QueryMatch { name, value }) => {
                write!(f, "the query parameter {name} is not {value}")
            }
            Self::Share(per_million) => write!(
                f,
                "the request is not in the {} % that the route takes",
                f64::from(*per_million) / 10_000.0
            ),
        }
    }
}

/// What a path failed to be.
struct Wanted<'a>(&'a PathMatch);

impl fmt::Display for Wanted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            PathMatch::Exact(path) => write!(f, "is not {path}"),
            PathMatch::Prefix(path) => write!(f, "does not start with {path}"),
            PathMatch::SegmentPrefix(path) => write!(f, "is not {path} or below it"),
            PathMatch::Regex(pattern) => write!(f, "does not match {}", pattern.source()),
            PathMatch::Connect => f.write_str("does not count, only CONNECT does"),
        }
    }
}

impl fmt::Display for StringMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => write!(f, "{text:?}"),
            Self::ExactIgnoreCase(text) => write!(f, "{text:?} in any case"),
            Self::Prefix(text) => write!(f, "{text:?} with anything after it"),
            Self::Suffix(text) => write!(f, "{text:?} with anything before it"),
            Self::Contains(text) => write!(f, "something with {text:?} in it"),
            Self::Regex(pattern) => write!(f, "a match of {}", pattern.source()),
            Self::Present => f.write_str("there"),
            Self::Range(start, end) => write!(f, "an integer from {start} to below {end}"),
        }
    }
}
