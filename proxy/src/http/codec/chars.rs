//! Which bytes may stand where.

use std::net::Ipv6Addr;

const TOKEN: u8 = 1;
const HOST: u8 = 2;

/// The classes each byte belongs to.
static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut rest: &mut [u8] = &mut table;
    let mut byte: u8 = 0;
    while let [class, tail @ ..] = rest {
        *class = class_of(byte);
        byte = byte.wrapping_add(1);
        rest = tail;
    }
    table
}

const fn class_of(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => TOKEN | HOST,
        // Both `tchar` (RFC 9110 §5.6.2) and, as unreserved or sub-delims, `reg-name` (RFC 3986 §3.2.2).
        b'!' | b'$' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'_' | b'~' => TOKEN | HOST,
        b'#' | b'^' | b'`' | b'|' | b'%' => TOKEN,
        b'(' | b')' | b',' | b';' | b'=' => HOST,
        _ => 0,
    }
}

#[expect(clippy::indexing_slicing, reason = "a byte is below 256")]
fn has_class(byte: u8, class: u8) -> bool {
    CLASSES[usize::from(byte)] & class != 0
}

/// `tchar` (RFC 9110 §5.6.2).
pub(in crate::http::codec) fn is_token_byte(byte: u8) -> bool {
    has_class(byte, TOKEN)
}

/// Whether `text` is a token.
pub(in crate::http::codec) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| is_token_byte(*byte))
}

/// How many bytes from the start of `text` are token bytes.
pub(in crate::http::codec) fn token_len(text: &[u8]) -> usize {
    text.iter()
        .position(|byte| !is_token_byte(*byte))
        .unwrap_or(text.len())
}

/// Whether `text` may be a field value: no control byte but HTAB (RFC 9110 §5.5).
pub(in crate::http::codec) fn is_field_value(text: &[u8]) -> bool {
    // Eight bytes at a time; where one of them may be a control byte (HTAB too), each is looked at.
    let (words, rest) = text.as_chunks::<8>();
    let plain = words
        .iter()
        .all(|word| !may_hold_control(u64::from_le_bytes(*word)))
        && match text.last_chunk::<8>() {
            Some(last) => !may_hold_control(u64::from_le_bytes(*last)),
            None => rest.iter().all(|byte| is_value_byte(*byte)),
        };
    plain || text.iter().all(|byte| is_value_byte(*byte))
}

fn is_value_byte(byte: u8) -> bool {
    (byte >= b' ' && byte != 0x7f) || byte == b'\t'
}

/// Whether any of eight bytes is below 0x20 or 0x7f. Sometimes says so of others, never the reverse.
fn may_hold_control(word: u64) -> bool {
    const ONES: u64 = u64::MAX / 255;
    let below = |word: u64, bound: u64| word.wrapping_sub(ONES * bound) & !word;
    (below(word, 0x20) | below(word ^ (ONES * 0x7f), 1)) & (ONES * 0x80) != 0
}

/// Whether `text` may stand as a target in a request line: visible ASCII, without the fragment no target has.
///
/// Wider than RFC 3986 by the delimiters `"<>[]\^{|}` and the backquote, which clients send unencoded in queries.
pub(in crate::http::codec) fn is_target(text: &[u8]) -> bool {
    !text.is_empty()
        && text.iter().fold(true, |good, byte| {
            good & (*byte > b' ') & (*byte < 0x7f) & (*byte != b'#')
        })
}

/// Without the whitespace around it: SP and HTAB only (RFC 9110 §5.6.3).
pub(in crate::http::codec) fn trim(text: &[u8]) -> &[u8] {
    trim_end(trim_start(text))
}

/// Without the whitespace before it.
pub(in crate::http::codec) fn trim_start(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    text
}

/// Without the whitespace behind it.
pub(in crate::http::codec) fn trim_end(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// Whether a port must be there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::http::codec) enum Port {
    Optional,
    Required,
}

