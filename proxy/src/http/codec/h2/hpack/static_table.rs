//! The table that both sides know (RFC 7541 Appendix A).

use super::name::{Kind, Name};
use crate::http::head::Known;

/// An entry of the static table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) value: &'static str,
    pub(super) is: Name,
}

const fn entry(name: &'static str, value: &'static str, is: Name) -> Entry {
    Entry { name, value, is }
}

/// Entries in order; the first has index 1.
pub(super) static ENTRIES: [Entry; LEN] = TABLE;

/// How many there are.
pub(super) const LEN: usize = 61;

const TABLE: [Entry; LEN] = [
    entry(":authority", "", Name::special(Kind::Authority)),
    entry(":method", "GET", Name::special(Kind::Method)),
    entry(":method", "POST", Name::special(Kind::Method)),
    entry(":path", "/", Name::special(Kind::Path)),
    entry(":path", "/index.html", Name::special(Kind::Path)),
    entry(":scheme", "http", Name::special(Kind::Scheme)),
    entry(":scheme", "https", Name::special(Kind::Scheme)),
    entry(":status", "200", Name::special(Kind::Status)),
    entry(":status", "204", Name::special(Kind::Status)),
    entry(":status", "206", Name::special(Kind::Status)),
    entry(":status", "304", Name::special(Kind::Status)),
    entry(":status", "400", Name::special(Kind::Status)),
    entry(":status", "404", Name::special(Kind::Status)),
    entry(":status", "500", Name::special(Kind::Status)),
    entry("accept-charset", "", Name::field(Known::Other)),
    entry(
        "accept-encoding",
        "gzip, deflate",
        Name::field(Known::AcceptEncoding),
    ),
    entry("accept-language", "", Name::field(Known::AcceptLanguage)),
    entry("accept-ranges", "", Name::field(Known::Other)),
    entry("accept", "", Name::field(Known::Accept)),
    entry("access-control-allow-origin", "", Name::field(Known::Other)),
    entry("age", "", Name::field(Known::Other)),
    entry("allow", "", Name::field(Known::Other)),
    entry("authorization", "", Name::field(Known::Authorization)),
    entry("cache-control", "", Name::field(Known::CacheControl)),
    entry("content-disposition", "", Name::field(Known::Other)),
    entry("content-encoding", "", Name::field(Known::ContentEncoding)),
    entry("content-language", "", Name::field(Known::Other)),
    entry("content-length", "", Name::field(Known::ContentLength)),
    entry("content-location", "", Name::field(Known::Other)),
    entry("content-range", "", Name::field(Known::Other)),
    entry("content-type", "", Name::field(Known::ContentType)),
    entry("cookie", "", Name::field(Known::Cookie)),
    entry("date", "", Name::field(Known::Date)),
    entry("etag", "", Name::field(Known::Etag)),
    entry("expect", "", Name::field(Known::Expect)),
    entry("expires", "", Name::field(Known::Other)),
    entry("from", "", Name::field(Known::Other)),
    entry("host", "", Name::field(Known::Host)),
    entry("if-match", "", Name::field(Known::Other)),
    entry("if-modified-since", "", Name::field(Known::Other)),
    entry("if-none-match", "", Name::field(Known::Other)),
    entry("if-range", "", Name::field(Known::Other)),
    entry("if-unmodified-since", "", Name::field(Known::Other)),
    entry("last-modified", "", Name::field(Known::LastModified)),
    entry("link", "", Name::field(Known::Other)),
    entry("location", "", Name::field(Known::Location)),
    entry("max-forwards", "", Name::field(Known::MaxForwards)),
    entry(
        "proxy-authenticate",
        "",
        Name::field(Known::ProxyAuthenticate),
    ),
    entry(
        "proxy-authorization",
        "",
        Name::field(Known::ProxyAuthorization),
    ),
    entry("range", "", Name::field(Known::Other)),
    entry("referer", "", Name::field(Known::Referer)),
    entry("refresh", "", Name::field(Known::Other)),
    entry("retry-after", "", Name::field(Known::RetryAfter)),
    entry("server", "", Name::field(Known::Server)),
    entry("set-cookie", "", Name::field(Known::SetCookie)),
    entry("strict-transport-security", "", Name::field(Known::Other)),
    entry(
        "transfer-encoding",
        "",
        Name::field(Known::TransferEncoding),
    ),
    entry("user-agent", "", Name::field(Known::UserAgent)),
    entry("vary", "", Name::field(Known::Vary)),
    entry("via", "", Name::field(Known::Via)),
    entry("www-authenticate", "", Name::field(Known::WwwAuthenticate)),
];

