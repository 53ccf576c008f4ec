//! Where tokens are looked for in a request.

use std::borrow::Cow;
use std::sync::Arc;

use memchr::memmem;
use smallvec::SmallVec;

use super::Provider;
use crate::route::{RequestHead, split_path};

/// A place in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A field, behind some text in its value.
    Header {
        /// Lower-case name.
        name: Arc<str>,
        /// What stands before the token; may be empty.
        prefix: Arc<str>,
    },
    /// The field `authorization`, behind the scheme `Bearer` (RFC 6750 §2.1), in whatever case it is written (RFC 9110 §11.1).
    Bearer,
    /// A parameter of the query.
    Parameter(Arc<str>),
    /// A cookie.
    Cookie(Arc<str>),
}

/// Tokens that were found in one place, not looked into yet; decoded where they stood in a query.
pub type Found<'h> = SmallVec<[Cow<'h, [u8]>; 1]>;

impl Provider {
    /// The default places: `Authorization: Bearer`, and the parameter `access_token` (RFC 6750 §2).
    pub(super) fn default_places() -> Box<[Place]> {
        [Place::Bearer, Place::Parameter("access_token".into())].into()
    }
}

impl Place {
    /// Every token that stands here. Allocates nothing where there is one, and that is not escaped.
    pub fn tokens<'h>(&self, head: &'h dyn RequestHead) -> Found<'h> {
        let mut found = Found::new();
        match self {
            Self::Header { name, prefix } => head.each_value(name, &mut |value| {
                let token = behind(value, prefix.as_bytes());
                found.extend(token.map(Cow::Borrowed));
            }),
            Self::Bearer => head.each_value("authorization", &mut |value| {
                found.extend(bearer(value).map(Cow::Borrowed));
            }),
            Self::Parameter(name) => {
                found.extend(parameters(head.path_and_query(), name.as_bytes()));
            }
            Self::Cookie(name) => head.each_value("cookie", &mut |value| {
                found.extend(cookies(value, name.as_bytes()).map(Cow::Borrowed));
            }),
        }
        found
    }
}

/// What stands behind `prefix`, from the first character that a token may have; without such, the whole value, which is none.
fn behind<'v>(value: &'v [u8], prefix: &[u8]) -> Option<&'v [u8]> {
    if prefix.is_empty() {
        return Some(value);
    }
    let after = value.get(memmem::find(value, prefix)? + prefix.len()..)?;
    let start = after.iter().position(|byte| is_of_token(*byte));
    Some(start.and_then(|at| after.get(at..)).unwrap_or(value))
}

/// The token of the scheme `Bearer`; the whole value, which is none, where nothing stands behind the scheme. Wherever in the value the
/// scheme is: what reads it behind us may be as generous.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer";
    let is_scheme = |word: &[u8]| word.eq_ignore_ascii_case(SCHEME);
    let at = value.windows(SCHEME.len()).position(is_scheme)?;
    let after = value.get(at + SCHEME.len()..)?;
    match after.first() {
        Some(b' ' | b'\t') => {
            let start = after.iter().position(|byte| is_of_token(*byte));
            Some(start.and_then(|at| after.get(at..)).unwrap_or(value))
        }
        None => Some(value),
        Some(_) => None,
    }
}

fn is_of_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

/// The parameters of a name, decoded.
fn parameters<'h>(path: &'h [u8], name: &[u8]) -> impl Iterator<Item = Cow<'h, [u8]>> {
    let pairs = split_path(path).1.split(|byte| *byte == b'&');
    pairs.filter_map(move |pair| {
        let mut parts = pair.splitn(2, |byte| *byte == b'=');
        let found = unescaped(parts.next()?) == name;
        found.then(|| unescaped(parts.next().unwrap_or_default()))
    })
}

/// Whether a pair of a query is of the parameter `name`.
pub fn is_parameter(pair: &[u8], name: &[u8]) -> bool {
    let found = pair.split(|byte| *byte == b'=').next();
    unescaped(found.unwrap_or_default()) == name
}

/// With `%XX` as the byte that it stands for; what is no such escape stays.
fn unescaped(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'%', text).is_none() {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        let digit = |byte: &u8| {
            char::from(*byte)
                .to_digit(16)
                .and_then(|it| u8::try_from(it).ok())
        };
        let escape = match (first, behind) {
            (b'%', [high, low, after @ ..]) => digit(high).zip(digit(low)).map(|it| (it, after)),
            _ => None,
        };
        match escape {
            Some(((high, low), after)) => {
                out.push(high << 4 | low);
                rest = after;
            }
            None => {
                out.push(*first);
                rest = behind;
            }
        }
    }
    Cow::Owned(out)
}

/// The cookies of a name in one field, without quotation marks around them.
fn cookies<'h>(field: &'h [u8], name: &[u8]) -> impl Iterator<Item = &'h [u8]> {
    field.split(|byte| *byte == b';').filter_map(move |pair| {
        let value = pair.trim_ascii().strip_prefix(name)?.strip_prefix(b"=")?;
        let inner = value
            .strip_prefix(b"\"")
            .and_then(|it| it.strip_suffix(b"\""));
        Some(inner.unwrap_or(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_and_what_is_none_stays() {
        for (text, wanted) in [
            ("a%2Eb", "a.b"),
            ("a%2", "a%2"),
            ("%zz", "%zz"),
            ("%%41", "%A"),
        ] {
            assert_eq!(
                unescaped(text.as_bytes()).as_ref(),
                wanted.as_bytes(),
                "{text}"
            );
        }
    }

    #[test]
    fn a_parameter_is_found_by_its_decoded_name_before_the_fragment() {
        let of = |path: &'static str| {
            let found = parameters(path.as_bytes(), b"access_token");
            let text = found.map(|it| String::from_utf8(it.into_owned()).unwrap());
            text.collect::<Vec<_>>()
        };
        assert_eq!(of("/?a=1&access%5Ftoken=x%2Ey"), ["x.y"]);
        assert_eq!(of("/?access_token=x&b&access_token=y"), ["x", "y"]);
        for path in [
            "/",
            "/?access_tokens=x",
            "/#?access_token=x",
            "/?a#&access_token=x",
        ] {
            assert_eq!(of(path), Vec::<String>::new(), "{path}");
        }
    }

    #[test]
    fn the_scheme_of_a_bearer_is_known_in_any_case_and_a_scheme_without_a_token_is_one_that_cannot_hold()
     {
        for (value, token) in [
            ("Bearer a.b.c", Some("a.b.c")),
            ("bearer a.b.c", Some("a.b.c")),
            ("BEARER\ta.b.c", Some("a.b.c")),
            ("Basic x, Bearer  a.b.c", Some("a.b.c")),
            ("Bearer", Some("Bearer")),
            ("bearer \t", Some("bearer \t")),
            ("Bearers a.b.c", None),
            ("Basic abc", None),
        ] {
            assert_eq!(
                bearer(value.as_bytes()),
                token.map(str::as_bytes),
                "{value:?}"
            );
        }
    }

    #[test]
    fn every_cookie_of_a_name_is_found() {
        let field = b"a=1; tok=x;tok=\"y\"; token=z";
        let found: Vec<_> = cookies(field, b"tok").collect();
        assert_eq!(found, [b"x", b"y"]);
    }
}
