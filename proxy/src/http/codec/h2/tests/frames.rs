//! Frames that break a rule, and the error by which each is answered.

use super::*;
use ProtocolError as E;

const PROTOCOL: u8 = ErrorCode::Protocol as u8;
const FLOW: u8 = ErrorCode::FlowControl as u8;
const CLOSED: u8 = ErrorCode::StreamClosed as u8;
const SIZE: u8 = ErrorCode::FrameSize as u8;

fn raw(len: u32, kind: u8, flags: u8, stream: u32) -> Vec<u8> {
    let header = Header {
        len,
        kind,
        flags,
        stream,
    };
    header.bytes().to_vec()
}

/// A request whose body is open, on stream 1.
fn open() -> Vec<u8> {
    headers(1, POST, false)
}

#[test]
fn a_connection_begins_with_preface_and_settings() {
    for (bytes, error) in [
        (&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r"[..], E::BadPreface),
        (b"GET / HTTP/1.1\r\n", E::BadPreface),
        (b"X", E::BadPreface),
    ] {
        let mut end = End::new(Conn::server(H2Limits::default()));
        assert_eq!(end.read(bytes), [Seen::Error(error)]);
        assert_eq!(end.goaway(), Some((0, PROTOCOL)));
    }
    for first in [
        frame(frame::PING, 0, 0, [0; 8]),
        settings_ack(),
        headers(1, GET, true),
        window_update(0, 1),
    ] {
        let mut end = End::new(Conn::server(H2Limits::default()));
        let bytes = [&frame::PREFACE[..], &first].concat();
        assert_eq!(end.read(&bytes), [Seen::Error(E::NoSettings)]);
        assert_eq!(end.goaway(), Some((0, PROTOCOL)));
        let mut end = End::new(Conn::client(H2Limits::default()));
        assert_eq!(end.read(&first), [Seen::Error(E::NoSettings)]);
    }
}

#[test]
fn each_side_begins_with_its_own() {
    let limits = H2Limits {
        stream_window: 100_000,
        frame_bytes_max: 20_000,
        header_table_bytes: 100,
        ..H2Limits::default()
    };
    let mut end = End::new(Conn::server(limits));
    let written = end.written();
    assert_eq!(written[0].0.kind, frame::SETTINGS);
    assert_eq!(
        frame(frame::SETTINGS, 0, 0, &written[0].1),
        settings(&[
            (1, 100),
            (3, 1024),
            (4, 100_000),
            (5, 20_000),
            (6, 61_440),
            (8, 1)
        ])
    );
    assert_eq!(written[1].0.kind, frame::WINDOW_UPDATE);
    assert_eq!(written[1].1, (1024 * 1024 - 65_535_u32).to_be_bytes());
    let mut end = End::new(Conn::client(H2Limits::default()));
    assert!(end.conn.wants_flush());
    let written = end.written();
    assert_eq!(
        frame(frame::SETTINGS, 0, 0, &written[0].1),
        settings(&[(2, 0), (6, 61_440)])
    );
}

#[test]
fn faults_that_end_the_connection() {
    let cases: Vec<(&str, Vec<u8>, E, u8)> = vec![
        (
            "frame too large",
            raw(16_385, frame::DATA, 0, 1),
            E::FrameTooLarge,
            SIZE,
        ),
        (
            "unknown frame too large",
            raw(1 << 20, 0xee, 0, 1),
            E::FrameTooLarge,
            SIZE,
        ),
        ("DATA on 0", data(0, "x", false), E::BadStream, PROTOCOL),
        ("DATA on idle", data(3, "x", false), E::IdleStream, PROTOCOL),
        ("DATA on even", data(2, "x", false), E::IdleStream, PROTOCOL),
        (
            "DATA padded by more than it has",
            frame(frame::DATA, frame::PADDED, 1, [4, 1, 2, 3]),
            E::BadPadding,
            PROTOCOL,
        ),
        (
            "DATA without its padding's length",
            frame(frame::DATA, frame::PADDED, 1, []),
            E::BadFrameLength,
            SIZE,
        ),
        (
            "HEADERS on 0",
            headers(0, GET, true),
            E::BadStream,
            PROTOCOL,
        ),
        (
            "HEADERS on even",
            headers(2, GET, true),
            E::StreamOrder,
            PROTOCOL,
        ),
        (
            "HEADERS padded by more",
            frame(
                frame::HEADERS,
                frame::PADDED | frame::END_HEADERS,
                3,
                [9, 0x82],
            ),
            E::BadPadding,
            PROTOCOL,
        ),
        (
            "HEADERS without its padding's length",
            frame(frame::HEADERS, frame::PADDED | frame::END_HEADERS, 3, []),
            E::BadFrameLength,
            SIZE,
        ),
        (
            "HEADERS without its priority",
            frame(
                frame::HEADERS,
                frame::PRIORITY_FLAG | frame::END_HEADERS,
                3,
                [0; 4],
            ),
            E::BadFrameLength,
            SIZE,
        ),
        (
            "HEADERS that cannot be decoded",
            frame(frame::HEADERS, frame::END_HEADERS, 3, [0x80]),
            E::BadIndex,
            ErrorCode::Compression as u8,
        ),
        (
            "PRIORITY on 0",
            frame(frame::PRIORITY, 0, 0, [0; 5]),
            E::BadStream,
            PROTOCOL,
        ),
        (
            "PRIORITY of 4 on idle",
            frame(frame::PRIORITY, 0, 9, [0; 4]),
            E::BadFrameLength,
            SIZE,
        ),
        (
            "RST_STREAM on 0",
            frame(frame::RST_STREAM, 0, 0, [0; 4]),
            E::BadStream,
            PROTOCOL,
        ),
        (
            "RST_STREAM on idle",
            frame(frame::RST_STREAM, 0, 3, [0; 4]),
            E::IdleStream,
            PROTOCOL,
        ),
        (
            "RST_STREAM of 3",
            frame(frame::RST_STREAM, 0, 1, [0; 3]),
            E::BadFrameLength,
            SIZE,
        ),
        (
            "SETTINGS on 1",
            frame(frame::SETTINGS, 0, 1, []),
            E::BadStream,
            PROTOCOL,
        ),
        (
            "SETTINGS of 5",
            frame(frame::SETTINGS, 0, 0, [0; 5]),
            E::BadFrameLength,
            SIZE,
        ),
        (
            "SETTINGS ACK of 6",
            frame(frame::SETTINGS, frame::ACK, 0, [0; 6]),
            E::BadFrameLength,
            SIZE,
        ),
        (
            "SETTINGS ACK unasked",
            settings_ack(),
            E::UnaskedAck,
            PROTOCOL,
        ),
        (
            "ENABLE_PUSH 2",
            settings(&[(2, 2)]),
            E::BadSetting,
            PROTOCOL,
        ),
        (
            "INITIAL_WINDOW_SIZE 2^31",
            settings(&[(4, 1 << 31)]),
            E::WindowOverflow,
            FLOW,
        ),
        (
            "MAX_FRAME_SIZE 16,383",
            settings(&[(5, 16_383)]),
            E::BadSetting,
            PROTOCOL,
        ),
        (
            "MAX_FRAME_SIZE 2^24",
            settings(&[(5, 1 << 24)]),
            E::BadSetting,
            PROTOCOL,
        ),
        (
            "ENABLE_CONNECT_PROTOCOL 2",
            settings(&[(8, 2)]),
            E::BadSetting,
            PROTOCOL,
        ),
        (
            "PUSH_PROMISE",
            frame(frame::PUSH_PROMISE, frame::END_HEADERS, 1, [0, 0, 0, 2]),
            E::Push,
            PROTOCOL,
        ),
        (
            "PING on 1",
            frame(frame::PING, 0, 1, [0; 8]),
            E::BadStream,
            PROTOCOL,
        ),
        (
            "PING of 7",
            frame(frame::PING, 0, 0, [0; 7]),
            E::BadFrameLength,
            SIZE,
        ),
        (
            "GOAWAY on 1",
            frame(frame::GOAWAY, 0, 1, [0; 8]),
            E::BadStream,
            PROTOCOL,
        ),
        (
            "GOAWAY of 7",
            frame(frame::GOAWAY, 0, 0, [0; 7]),
            E::BadFrameLength,
            SIZE,
        ),
        (
            "WINDOW_UPDATE of 3",
            frame(frame::WINDOW_UPDATE, 0, 0, [0; 3]),
            E::BadFrameLength,
            SIZE,
        ),
        (
            "WINDOW_UPDATE by 0",
            window_update(0, 0),
            E::NoIncrement,
            PROTOCOL,
        ),
        (
            "WINDOW_UPDATE by 0 and a reserved bit",
            window_update(0, 1 << 31),
            E::NoIncrement,
            PROTOCOL,
        ),
        (
            "WINDOW_UPDATE on idle",
            window_update(3, 1),
            E::IdleStream,
            PROTOCOL,
        ),
        (
            "WINDOW_UPDATE too far",
            window_update(0, (1 << 31) - 65_535),
            E::WindowOverflow,
            FLOW,
        ),
        (
            "CONTINUATION alone",
            frame(frame::CONTINUATION, frame::END_HEADERS, 1, []),
            E::BrokenBlock,
            PROTOCOL,
        ),
        (
            "a block that another frame breaks",
            [frame(frame::HEADERS, 0, 3, block(GET)), window_update(0, 1)].concat(),
            E::BrokenBlock,
            PROTOCOL,
        ),
        (
            "a block that another stream breaks",
            [
                frame(frame::HEADERS, 0, 3, block(GET)),
                frame(frame::CONTINUATION, frame::END_HEADERS, 5, []),
            ]
            .concat(),
            E::BrokenBlock,
            PROTOCOL,
        ),
        (
            "a block that an unknown frame breaks",
            [
                frame(frame::HEADERS, 0, 3, block(GET)),
                frame(0xee, 0, 3, []),
            ]
            .concat(),
            E::BrokenBlock,
            PROTOCOL,
        ),
    ];
    for (name, bytes, error, code) in cases {
        let mut end = server();
        end.read(&open());
        assert_eq!(end.read(&bytes), [Seen::Error(error)], "{name}");
        let last = if bytes.get(8) == Some(&3) && bytes[3] == frame::HEADERS && error == E::BadIndex
        {
            3
        } else {
            1
        };
        assert_eq!(end.goaway(), Some((last, code)), "{name}");
        assert!(!end.conn.wants_input() && end.conn.wants_close());
        // Nothing more is understood or written.
        assert_eq!(end.read(&headers(5, GET, true)), []);
        let refused = end
            .conn
            .head(StreamId(1), &Head::response(200), true, &mut end.out);
        assert!(refused.is_err());
        assert_eq!(end.written(), []);
    }
}

#[test]
fn faults_that_end_a_stream() {
    let over = window_update(1, (1 << 31) - 65_535);
    let too_much = [
        data(1, [b'x'; 16_000], false).repeat(4),
        data(1, [b'x'; 1536], false),
    ]
    .concat();
    let cases: Vec<(&str, Vec<u8>, u8)> = vec![
        ("WINDOW_UPDATE by 0", window_update(1, 0), PROTOCOL),
        ("WINDOW_UPDATE too far", over, FLOW),
        ("PRIORITY of 4", frame(frame::PRIORITY, 0, 1, [0; 4]), SIZE),
        (
            "DATA behind the end",
            [data(1, "", true), data(1, "x", false)].concat(),
            CLOSED,
        ),
        (
            "HEADERS behind the end",
            [data(1, "", true), headers(1, &[], true)].concat(),
            CLOSED,
        ),
        ("DATA above the window", too_much, FLOW),
    ];
    for (name, bytes, code) in cases {
        let mut end = server();
        end.read(&open());
        let seen = end.read(&bytes);
        assert_eq!(
            seen.last(),
            Some(&Seen::Reset(1, Reason::Protocol)),
            "{name}"
        );
        assert_eq!(end.resets(), [(1, code)], "{name}");
        assert_eq!(end.conn.streams(), 0);
        let next = end.read(&headers(3, GET, true));
        assert_eq!(next, [head(3, "GET a /", &[], true)], "{name}");
    }
}

#[test]
fn what_is_to_be_ignored_is() {
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("an unknown frame", frame(0xee, 0xff, 77, "whatever")),
        ("an unknown setting", settings(&[(0x99, 7), (7, 1)])),
        ("a push that is allowed", settings(&[(2, 1)])),
        ("PRIORITY on idle", frame(frame::PRIORITY, 0, 9, [0; 5])),
        (
            "PRIORITY on itself",
            frame(frame::PRIORITY, 0, 1, [0, 0, 0, 1, 9]),
        ),
        (
            "an answer to no PING",
            frame(frame::PING, frame::ACK, 0, [7; 8]),
        ),
        ("a GOAWAY of a client", frame(frame::GOAWAY, 0, 0, [0; 20])),
        ("unknown flags", frame(frame::DATA, 0xf0, 1, "")),
    ];
    for (name, bytes) in cases {
        let mut end = server();
        end.read(&open());
        assert_eq!(end.read(&bytes), [], "{name}");
        assert_eq!(
            end.read(&data(1, "x", true)),
            [body(1, "x", true)],
            "{name}"
        );
    }
}

