//! Messages that break a rule: the connection goes on, and a server may answer.

use super::*;
use ProtocolError as E;

/// What a server makes of a request with these fields behind those of a good one.
fn with(fields: &[(&str, &str)]) -> Vec<Seen> {
    server().read(&headers(1, &[POST, fields].concat(), false))
}

fn malformed(error: E) -> Vec<Seen> {
    vec![Seen::Malformed(1, error)]
}

#[test]
fn fields_that_no_message_has() {
    for (name, value, error) in [
        ("X", "y", E::UpperCaseName),
        ("x-Y", "y", E::UpperCaseName),
        ("", "y", E::BadFieldName),
        ("x y", "y", E::BadFieldName),
        ("x:", "y", E::BadFieldName),
        ("x\r\ny", "y", E::BadFieldName),
        ("x\u{e9}", "y", E::BadFieldName),
        ("x", "a\rb", E::BadFieldValue),
        ("x", "a\nb", E::BadFieldValue),
        ("x", "a\0b", E::BadFieldValue),
        ("x", "a\u{1}b", E::BadFieldValue),
        ("x", "a\u{7f}b", E::BadFieldValue),
        ("x", " a", E::BadFieldValue),
        ("x", "a\t", E::BadFieldValue),
        ("connection", "close", E::HopField),
        ("proxy-connection", "close", E::HopField),
        ("keep-alive", "5", E::HopField),
        ("transfer-encoding", "chunked", E::HopField),
        ("upgrade", "h2c", E::HopField),
        ("te", "gzip", E::BadTe),
        ("te", "trailers, gzip", E::BadTe),
        ("content-length", "x", E::BadLength),
        ("content-length", "-1", E::BadLength),
        ("content-length", "5, 5", E::BadLength),
        ("content-length", "", E::BadLength),
        ("content-length", "9223372036854775808", E::BadLength),
        ("host", "b", E::HostDiffers),
        ("host", "", E::HostDiffers),
        (":path", "/", E::ManyPseudoFields),
        (":status", "200", E::BadPseudoField),
        (":protocol", "websocket", E::BadPseudoField),
        (":other", "x", E::BadPseudoField),
        (":", "x", E::BadPseudoField),
    ] {
        assert_eq!(
            with(&[(name, value)]),
            malformed(error),
            "{name:?}: {value:?}"
        );
    }
    for (fields, error) in [
        (
            &[("content-length", "5"), ("content-length", "5")],
            E::ManyLengths,
        ),
        (&[("host", "a"), ("host", "a")], E::ManyHosts),
        (&[("x", "y"), (":path", "/")], E::LatePseudoField),
    ] {
        assert_eq!(with(fields), malformed(error), "{fields:?}");
    }
}

#[test]
fn fields_that_are_taken() {
    let fields = [
        ("te", "trailers"),
        ("x", ""),
        ("x", "a\tb \u{e9}"),
        ("x!#$%&'*+-.^_`|~", "y"),
        ("content-length", "5"),
    ];
    assert_eq!(with(&fields), [head(1, "POST a /", &fields, false)]);
    let host = [("host", "A")];
    assert_eq!(with(&host), [head(1, "POST a /", &[("host", "a")], false)]);
    let crumbs = [
        ("cookie", "a=b"),
        ("x", "y"),
        ("cookie", ""),
        ("cookie", "c=d"),
    ];
    let joined = [("cookie", "a=b; c=d"), ("x", "y")];
    assert_eq!(with(&crumbs), [head(1, "POST a /", &joined, false)]);
}

#[test]
fn what_is_never_to_be_indexed_stays_so() {
    let mut end = server();
    let secret = [
        &block(GET)[..],
        &[0x10, 1, b'x', 1, b'y', 0x10, 1, b'x', 1, b'y'],
    ]
    .concat();
    end.input
        .extend(&frame(frame::HEADERS, frame::END_HEADERS, 1, secret));
    let Ok(Some(Event::Head { head, .. })) = end.conn.next(&mut end.input, &mut end.heads) else {
        panic!("a request");
    };
    let mut upstream = client();
    let stream = upstream.conn.open().expect("room");
    for fields in [&[][..], &[("authorization", "Basic x"), ("cookie", "a=b")]] {
        let mut head = head.clone();
        for (name, value) in fields {
            head.add(name.as_bytes(), value.as_bytes());
        }
        let stream = if fields.is_empty() {
            stream
        } else {
            upstream.conn.open().expect("room")
        };
        upstream
            .conn
            .head(stream, &head, true, &mut upstream.out)
            .expect("a good head");
        let (_, payload) = upstream.written().pop().expect("a head");
        let literal = [0x10, 1, b'x', 1, b'y'].repeat(2);
        assert!(payload.windows(literal.len()).any(|at| at == literal));
        if !fields.is_empty() {
            // Names of the static table, 23 and 32, with four bits of prefix.
            let tail = [&[0x1f, 8, 7][..], b"Basic x", &[0x1f, 17, 3], b"a=b"].concat();
            assert!(payload.ends_with(&tail));
        }
    }
}

