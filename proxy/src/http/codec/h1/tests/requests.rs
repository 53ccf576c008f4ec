use super::*;

#[test]
fn a_request_without_body_ends_with_its_head() {
    assert_eq!(
        serve("GET /a?b HTTP/1.1\r\nHost: shop:80\r\nX-Odd-CASE:  v \t\r\n\r\n"),
        [head(
            "GET shop:80 /a?b",
            &[("Host", "shop:80"), ("X-Odd-CASE", "v")],
            true
        )]
    );
}

#[test]
fn bodies_by_length_and_by_chunks() {
    assert_eq!(
        serve("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"),
        [
            head("POST a /", &[("Host", "a"), ("Content-Length", "5")], false),
            body("hello", true)
        ]
    );
    assert_eq!(
        serve(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n\
             5;a=b;c=\"d\\\"\"\r\nhello\r\n00A\r\n0123456789\r\n0\r\n\r\n"
        ),
        [
            head("POST a /", &[("Host", "a")], false),
            body("hello0123456789", true)
        ]
    );
}

#[test]
fn trailers_are_told_apart_from_fields() {
    assert_eq!(
        serve(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
             1\r\nx\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\nTransfer-Encoding: x\r\nHost: b\r\n\r\n"
        ),
        [
            head("POST a /", &[("Host", "a")], false),
            body("x", false),
            Seen::Trailers(owned(&[("X-Sum", "1")]))
        ]
    );
}

#[test]
fn trailers_of_this_hop_alone_are_no_trailers() {
    let seen = serve(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nContent-Length: 9\r\n\r\n",
    );
    assert_eq!(seen[1..], [body("x", true)]);
}