#[test]
fn frames_on_streams_that_are_closed_are_ignored() {
    let late = [
        data(1, "late", false),
        headers(1, &[("a", "b")], true),
        window_update(1, 5),
        frame(frame::RST_STREAM, 0, 1, [0, 0, 0, 8]),
        frame(frame::PRIORITY, 0, 1, [0; 5]),
    ]
    .concat();
    let mut end = server();
    end.read(&open());
    end.conn.reset(StreamId(1), Reason::Internal);
    assert_eq!(end.resets(), [(1, ErrorCode::Internal as u8)]);
    assert_eq!(end.read(&late), []);
    assert_eq!(end.written(), []);
    let mut end = asking("GET");
    end.conn.reset(StreamId(1), Reason::Cancelled);
    assert_eq!(end.resets(), [(1, ErrorCode::Cancel as u8)]);
    assert_eq!(end.read(&late), []);
    // Numbers that were passed over are closed too (RFC 9113 §5.1.1).
    let mut end = server();
    end.read(&headers(7, GET, true));
    assert_eq!(end.read(&headers(5, &[("a", "b")], true)), []);
    assert_eq!(end.conn.streams(), 1);
}

#[test]
fn a_request_comes_on_a_new_stream() {
    let cancelled = frame(frame::RST_STREAM, 0, 1, [0, 0, 0, 8]);
    let cases = [
        ("passed over", headers(3, GET, true), headers(1, GET, true)),
        (
            "reset by the client",
            [open(), cancelled].concat(),
            headers(1, GET, true),
        ),
        (
            "in two frames",
            headers(3, GET, true),
            [
                frame(frame::HEADERS, frame::END_STREAM, 1, block(&GET[..1])),
                frame(frame::CONTINUATION, frame::END_HEADERS, 1, block(&GET[1..])),
            ]
            .concat(),
        ),
    ];
    for (name, first, second) in cases {
        let mut end = server();
        end.read(&first);
        assert_eq!(end.read(&second), [Seen::Error(E::StreamOrder)], "{name}");
        let goaway = end.goaway().map(|(_, code)| code);
        assert_eq!(goaway, Some(PROTOCOL), "{name}");
    }
    // We have ended it, the peer has not heard of it: what is no request may come.
    let mut end = server();
    end.read(&open());
    end.conn.reset(StreamId(1), Reason::Cancelled);
    assert_eq!(end.read(&headers(1, &[("a", "b")], true)), []);
    assert_eq!(
        end.read(&headers(1, GET, true)),
        [Seen::Error(E::StreamOrder)]
    );
}