/// Whether `text` is `uri-host [ ":" port ]` (RFC 9110 §7.2), without user information (RFC 9110 §4.2.4).
pub(in crate::http::codec) fn is_authority(text: &[u8], port: Port) -> bool {
    let (host_is_good, rest) = match text {
        [b'[', inner @ ..] => match memchr::memchr(b']', inner) {
            Some(close) => {
                let (address, rest) = inner.split_at(close);
                (is_ipv6(address), rest.get(1..).unwrap_or_default())
            }
            None => return false,
        },
        _ => {
            let end = memchr::memchr(b':', text).unwrap_or(text.len());
            let (name, rest) = text.split_at(end);
            (is_reg_name(name), rest)
        }
    };
    host_is_good
        && match rest {
            [] => port == Port::Optional,
            [b':'] => port == Port::Optional, // the grammar's port is *DIGIT
            [b':', digits @ ..] => is_port(digits, port),
            _ => false,
        }
}

fn is_ipv6(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

fn is_reg_name(mut text: &[u8]) -> bool {
    if text.is_empty() {
        return false;
    }
    loop {
        match text {
            [] => return true,
            [b'%', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                text = rest;
            }
            [byte, rest @ ..] if has_class(*byte, HOST) => text = rest,
            _ => return false,
        }
    }
}

fn is_port(digits: &[u8], port: Port) -> bool {
    let number = match decimal(digits) {
        Some(number) if digits.len() <= 5 => number,
        _ => return false,
    };
    // RFC 9110 §9.3.6: a CONNECT to an empty or invalid port is refused.
    number <= u64::from(u16::MAX) && (number > 0 || port == Port::Optional)
}

/// `1*DIGIT` as a number that also fits a signed one, lest the next hop read it as negative.
pub(in crate::http::codec) fn decimal(text: &[u8]) -> Option<u64> {
    let mut number: u64 = 0;
    for byte in text {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    (!text.is_empty() && i64::try_from(number).is_ok()).then_some(number)
}

/// The members of a comma-separated list, trimmed; empty ones too.
pub(in crate::http::codec) fn members(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b',').map(trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_that_are_refused() {
        for bad in [
            "", ":80", "a:b", "a:65536", "a:123456", "a b", "a/b", "u@a", "a\\b", "[::1", "[::1]x",
            "[::g]", "::1", "a:80:80", "%zz", "%2", "a#b", "a?b", "a\"b", "a<b", "[]", "\u{e9}",
        ] {
            assert!(!is_authority(bad.as_bytes(), Port::Optional), "{bad}");
        }
        for bad in ["a", "a:", "a:0", "[::1]"] {
            assert!(!is_authority(bad.as_bytes(), Port::Required), "{bad}");
        }
    }

    #[test]
    fn authorities_that_are_taken() {
        for good in [
            "a",
            "a.b-c_d~",
            "a:",
            "a:80",
            "a:65535",
            "127.0.0.1:1",
            "[::1]",
            "[2001:db8::1]:8080",
            "a%20b",
            "x!$&'()*+,;=y",
        ] {
            assert!(is_authority(good.as_bytes(), Port::Optional), "{good}");
        }
        assert!(is_authority(b"a:1", Port::Required));
    }

    #[test]
    fn decimals_within_range_only() {
        assert_eq!(decimal(b"0"), Some(0));
        assert_eq!(decimal(b"007"), Some(7));
        assert_eq!(decimal(b"9223372036854775807"), Some(i64::MAX as u64));
        for bad in [
            "",
            "+1",
            "-1",
            "1 ",
            " 1",
            "0x1",
            "1_0",
            "1.0",
            "9223372036854775808",
            "99999999999999999999",
        ] {
            assert_eq!(decimal(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn control_bytes_are_no_value() {
        for byte in 0..=255_u8 {
            let good = byte == b'\t' || (byte >= b' ' && byte != 0x7f);
            assert_eq!(is_field_value(&[b'a', byte, b'b']), good, "{byte}");
        }
    }

    #[test]
    fn token_bytes_are_those_of_the_grammar() {
        for byte in 0..=255_u8 {
            let good = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            assert_eq!(is_token_byte(byte), good, "{byte}");
        }
        assert_eq!(token_len(b"ab:c"), 2);
    }
}