#[test]
fn pipelined_requests_come_one_after_the_other() {
    let seen = serve(
        "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx\
         GET /2 HTTP/1.1\r\nHost: a\r\n\r\n\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /4 HTTP/1.1\r\n",
    );
    let starts: Vec<_> = seen
        .iter()
        .filter_map(|seen| match seen {
            Seen::Head { start, .. } => Some(start.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(starts, ["POST a /1", "GET a /2", "GET a /3"]);
}

#[test]
fn a_pipelined_request_waits_for_the_response_before_it() {
    let (mut conn, mut heads) = (Conn::server(H1Limits::default()), HeadPool::new());
    let (mut input, mut out) = (ReadBuf::default(), Out::new());
    input.extend(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    let first = conn.next(&mut input, &mut heads).unwrap().unwrap();
    assert!(matches!(
        first,
        Event::Head {
            stream: StreamId(1),
            ..
        }
    ));
    assert!(conn.next(&mut input, &mut heads).unwrap().is_none());
    assert!(!conn.wants_input() && !input.is_empty());
    let mut response = Head::response(200);
    response.add(b"content-length", b"2");
    conn.head(StreamId(1), &response, false, &mut out).unwrap();
    assert!(conn.next(&mut input, &mut heads).unwrap().is_none());
    conn.data(StreamId(1), b"ok", true, &mut out).unwrap();
    assert!(conn.is_idle() && conn.wants_input());
    let second = conn.next(&mut input, &mut heads).unwrap().unwrap();
    assert!(matches!(
        second,
        Event::Head {
            stream: StreamId(2),
            ..
        }
    ));
    assert_eq!(
        conn.data(StreamId(1), b"late", true, &mut out),
        Err(crate::http::codec::Refused::OutOfTurn)
    );
}

#[test]
fn the_target_decides_over_host() {
    let cases = [
        ("GET http://b/x?y HTTP/1.1", "GET b /x?y", "b"),
        ("GET HTTPS://b:8443 HTTP/1.1", "GET b:8443 /", "b:8443"),
        ("GET http://b?q HTTP/1.1", "GET b /?q", "b"),
        ("OPTIONS http://b HTTP/1.1", "OPTIONS b *", "b"),
        ("OPTIONS * HTTP/1.1", "OPTIONS a *", "a"),
        ("OPTIONS /x HTTP/1.1", "OPTIONS a /x", "a"),
        ("GET //b/x HTTP/1.1", "GET a //b/x", "a"),
        ("CONNECT b:443 HTTP/1.1", "CONNECT b:443 ", "b:443"),
        ("PURGE /x HTTP/1.1", "PURGE a /x", "a"),
    ];
    for (line, start, host) in cases {
        let end = !line.starts_with("CONNECT");
        assert_eq!(
            serve(format!("{line}\r\nX: 1\r\nHost: a\r\n\r\n")),
            [head(start, &[("X", "1"), ("Host", host)], end)],
            "{line}"
        );
    }
}

#[test]
fn an_http10_request_needs_no_host_and_an_empty_host_is_one() {
    assert_eq!(serve("GET / HTTP/1.0\r\n\r\n"), [head("GET  /", &[], true)]);
    assert_eq!(
        serve("GET / HTTP/1.1\r\nHost:\r\n\r\n"),
        [head("GET  /", &[("Host", "")], true)]
    );
}

#[test]
fn fields_of_this_hop_are_not_forwarded() {
    let seen = serve(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: x-secret, Keep-Alive, host,, content-length\r\n\
         X-Secret: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: close\r\nTE: gzip\r\nx-SECRET: 2\r\n\
         Upgrade: h2c\r\nHTTP2-Settings: x\r\nX-Kept: 3\r\nContent-Length: 0\r\n\r\n",
    );
    assert_eq!(
        seen,
        [head(
            "GET a /",
            &[("Host", "a"), ("X-Kept", "3"), ("Content-Length", "0")],
            true
        )]
    );
}

#[test]
fn of_te_only_trailers_goes_on() {
    for (value, kept) in [
        ("trailers", Some("trailers")),
        ("Trailers", Some("Trailers")),
        ("gzip;q=1, trailers", Some("trailers")),
        ("gzip", None),
        ("", None),
    ] {
        let seen = serve(format!(
            "GET / HTTP/1.1\r\nHost: a\r\nTE: {value}\r\nConnection: TE\r\n\r\n"
        ));
        let Some(Seen::Head { fields, .. }) = seen.first() else {
            panic!("{seen:?}")
        };
        let te = fields
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("te"));
        assert_eq!(te.map(|(_, value)| value.as_str()), kept, "{value}");
    }
}

fn request_head(bytes: &str) -> Head {
    let mut input = ReadBuf::default();
    input.extend(bytes.as_bytes());
    match Conn::server(H1Limits::default()).next(&mut input, &mut HeadPool::new()) {
        Ok(Some(Event::Head { head, .. })) => head,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_upgrade_is_one_that_connection_names_and_that_is_not_h2c() {
    for (fields, upgrade) in [
        (
            "Connection: Upgrade\r\nUpgrade: websocket\r\n",
            Some("websocket"),
        ),
        (
            "Connection: keep-alive, upgrade\r\nUpgrade: WebSocket\r\n",
            Some("WebSocket"),
        ),
        ("Upgrade: websocket\r\n", None),
        ("Connection: upgrade\r\n", None),
        ("Connection: Upgrade\r\nUpgrade: h2c\r\n", None),
        ("Connection: Upgrade\r\nUpgrade: websocket, H2C\r\n", None),
    ] {
        let request = request_head(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        assert_eq!(request.upgrade().map(text).as_deref(), upgrade, "{fields}");
    }
    let old = request_head("GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(old.upgrade(), None);
}

#[test]
fn expect_is_told_but_not_from_an_http10_client() {
    let fields = "Host: a\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n";
    let told = |version| {
        let head = request_head(&format!("PUT / HTTP/{version}\r\n{fields}"));
        head.get(crate::http::head::Known::Expect).map(text)
    };
    assert_eq!(told("1.1").as_deref(), Some("100-Continue"));
    assert_eq!(told("1.0"), None);
}

#[test]
fn the_end_of_the_connection_ends_no_request() {
    for (bytes, truncated) in [
        ("", false),
        ("G", true),
        ("GET / HTTP/1.1\r\nHost: a\r\n", true),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx",
            true,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            true,
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", false),
    ] {
        let (mut conn, mut heads) = (Conn::server(H1Limits::default()), HeadPool::new());
        let mut input = ReadBuf::default();
        input.extend(bytes.as_bytes());
        while conn.next(&mut input, &mut heads).unwrap().is_some() {}
        let outcome = conn.eof().map(|event| event.is_some());
        let expected = if truncated {
            Err(ProtocolError::Truncated)
        } else {
            Ok(false)
        };
        assert_eq!(outcome, expected, "{bytes}");
    }
}