#[test]
fn what_only_a_client_refuses() {
    let cases: Vec<(&str, Vec<u8>, E)> = vec![
        (
            "a stream of the server",
            headers(2, OK, true),
            E::StreamOrder,
        ),
        ("a stream not begun", headers(3, OK, true), E::StreamOrder),
        ("DATA on one", data(3, "x", true), E::IdleStream),
        (
            "a push",
            frame(frame::PUSH_PROMISE, 4, 1, [0, 0, 0, 2]),
            E::Push,
        ),
        (
            "a push said to be allowed",
            settings(&[(2, 1)]),
            E::BadSetting,
        ),
        (
            "a last stream that rises",
            [
                frame(frame::GOAWAY, 0, 0, [0, 0, 0, 1, 0, 0, 0, 0]),
                frame(frame::GOAWAY, 0, 0, [0, 0, 0, 3, 0, 0, 0, 0]),
            ]
            .concat(),
            E::BadGoaway,
        ),
    ];
    for (name, bytes, error) in cases {
        let mut end = asking("GET");
        assert_eq!(end.read(&bytes), [Seen::Error(error)], "{name}");
        assert_eq!(end.goaway(), Some((0, PROTOCOL)), "{name}");
    }
    // Opened, but its head was not sent: the server cannot know it.
    let mut end = asking("GET");
    assert_eq!(end.conn.open(), Some(StreamId(3)));
    assert_eq!(
        end.read(&headers(3, OK, true)),
        [Seen::Error(E::StreamOrder)]
    );
}