const SLOTS: usize = 128;

/// By [`slot_of`]: the index of the first entry with a name, or 0.
static INDEX: [u8; SLOTS] = build_index();

/// The index of the first entry called `name`, in any case; by one look and one comparison.
pub(super) fn index_of(name: &[u8]) -> Option<usize> {
    let index = usize::from(*INDEX.get(slot_of(name)?)?);
    let entry = ENTRIES.get(index.checked_sub(1)?)?;
    let found = entry.name.as_bytes();
    (name == found || name.eq_ignore_ascii_case(found)).then_some(index)
}

/// By well-known name: the index of its first entry, or 0.
static INDEX_OF_KNOWN: [u8; 256] = build_index_of_known();

/// [`index_of`] for a well-known name, of which nothing needs to be looked at.
pub(super) fn index_of_known(known: Known) -> Option<usize> {
    let index = usize::from(*INDEX_OF_KNOWN.get(known as usize)?);
    (index > 0).then_some(index)
}

#[expect(
    clippy::indexing_slicing,
    reason = "done by the compiler, which checks every index"
)]
const fn build_index_of_known() -> [u8; 256] {
    let mut table = [0; 256];
    let mut at = LEN;
    while at > 0 {
        let known = TABLE[at - 1].is.known as usize;
        if known != Known::Other as usize {
            table[known] = at as u8;
        }
        at -= 1;
    }
    table
}

/// Where `name` would be in [`INDEX`]: by its length and three of its bytes, case folded.
const fn slot_of(name: &[u8]) -> Option<usize> {
    let (Some(first), Some(last), (_, [middle, ..])) =
        (name.first(), name.last(), name.split_at(name.len() / 2))
    else {
        return None;
    };
    let mixed = (*first as usize | 0x20) * FIRST
        + (*last as usize | 0x20) * LAST
        + (*middle as usize | 0x20) * MIDDLE
        + name.len();
    Some(mixed % SLOTS)
}

/// Factors that give every name its own slot; the build fails when two share one.
const FIRST: usize = 132;
const LAST: usize = 248;
const MIDDLE: usize = 78;

#[expect(
    clippy::indexing_slicing,
    reason = "done by the compiler, which checks every index"
)]
const fn build_index() -> [u8; SLOTS] {
    let mut table = [0; SLOTS];
    let mut at = LEN;
    // From behind, so that the first of a name is the one that stays.
    while at > 0 {
        let Some(slot) = slot_of(TABLE[at - 1].name.as_bytes()) else {
            panic!("a name is not empty");
        };
        let taken = table[slot] as usize;
        assert!(
            taken == 0
                || same(
                    TABLE[taken - 1].name.as_bytes(),
                    TABLE[at - 1].name.as_bytes()
                ),
            "two names share a slot"
        );
        table[slot] = at as u8;
        at -= 1;
    }
    table
}

const fn same(mut a: &[u8], mut b: &[u8]) -> bool {
    while let ([x, rest_a @ ..], [y, rest_b @ ..]) = (a, b) {
        if *x != *y {
            return false;
        }
        a = rest_a;
        b = rest_b;
    }
    a.is_empty() && b.is_empty()
}
