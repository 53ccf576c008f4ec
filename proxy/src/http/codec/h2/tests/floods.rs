//! What a peer may do only so often (RFC 9113 §10.5), and that memory stays bounded.

use super::*;
use ProtocolError as E;

const CALM: u8 = ErrorCode::EnhanceYourCalm as u8;

/// Reads `bytes` over and over, at most `max` times; after how many it was refused, and by which error.
fn flood(end: &mut End, max: usize, mut bytes: impl FnMut(usize) -> Vec<u8>) -> (usize, E) {
    for round in 0..max {
        for seen in end.read(&bytes(round)) {
            if let Seen::Error(error) = seen {
                let (_, code) = end.goaway().expect("the peer is told");
                assert_eq!(code, ErrorCode::of(error) as u8);
                assert!(end.conn.hits().any(|hit| Some(hit) == Hit::of(error)));
                return (round, error);
            }
        }
    }
    panic!("never refused");
}

#[test]
fn answers_that_nobody_reads() {
    let ping = frame(frame::PING, 0, 0, [1; 8]);
    let (rounds, error) = flood(&mut server(), 2000, |_| ping.clone());
    assert_eq!((rounds, error), (1001, E::ControlFlood));
    let (_, error) = flood(&mut server(), 2000, |_| settings(&[]));
    assert_eq!(error, E::ControlFlood);
    let mut end = server_with(H2Limits {
        streams_max: 0,
        premature_reset_streams_min: u32::MAX,
        ..H2Limits::default()
    });
    let (_, error) = flood(&mut end, 2000, |round| {
        headers(round as u32 * 2 + 1, GET, true)
    });
    assert_eq!(error, E::ControlFlood);
    // Who reads the answers may go on; who does not is stopped however often the engine flushes.
    let mut end = server();
    for _ in 0..5000 {
        assert_eq!(end.read(&ping), []);
        end.take_out();
    }
    let mut end = server();
    end.out.extend(&vec![0; OUT_BYTES_MAX]);
    for _ in 0..1001 {
        assert_eq!(end.read(&ping), []);
        end.conn.flush(&mut end.out);
    }
    assert_eq!(end.out.len(), OUT_BYTES_MAX);
    assert_eq!(end.read(&ping), [Seen::Error(E::ControlFlood)]);
}

#[test]
fn frames_that_carry_nothing() {
    let mut end = server();
    end.read(&headers(1, POST, false));
    let (rounds, error) = flood(&mut end, 9, |_| data(1, "", false));
    assert_eq!((rounds, error), (1, E::EmptyFrames));
    let mut end = server();
    let (_, error) = flood(&mut end, 9, |round| match round {
        0 => frame(frame::HEADERS, 0, 1, []),
        _ => frame(frame::CONTINUATION, 0, 1, []),
    });
    assert_eq!(error, E::EmptyFrames);
    let mut end = server();
    end.read(&headers(1, POST, false));
    let padding = frame(frame::DATA, frame::PADDED, 1, [3, 0, 0, 0]);
    assert_eq!(flood(&mut end, 9, |_| padding.clone()), (1, E::EmptyFrames));
}

#[test]
fn calls_that_end_at_once_may_each_have_an_empty_frame() {
    let mut end = server();
    for id in [1, 3, 5] {
        end.read(&headers(id, POST, false));
    }
    for id in [1, 3, 5] {
        assert_eq!(end.read(&data(id, "", false)), []);
    }
    assert_eq!(end.read(&data(1, "", false)), [Seen::Error(E::EmptyFrames)]);
}

#[test]
fn frames_that_mean_nothing() {
    let (rounds, error) = flood(&mut server(), 999, |_| frame(0xbb, 0, 3, "x"));
    assert_eq!((rounds, error), (100, E::UnknownFrameFlood));
    let (rounds, error) = flood(&mut server(), 999, |_| frame(frame::PRIORITY, 0, 3, [0; 5]));
    assert_eq!((rounds, error), (100, E::PriorityFlood));
    let (rounds, error) = flood(&mut server(), 999, |_| window_update(0, 1));
    assert_eq!((rounds, error), (5, E::WindowUpdateFlood));
    let mut end = server();
    end.read(&headers(1, POST, false));
    end.conn.reset(StreamId(1), Reason::Cancelled);
    end.take_out();
    let (rounds, error) = flood(&mut end, 20_000, |_| data(1, "x", false));
    assert_eq!((rounds, error), (10_000, E::ClosedStreamFlood));
}

#[test]
fn window_updates_come_with_data() {
    let mut end = asking("CONNECT");
    for _ in 0..10_000 {
        assert_eq!(end.conn.data(StreamId(1), b"x", false, &mut end.out), Ok(1));
        assert_eq!(end.read(&window_update(1, 1)), []);
        assert_eq!(end.read(&window_update(0, 1)), []);
        end.take_out();
    }
}