#[test]
fn pings_and_settings_are_answered_in_order() {
    let mut end = server();
    let bytes = [
        frame(frame::PING, 0, 0, [7; 8]),
        settings(&[(4, 1)]),
        frame(frame::PING, 0, 0, [8; 8]),
    ]
    .concat();
    assert_eq!(end.read(&bytes), []);
    let expected = [
        frame(frame::PING, frame::ACK, 0, [7; 8]),
        settings_ack(),
        frame(frame::PING, frame::ACK, 0, [8; 8]),
    ]
    .concat();
    assert_eq!(end.take_out(), expected);
    end.conn.ping(&mut end.out);
    assert!(end.conn.awaits_pong());
    let (header, payload) = end.written().pop().expect("a PING");
    assert_eq!((header.kind, header.flags), (frame::PING, 0));
    end.read(&frame(frame::PING, frame::ACK, 0, payload));
    assert!(!end.conn.awaits_pong());
}

#[test]
fn a_stream_above_the_limit_is_refused() {
    let mut end = server_with(H2Limits {
        streams_max: 2,
        ..H2Limits::default()
    });
    for stream in [1, 3] {
        assert_eq!(end.read(&headers(stream, POST, false)).len(), 1);
    }
    // The field that it puts into the table is there for the next.
    let indexed = [&block(POST)[..], &[0x40, 1, b'x', 1, b'y']].concat();
    let third = frame(frame::HEADERS, frame::END_HEADERS, 5, indexed);
    assert_eq!(end.read(&third), []);
    assert_eq!(end.resets(), [(5, ErrorCode::RefusedStream as u8)]);
    assert_eq!(end.conn.hits().collect::<Vec<_>>(), [Hit::Streams]);
    assert_eq!(end.conn.hits().count(), 0);
    end.conn.reset(StreamId(1), Reason::Cancelled);
    let again = [&block(GET)[..], &[0xbe]].concat();
    let fourth = frame(frame::HEADERS, frame::END_HEADERS, 7, again);
    assert_eq!(
        end.read(&fourth),
        [head(7, "GET a /", &[("x", "y")], false)]
    );
}

