//! Names of fields that the proxy itself reads, resolved once when a head is parsed.

/// Declares [`Known`] with the lower-case name of each member.
macro_rules! known_names {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A well-known field name, or [`Known::Other`].
        ///
        /// Found by one hash and one comparison while parsing, so that everything behind compares a byte.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Known {
            /// Any other name.
            #[default]
            Other,
            $(#[doc = concat!("`", $name, "`.")] $(#[$doc])* $variant,)*
        }

        /// Members in declaration order.
        const ALL: &[Known] = &[$(Known::$variant,)*];

        impl Known {
            /// The name in lower case; empty for [`Known::Other`].
            pub const fn name(self) -> &'static str {
                match self {
                    Self::Other => "",
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

known_names! {
    Accept = "accept",
    AcceptEncoding = "accept-encoding",
    AcceptLanguage = "accept-language",
    AltSvc = "alt-svc",
    Authorization = "authorization",
    CacheControl = "cache-control",
    Connection = "connection",
    ContentEncoding = "content-encoding",
    ContentLength = "content-length",
    ContentType = "content-type",
    Cookie = "cookie",
    Date = "date",
    Etag = "etag",
    Expect = "expect",
    Forwarded = "forwarded",
    GrpcAcceptEncoding = "grpc-accept-encoding",
    GrpcEncoding = "grpc-encoding",
    GrpcMessage = "grpc-message",
    GrpcStatus = "grpc-status",
    GrpcTimeout = "grpc-timeout",
    Host = "host",
    Http2Settings = "http2-settings",
    KeepAlive = "keep-alive",
    LastModified = "last-modified",
    Location = "location",
    MaxForwards = "max-forwards",
    Origin = "origin",
    ProxyAuthenticate = "proxy-authenticate",
    ProxyAuthorization = "proxy-authorization",
    ProxyConnection = "proxy-connection",
    Referer = "referer",
    RetryAfter = "retry-after",
    Server = "server",
    SetCookie = "set-cookie",
    Te = "te",
    Traceparent = "traceparent",
    Tracestate = "tracestate",
    Trailer = "trailer",
    TransferEncoding = "transfer-encoding",
    Upgrade = "upgrade",
    UserAgent = "user-agent",
    Vary = "vary",
    Via = "via",
    WwwAuthenticate = "www-authenticate",
    B3 = "b3",
    XB3Traceid = "x-b3-traceid",
    XB3Spanid = "x-b3-spanid",
    XB3Sampled = "x-b3-sampled",
    XEnvoyAttemptCount = "x-envoy-attempt-count",
    XEnvoyExpectedRqTimeoutMs = "x-envoy-expected-rq-timeout-ms",
    XEnvoyMaxRetries = "x-envoy-max-retries",
    XEnvoyOriginalPath = "x-envoy-original-path",
    XEnvoyOverloaded = "x-envoy-overloaded",
    XEnvoyRetriableStatusCodes = "x-envoy-retriable-status-codes",
    XEnvoyRetryGrpcOn = "x-envoy-retry-grpc-on",
    XEnvoyRetryOn = "x-envoy-retry-on",
    XEnvoyUpstreamRqPerTryTimeoutMs = "x-envoy-upstream-rq-per-try-timeout-ms",
    XEnvoyUpstreamRqTimeoutMs = "x-envoy-upstream-rq-timeout-ms",
    XEnvoyUpstreamServiceTime = "x-envoy-upstream-service-time",
    XForwardedClientCert = "x-forwarded-client-cert",
    XForwardedFor = "x-forwarded-for",
    XForwardedHost = "x-forwarded-host",
    XForwardedProto = "x-forwarded-proto",
    XRequestId = "x-request-id",
    /// Between sidecars alone: how the names of a head were spelled.
    XWeftSpelling = "x-weft-spelling",
}

impl Known {
    /// The member called `name`, in any case.
    pub fn of(name: &[u8]) -> Self {
        let Some(slot) = slot_of(name) else {
            return Self::Other;
        };
        match TABLE.get(slot) {
            Some(known) if is_called(name, known.name().as_bytes()) => *known,
            _ => Self::Other,
        }
    }

    /// Whether a field of this name is meant for the next hop alone and is not forwarded (RFC 9110 §7.6.1).
    ///
    /// `TE` is one of them; a codec keeps its member `trailers`, which the proxy supports itself.
    pub const fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Self::Connection
                | Self::ProxyConnection
                | Self::KeepAlive
                | Self::Te
                | Self::TransferEncoding
                | Self::Upgrade
                | Self::Http2Settings
        )
    }
}

/// Whether `name`, in any case, is the lower-case name `lower`: eight bytes at a time.
fn is_called(name: &[u8], lower: &[u8]) -> bool {
    let same =
        |(a, b): (&[u8; 8], &[u8; 8])| same_word(u64::from_le_bytes(*a), u64::from_le_bytes(*b));
    if name.len() != lower.len() {
        return false;
    }
    let (words, rest) = name.as_chunks::<8>();
    let (lower_words, lower_rest) = lower.as_chunks::<8>();
    let tail = match (name.last_chunk::<8>(), lower.last_chunk::<8>()) {
        (Some(last), Some(lower_last)) => same((last, lower_last)),
        _ => same_word(short_word(rest), short_word(lower_rest)),
    };
    tail && words.iter().zip(lower_words).all(same)
}

/// Whether eight bytes are those of `lower` but for the case of letters. Only where `lower` has a letter, which among the
/// bytes of names are those with the bit 0x40, may the bit 0x20 differ.
const fn same_word(word: u64, lower: u64) -> bool {
    const LETTER: u64 = u64::MAX / 255 * 0x40;
    (word ^ lower) & !((lower & LETTER) >> 1) == 0
}

/// Fewer than eight bytes as one number, different for different bytes of one length.
fn short_word(bytes: &[u8]) -> u64 {
    match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32
        }
        _ => bytes
            .iter()
            .fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

const SLOTS: usize = 512;

/// Where `name` would be in [`TABLE`]: its length and four of its bytes, case folded.
const fn slot_of(name: &[u8]) -> Option<usize> {
    let (Some(first), Some(last)) = (name.first(), name.last()) else {
        return None;
    };
    let (rest, len) = (name, name.len());
    let middle = match rest.split_at_checked(len / 2) {
        Some((_, [middle, ..])) => *middle,
        _ => 0,
    };
    let third = match rest.split_at_checked(len / 3) {
        Some((_, [third, ..])) => *third,
        _ => 0,
    };
    let mixed = (*first as u32 | 0x20)
        .wrapping_mul(0x3623)
        .wrapping_add((*last as u32 | 0x20).wrapping_mul(0xD687))
        .wrapping_add((middle as u32 | 0x20).wrapping_mul(0x7343))
        .wrapping_add((third as u32 | 0x20).wrapping_mul(0x6117))
        .wrapping_add((len as u32).wrapping_mul(0x1071));
    Some(((mixed ^ (mixed >> 10)) as usize) % SLOTS)
}

/// A byte for each slot, so that all of it stays in a few cache lines.
static TABLE: [Known; SLOTS] = build_table();

/// Places every name in its slot; two names in one slot fail the build.
const fn build_table() -> [Known; SLOTS] {
    let mut table = [Known::Other; SLOTS];
    let mut rest = ALL;
    while let [known, tail @ ..] = rest {
        rest = tail;
        let Some(slot) = slot_of(known.name().as_bytes()) else {
            continue;
        };
        let (before, at) = table.split_at_mut(slot);
        assert!(before.len() == slot);
        if let [place, ..] = at {
            assert!(
                matches!(place, Known::Other),
                "two well-known names share a slot"
            );
            *place = *known;
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case() {
        for (known, name) in ALL.iter().map(|known| (known, known.name())) {
            assert_eq!(Known::of(name.as_bytes()), *known, "{name}");
            assert_eq!(
                Known::of(name.to_ascii_uppercase().as_bytes()),
                *known,
                "{name}"
            );
        }
    }

    #[test]
    fn a_name_that_differs_by_one_byte_is_another() {
        for name in ALL.iter().map(|known| known.name()) {
            for at in 0..name.len() {
                let mut near = name.as_bytes().to_vec();
                for byte in 0..=255 {
                    near[at] = byte;
                    let same = near.eq_ignore_ascii_case(name.as_bytes());
                    assert_eq!(Known::of(&near) != Known::Other, same, "{near:?}");
                }
            }
            assert_eq!(Known::of(format!("{name}x").as_bytes()), Known::Other);
        }
        assert_eq!(Known::of(b""), Known::Other);
    }
}