#[test]
fn blocks_that_do_not_end() {
    let mut end = server();
    let (rounds, error) = flood(&mut end, 99, |round| match round {
        0 => frame(frame::HEADERS, 0, 1, [0]),
        _ => frame(frame::CONTINUATION, 0, 1, [0]),
    });
    assert_eq!((rounds, error), (9, E::TooManyContinuations));
    let mut end = server_with(H2Limits {
        continuations_max: 1000,
        ..H2Limits::default()
    });
    let (rounds, error) = flood(&mut end, 99, |round| match round {
        0 => frame(frame::HEADERS, 0, 1, [0; 16_000]),
        _ => frame(frame::CONTINUATION, 0, 1, [0; 16_000]),
    });
    assert_eq!((rounds, error), (15, E::BlockTooLarge));
}

#[test]
fn a_small_block_of_many_large_fields() {
    // A field of 4,000 bytes, and then 16,000 times the byte that refers to it.
    let mut bomb = block(GET);
    let value = vec![b'x'; 4000];
    bomb.extend([0x40, 1, b'x', 0x7f, 0xa1, 0x1e]);
    bomb.extend(&value);
    bomb.resize(16_000, 0xbe);
    let mut end = server();
    let seen = end.read(&frame(frame::HEADERS, frame::END_HEADERS, 1, bomb));
    assert_eq!(seen, [Seen::Malformed(1, E::HeadTooLarge)]);
    assert!(end.heads.take().bytes.capacity() < 200_000);
}

#[test]
fn streams_that_are_opened_and_reset() {
    let both = |stream: u32| {
        let reset = frame(frame::RST_STREAM, 0, stream, [0, 0, 0, 8]);
        [headers(stream, GET, true), reset].concat()
    };
    let (rounds, error) = flood(&mut server(), 999, |round| both(round as u32 * 2 + 1));
    assert_eq!((rounds, error), (251, E::ResetFlood));
    // Half of them may be.
    let mut end = server();
    for round in 0..2000_u32 {
        let stream = StreamId(round * 2 + 1);
        if round % 2 == 0 {
            end.read(&both(stream.0));
        } else {
            end.read(&headers(stream.0, GET, true));
            end.conn
                .head(stream, &Head::response(200), true, &mut end.out)
                .expect("an answer");
        }
        end.take_out();
    }
    assert!(!end.conn.wants_close());
}

/// CVE-2025-8671.
#[test]
fn streams_that_we_are_made_to_reset() {
    let by_fault = |stream: u32| [headers(stream, GET, true), window_update(stream, 0)].concat();
    let (rounds, error) = flood(&mut server(), 999, |round| by_fault(round as u32 * 2 + 1));
    assert_eq!((rounds, error), (33, E::ProvokedFlood));
    // Of many streams, one in sixteen may be.
    let every = |n: u32| {
        let mut end = server();
        for round in 0..2000_u32 {
            let stream = StreamId(round * 2 + 1);
            if end.conn.wants_close() {
                break;
            }
            if round % n == n - 1 {
                end.read(&by_fault(stream.0));
                continue;
            }
            let seen = end.read(&headers(stream.0, GET, true));
            if matches!(seen[..], [Seen::Head(..)]) {
                end.conn
                    .head(stream, &Head::response(200), true, &mut end.out)
                    .expect("an answer");
            }
            end.take_out();
        }
        end.conn.wants_close()
    };
    assert!(!every(16));
    assert!(every(15));
}

#[test]
fn streams_that_were_open_for_long_may_be_reset() {
    let mut end = server();
    for round in 0..2000_u32 {
        let stream = round * 2 + 1;
        end.read(&headers(stream, GET, true));
        let seen = end.read(&frame(frame::RST_STREAM, 0, stream, [0, 0, 0, 8]));
        assert_eq!(seen, [Seen::Reset(stream, Reason::Cancelled)]);
        end.conn.forgive();
    }
}

#[test]
fn what_waits_for_a_window_is_forgotten_with_its_stream() {
    let mut end = server();
    end.read(&settings(&[(4, 1)]));
    for round in 0..3000_u32 {
        let stream = StreamId(round * 2 + 1);
        end.read(&headers(stream.0, GET, true));
        end.conn
            .head(stream, &Head::response(200), false, &mut end.out)
            .expect("an answer");
        let taken = end.conn.data(stream, b"xy", true, &mut end.out);
        assert!(taken.is_ok());
        end.read(&frame(frame::RST_STREAM, 0, stream.0, [0; 4]));
        end.take_out();
    }
    assert_eq!(end.conn.streams(), 0);
    assert_eq!(end.conn.next_writable(&end.out), None);
}

