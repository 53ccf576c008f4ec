//! Whole exchanges.

use super::*;

fn both() -> (End, End) {
    let mut client = End::new(Conn::client(H2Limits::default()));
    let mut server = End::new(Conn::server(H2Limits::default()));
    assert_eq!(talk(&mut client, &mut server), (vec![], vec![]));
    assert!(!client.conn.awaits_settings() && !server.conn.awaits_settings());
    (client, server)
}

fn request(fields: &[(&str, &str)]) -> Head {
    let mut head = Head::request(b"POST", b"shop:80", b"/cart?a=b");
    for (name, value) in fields {
        head.add(name.as_bytes(), value.as_bytes());
    }
    head
}

#[test]
fn a_request_with_a_body_and_trailers_and_its_response() {
    let (mut client, mut server) = both();
    let stream = client.conn.open().expect("room");
    let head_out = request(&[
        ("Host", "shop:80"),
        ("X-User", "me"),
        ("Connection", "close"),
        ("TE", "trailers"),
        ("Content-Length", "11"),
    ]);
    client
        .conn
        .head(stream, &head_out, false, &mut client.out)
        .expect("a good head");
    let taken = client
        .conn
        .data(stream, b"hello world", false, &mut client.out);
    assert_eq!(taken, Ok(11));
    let mut trailers = Head::new();
    trailers.add(b"X-Sum", b"1");
    client
        .conn
        .trailers(stream, &trailers, &mut client.out)
        .expect("good trailers");
    let (_, seen) = talk(&mut client, &mut server);
    let fields = [("x-user", "me"), ("content-length", "11")];
    assert_eq!(
        seen,
        [
            head(1, "POST shop:80 /cart?a=b", &fields, false),
            body(1, "hello world", false),
            Seen::Trailers(1, owned(&[("x-sum", "1")])),
        ]
    );
    let mut answer = Head::response(103);
    answer.add(b"link", b"</a>");
    server
        .conn
        .head(stream, &answer, false, &mut server.out)
        .expect("an interim answer");
    let mut answer = Head::response(404);
    answer.add(b"Server", b"weft");
    server
        .conn
        .head(stream, &answer, false, &mut server.out)
        .expect("an answer");
    let taken = server.conn.data(stream, b"no", true, &mut server.out);
    assert_eq!(taken, Ok(2));
    assert_eq!(server.conn.streams(), 0);
    let (seen, _) = talk(&mut client, &mut server);
    assert_eq!(
        seen,
        [
            Seen::Interim(1, 103),
            head(1, "404", &[("server", "weft")], false),
            body(1, "no", true),
        ]
    );
    assert!(client.conn.is_idle() && server.conn.is_idle());
}

#[test]
fn windows_hold_back_what_nobody_reads() {
    let (mut client, mut server) = both();
    let stream = client.conn.open().expect("room");
    client
        .conn
        .head(stream, &request(&[]), false, &mut client.out)
        .expect("a good head");
    let content = vec![b'x'; 100_000];
    let taken = client
        .conn
        .data(stream, &content, true, &mut client.out)
        .expect("in turn");
    assert_eq!(taken, 65_535);
    let (_, seen) = talk(&mut client, &mut server);
    assert_eq!(seen[1], body(1, &"x".repeat(65_535), false));
    assert_eq!(client.conn.next_writable(&client.out), None);
    server.conn.consumed(stream, 10_000);
    assert_eq!(talk(&mut client, &mut server), (vec![], vec![]));
    assert_eq!(
        client.conn.next_writable(&client.out),
        None,
        "not worth a frame"
    );
    server.conn.consumed(stream, 55_535);
    talk(&mut client, &mut server);
    assert_eq!(client.conn.next_writable(&client.out), Some(stream));
    assert_eq!(client.conn.next_writable(&client.out), None, "once");
    let taken = client
        .conn
        .data(stream, &content[taken..], true, &mut client.out);
    assert_eq!(taken, Ok(34_465));
    let (_, seen) = talk(&mut client, &mut server);
    assert_eq!(seen, [body(1, &"x".repeat(34_465), true)]);
}

#[test]
fn a_reader_that_sleeps_holds_up_no_other_stream() {
    let (mut client, mut server) = both();
    let mut asleep = Vec::new();
    for _ in 0..40 {
        let stream = client.conn.open().expect("room");
        client
            .conn
            .head(stream, &request(&[]), false, &mut client.out)
            .expect("a good head");
        let taken = client
            .conn
            .data(stream, &[b'x'; 65_535], false, &mut client.out);
        asleep.push((stream, taken.expect("in turn")));
        talk(&mut client, &mut server);
        assert_eq!(client.conn.next_writable(&client.out), None);
    }
    assert!(
        asleep.iter().all(|(_, taken)| *taken == 65_535),
        "2.5 MiB wait"
    );
}

#[test]
fn an_end_in_order() {
    let (mut client, mut server) = both();
    let stream = client.conn.open().expect("room");
    client
        .conn
        .head(stream, &request(&[]), true, &mut client.out)
        .expect("a good head");
    server.conn.drain(&mut server.out);
    // The request was under way when the end was announced.
    let (_, seen) = talk(&mut client, &mut server);
    assert_eq!(seen.len(), 1);
    assert!(!server.conn.wants_close() && !client.conn.wants_close());
    assert_eq!(client.conn.open(), None);
    server
        .conn
        .head(stream, &Head::response(204), true, &mut server.out)
        .expect("an answer");
    let (seen, _) = talk(&mut client, &mut server);
    assert_eq!(seen, [head(1, "204", &[], true)]);
    assert!(server.conn.wants_close() && client.conn.wants_close());
}

#[test]
fn a_client_is_told_which_streams_were_not_begun() {
    let mut end = client();
    for _ in 0..3 {
        let stream = end.conn.open().expect("room");
        end.conn
            .head(
                stream,
                &Head::request(b"GET", b"a", b"/"),
                true,
                &mut end.out,
            )
            .expect("a good head");
    }
    let goaway = frame(frame::GOAWAY, 0, 0, [0, 0, 0, 3, 0, 0, 0, 0]);
    assert_eq!(
        end.read(&[goaway, headers(1, OK, true)].concat()),
        [Seen::Reset(5, Reason::NotBegun), head(1, "200", &[], true)]
    );
    assert_eq!((end.conn.open(), end.conn.room()), (None, 0));
    assert!(!end.conn.wants_close());
    assert_eq!(end.read(&headers(3, OK, true)), [head(3, "200", &[], true)]);
    assert!(end.conn.wants_close());
}

#[test]
fn resets_both_ways() {
    let (mut client, mut server) = both();
    let reasons = [
        Reason::NoError,
        Reason::Cancelled,
        Reason::NotBegun,
        Reason::Internal,
        Reason::Protocol,
    ];
    for why in reasons {
        let stream = client.conn.open().expect("room");
        client
            .conn
            .head(stream, &request(&[]), false, &mut client.out)
            .expect("a good head");
        talk(&mut client, &mut server);
        server.conn.reset(stream, why);
        let (seen, _) = talk(&mut client, &mut server);
        assert_eq!(seen, [Seen::Reset(stream.0, why)]);
        assert_eq!((client.conn.streams(), server.conn.streams()), (0, 0));
    }
}
