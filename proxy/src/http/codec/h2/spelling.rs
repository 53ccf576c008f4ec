//! How the names of fields were spelled, for the next sidecar: HTTP/2 has names in lower case and no `Host` (RFC 9113 §8.2.1, §8.3.1),
//! and applications of HTTP/1 get their heads as they were sent all the same.
//!
//! Where both ends have agreed on it, one further field at the end of a head that came over HTTP/1 tells it: a letter for each field in
//! order, `l` for lower case, `t` for Title-Case, `u` for upper case, and `x` with hexadecimal digits, a bit for each letter of the
//! name, for all else. `h` before one of them is `Host` in its place. The last letter stands for all fields that follow. The heads of
//! one client are mostly alike, so that it is an index of the table, a byte on the wire.
//!
//! Nobody else can say it: what an application sends under this name goes no further. What does not fit its head is passed over,
//! for spelling means nothing (RFC 9110 §5.1).

use super::hpack::{Encoder, Indexing};
use crate::http::head::{Field, FieldRef, Flags, Head, Known, Span, Start, Version};

/// Longer names, spelled in a way of their own, are not told; nor is the head that they are in.
const NAME_BYTES_MAX: usize = 64;

/// The spelling of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Lower,
    Title,
    Upper,
    Mixed,
}

impl Shape {
    fn of(name: &[u8]) -> Self {
        let is_title = || {
            let starts = std::iter::once(true).chain(name.iter().map(|byte| *byte == b'-'));
            let mut all = name.iter().zip(starts);
            all.all(|(byte, starts)| match starts {
                true => !byte.is_ascii_lowercase(),
                false => !byte.is_ascii_uppercase(),
            })
        };
        if !name.iter().any(u8::is_ascii_uppercase) {
            Self::Lower
        } else if is_title() {
            Self::Title
        } else if !name.iter().any(u8::is_ascii_lowercase) {
            Self::Upper
        } else {
            Self::Mixed
        }
    }

    fn spell(self, name: &mut [u8]) {
        match self {
            Self::Lower | Self::Mixed => {}
            Self::Upper => name.make_ascii_uppercase(),
            Self::Title => {
                let mut starts = true;
                for byte in name {
                    if starts {
                        byte.make_ascii_uppercase();
                    }
                    starts = *byte == b'-';
                }
            }
        }
    }
}

/// Writes how the names of `fields`, all that were written of `head` and `Host`, are spelled, where that is to be told.
pub(super) fn write<'h>(
    head: &Head,
    fields: impl Iterator<Item = FieldRef<'h>>,
    scratch: &mut Vec<u8>,
    encoder: &mut Encoder,
    out: &mut Vec<u8>,
) {
    if head.version() == Version::Http2 || !tell(fields, scratch) {
        return;
    }
    encoder.known_field(Known::XWeftSpelling, scratch, Indexing::WhenRepeated, out);
}

/// Puts what is to be told into `told`; whether there is anything.
fn tell<'h>(fields: impl Iterator<Item = FieldRef<'h>>, told: &mut Vec<u8>) -> bool {
    told.clear();
    let (mut worth, mut plain_tail) = (false, 0_usize);
    for field in fields {
        let shape = Shape::of(field.name);
        let is_host = field.known == Known::Host;
        worth |= is_host || shape != Shape::Lower;
        let letter = match shape {
            Shape::Lower => b'l',
            Shape::Title => b't',
            Shape::Upper => b'u',
            Shape::Mixed => b'x',
        };
        let repeats = told.last() == Some(&letter) && plain_tail > 0;
        plain_tail = match shape {
            Shape::Mixed => 0,
            _ if is_host || !repeats => 1,
            _ => plain_tail + 1,
        };
        if is_host {
            told.push(b'h');
        }
        told.push(letter);
        if shape == Shape::Mixed {
            if field.name.len() > NAME_BYTES_MAX {
                return false;
            }
            told.extend(field.name.chunks(4).map(digit));
        }
    }
    // The last letter stands for the rest.
    told.truncate(told.len() - plain_tail.saturating_sub(1));
    worth
}

/// Which of four letters are in upper case.
fn digit(four: &[u8]) -> u8 {
    let upper = four.iter().rev().map(|byte| byte.is_ascii_uppercase());
    let bits = upper.fold(0, |bits, upper| bits << 1 | u8::from(upper));
    match bits {
        0..10 => b'0' + bits,
        _ => b'a' + (bits - 10),
    }
}