#[test]
fn a_flood_is_told_as_such() {
    for error in [
        E::BlockTooLarge,
        E::TooManyContinuations,
        E::EmptyFrames,
        E::PriorityFlood,
        E::WindowUpdateFlood,
        E::ControlFlood,
        E::ResetFlood,
        E::ProvokedFlood,
        E::ClosedStreamFlood,
        E::UnknownFrameFlood,
    ] {
        assert_eq!(ErrorCode::of(error) as u8, CALM);
        assert!(Hit::of(error).is_some());
    }
}

#[test]
fn malformed_requests_that_are_answered_count_as_resets() {
    let mut end = server();
    for round in 0..2000 {
        let stream = StreamId(round * 2 + 1);
        let request = headers(stream.0, &[POST, &[("A", "b")]].concat(), false);
        match end.read(&request)[..] {
            [Seen::Malformed(_, E::UpperCaseName)] => {}
            [Seen::Error(E::ProvokedFlood)] => {
                assert_eq!(round, 33);
                return;
            }
            ref seen => panic!("round {round}: {seen:?}"),
        }
        end.conn
            .head(stream, &Head::response(400), true, &mut end.out)
            .expect("an answer");
        end.conn.reset(stream, Reason::NoError);
        end.take_out();
    }
    panic!("never refused");
}

#[test]
fn who_never_acknowledges_how_many_streams_there_may_be_opens_too_many_in_good_faith_only_so_often()
{
    let mut end = End::new(Conn::server(H2Limits {
        streams_max: 10,
        ..H2Limits::default()
    }));
    end.read(&[&frame::PREFACE[..], &settings(&[])].concat());
    let (rounds, error) = flood(&mut end, 999, |round| {
        headers(round as u32 * 2 + 1, POST, false)
    });
    // Ten are taken, ten refused in good faith, and then it is as with those who know.
    assert_eq!((rounds, error), (10 + 10 + 251, E::ResetFlood));
}

#[test]
fn a_head_several_times_too_large_ends_its_stream_and_no_other() {
    let mut end = client();
    for _ in 0..2 {
        let stream = end.conn.open().expect("room");
        let request = Head::request(b"GET", b"a", b"/");
        end.conn
            .head(stream, &request, true, &mut end.out)
            .expect("a good request");
    }
    // `x-large` of 200,000 bytes, in frames as long as every peer takes them.
    let mut large = block(OK);
    large.extend([0, 7]);
    large.extend(b"x-large");
    large.extend([0x7f, 0xc1, 0x99, 0x0c]);
    large.resize(large.len() + 200_000, b'v');
    let pieces: Vec<_> = large.chunks(16_384).collect();
    assert_eq!(end.read(&frame(frame::HEADERS, 0, 1, pieces[0])), []);
    for (at, piece) in pieces.iter().enumerate().skip(1) {
        let last = at + 1 == pieces.len();
        let flags = if last { frame::END_HEADERS } else { 0 };
        let seen = end.read(&frame(frame::CONTINUATION, flags, 1, piece));
        match last {
            true => assert_eq!(seen, [Seen::Malformed(1, E::HeadTooLarge)]),
            false => assert_eq!(seen, []),
        }
    }
    let seen = end.read(&headers(3, OK, true));
    assert_eq!(seen, [head(3, "200", &[], true)]);
}

#[test]
fn who_asks_with_a_head_that_is_too_large_is_known() {
    let mut end = server();
    let large = "v".repeat(16_000);
    let fields: Vec<_> = ["a", "b", "c", "d"]
        .iter()
        .map(|name| (*name, large.as_str()))
        .collect();
    let all = block(&[POST, &fields].concat());
    let (first, rest) = all.split_at(16_384);
    end.input.extend(&frame(frame::HEADERS, 0, 1, first));
    for piece in rest.chunks(16_384) {
        let last = piece.len() < 16_384;
        let flags = if last { frame::END_HEADERS } else { 0 };
        end.input
            .extend(&frame(frame::CONTINUATION, flags, 1, piece));
    }
    let event = end.conn.next(&mut end.input, &mut end.heads);
    let Ok(Some(Event::Malformed { asked, .. })) = event else {
        panic!("{event:?}");
    };
    let asked = asked.expect("it is known");
    assert_eq!(
        (asked.method_bytes(), asked.path()),
        (&b"POST"[..], &b"/"[..])
    );
}

#[test]
fn a_peer_that_loses_its_connection_is_told_why() {
    let mut end = server();
    end.read(&frame(frame::PUSH_PROMISE, 0, 1, [0; 4]));
    let (_, payload) = end.written().pop().expect("a GOAWAY");
    assert_eq!(payload[8..], *E::Push.to_string().as_bytes());
}
