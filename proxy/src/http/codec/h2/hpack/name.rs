//! What a field's name is: found out when it arrives in full, and kept beside it in the table.

use crate::http::codec::chars;
use crate::http::head::Known;

/// What a field's name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Name {
    pub(in super::super) kind: Kind,
    pub(in super::super) known: Known,
}

/// The pseudo-fields, the other fields, and what is no name in HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Kind {
    Field,
    Method,
    Scheme,
    Authority,
    Path,
    Status,
    Protocol,
    /// Begins with a colon and is none of these.
    UnknownPseudo,
    /// With a letter that is not lower-case.
    UpperCase,
    /// No token.
    NoToken,
}

impl Name {
    /// A name of an ordinary field.
    pub(super) const fn field(known: Known) -> Self {
        Self {
            kind: Kind::Field,
            known,
        }
    }

    /// A name of a pseudo-field, or a bad one.
    pub(super) const fn special(kind: Kind) -> Self {
        Self {
            kind,
            known: Known::Other,
        }
    }

    /// What `name` is.
    pub(super) fn of(name: &[u8]) -> Self {
        match Known::of(name) {
            Known::Other => Self::special(match name {
                [b':', pseudo @ ..] => match pseudo {
                    b"method" => Kind::Method,
                    b"scheme" => Kind::Scheme,
                    b"authority" => Kind::Authority,
                    b"path" => Kind::Path,
                    b"status" => Kind::Status,
                    b"protocol" => Kind::Protocol,
                    _ => Kind::UnknownPseudo,
                },
                // RFC 9113 §8.2.1.
                _ if name.iter().any(u8::is_ascii_uppercase) => Kind::UpperCase,
                _ if chars::is_token(name) => Kind::Field,
                _ => Kind::NoToken,
            }),
            known if name == known.name().as_bytes() => Self::field(known),
            _ => Self::special(Kind::UpperCase),
        }
    }
}