#[test]
fn each_stream_above_the_limit_is_counted() {
    let mut end = server_with(H2Limits {
        streams_max: 0,
        ..H2Limits::default()
    });
    for stream in [1, 3, 5] {
        end.read(&headers(stream, GET, true));
    }
    assert_eq!(end.conn.hits().collect::<Vec<_>>(), [Hit::Streams; 3]);
    assert_eq!(end.conn.hits().count(), 0);
}

#[test]
fn of_several_table_sizes_in_one_frame_the_smallest_is_told_back() {
    let mut end = server();
    const TABLE_SIZE: u16 = 1;
    end.read(&settings(&[(TABLE_SIZE, 0), (TABLE_SIZE, 4096)]));
    end.read(&headers(1, GET, true));
    end.written();
    end.conn
        .head(StreamId(1), &Head::response(200), true, &mut end.out)
        .expect("an answer");
    let (_, block) = end.written().pop().expect("its frame");
    // RFC 7541 §4.2: updates to 0 and to 4,096, then the status.
    assert_eq!(block, [0x20, 0x3f, 0xe1, 0x1f, 0x88]);
}

#[test]
fn what_is_not_complete_is_known_by_its_number() {
    let mut end = server();
    let whole = headers(1, GET, true);
    end.read(&whole[..12]);
    let first = end.conn.unfinished();
    assert!(first.is_some());
    end.read(&whole[12..]);
    assert_eq!(end.conn.unfinished(), None);
    // A block in several frames is one, however many frames there are.
    let begun = frame(frame::HEADERS, frame::END_STREAM, 3, block(GET));
    end.read(&begun);
    let second = end.conn.unfinished();
    assert!(second.is_some() && second != first);
    end.read(&frame(frame::CONTINUATION, 0, 3, block(&[("a", "b")])));
    assert_eq!(end.conn.unfinished(), second);
    end.read(&frame(frame::CONTINUATION, frame::END_HEADERS, 3, b""));
    assert_eq!(end.conn.unfinished(), None);
    // Content is told as it comes.
    end.read(&headers(5, POST, false));
    end.read(&data(5, "hello", false)[..11]);
    assert_eq!(end.conn.unfinished(), None);
}
