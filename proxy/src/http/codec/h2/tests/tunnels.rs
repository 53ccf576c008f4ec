//! CONNECT (RFC 9113 §8.5) and extended CONNECT (RFC 8441).

use super::*;
use crate::http::codec::Refused;
use crate::http::head::Known;
use ProtocolError as E;

const CONNECT: &[(&str, &str)] = &[(":method", "CONNECT"), (":authority", "a:1")];

const WEBSOCKET: &[(&str, &str)] = &[
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":scheme", "http"),
    (":path", "/chat"),
    (":authority", "a"),
    ("sec-websocket-version", "13"),
    ("content-length", "7"),
];

fn upgrade(status: u16) -> Head {
    switch(Head::response(status))
}

/// `head` as the codec of HTTP/1 gives it when `Connection` names `upgrade`.
fn switch(mut head: Head) -> Head {
    head.add(b"Connection", b"upgrade");
    head.add(b"Upgrade", b"websocket");
    head.upgrade = true;
    head
}

#[test]
fn a_server_takes_a_plain_connect() {
    let mut end = server();
    let seen = end.read(&headers(1, CONNECT, false));
    assert_eq!(seen, [head(1, "CONNECT a:1 ", &[], false)]);
    let mut answer = Head::response(200);
    answer.add(b"content-length", b"9");
    end.conn
        .head(StreamId(1), &answer, false, &mut end.out)
        .expect("an answer");
    assert_eq!(
        end.written().pop().map(|(_, block)| block),
        Some(vec![0x88])
    );
    assert_eq!(
        end.read(&data(1, "to you", false)),
        [body(1, "to you", false)]
    );
    assert_eq!(
        end.conn.data(StreamId(1), b"to me", true, &mut end.out),
        Ok(5)
    );
    assert_eq!(end.conn.streams(), 1);
    assert_eq!(end.read(&data(1, "", true)), [body(1, "", true)]);
    assert_eq!(end.conn.streams(), 0);
    let mut end = server();
    end.read(&headers(1, CONNECT, false));
    let seen = end.read(&headers(1, &[("a", "b")], true));
    assert_eq!(seen, [Seen::Malformed(1, E::TrailersNotLast)]);
}

#[test]
fn a_client_asks_for_a_tunnel() {
    let mut end = client();
    let stream = end.conn.open().expect("room");
    end.conn
        .head(
            stream,
            &Head::request(b"CONNECT", b"a:1", b""),
            false,
            &mut end.out,
        )
        .expect("a good head");
    let (_, written) = end.written().pop().expect("a head");
    let mut server = server();
    let seen = server.read(&frame(frame::HEADERS, frame::END_HEADERS, 1, written));
    assert_eq!(seen, [head(1, "CONNECT a:1 ", &[], false)]);
    let answer = [(":status", "200"), ("content-length", "5")];
    assert_eq!(
        end.read(&headers(1, &answer, false)),
        [head(1, "200", &[], false)]
    );
    assert_eq!(end.read(&data(1, "longer than five", false)).len(), 1);
    // A refusal is a message like any other.
    let mut end = asking("CONNECT");
    let answer = [(":status", "403"), ("content-length", "2")];
    let seen = end.read(&[headers(1, &answer, false), data(1, "no", true)].concat());
    assert_eq!(seen[1..], [body(1, "no", true)]);
    let seen = asking("CONNECT").read(&[headers(1, &answer, false), data(1, "n", true)].concat());
    assert_eq!(seen[1..], [Seen::Malformed(1, E::LengthDiffers)]);
}

