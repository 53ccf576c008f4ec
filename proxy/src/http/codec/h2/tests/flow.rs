//! Windows and credit (RFC 9113 §5.2, §6.9).

use super::*;
use ProtocolError as E;

const FLOW: u8 = ErrorCode::FlowControl as u8;

#[test]
fn padding_is_not_seen_and_its_credit_given_back() {
    let mut end = server();
    end.read(&headers(1, POST, false));
    let padded = frame(
        frame::DATA,
        frame::PADDED,
        1,
        [&[200, b'x'][..], &[0; 200]].concat(),
    );
    for _ in 0..400 {
        assert_eq!(end.read(&padded), [body(1, "x", false)]);
    }
    let given: u32 = end
        .written()
        .iter()
        .filter(|(header, _)| header.kind == frame::WINDOW_UPDATE && header.stream == 1)
        .map(|(_, payload)| u32::from_be_bytes(payload[..].try_into().expect("four bytes")))
        .sum();
    assert!(given >= 32_767, "{given}");
    let last = frame(
        frame::DATA,
        frame::PADDED | frame::END_STREAM,
        1,
        [3, b'y', 0, 0, 0],
    );
    assert_eq!(end.read(&last), [body(1, "y", true)]);
}

#[test]
fn the_connection_is_given_credit_on_receipt() {
    let mut end = server();
    let mut given = 0;
    for stream in (1..80).step_by(2) {
        end.read(&headers(stream, POST, false));
        let full = data(stream, [b'x'; 16_000], false);
        let seen = end.read(&full.repeat(4));
        assert_eq!(seen.len(), 1);
        let updates = end.written();
        let updates = updates.iter().filter(|(header, _)| header.stream == 0);
        given += updates
            .map(|(_, payload)| u32::from_be_bytes(payload[..].try_into().expect("four bytes")))
            .sum::<u32>();
    }
    assert!((2_000_000..=2_560_000).contains(&given), "{given}");
}

#[test]
fn initial_windows_follow_settings() {
    let mut end = asking("CONNECT");
    let stream = StreamId(1);
    assert_eq!(
        end.conn.data(stream, &[0; 100], false, &mut end.out),
        Ok(100)
    );
    // 65,435 are open; now they are 100 too few.
    end.read(&settings(&[(4, 0)]));
    assert_eq!(end.conn.data(stream, &[0; 9], false, &mut end.out), Ok(0));
    end.read(&window_update(1, 100));
    assert_eq!(end.conn.next_writable(&end.out), None);
    end.read(&settings(&[(4, 3)]));
    assert_eq!(end.conn.next_writable(&end.out), Some(stream));
    assert_eq!(end.conn.data(stream, &[0; 9], true, &mut end.out), Ok(3));
    assert_eq!(end.conn.next_writable(&end.out), None);
    let too_far = [
        settings(&[(4, 0)]),
        window_update(1, 1 << 30),
        window_update(1, 1 << 30),
    ]
    .concat();
    end.read(&too_far);
    assert_eq!(
        end.read(&settings(&[(4, (1 << 31) - 1)])),
        [Seen::Error(E::WindowOverflow)]
    );
    assert_eq!(end.goaway(), Some((0, FLOW)));
}

#[test]
fn our_window_is_in_force_once_acknowledged() {
    let limits = H2Limits {
        stream_window: 10,
        ..H2Limits::default()
    };
    let mut end = End::new(Conn::server(limits));
    let first = [
        &frame::PREFACE[..],
        &settings(&[]),
        &headers(1, POST, false),
        &data(1, "0123456789abcdef", false),
    ];
    assert_eq!(
        end.read(&first.concat())[1],
        body(1, "0123456789abcdef", false)
    );
    // It is six above now.
    end.read(&[settings_ack(), headers(3, POST, false)].concat());
    assert_eq!(
        end.read(&data(1, "x", false)),
        [Seen::Reset(1, Reason::Protocol)]
    );
    assert_eq!(
        end.read(&data(3, "0123456789", false)),
        [body(3, "0123456789", false)]
    );
    assert_eq!(
        end.read(&data(3, "x", false)),
        [Seen::Reset(3, Reason::Protocol)]
    );
}
