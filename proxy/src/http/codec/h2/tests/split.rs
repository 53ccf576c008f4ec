//! However the bytes arrive, the events are the same; and whatever is sent through both ends arrives.

use proptest::prelude::*;

use super::*;

/// A client's connection with all that there is.
fn busy() -> Vec<u8> {
    let huge = "x".repeat(150);
    let cut = block(&[POST, &[("huge", &huge)]].concat());
    [
        &frame::PREFACE[..],
        &settings(&[(4, 70_000), (3, 5)]),
        &settings_ack(),
        &headers(1, POST, false),
        &data(1, "hello ", false),
        &frame(
            frame::HEADERS,
            frame::PADDED | frame::PRIORITY_FLAG | frame::END_HEADERS,
            3,
            [&[2, 0, 0, 0, 1, 7][..], &block(POST), &[0, 0]].concat(),
        ),
        &frame(frame::PING, 0, 0, [5; 8]),
        &frame(frame::DATA, frame::PADDED, 1, b"\x03worldxxx"),
        &frame(frame::HEADERS, 0, 5, &cut[..30]),
        &frame(frame::CONTINUATION, 0, 5, &cut[30..77]),
        &frame(frame::CONTINUATION, frame::END_HEADERS, 5, &cut[77..]),
        &frame(frame::DATA, frame::PADDED | frame::END_STREAM, 3, b"\x02ab"),
        &frame(0xcc, 0, 0, "what"),
        &headers(1, &[("sum", "1")], true),
        &window_update(5, 10),
        &frame(frame::DATA, frame::PADDED | frame::END_STREAM, 5, b"\x01!x"),
        &headers(7, &[POST, &[("Bad", "name")]].concat(), false),
        &data(7, "dropped", true),
        &headers(9, POST, false),
        &frame(frame::RST_STREAM, 0, 9, [0, 0, 0, 8]),
        &data(9, "late", true),
        &headers(11, GET, true),
        &frame(frame::PING, 0, 3, [5; 8]),
    ]
    .concat()
}

fn serve<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Vec<Seen> {
    let mut end = End::new(Conn::server(H2Limits::default()));
    let mut seen = Vec::new();
    for piece in pieces {
        end.read_more(piece, &mut seen);
    }
    seen
}

#[test]
fn every_split_in_two() {
    let bytes = busy();
    let whole = serve([&bytes[..]]);
    assert_eq!(whole.len(), 13, "{whole:#?}");
    assert_eq!(whole.last(), Some(&Seen::Error(ProtocolError::BadStream)));
    for at in 0..bytes.len() {
        let (a, b) = bytes.split_at(at);
        assert_eq!(serve([a, b]), whole, "at {at}");
    }
    for size in 1..20 {
        assert_eq!(serve(bytes.chunks(size)), whole, "by {size}");
    }
}

/// What one exchange sends, either way.
#[derive(Clone, Debug)]
struct Message {
    fields: Vec<(String, String)>,
    content: usize,
    trailers: Vec<(String, String)>,
}

fn message() -> impl Strategy<Value = Message> {
    let fields = || prop::collection::vec(("x-[a-z]{1,8}", "[!-~]([ -~]{0,30}[!-~])?"), 0..8);
    (fields(), 0..90_000_usize, fields()).prop_map(|(fields, content, trailers)| Message {
        fields,
        content,
        trailers,
    })
}

fn limits() -> impl Strategy<Value = H2Limits> {
    let windows = (1..200_000_u32, 65_535..200_000_u32);
    (windows, 16_384..60_000_u32, 0..9000_u32).prop_map(|(windows, frames, table)| H2Limits {
        stream_window: windows.0,
        connection_window: windows.1,
        frame_bytes_max: frames,
        header_table_bytes: table,
        ..H2Limits::default()
    })
}

/// A message being sent.
struct Sending {
    stream: StreamId,
    message: Message,
    sent: usize,
    done: bool,
}

impl Sending {
    fn new(end: &mut End, stream: StreamId, mut head: Head, message: &Message) -> Self {
        for (name, value) in &message.fields {
            head.add(name.as_bytes(), value.as_bytes());
        }
        end.conn
            .head(stream, &head, false, &mut end.out)
            .expect("a good head");
        Self {
            stream,
            message: message.clone(),
            sent: 0,
            done: false,
        }
    }

    /// Sends what can be sent.
    fn go_on(&mut self, end: &mut End) {
        let left = self.message.content - self.sent;
        let last = self.message.trailers.is_empty();
        let content: Vec<u8> = (self.sent..self.message.content).map(byte_at).collect();
        let taken = end.conn.data(self.stream, &content, last, &mut end.out);
        let taken = taken.expect("in turn");
        self.sent += taken;
        if taken < left {
            return;
        }
        self.done = true;
        if !last {
            let mut head = Head::new();
            for (name, value) in &self.message.trailers {
                head.add(name.as_bytes(), value.as_bytes());
            }
            end.conn
                .trailers(self.stream, &head, &mut end.out)
                .expect("good trailers");
        }
    }
}

fn byte_at(place: usize) -> u8 {
    b'a' + (place % 23) as u8
}