#[test]
fn a_server_tells_an_extended_connect_as_an_upgrade() {
    let mut end = server();
    end.input.extend(&headers(1, WEBSOCKET, false));
    let event = end.conn.next(&mut end.input, &mut end.heads);
    let Ok(Some(Event::Head {
        head, end: over, ..
    })) = event
    else {
        panic!("{event:?}");
    };
    assert_eq!((start_of(&head), over), ("GET a /chat".into(), false));
    assert_eq!(head.upgrade(), Some(&b"websocket"[..]));
    assert_eq!(fields_of(&head), owned(&[("sec-websocket-version", "13")]));
    let stream = StreamId(1);
    for (status, why) in [(200, Refused::Switch), (204, Refused::Switch)] {
        let refused = end
            .conn
            .head(stream, &Head::response(status), false, &mut end.out);
        assert_eq!(refused, Err(why));
    }
    let not_agreed = end
        .conn
        .head(stream, &Head::response(101), false, &mut end.out);
    assert_eq!(not_agreed, Err(Refused::Switch));
    assert!(!end.conn.is_tunnel(stream));
    end.conn
        .head(stream, &upgrade(101), false, &mut end.out)
        .expect("an answer");
    assert_eq!(
        end.written().pop().map(|(_, block)| block),
        Some(vec![0x88])
    );
    assert_eq!(
        end.read(&data(1, "frames", false)),
        [body(1, "frames", false)]
    );
    assert_eq!(end.conn.data(stream, b"frames", false, &mut end.out), Ok(6));
}

#[test]
fn an_extended_connect_that_was_not_offered() {
    let mut end = server_with(H2Limits {
        connect_protocol: false,
        ..H2Limits::default()
    });
    let seen = end.read(&headers(1, WEBSOCKET, false));
    assert_eq!(seen, [Seen::Malformed(1, E::BadPseudoField)]);
    let mut end = client();
    let stream = end.conn.open().expect("room");
    let request = switch(Head::request(b"GET", b"a", b"/chat"));
    let refused = end.conn.head(stream, &request, false, &mut end.out);
    assert_eq!(refused, Err(Refused::NoWebSockets));
    assert_eq!(end.written(), []);
}

/// A client that has asked for a WebSocket, and what it wrote.
fn asking_for_a_websocket() -> (End, Vec<u8>) {
    let mut end = client();
    end.read(&settings(&[(8, 1)]));
    end.take_out();
    let stream = end.conn.open().expect("room");
    let mut request = switch(Head::request(b"GET", b"a", b"/chat"));
    request.add(b"Content-Length", b"0");
    end.conn
        .head(stream, &request, false, &mut end.out)
        .expect("a good head");
    let (_, written) = end.written().pop().expect("a head");
    (end, written)
}

#[test]
fn a_client_asks_for_an_extended_connect() {
    let (mut end, written) = asking_for_a_websocket();
    let mut server = server();
    let seen = server.read(&frame(frame::HEADERS, frame::END_HEADERS, 1, written));
    assert_eq!(seen, [head(1, "GET a /chat", &[], false)]);
    end.input.extend(&headers(1, OK, false));
    let event = end.conn.next(&mut end.input, &mut end.heads);
    let Ok(Some(Event::Head {
        head, end: over, ..
    })) = event
    else {
        panic!("{event:?}");
    };
    assert_eq!((head.status(), over), (101, false));
    assert_eq!(head.upgrade(), Some(&b"websocket"[..]));
    assert_eq!(head.get(Known::Upgrade), Some(&b"websocket"[..]));
    assert!(end.conn.is_tunnel(StreamId(1)));
    assert_eq!(
        end.conn.data(StreamId(1), b"frames", false, &mut end.out),
        Ok(6)
    );
    assert_eq!(
        end.read(&data(1, "frames", true)),
        [body(1, "frames", true)]
    );
    let (mut end, _) = asking_for_a_websocket();
    let seen = end.read(&headers(1, &[(":status", "503")], true));
    assert_eq!(seen, [self::head(1, "503", &[], true)]);
}

#[test]
fn the_length_that_an_extended_connect_announces_goes_no_further() {
    let mut end = server_with(H2Limits {
        connect_protocol: true,
        ..H2Limits::default()
    });
    end.input.extend(&headers(1, WEBSOCKET, false));
    let Ok(Some(Event::Head { head, .. })) = end.conn.next(&mut end.input, &mut end.heads) else {
        panic!("no head");
    };
    let mut next = crate::http::codec::h1::Conn::client(Default::default());
    let stream = next.open().expect("a fresh connection");
    let mut out = Out::new();
    next.head(stream, &head, true, &mut out)
        .expect("an upgrade");
    let written = text(out.pending());
    assert!(
        !written.to_lowercase().contains("content-length"),
        "{written}"
    );
}