#[test]
fn requests_are_asked_in_full() {
    let cases: &[(&[(&str, &str)], E)] = &[
        (&[], E::NoPseudoField),
        (&[(":method", "GET"), (":authority", "a")], E::NoPseudoField),
        (
            &[(":method", "GET"), (":scheme", "http"), (":authority", "a")],
            E::NoPseudoField,
        ),
        (
            &[(":method", "GET"), (":path", "/"), (":authority", "a")],
            E::NoPseudoField,
        ),
        (
            &[(":scheme", "http"), (":path", "/"), (":authority", "a")],
            E::NoPseudoField,
        ),
        (
            &[(":method", "GET"), (":scheme", "http"), (":path", "/")],
            E::NoAuthority,
        ),
        (
            &[
                (":method", "G T"),
                (":scheme", "http"),
                (":path", "/"),
                (":authority", "a"),
            ],
            E::BadMethod,
        ),
        (
            &[
                (":method", ""),
                (":scheme", "http"),
                (":path", "/"),
                (":authority", "a"),
            ],
            E::BadMethod,
        ),
        (
            &[
                (":method", "GET"),
                (":scheme", "ftp"),
                (":path", "/"),
                (":authority", "a"),
            ],
            E::BadScheme,
        ),
        (
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", ""),
                (":authority", "a"),
            ],
            E::BadTarget,
        ),
        (
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "x"),
                (":authority", "a"),
            ],
            E::BadTarget,
        ),
        (
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "*"),
                (":authority", "a"),
            ],
            E::BadTarget,
        ),
        (
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/a b"),
                (":authority", "a"),
            ],
            E::BadTarget,
        ),
        (
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/#"),
                (":authority", "a"),
            ],
            E::BadTarget,
        ),
        (
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/\u{e9}"),
                (":authority", "a"),
            ],
            E::BadTarget,
        ),
        (
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/\r\n"),
                (":authority", "a"),
            ],
            E::BadFieldValue,
        ),
        (
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/"),
                (":authority", ""),
            ],
            E::BadHost,
        ),
        (
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/"),
                (":authority", "u@a"),
            ],
            E::BadHost,
        ),
        (
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/"),
                (":authority", "a/b"),
            ],
            E::BadHost,
        ),
        (
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/"),
                ("host", "a:99999"),
            ],
            E::BadHost,
        ),
        (&[(":method", "CONNECT"), (":authority", "a")], E::BadHost),
        (&[(":method", "CONNECT"), ("host", "a:1")], E::BadHost),
        (
            &[
                (":method", "CONNECT"),
                (":authority", "a:1"),
                (":path", "/"),
            ],
            E::BadPseudoField,
        ),
        (
            &[
                (":method", "CONNECT"),
                (":authority", "a:1"),
                (":scheme", "http"),
            ],
            E::BadPseudoField,
        ),
        (
            &[
                (":method", "CONNECT"),
                (":protocol", "x"),
                (":authority", "a"),
            ],
            E::NoPseudoField,
        ),
        (
            &[
                (":method", "CONNECT"),
                (":protocol", "h2c"),
                (":scheme", "http"),
                (":path", "/"),
                (":authority", "a"),
            ],
            E::BadPseudoField,
        ),
        (
            &[
                (":method", "CONNECT"),
                (":protocol", "a b"),
                (":scheme", "http"),
                (":path", "/"),
                (":authority", "a"),
            ],
            E::BadPseudoField,
        ),
    ];
    for (fields, error) in cases {
        let seen = server().read(&headers(1, fields, true));
        assert_eq!(seen, malformed(*error), "{fields:?}");
    }
    let star = [
        (":method", "OPTIONS"),
        (":scheme", "HTTPS"),
        (":path", "*"),
        ("host", "[::1]:8"),
    ];
    let seen = server().read(&headers(1, &star, true));
    assert_eq!(
        seen,
        [head(1, "OPTIONS [::1]:8 *", &[("host", "[::1]:8")], true)]
    );
}

