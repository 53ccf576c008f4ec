//! However the bytes arrive, the events are the same.

use proptest::prelude::*;

use super::*;

const REQUESTS: &[&str] = &[
    "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
    "\r\nPOST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\nhello world\r\nGET / HTTP/1.0\r\n\r\n",
    "PUT http://b:1?q HTTP/1.1\r\nHost: a\r\nTE: trailers, x\r\ntransfer-encoding: chunked\r\n\r\n\
     5;a=b ; c=\"\\\"d\"\r\nhello\r\nA\r\n0123456789\r\n0;z\r\nX-T: 1\r\nY: 2\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX",
    "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n folded\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
];

const RESPONSES: &[&str] = &[
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n2\r\nef\r\n0\r\nGrpc-Status: 0\r\n\r\n",
    "HTTP/1.0 200\r\nServer: x\r\n\r\nuntil the end",
    "HTTP/1.1 204 No Content\r\n\r\nrest",
];

#[test]
fn every_split_in_two_of_requests_and_responses() {
    for bytes in REQUESTS {
        let whole = serve(bytes);
        for at in 0..bytes.len() {
            let (a, b) = bytes.as_bytes().split_at(at);
            let limits = H1Limits::default();
            assert_eq!(serve_with(limits, [a, b]), whole, "{bytes:?} at {at}");
        }
        assert_eq!(
            serve_with(H1Limits::default(), bytes.as_bytes().chunks(1)),
            whole
        );
    }
    let request = Head::request(b"GET", b"a", b"/");
    for bytes in RESPONSES {
        let whole = receive("GET", bytes);
        for at in 0..bytes.len() {
            let (a, b) = bytes.as_bytes().split_at(at);
            assert_eq!(receive_with(&request, [a, b]), whole, "{bytes:?} at {at}");
        }
        assert_eq!(receive_with(&request, bytes.as_bytes().chunks(1)), whole);
    }
}

fn cut<'a>(bytes: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let (mut rest, mut pieces) = (bytes, Vec::new());
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, tail) = rest.split_at((*size).min(rest.len()));
        pieces.push(piece);
        rest = tail;
    }
    pieces
}

/// A request as an application might send it, and what is to be seen of it.
fn request() -> impl Strategy<Value = (Vec<u8>, Vec<Seen>)> {
    let field = ("[A-Za-z][A-Za-z0-9-]{0,12}", "[!-~]([ -~]{0,30}[!-~])?");
    let fields = prop::collection::vec(field, 0..12);
    let chunks = prop::option::of(prop::collection::vec("[ -~]{1,40}", 0..4));
    ("[A-Z]{3,7}", "/[a-zA-Z0-9/?=&%.-]{0,40}", fields, chunks).prop_map(
        |(method, path, fields, chunks)| {
            let method = if method == "CONNECT" { "GET" } else { &method };
            let fields: Vec<_> = fields
                .into_iter()
                .filter(|(name, _)| Known::of(name.as_bytes()) == Known::Other)
                .map(|(name, value)| (format!("X{name}"), value))
                .filter(|(name, _)| Known::of(name.as_bytes()) == Known::Other)
                .collect();
            let mut bytes = format!("{method} {path} HTTP/1.1\r\n");
            for (name, value) in &fields {
                bytes += &format!("{name}: {value}\r\n");
            }
            bytes += "Host: a\r\n";
            let mut all = fields;
            all.push(("Host".into(), "a".into()));
            let mut seen = vec![Seen::Head {
                start: format!("{method} a {path}"),
                fields: all,
                end: chunks.is_none(),
            }];
            if let Some(chunks) = chunks {
                bytes += "Transfer-Encoding: chunked\r\n\r\n";
                for chunk in &chunks {
                    bytes += &format!("{:X}\r\n{chunk}\r\n", chunk.len());
                }
                bytes += "0\r\n";
                seen.push(body(&chunks.concat(), true));
            }
            bytes += "\r\n";
            (bytes.into_bytes(), seen)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_are_seen_as_they_were_sent(
        all in prop::collection::vec(request(), 1..4),
        sizes in prop::collection::vec(1_usize..60, 1..8),
    ) {
        let bytes: Vec<u8> = all.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        let expected: Vec<Seen> = all.into_iter().flat_map(|(_, seen)| seen).collect();
        prop_assert_eq!(&serve_with(H1Limits::default(), cut(&bytes, &sizes)), &expected);
        prop_assert_eq!(&serve(&bytes), &expected);
    }
}