/// Moves `bytes` in pieces of `size`, consuming data as it is seen.
fn carry(bytes: &[u8], size: usize, to: &mut End, seen: &mut Vec<Seen>) {
    for piece in bytes.chunks(size) {
        to.input.extend(piece);
        loop {
            match to.conn.next(&mut to.input, &mut to.heads) {
                Ok(Some(event)) => {
                    let taken = match &event {
                        Event::Data { stream, bytes, .. } => Some((*stream, bytes.len())),
                        _ => None,
                    };
                    note_apart(seen, event);
                    if let Some((stream, len)) = taken {
                        to.conn.consumed(stream, len);
                    }
                }
                Ok(None) => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Notes `event`, joining data to that of its own stream.
fn note_apart(seen: &mut Vec<Seen>, event: Event<'_>) {
    let mut fresh = Vec::new();
    note(&mut fresh, event);
    let Some(Seen::Body(stream, bytes, end)) = fresh.first() else {
        seen.append(&mut fresh);
        return;
    };
    let had = seen.iter_mut().find_map(|seen| match seen {
        Seen::Body(of, had, over) if of == stream => Some((had, over)),
        _ => None,
    });
    match had {
        Some((had, over)) => {
            had.push_str(bytes);
            *over |= end;
        }
        None => seen.append(&mut fresh),
    }
}

/// What is to be seen of `message` on `stream`.
fn expected(stream: u32, start: &str, message: &Message) -> Vec<Seen> {
    let mut all = vec![Seen::Head(
        stream,
        start.into(),
        message.fields.clone(),
        false,
    )];
    let content: Vec<u8> = (0..message.content).map(byte_at).collect();
    let ends = message.trailers.is_empty();
    if ends || message.content > 0 {
        all.push(Seen::Body(stream, text(&content), ends));
    }
    if !ends {
        all.push(Seen::Trailers(stream, message.trailers.clone()));
    }
    all
}

fn of_stream(seen: &[Seen], stream: u32) -> Vec<Seen> {
    let of = |seen: &&Seen| match seen {
        Seen::Head(of, ..) | Seen::Body(of, ..) | Seen::Trailers(of, _) => *of == stream,
        _ => panic!("{seen:?}"),
    };
    seen.iter().filter(of).cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_sent_arrives(
        all in prop::collection::vec((message(), message()), 1..6),
        ours in limits(),
        theirs in limits(),
        sizes in prop::collection::vec(1..20_000_usize, 1..8),
    ) {
        let mut all = all;
        for (request, response) in &mut all {
            // Small windows take many rounds.
            request.content %= 300 * theirs.stream_window as usize;
            response.content %= 300 * ours.stream_window as usize;
        }
        let mut client = End::new(Conn::client(ours));
        let mut server = End::new(Conn::server(theirs));
        let (mut by_client, mut by_server) = (Vec::new(), Vec::new());
        let mut requests = Vec::new();
        for (request, _) in &all {
            let stream = client.conn.open().expect("room");
            let head = Head::request(b"POST", b"a", b"/");
            requests.push(Sending::new(&mut client, stream, head, request));
            requests.last_mut().expect("one").go_on(&mut client);
        }
        let mut responses: Vec<Sending> = Vec::new();
        for round in 0..10_000 {
            let size = sizes[round % sizes.len()];
            let bytes = client.take_out();
            carry(&bytes, size, &mut server, &mut by_server);
            for ((_, response), request) in all.iter().zip(&requests).skip(responses.len()) {
                let started = by_server.iter().any(|seen| matches!(seen, Seen::Head(stream, ..) if *stream == request.stream.0));
                if started {
                    let head = Head::response(200);
                    responses.push(Sending::new(&mut server, request.stream, head, response));
                    responses.last_mut().expect("one").go_on(&mut server);
                }
            }
            while let Some(stream) = server.conn.next_writable(&server.out) {
                let sending = responses.iter_mut().find(|one| one.stream == stream);
                sending.expect("it was begun").go_on(&mut server);
            }
            let bytes = server.take_out();
            carry(&bytes, size, &mut client, &mut by_client);
            while let Some(stream) = client.conn.next_writable(&client.out) {
                let sending = requests.iter_mut().find(|one| one.stream == stream);
                sending.expect("it was begun").go_on(&mut client);
            }
            let over = requests.iter().chain(&responses).all(|one| one.done);
            if over && responses.len() == all.len() && !client.conn.wants_flush() && client.out.is_empty() && server.out.is_empty() && !server.conn.wants_flush() {
                break;
            }
        }
        for ((request, response), sending) in all.iter().zip(&requests) {
            let stream = sending.stream.0;
            prop_assert!(of_stream(&by_server, stream) == expected(stream, "POST a /", request));
            prop_assert!(of_stream(&by_client, stream) == expected(stream, "200", response));
        }
        prop_assert!(client.conn.is_idle() && server.conn.is_idle());
    }

    #[test]
    fn any_bytes_are_read_or_refused(
        frames in prop::collection::vec((0..11_u8, any::<u8>(), 0..8_u32, prop::collection::vec(any::<u8>(), 0..30)), 0..40),
        size in 1..50_usize,
    ) {
        let frames: Vec<u8> = frames
            .into_iter()
            .flat_map(|(kind, flags, stream, payload)| frame(kind, flags, stream, payload))
            .collect();
        let bytes = [&frame::PREFACE[..], &settings(&[]), &frames].concat();
        prop_assert_eq!(serve([&bytes[..]]), serve(bytes.chunks(size)));
    }
}