#[test]
fn a_malformed_request_can_be_answered() {
    let mut end = server();
    let seen = end.read(&headers(1, &[POST, &[("A", "b")]].concat(), false));
    assert_eq!(seen, malformed(E::UpperCaseName));
    assert_eq!(end.read(&data(1, "nobody reads this", false)), []);
    end.conn
        .head(StreamId(1), &Head::response(400), true, &mut end.out)
        .expect("an answer");
    assert_eq!(end.conn.streams(), 1);
    end.conn.reset(StreamId(1), Reason::NoError);
    let written = end.written();
    let kinds: Vec<_> = written.iter().map(|(header, _)| header.kind).collect();
    assert_eq!(kinds, [frame::HEADERS, frame::RST_STREAM]);
    // RFC 9113 §8.1.1: also where an answer came first.
    assert_eq!(written[1].1, (ErrorCode::Protocol as u32).to_be_bytes());
    assert_eq!(end.read(&data(1, "nor this", true)), []);
    // The stream was ended by both sides: nothing is left to reset.
    end.read(&headers(3, &[POST, &[("A", "b")]].concat(), true));
    end.conn
        .head(StreamId(3), &Head::response(400), true, &mut end.out)
        .expect("an answer");
    assert_eq!(end.conn.streams(), 0);
}

#[test]
fn heads_above_their_limits() {
    let mut end = server_with(H2Limits {
        header_bytes_max: 400,
        header_count_max: 3,
        ..H2Limits::default()
    });
    let four = [("a", "b"), ("c", "d"), ("e", "f"), ("g", "h")];
    let seen = end.read(&headers(1, &[GET, &four].concat(), true));
    assert_eq!(seen, malformed(E::TooManyFields));
    let long = "x".repeat(300);
    let indexed = [
        &block(&[GET, &[("long", &long)]].concat())[..],
        &[0x40, 1, b'x', 1, b'y'],
    ]
    .concat();
    let seen = end.read(&frame(frame::HEADERS, frame::END_HEADERS, 3, indexed));
    assert_eq!(seen, [Seen::Malformed(3, E::HeadTooLarge)]);
    assert_eq!(
        end.conn.hits().collect::<Vec<_>>(),
        [Hit::HeaderBytes, Hit::HeaderCount]
    );
    // The tables are in step: what was behind the limit can be referred to.
    let good = [&block(POST)[..], &[0xbe]].concat();
    let seen = end.read(&frame(frame::HEADERS, frame::END_HEADERS, 5, good));
    assert_eq!(seen, [head(5, "POST a /", &[("x", "y")], false)]);
    let seen = end.read(&headers(5, &four, true));
    assert_eq!(seen, [Seen::Malformed(5, E::TrailersTooLarge)]);
}

#[test]
fn lengths_are_those_of_the_content() {
    let post = |length: &str| headers(1, &[POST, &[("content-length", length)]].concat(), false);
    let short = [post("5"), data(1, "abc", true)].concat();
    let long = [post("5"), data(1, "abcdef", false)].concat();
    let behind = [post("2"), data(1, "ab", false), data(1, "c", true)].concat();
    let trailers = [
        post("5"),
        data(1, "abc", false),
        headers(1, &[("a", "b")], true),
    ]
    .concat();
    for bytes in [short, long, behind, trailers] {
        let seen = server().read(&bytes);
        assert_eq!(seen.last(), Some(&Seen::Malformed(1, E::LengthDiffers)));
    }
    let none = headers(1, &[POST, &[("content-length", "5")]].concat(), true);
    assert_eq!(server().read(&none), malformed(E::LengthDiffers));
    let good = [
        post("5"),
        data(1, "ab", false),
        data(1, "cde", false),
        data(1, "", true),
    ]
    .concat();
    assert_eq!(server().read(&good)[1], body(1, "abcde", true));
}

#[test]
fn trailers_end_a_message_and_have_no_pseudo_fields() {
    let cut = [headers(1, POST, false), headers(1, &[("a", "b")], false)].concat();
    assert_eq!(
        server().read(&cut)[1..],
        [Seen::Malformed(1, E::TrailersNotLast)]
    );
    let pseudo = [headers(1, POST, false), headers(1, &[(":path", "/")], true)].concat();
    assert_eq!(
        server().read(&pseudo)[1..],
        [Seen::Malformed(1, E::BadPseudoField)]
    );
    let empty = [headers(1, POST, false), frame(frame::HEADERS, 5, 1, [])].concat();
    assert_eq!(server().read(&empty)[1..], [body(1, "", true)]);
    let routing = [("content-length", "5"), ("host", "b"), ("sum", "1")];
    let routed = [headers(1, POST, false), headers(1, &routing, true)].concat();
    assert_eq!(
        server().read(&routed)[1..],
        [Seen::Trailers(1, owned(&[("sum", "1")]))]
    );
}
