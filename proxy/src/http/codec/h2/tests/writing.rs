//! What we would not write, and how what we write is cut.

use super::*;
use crate::http::codec::Refused;
use crate::http::head::Known;

fn request(fields: &[(&[u8], &[u8])]) -> Head {
    let mut head = Head::request(b"POST", b"a", b"/");
    for (name, value) in fields {
        head.add(name, value);
    }
    head
}

#[test]
fn malformed_heads_are_refused_and_leave_nothing_behind() {
    let mut bad_path = request(&[]);
    bad_path.set_path(b"/a b");
    let mut no_path = request(&[]);
    no_path.set_path(b"a");
    let mut bad_authority = request(&[]);
    bad_authority.set_authority(b"a b");
    let cases = [
        (request(&[(b"a b", b"c")]), Refused::FieldName),
        (request(&[(b"", b"c")]), Refused::FieldName),
        (request(&[(b":path", b"c")]), Refused::FieldName),
        (request(&[(b"a\r\nb", b"c")]), Refused::FieldName),
        (request(&[(b"a", b"b\r\nc")]), Refused::FieldValue),
        (request(&[(b"a", b"b\0c")]), Refused::FieldValue),
        (request(&[(b"host", b"a\nb")]), Refused::FieldValue),
        (request(&[(b"content-length", b"x")]), Refused::Length),
        (
            request(&[(b"content-length", b"1"), (b"content-length", b"1")]),
            Refused::Length,
        ),
        (request(&[(b"content-length", b"1")]), Refused::TooShort),
        (Head::request(b"G T", b"a", b"/"), Refused::Method),
        (Head::request(b"CONNECT", b"", b""), Refused::Target),
        (bad_path, Refused::Target),
        (no_path, Refused::Target),
        (bad_authority, Refused::Target),
        (Head::response(200), Refused::WrongHead),
        (Head::new(), Refused::WrongHead),
    ];
    let mut end = client();
    let stream = end.conn.open().expect("room");
    for (head, why) in cases {
        let refused = end.conn.head(stream, &head, true, &mut end.out);
        assert_eq!(refused, Err(why), "{head:?}");
        assert_eq!(end.written(), []);
    }
    end.conn
        .head(stream, &request(&[]), true, &mut end.out)
        .expect("the stream is as before");
    let mut end = server();
    end.read(&headers(1, GET, true));
    for (head, why) in [
        (Head::response(99), Refused::Status),
        (Head::response(1000), Refused::Status),
        (Head::response(101), Refused::Switch),
        (request(&[]), Refused::WrongHead),
    ] {
        let refused = end.conn.head(StreamId(1), &head, true, &mut end.out);
        assert_eq!(refused, Err(why), "{head:?}");
    }
    assert_eq!(end.written(), []);
}

#[test]
fn what_is_out_of_turn() {
    let mut end = client();
    let ok = Head::response(200);
    let (first, second) = (
        end.conn.open().expect("room"),
        end.conn.open().expect("room"),
    );
    let turn = Err(Refused::OutOfTurn);
    assert_eq!(
        end.conn.data(first, b"x", true, &mut end.out),
        turn.map(|()| 0)
    );
    assert_eq!(
        end.conn
            .head(StreamId(9), &request(&[]), true, &mut end.out),
        turn
    );
    assert_eq!(
        end.conn.head(second, &request(&[]), true, &mut end.out),
        Ok(())
    );
    // A lower number than one that is known to the peer is closed there (RFC 9113 §5.1.1).
    assert_eq!(
        end.conn.head(first, &request(&[]), true, &mut end.out),
        turn
    );
    assert_eq!(
        end.conn.head(second, &request(&[]), true, &mut end.out),
        turn
    );
    assert_eq!(
        end.conn.data(second, b"", true, &mut end.out),
        turn.map(|()| 0)
    );
    end.take_out();
    end.conn.reset(first, Reason::Cancelled);
    assert_eq!(end.written(), [], "the peer has never heard of it");
    let mut end = server();
    end.read(&headers(1, GET, true));
    assert_eq!(end.conn.open(), None);
    assert_eq!(
        end.conn.trailers(StreamId(1), &Head::new(), &mut end.out),
        turn
    );
    assert_eq!(end.conn.head(StreamId(1), &ok, true, &mut end.out), Ok(()));
    assert_eq!(end.conn.head(StreamId(1), &ok, true, &mut end.out), turn);
}

