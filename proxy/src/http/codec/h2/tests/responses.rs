//! Responses as a client reads them.

use super::*;
use ProtocolError as E;

#[test]
fn responses_that_are_refused() {
    let interims = headers(1, &[(":status", "103")], false).repeat(17);
    let cases: Vec<(&str, Vec<u8>, E)> = vec![
        (
            "no status",
            headers(1, &[("a", "b")], true),
            E::NoPseudoField,
        ),
        (
            "two digits",
            headers(1, &[(":status", "20")], true),
            E::BadStatus,
        ),
        (
            "letters",
            headers(1, &[(":status", "2x0")], true),
            E::BadStatus,
        ),
        (
            "below 100",
            headers(1, &[(":status", "099")], true),
            E::BadStatus,
        ),
        ("a request's", headers(1, GET, true), E::BadPseudoField),
        (
            "101",
            headers(1, &[(":status", "101")], false),
            E::SwitchInHttp2,
        ),
        (
            "100 that ends",
            headers(1, &[(":status", "100")], true),
            E::TrailersNotLast,
        ),
        ("DATA first", data(1, "x", true), E::DataBeforeHead),
        (
            "DATA behind 100",
            [headers(1, &[(":status", "100")], false), data(1, "x", true)].concat(),
            E::DataBeforeHead,
        ),
        (
            "connection",
            headers(1, &[(":status", "200"), ("connection", "x")], true),
            E::HopField,
        ),
        (
            "short",
            headers(1, &[(":status", "200"), ("content-length", "1")], true),
            E::LengthDiffers,
        ),
        ("many interims", interims, E::TooManyInterims),
    ];
    for (name, bytes, error) in cases {
        let mut end = asking("GET");
        let seen = end.read(&bytes);
        assert_eq!(seen.last(), Some(&Seen::Malformed(1, error)), "{name}");
        end.conn.reset(StreamId(1), Reason::Protocol);
        assert_eq!(
            end.resets(),
            if end.conn.streams() == 0 && error_ended(&bytes) {
                vec![]
            } else {
                vec![(1, 1)]
            },
            "{name}"
        );
        assert!(end.conn.open().is_some(), "{name}");
    }
}

/// Whether the last frame of `bytes` ended its stream, so that nothing is left to reset.
fn error_ended(bytes: &[u8]) -> bool {
    let (mut rest, mut ended) = (bytes, false);
    while let Some(header) = Header::parse(rest) {
        ended |= header.has(frame::END_STREAM);
        rest = &rest[frame::HEADER_BYTES + header.len as usize..];
    }
    ended
}

#[test]
fn responses_without_content() {
    let said = [(":status", "200"), ("content-length", "5")];
    let fields = [("content-length", "5")];
    assert_eq!(
        asking("HEAD").read(&headers(1, &said, true)),
        [head(1, "200", &fields, true)]
    );
    let seen = asking("HEAD").read(&[headers(1, &said, false), data(1, "hello", true)].concat());
    assert_eq!(seen[1..], [Seen::Malformed(1, E::LengthDiffers)]);
    let seen = asking("GET").read(&headers(1, &[(":status", "304"), fields[0]], true));
    assert_eq!(seen, [head(1, "304", &fields, true)]);
    let seen =
        asking("GET").read(&[headers(1, &[(":status", "204")], false), data(1, "", true)].concat());
    assert_eq!(seen, [head(1, "204", &[], false), body(1, "", true)]);
}
