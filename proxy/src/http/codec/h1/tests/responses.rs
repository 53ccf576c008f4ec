use super::*;
use ProtocolError as E;

#[test]
fn the_length_of_a_response_is_found_by_the_rules_in_order() {
    let cases: &[(&str, &str, &[Seen])] = &[
        (
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            &[
                head("200", &[("Content-Length", "2")], false),
                body("ok", true),
            ],
        ),
        (
            "GET",
            "HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nT: 1\r\n\r\n",
            &[
                head("200", &[], false),
                body("ok", false),
                Seen::Trailers(owned(&[("T", "1")])),
            ],
        ),
        (
            "GET",
            "HTTP/1.1 200 \r\n\r\nto the end",
            &[head("200", &[], false), body("to the end", true)],
        ),
        (
            "GET",
            "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
            &[head("200", &[("Content-Length", "0")], true)],
        ),
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
            &[head("200", &[("Content-Length", "9")], true)],
        ),
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            &[head("200", &[], true)],
        ),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
            &[head("304", &[("Content-Length", "9")], true)],
        ),
        (
            "GET",
            "HTTP/1.1 204 No Content\r\n\r\n",
            &[head("204", &[], true)],
        ),
        (
            "CONNECT",
            "HTTP/1.1 502 Bad\r\nContent-Length: 1\r\n\r\nx",
            &[
                head("502", &[("Content-Length", "1")], false),
                body("x", true),
            ],
        ),
        (
            "CONNECT",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxyz",
            &[
                head("200", &[("Content-Length", "1")], false),
                Seen::Raw("xyz".into()),
            ],
        ),
    ];
    for (method, bytes, seen) in cases {
        assert_eq!(receive(method, bytes), *seen, "{method} {bytes:?}");
    }
}

#[test]
fn interim_responses_come_before_the_final_one_and_are_bounded() {
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
    let last = "HTTP/1.1 204 No Content\r\n\r\n";
    assert_eq!(
        receive(
            "GET",
            format!("HTTP/1.1 100 Continue\r\n\r\n{interim}{last}")
        ),
        [
            Seen::Interim(100),
            Seen::Interim(103),
            head("204", &[], true)
        ]
    );
    let seen = receive("GET", interim.repeat(17) + last);
    assert_eq!(seen.len(), 17);
    assert_eq!(seen[16], Seen::Error(E::TooManyInterims));
}

#[test]
fn faulty_responses_are_refused() {
    let cases = [
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", E::BadStatusLine),
        ("HTTP/1.1  200 OK\r\n\r\n", E::BadStatusLine),
        ("HTTP/1.1 20 OK\r\n\r\n", E::BadStatusLine),
        ("HTTP/1.1 2000 OK\r\n\r\n", E::BadStatusLine),
        ("HTTP/1.1 099 OK\r\n\r\n", E::BadStatusLine),
        ("HTTP/1.1 +20 OK\r\n\r\n", E::BadStatusLine),
        ("HTTP/1.1\r\n\r\n", E::BadStatusLine),
        ("HTTP/1.1 200\tOK\r\n\r\n", E::BadStatusLine),
        ("HTTP/2.0 200 OK\r\n\r\n", E::UnsupportedVersion),
        ("ICY 200 OK\r\n\r\n", E::BadVersion),
        ("HTTP/1.1 200 O\0K\r\n\r\n", E::BadFieldValue),
        ("HTTP/1.1 200 O\rK\r\n\r\n", E::BareCr),
        ("HTTP/1.1 200 OK\n\r\n", E::BareLf),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            E::LengthAndEncoding,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            E::ManyLengths,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            E::NotFinallyChunked,
        ),
        (
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            E::EncodingInHttp10,
        ),
        (
            "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
            E::UnexpectedSwitch,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\n",
            E::Unsolicited,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx",
            E::Truncated,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
            E::Truncated,
        ),
        ("HTTP/1.1 200 OK\r\nContent-", E::Truncated),
        ("", E::Truncated),
    ];
    for (bytes, error) in cases {
        let seen = receive("GET", bytes);
        assert_eq!(seen.last(), Some(&Seen::Error(error)), "{bytes:?}");
    }
}

fn websocket() -> Head {
    let (mut server, mut input) = (Conn::server(H1Limits::default()), ReadBuf::default());
    input.extend(
        b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    );
    match server.next(&mut input, &mut HeadPool::new()) {
        Ok(Some(Event::Head {
            head, end: true, ..
        })) => head,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_upgrade_goes_through_and_then_bytes_are_raw() {
    let switch =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nraw";
    let seen = receive_with(&websocket(), [switch.as_bytes()]);
    assert_eq!(seen, [head("101", &[], false), Seen::Raw("raw".into())]);
    let unnamed = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
    let seen = receive_with(&websocket(), [unnamed.as_bytes()]);
    assert_eq!(seen, [Seen::Error(E::UnexpectedSwitch)]);
    let unasked = Head::request(b"GET", b"a", b"/");
    let seen = receive_with(&unasked, [switch.as_bytes()]);
    assert_eq!(seen, [Seen::Error(E::UnexpectedSwitch)]);
}

#[test]
fn a_connection_is_reused_only_when_both_sides_persist() {
    for (response, persists) in [
        ("HTTP/1.1 204 No\r\n\r\n", true),
        ("HTTP/1.1 204 No\r\nConnection: close\r\n\r\n", false),
        ("HTTP/1.1 204 No\r\nConnection: foo, CLOSE\r\n\r\n", false),
        ("HTTP/1.0 204 No\r\n\r\n", false),
        ("HTTP/1.0 204 No\r\nConnection: keep-alive\r\n\r\n", true),
        (
            "HTTP/1.0 204 No\r\nConnection: keep-alive, close\r\n\r\n",
            false,
        ),
    ] {
        let mut conn = Conn::client(H1Limits::default());
        let (mut input, mut out) = (ReadBuf::default(), Out::new());
        let stream = conn.open().unwrap();
        assert_eq!(conn.open(), None);
        conn.head(stream, &Head::request(b"GET", b"a", b"/"), true, &mut out)
            .unwrap();
        input.extend(response.as_bytes());
        conn.next(&mut input, &mut HeadPool::new()).unwrap();
        assert!(conn.is_idle(), "{response}");
        assert_eq!(conn.wants_close(), !persists, "{response}");
        assert_eq!(conn.open().is_some(), persists, "{response}");
    }
}

#[test]
fn a_response_before_the_request_has_ended_does_not_free_the_connection() {
    let mut conn = Conn::client(H1Limits::default());
    let (mut input, mut out) = (ReadBuf::default(), Out::new());
    let stream = conn.open().unwrap();
    conn.head(stream, &Head::request(b"POST", b"a", b"/"), false, &mut out)
        .unwrap();
    input.extend(b"HTTP/1.1 204 No\r\n\r\n");
    conn.next(&mut input, &mut HeadPool::new()).unwrap();
    assert!(!conn.is_idle() && conn.open().is_none());
    conn.data(stream, b"", true, &mut out).unwrap();
    assert!(conn.is_idle() && conn.open().is_some());
}

#[test]
fn bytes_before_a_request_are_no_response_to_it() {
    let mut conn = Conn::client(H1Limits::default());
    let mut input = ReadBuf::default();
    input.extend(b"HTTP/1.1 204 No\r\n\r\n");
    assert_eq!(
        conn.next(&mut input, &mut HeadPool::new()).unwrap_err(),
        E::Unsolicited
    );
    assert!(conn.wants_close() && conn.open().is_none());
}