#[test]
fn lengths_that_were_announced_are_kept() {
    let mut end = client();
    let head = request(&[(b"content-length", b"5")]);
    let stream = end.conn.open().expect("room");
    assert_eq!(end.conn.head(stream, &head, false, &mut end.out), Ok(()));
    end.take_out();
    let mut data = |bytes: &[u8], over| {
        let taken = end.conn.data(stream, bytes, over, &mut end.out);
        (taken, std::mem::take(&mut end.out).len())
    };
    assert_eq!(data(b"abcdef", true), (Err(Refused::TooLong), 0));
    assert_eq!(data(b"abc", true), (Err(Refused::TooShort), 0));
    assert_eq!(data(b"abc", false), (Ok(3), 12));
    assert_eq!(data(b"", true), (Err(Refused::TooShort), 0));
    assert_eq!(data(b"abc", true), (Err(Refused::TooLong), 0));
    let mut trailers = Head::new();
    trailers.add(b"a", b"b");
    let refused = end.conn.trailers(stream, &trailers, &mut end.out);
    assert_eq!(refused, Err(Refused::TooShort));
    assert_eq!(end.conn.data(stream, b"de", true, &mut end.out), Ok(2));
}

#[test]
fn fields_of_one_hop_are_dropped_and_names_put_in_lower_case() {
    let mut head = request(&[
        (b"Host", b"b"),
        (b"Connection", b"X-Hop"),
        (b"Keep-Alive", b"5"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Upgrade", b"x"),
        (b"X-Two", b" 2\t"),
        (b"X-Gone", b"1"),
    ]);
    head.remove_name(b"x-gone");
    let mut end = client();
    let stream = end.conn.open().expect("room");
    end.conn
        .head(stream, &head, true, &mut end.out)
        .expect("a good head");
    let mut server = server();
    let seen = server.read(&end.take_out());
    assert_eq!(seen, [super::head(1, "POST b /", &[("x-two", "2")], true)]);
}

#[test]
fn te_goes_on_when_it_says_trailers() {
    let mut h1 = crate::http::codec::h1::Conn::server(Default::default());
    let mut input = ReadBuf::default();
    input.extend(b"GET / HTTP/1.1\r\nHost: a\r\nTE: gzip, Trailers\r\nConnection: TE\r\n\r\n");
    let Ok(Some(Event::Head { head, .. })) = h1.next(&mut input, &mut HeadPool::new()) else {
        panic!("a request");
    };
    let mut end = client();
    let stream = end.conn.open().expect("room");
    end.conn
        .head(stream, &head, true, &mut end.out)
        .expect("a good head");
    let mut server = server();
    server.input.extend(&end.take_out());
    let event = server.conn.next(&mut server.input, &mut server.heads);
    let Ok(Some(Event::Head { head, .. })) = event else {
        panic!("{event:?}");
    };
    assert_eq!(head.get(Known::Te), Some(&b"trailers"[..]));
}

#[test]
fn responses_without_content_have_none() {
    for (method, status) in [("HEAD", 200), ("GET", 204), ("GET", 304)] {
        let mut end = server();
        let fields = [(":method", method), GET[1], GET[2], GET[3]];
        end.read(&headers(1, &fields, true));
        let mut head = Head::response(status);
        head.add(b"content-length", b"5");
        let stream = StreamId(1);
        assert_eq!(end.conn.head(stream, &head, false, &mut end.out), Ok(()));
        assert_eq!(end.conn.data(stream, b"hello", true, &mut end.out), Ok(5));
        let written = end.written();
        assert_eq!(written.len(), 2);
        let (last, payload) = &written[1];
        assert_eq!(
            (last.kind, last.flags, payload.len()),
            (frame::DATA, frame::END_STREAM, 0)
        );
        let length = written[0].1.ends_with(b"\x0f\x0d\x015");
        assert_eq!(length, status != 204, "RFC 9110 §8.6");
        assert_eq!(end.conn.streams(), 0);
    }
}

#[test]
fn frames_are_no_larger_than_the_peer_takes() {
    let mut end = asking("CONNECT");
    let taken = end
        .conn
        .data(StreamId(1), &[b'x'; 40_000], true, &mut end.out);
    assert_eq!(taken, Ok(40_000));
    let written = end.written();
    let sizes: Vec<_> = written
        .iter()
        .map(|(header, _)| (header.len, header.flags))
        .collect();
    assert_eq!(sizes, [(16_384, 0), (16_384, 0), (7232, frame::END_STREAM)]);
    let long = vec![b'x'; 40_000];
    let stream = end.conn.open().expect("room");
    end.conn
        .head(stream, &request(&[(b"long", &long)]), true, &mut end.out)
        .expect("a good head");
    let out = end.take_out();
    let mut server = server();
    assert_eq!(server.read(&out).len(), 1);
    let mut rest = &out[..];
    let mut kinds = Vec::new();
    while let Some(header) = Header::parse(rest) {
        assert!(header.len <= 16_384);
        kinds.push((header.kind, header.flags));
        rest = &rest[frame::HEADER_BYTES + header.len as usize..];
    }
    assert_eq!(
        kinds,
        [
            (frame::HEADERS, frame::END_STREAM),
            (frame::CONTINUATION, 0),
            (frame::CONTINUATION, frame::END_HEADERS),
        ]
    );
}

#[test]
fn no_more_is_taken_than_out_may_hold() {
    let mut end = asking("CONNECT");
    end.read(&[settings(&[(4, 1 << 30)]), window_update(0, 1 << 30)].concat());
    end.take_out();
    let stream = StreamId(1);
    let large = vec![0; OUT_BYTES_MAX + 1];
    let taken = end.conn.data(stream, &large, true, &mut end.out);
    assert_eq!(taken, Ok(OUT_BYTES_MAX));
    assert_eq!(end.conn.data(stream, &large, true, &mut end.out), Ok(0));
    assert_eq!(end.conn.next_writable(&end.out), None);
    end.out.clear();
    assert_eq!(end.conn.next_writable(&end.out), Some(stream));
    assert_eq!(end.conn.data(stream, b"x", true, &mut end.out), Ok(1));
}

#[test]
fn streams_that_wait_take_turns() {
    let mut end = client();
    let mut streams = Vec::new();
    for _ in 0..3 {
        let stream = end.conn.open().expect("room");
        end.conn
            .head(stream, &request(&[]), false, &mut end.out)
            .expect("a good head");
        streams.push(stream);
    }
    // The first takes the whole window of the connection.
    assert_eq!(
        end.conn.data(streams[0], &[0; 65_535], false, &mut end.out),
        Ok(65_535)
    );
    assert_eq!(
        end.conn.data(streams[1], &[0; 9], false, &mut end.out),
        Ok(0)
    );
    assert_eq!(
        end.conn.data(streams[2], &[0; 9], false, &mut end.out),
        Ok(0)
    );
    assert_eq!(end.conn.next_writable(&end.out), None);
    let mut turns = Vec::new();
    for _ in 0..3 {
        end.read(&window_update(0, 2));
        while let Some(stream) = end.conn.next_writable(&end.out) {
            turns.push(stream);
            let taken = end.conn.data(stream, &[0; 9], false, &mut end.out);
            assert_eq!(taken, Ok(2));
        }
    }
    assert_eq!(turns, [streams[1], streams[2], streams[1]]);
}