/// Spells the names of a head that was read as its last field tells, and takes that field away.
pub(super) fn apply(head: &mut Head) {
    let mut fields = head.fields.iter();
    let Some(at) = fields.rposition(|field| field.known == Known::XWeftSpelling) else {
        return;
    };
    let value = head.fields.remove(at).value;
    // It came last, so all other names lie before it.
    let Some((names, rest)) = head.bytes.split_at_mut_checked(value.start as usize) else {
        return;
    };
    let mut told = Told {
        rest: rest.get(..value.len as usize).unwrap_or_default(),
        last: None,
    };
    let mut host = None;
    for at in 0..=head.fields.len() {
        if told.has_host_next() {
            let mut name = *b"host";
            told.spell(&mut name);
            host = Some((at, name));
        }
        let name = head.fields.get(at).map(|field| field.name);
        let name = name.and_then(|name| names.get_mut(name.start as usize..name.end()));
        if !name.is_some_and(|name| told.spell(name)) {
            break;
        }
    }
    if let Some((at, name)) = host {
        put_host(head, at, &name);
    }
}

/// What is told, as far as it was not read yet.
struct Told<'t> {
    rest: &'t [u8],
    /// What stands for all that follow.
    last: Option<Shape>,
}

impl Told<'_> {
    fn has_host_next(&mut self) -> bool {
        let rest = self.rest.strip_prefix(b"h");
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Spells the next name; `false`: nothing is told of it, or nothing that makes sense.
    fn spell(&mut self, name: &mut [u8]) -> bool {
        let shape = match self.rest.split_first() {
            None => self.last,
            Some((letter, rest)) => {
                self.rest = rest;
                match letter {
                    b'l' => Some(Shape::Lower),
                    b't' => Some(Shape::Title),
                    b'u' => Some(Shape::Upper),
                    b'x' => return self.spell_each(name),
                    _ => None,
                }
            }
        };
        self.last = shape;
        if let Some(shape) = shape {
            shape.spell(name);
        }
        shape.is_some()
    }

    fn spell_each(&mut self, name: &mut [u8]) -> bool {
        self.last = None;
        let Some((digits, rest)) = self.rest.split_at_checked(name.len().div_ceil(4)) else {
            return false;
        };
        self.rest = rest;
        for (four, digit) in name.chunks_mut(4).zip(digits) {
            let bits = char::from(*digit).to_digit(16).unwrap_or(0);
            for (at, byte) in four.iter_mut().enumerate() {
                if bits >> at & 1 == 1 {
                    byte.make_ascii_uppercase();
                }
            }
        }
        true
    }
}

/// Gives a request the `Host` that it had.
fn put_host(head: &mut Head, at: usize, name: &[u8]) {
    let Start::Request { authority, .. } = head.start else {
        return;
    };
    if authority == Span::default() || head.get(Known::Host).is_some() {
        return;
    }
    let name = head.put(name);
    let host = Field {
        name,
        value: authority,
        known: Known::Host,
        flags: Flags::default(),
    };
    head.fields.insert(at.min(head.fields.len()), host);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(names: &[&str]) -> Option<String> {
        let mut head = Head::request(b"GET", b"a", b"/");
        for name in names {
            head.add(name.as_bytes(), b"v");
        }
        let mut scratch = Vec::new();
        let worth = tell(head.fields(), &mut scratch);
        worth.then(|| String::from_utf8(scratch).unwrap())
    }

    #[test]
    fn what_is_told_is_short_where_names_are_alike() {
        let table: [(&[&str], Option<&str>); 7] = [
            (&["accept", "x-a"], None),
            (&["Host", "User-Agent", "Accept"], Some("ht")),
            (&["host", "accept", "x-a"], Some("hl")),
            (&["Accept", "Host", "X-A", "x-b", "x-c"], Some("thttl")),
            (&["HOST", "ACCEPT", "ETag"], Some("huux3")),
            (&["eTAG", "eTAG"], Some("xexe")),
            (&["Accept", "x-1", "WWW-Authenticate"], Some("tlx7100")),
        ];
        for (names, expected) in table {
            assert_eq!(told(names).as_deref(), expected, "{names:?}");
        }
        assert_eq!(told(&["A", &"Ab".repeat(33)]), None);
    }

    #[test]
    fn what_does_not_fit_its_head_does_no_harm() {
        for told in [
            "",
            "h",
            "hh",
            "hhhhh",
            "x",
            "x9",
            "?",
            "tttttttttttttt",
            "lx",
            "htx0",
            "xzz",
        ] {
            let mut head = Head::request(b"GET", b"a", b"/");
            for (name, value) in [("accept", "a"), ("etag", "b"), ("x-weft-spelling", told)] {
                head.add(name.as_bytes(), value.as_bytes());
            }
            apply(&mut head);
            let lower = |field: FieldRef<'_>| field.name.to_ascii_lowercase();
            let mut names: Vec<_> = head.fields().map(lower).collect();
            names.retain(|name| name != b"host");
            assert_eq!(names, [b"accept".to_vec(), b"etag".to_vec()], "{told}");
            assert!(head.get_all(Known::Host).count() <= 1, "{told}");
        }
    }
}
