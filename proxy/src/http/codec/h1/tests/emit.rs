use super::*;
use crate::http::codec::Refused;

/// A server that has read `request` to its end, and the head it read.
fn asked(request: &str) -> (Conn, Head) {
    let (mut conn, mut heads) = (Conn::server(H1Limits::default()), HeadPool::new());
    let mut input = ReadBuf::default();
    input.extend(request.as_bytes());
    let Ok(Some(Event::Head { head, .. })) = conn.next(&mut input, &mut heads) else {
        panic!("{request}")
    };
    while conn.next(&mut input, &mut heads).unwrap().is_some() {}
    (conn, head)
}

/// What a client writes for `head`.
fn sent(head: &Head, end: bool) -> Result<String, Refused> {
    let (mut conn, mut out) = (Conn::client(H1Limits::default()), Out::new());
    let stream = conn.open().unwrap();
    conn.head(stream, head, end, &mut out)?;
    Ok(text(out.pending()))
}

/// What a server writes as a response of `status`, `fields` and `body` to `request`.
fn answered(request: &str, status: u16, fields: &[(&str, &str)], body: Option<&str>) -> String {
    let (mut conn, _) = asked(request);
    let (mut head, mut out) = (Head::response(status), Out::new());
    for (name, value) in fields {
        head.add(name.as_bytes(), value.as_bytes());
    }
    conn.head(StreamId(1), &head, body.is_none(), &mut out)
        .unwrap();
    if let Some(body) = body {
        conn.data(StreamId(1), body.as_bytes(), true, &mut out)
            .unwrap();
    }
    let close = text(out.pending()).contains("Connection: close\r\n");
    assert_eq!(conn.wants_close(), close, "the last response says so");
    text(out.pending())
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn order_and_case_survive_a_proxy() {
    let lines = "GET /x HTTP/1.1\r\nx-ONE:1\r\nHOST:  a \r\nAccept: */*\r\nx-one: 2\r\n\r\n";
    let (_, head) = asked(lines);
    assert_eq!(sent(&head, true).unwrap(), lines);
}

#[test]
fn edits_are_written_where_they_belong() {
    let (_, mut head) = asked(
        "GET /x HTTP/1.1\r\nA: 1\r\nHost: a\r\nB: 2\r\nConnection: c, close\r\nC: 3\r\nD: 4\r\nE: 5\r\n\r\n",
    );
    head.set(b"b", b"two");
    head.remove_name(b"D");
    head.set_authority(b"z:9");
    head.set_path(b"/y");
    head.add(b"F", b"6");
    assert_eq!(
        sent(&head, true).unwrap(),
        "GET /y HTTP/1.1\r\nA: 1\r\nHost: z:9\r\nB: two\r\nE: 5\r\nF: 6\r\n\r\n"
    );
}

#[test]
fn requests_are_framed_anew() {
    let request = |method: &[u8]| Head::request(method, b"a", b"/");
    let start = |method: &str| format!("{method} / HTTP/1.1\r\nHost: a\r\n");
    assert_eq!(sent(&request(b"GET"), true).unwrap(), start("GET") + "\r\n");
    assert_eq!(
        sent(&request(b"POST"), true).unwrap(),
        start("POST") + "Content-Length: 0\r\n\r\n"
    );
    assert_eq!(
        sent(&request(b"GET"), false).unwrap(),
        start("GET") + "Transfer-Encoding: chunked\r\n\r\n"
    );
    let mut known = request(b"PUT");
    known.add(b"content-length", b"2");
    known.add(b"transfer-encoding", b"gzip");
    assert_eq!(
        sent(&known, false).unwrap(),
        start("PUT") + "content-length: 2\r\n\r\n"
    );
    assert_eq!(sent(&known, true), Err(Refused::TooShort));
    let tunnel = Head::request(b"CONNECT", b"a:1", b"");
    assert_eq!(
        sent(&tunnel, false).unwrap(),
        "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"
    );
    let mut te = request(b"GET");
    te.add(b"x", b"y");
    assert!(!sent(&te, true).unwrap().contains("TE"));
}

#[test]
fn te_trailers_and_upgrades_are_named_in_connection() {
    let (_, head) = asked(
        "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: Upgrade, TE\r\nUpgrade: websocket\r\n\r\n",
    );
    assert_eq!(
        sent(&head, true).unwrap(),
        "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: Upgrade, TE\r\nUpgrade: websocket\r\n\r\n"
    );
}

#[test]
fn an_http10_request_becomes_ours() {
    let (_, head) = asked("GET / HTTP/1.0\r\nConnection: keep-alive\r\nX: y\r\n\r\n");
    assert_eq!(
        sent(&head, true).unwrap(),
        "GET / HTTP/1.1\r\nHost: \r\nX: y\r\n\r\n"
    );
}

#[test]
fn responses_are_framed_for_their_request() {
    let ok = "HTTP/1.1 200 OK\r\n";
    let length: &[(&str, &str)] = &[("content-length", "2")];
    let cases: &[(&str, u16, &[(&str, &str)], Option<&str>, String)] = &[
        (
            GET,
            200,
            length,
            Some("hi"),
            format!("{ok}content-length: 2\r\n\r\nhi"),
        ),
        (
            GET,
            200,
            &[],
            None,
            format!("{ok}Content-Length: 0\r\n\r\n"),
        ),
        (
            GET,
            200,
            &[],
            Some("hello, chunked!!"),
            format!("{ok}Transfer-Encoding: chunked\r\n\r\n10\r\nhello, chunked!!\r\n0\r\n\r\n"),
        ),
        (
            GET,
            204,
            length,
            None,
            "HTTP/1.1 204 No Content\r\n\r\n".into(),
        ),
        (
            GET,
            304,
            length,
            None,
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 2\r\n\r\n".into(),
        ),
        (
            GET,
            799,
            length,
            Some("hi"),
            "HTTP/1.1 799 \r\ncontent-length: 2\r\n\r\nhi".into(),
        ),
        (
            "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
            200,
            length,
            Some("hi"),
            format!("{ok}content-length: 2\r\n\r\n"),
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            200,
            length,
            Some("hi"),
            format!("{ok}content-length: 2\r\nConnection: close\r\n\r\nhi"),
        ),
        (
            "GET / HTTP/1.0\r\n\r\n",
            200,
            length,
            Some("hi"),
            format!("{ok}content-length: 2\r\nConnection: close\r\n\r\nhi"),
        ),
        (
            "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            200,
            length,
            Some("hi"),
            format!("{ok}content-length: 2\r\nConnection: keep-alive\r\n\r\nhi"),
        ),
        (
            "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            200,
            &[],
            Some("hi"),
            format!("{ok}Connection: close\r\n\r\nhi"),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
            200,
            length,
            Some("hi"),
            format!("{ok}content-length: 2\r\n\r\nhi"),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
            417,
            &[],
            None,
            "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                .into(),
        ),
        (
            "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
            403,
            &[],
            None,
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".into(),
        ),
    ];
    for (request, status, fields, body, expected) in cases {
        assert_eq!(
            &answered(request, *status, fields, *body),
            expected,
            "{request}"
        );
    }
}

#[test]
fn interim_responses_go_to_those_who_know_them() {
    for (version, expected) in [("1.1", "HTTP/1.1 100 Continue\r\n\r\n"), ("1.0", "")] {
        let (mut conn, _) = asked(&format!(
            "PUT / HTTP/{version}\r\nHost: a\r\nContent-Length: 1\r\n\r\n"
        ));
        let mut out = Out::new();
        conn.head(StreamId(1), &Head::response(100), false, &mut out)
            .unwrap();
        assert_eq!(text(out.pending()), expected);
    }
}

#[test]
fn a_reason_phrase_survives_and_is_the_usual_one_where_none_came() {
    let (mut client, mut input) = (Conn::client(H1Limits::default()), ReadBuf::default());
    let stream = client.open().unwrap();
    let request = Head::request(b"GET", b"a", b"/");
    client
        .head(stream, &request, true, &mut Out::new())
        .unwrap();
    input.extend(b"HTTP/1.1 200 Very Well\r\nContent-Length: 0\r\n\r\n");
    let Ok(Some(Event::Head { head, .. })) = client.next(&mut input, &mut HeadPool::new()) else {
        panic!()
    };
    let write = |head: &Head| {
        let (mut conn, _) = asked(GET);
        let mut out = Out::new();
        conn.head(StreamId(1), head, true, &mut out).unwrap();
        text(out.pending())
    };
    let rest = "Content-Length: 0\r\n\r\n";
    assert_eq!(write(&head), format!("HTTP/1.1 200 Very Well\r\n{rest}"));
    assert_eq!(
        write(&Head::response(503)),
        format!("HTTP/1.1 503 Service Unavailable\r\n{rest}")
    );
}

#[test]
fn trailers_are_written_behind_chunks_only() {
    let mut trailers = Head::new();
    trailers.add(b"Grpc-Status", b"0");
    trailers.add(b"Content-Length", b"7");
    for (request, fields, expected) in [
        (GET, None, "2\r\nhi\r\n0\r\nGrpc-Status: 0\r\n\r\n"),
        (GET, Some("2"), "hi"),
        ("GET / HTTP/1.0\r\n\r\n", None, "hi"),
    ] {
        let (mut conn, _) = asked(request);
        let (mut head, mut out) = (Head::response(200), Out::new());
        if let Some(length) = fields {
            head.add(b"content-length", length.as_bytes());
        }
        conn.head(StreamId(1), &head, false, &mut out).unwrap();
        out.clear();
        conn.data(StreamId(1), b"hi", false, &mut out).unwrap();
        conn.trailers(StreamId(1), &trailers, &mut out).unwrap();
        assert_eq!(text(out.pending()), expected);
        assert!(conn.is_idle());
    }
}

#[test]
fn nothing_malformed_is_written() {
    let request = || Head::request(b"GET", b"a", b"/");
    let mut cases = Vec::new();
    for value in ["a\r\nX: y", "a\n", "a\r", "\0", "\u{7f}"] {
        let mut head = request();
        head.add(b"x", value.as_bytes());
        cases.push((head, Refused::FieldValue));
        let mut head = request();
        head.set_authority(value.as_bytes());
        cases.push((head, Refused::FieldValue));
        let mut head = request();
        head.set_path(format!("/{value}").as_bytes());
        cases.push((head, Refused::Target));
    }
    for path in ["x", "*", "/a b", "/a#b", "http://b/"] {
        let mut head = request();
        head.set_path(path.as_bytes());
        cases.push((head, Refused::Target));
    }
    for name in ["", "a b", "a:", "a\r\nb", "\u{e9}"] {
        let mut head = request();
        head.add(name.as_bytes(), b"v");
        cases.push((head, Refused::FieldName));
    }
    cases.push((Head::request(b"G T", b"a", b"/"), Refused::Method));
    cases.push((Head::response(200), Refused::WrongHead));
    let mut lengths = request();
    lengths.add(b"content-length", b"1");
    lengths.add(b"content-length", b"1");
    cases.push((lengths, Refused::Length));
    for (head, refused) in cases {
        assert_eq!(sent(&head, true), Err(refused), "{head:?}");
    }
    let (mut conn, _) = asked(GET);
    let mut out = Out::new();
    out.extend(b"before");
    let mut bad = Head::response(200);
    bad.add(b"x", b"\n");
    assert!(conn.head(StreamId(1), &bad, true, &mut out).is_err());
    assert_eq!(out.pending(), b"before");
    let switch = conn.head(StreamId(1), &Head::response(101), true, &mut out);
    assert_eq!(switch, Err(Refused::Switch));
    let status = conn.head(StreamId(1), &Head::response(1000), true, &mut out);
    assert_eq!(status, Err(Refused::Status));
    assert_eq!(out.pending(), b"before");
    conn.head(StreamId(1), &Head::response(204), true, &mut out)
        .expect("another can be written instead");
}

#[test]
fn content_keeps_the_length_that_was_announced() {
    let (mut conn, _) = asked(GET);
    let (mut head, mut out) = (Head::response(200), Out::new());
    head.add(b"content-length", b"3");
    conn.head(StreamId(1), &head, false, &mut out).unwrap();
    assert_eq!(
        conn.data(StreamId(1), b"abcd", false, &mut out),
        Err(Refused::TooLong)
    );
    assert_eq!(
        conn.data(StreamId(1), b"ab", true, &mut out),
        Err(Refused::TooShort)
    );
    assert_eq!(conn.data(StreamId(1), b"ab", false, &mut out), Ok(2));
    assert_eq!(conn.data(StreamId(1), b"c", true, &mut out), Ok(1));
}

#[test]
fn a_drained_connection_says_so_and_ends() {
    let (mut conn, _) = asked(GET);
    let mut out = Out::new();
    conn.drain();
    assert!(!conn.wants_close());
    conn.head(StreamId(1), &Head::response(204), true, &mut out)
        .unwrap();
    assert!(text(out.pending()).contains("Connection: close\r\n") && conn.wants_close());
    let mut idle = Conn::server(H1Limits::default());
    idle.drain();
    assert!(idle.wants_close());
    let mut client = Conn::client(H1Limits::default());
    let stream = client.open().unwrap();
    client.drain();
    out.clear();
    client
        .head(stream, &Head::request(b"GET", b"a", b"/"), true, &mut out)
        .unwrap();
    assert!(text(out.pending()).contains("Connection: close\r\n"));
}

#[test]
fn a_tunnel_is_open_when_both_sides_have_switched() {
    let (mut conn, request) = asked(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly",
    );
    let mut client = Conn::client(H1Limits::default());
    let (mut input, mut out) = (ReadBuf::default(), Out::new());
    let stream = client.open().unwrap();
    client.head(stream, &request, true, &mut out).unwrap();
    input.extend(b"HTTP/1.1 101 Now\r\nupgrade: websocket\r\nconnection: upgrade\r\nX: y\r\n\r\n");
    let Ok(Some(Event::Head {
        head, end: false, ..
    })) = client.next(&mut input, &mut HeadPool::new())
    else {
        panic!()
    };
    assert!(client.is_tunnel(stream) && !conn.is_tunnel(StreamId(1)));
    out.clear();
    conn.head(StreamId(1), &head, false, &mut out).unwrap();
    assert!(conn.is_tunnel(StreamId(1)));
    conn.data(StreamId(1), b"down", false, &mut out).unwrap();
    assert_eq!(
        text(out.pending()),
        "HTTP/1.1 101 Now\r\nX: y\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\ndown"
    );
    out.clear();
    client.data(stream, b"up", false, &mut out).unwrap();
    assert_eq!(out.pending(), b"up");
}

#[test]
fn a_late_end_of_the_request_closes_the_connection() {
    let (mut conn, _) = asked("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na");
    let (mut out, mut input) = (Out::new(), ReadBuf::default());
    conn.head(StreamId(1), &Head::response(413), true, &mut out)
        .unwrap();
    assert!(text(out.pending()).contains("Connection: close\r\n") && conn.wants_close());
    input.extend(b"bcGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(
        conn.next(&mut input, &mut HeadPool::new())
            .unwrap()
            .is_none()
    );
    assert!(input.is_empty(), "it is read and forgotten");
}
