//! What must hold of the HTTP/2 codec for any bytes. Called by the fuzz targets, and by a seeded test on stable.
//!
//! - However the bytes are cut, the events are the same, every byte is taken, and what is kept stays bounded.
//! - Whatever request was accepted can be written, over HTTP/2 and over HTTP/1, and is read there as the same one.
//! - Two of our ends agree, whatever they do and in whichever order.

#![allow(dead_code, reason = "each fuzz target calls one of them")]

use weft_proxy::http::codec::h2::{Conn, H2Limits, OUT_BYTES_MAX};
use weft_proxy::http::codec::{Event, Out, ProtocolError, ReadBuf, Reason, StreamId, h1};
use weft_proxy::http::head::{Head, HeadPool, Known};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
const SETTINGS_ACK: &[u8] = &[0, 0, 0, 4, 1, 0, 0, 0, 0];

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// What was seen of a stream, in order; pieces of a body are one.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Head(StreamId, (Vec<u8>, Vec<u8>, Vec<u8>, u16), Fields, bool),
    Interim(StreamId, u16),
    Data(StreamId, Vec<u8>, bool),
    Trailers(StreamId, Fields),
    Reset(StreamId, Reason),
    Malformed(StreamId, ProtocolError),
    Broken(ProtocolError),
}

/// Frames from a client: the first byte says how they are cut.
pub(crate) fn server(data: &[u8]) {
    let Some((cut, bytes)) = data.split_first() else {
        return;
    };
    let bytes = [PREFACE, SETTINGS, SETTINGS_ACK, bytes].concat();
    let whole = read(Conn::server(H2Limits::default()), &[&bytes]);
    let pieces: Vec<&[u8]> = bytes.chunks(usize::from(*cut).max(1)).collect();
    assert_eq!(whole, read(Conn::server(H2Limits::default()), &pieces));
}

/// Frames from a server: the first byte says how they are cut and what was asked.
pub(crate) fn client(data: &[u8]) {
    let Some((choice, bytes)) = data.split_first() else {
        return;
    };
    let conn = || {
        let (mut conn, mut heads) = (Conn::client(H2Limits::default()), HeadPool::new());
        let mut input = ReadBuf::default();
        input.extend(SETTINGS);
        input.extend(SETTINGS_ACK);
        assert!(matches!(conn.next(&mut input, &mut heads), Ok(None)));
        for method in ["GET", "HEAD", "POST", "CONNECT"] {
            let head = Head::request(method.as_bytes(), b"a:1", b"/");
            let end = matches!(method, "GET" | "HEAD");
            let stream = conn.open().expect("room");
            conn.head(stream, &head, end, &mut Out::new())
                .expect("the request is good");
        }
        conn
    };
    let bytes = [SETTINGS, bytes].concat();
    let whole = read(conn(), &[&bytes]);
    let pieces: Vec<&[u8]> = bytes.chunks(usize::from(*choice).max(1)).collect();
    assert_eq!(whole, read(conn(), &pieces));
}

/// Field blocks, one request each: a byte for the length of each. The same in one frame and in two.
pub(crate) fn blocks(data: &[u8]) {
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let [_, a, b, c] = (payload.len() as u32).to_be_bytes();
        let [d, e, f, g] = stream.to_be_bytes();
        [&[a, b, c, kind, flags, d, e, f, g], payload].concat()
    };
    let (mut rest, mut stream) = (data, 1);
    let mut whole = [PREFACE, SETTINGS, SETTINGS_ACK].concat();
    let mut cut = whole.clone();
    while let Some((len, tail)) = rest.split_first() {
        let (block, tail) = tail.split_at(usize::from(*len).min(tail.len()));
        rest = tail;
        whole.extend(frame(1, 5, stream, block));
        let (a, b) = block.split_at(block.len() / 2);
        cut.extend(frame(1, 1, stream, a));
        cut.extend(frame(9, 4, stream, b));
        stream += 2;
    }
    let limits = H2Limits {
        empty_frames_max: u32::MAX,
        ..H2Limits::default()
    };
    let whole = read(Conn::server(limits), &[&whole]);
    assert_eq!(whole, read(Conn::server(limits), &[&cut]));
}

/// All that is seen of `pieces`. Each request is answered; each message is passed on.
fn read(mut conn: Conn, pieces: &[&[u8]]) -> Vec<Seen> {
    let (mut heads, mut input, mut out) = (HeadPool::new(), ReadBuf::default(), Out::new());
    let mut seen = Vec::new();
    'all: for piece in pieces {
        input.extend(piece);
        loop {
            let event = match conn.next(&mut input, &mut heads) {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(error) => {
                    assert!(conn.wants_close() && conn.wants_flush());
                    seen.push(Seen::Broken(error));
                    break 'all;
                }
            };
            note(&mut seen, event);
        }
        assert!(input.is_empty(), "every byte is taken");
    }
    conn.flush(&mut out);
    assert!(out.len() < 64 * 1024, "answers are bounded");
    assert!(conn.streams() <= 1024);
    seen
}

fn note(seen: &mut Vec<Seen>, event: Event<'_>) {
    match event {
        Event::Head { stream, head, end } => {
            if head.method().is_some() && head.upgrade().is_none() {
                passes_on(&head, end);
            }
            seen.push(Seen::Head(stream, start(&head), fields(&head), end));
        }
        Event::Interim { stream, head } => seen.push(Seen::Interim(stream, head.status())),
        Event::Data { stream, bytes, end } => {
            if let Some(Seen::Data(last, had, over)) = seen.last_mut()
                && *last == stream
                && !*over
            {
                had.extend_from_slice(bytes);
                *over = end;
                return;
            }
            seen.push(Seen::Data(stream, bytes.to_vec(), end));
        }
        Event::Trailers { stream, head } => seen.push(Seen::Trailers(stream, fields(&head))),
        Event::Reset { stream, why } => seen.push(Seen::Reset(stream, why)),
        Event::Malformed { stream, error, .. } => seen.push(Seen::Malformed(stream, error)),
        Event::Ignored { .. } => {}
        Event::Raw { .. } => panic!("not on HTTP/2"),
    }
}

fn start(head: &Head) -> (Vec<u8>, Vec<u8>, Vec<u8>, u16) {
    (
        head.method_bytes().to_vec(),
        head.authority().to_vec(),
        head.path().to_vec(),
        head.status(),
    )
}

/// The fields that go on, but those that each hop may write for itself.
fn fields(head: &Head) -> Fields {
    head.forwarded()
        .filter(|field| !matches!(field.known, Known::Host | Known::Te))
        .map(|field| (field.name.to_vec(), field.value.to_vec()))
        .collect()
}

/// A request that was accepted is the same one at the next hop, whatever is spoken there.
fn passes_on(head: &Head, end: bool) {
    let (mut heads, mut input, mut out) = (HeadPool::new(), ReadBuf::default(), Out::new());
    let (mut near, mut far) = (
        Conn::client(H2Limits::default()),
        Conn::server(H2Limits::default()),
    );
    let stream = near.open().expect("room");
    near.head(stream, head, end, &mut out)
        .expect("what was read can be written");
    input.extend(out.pending());
    let Ok(Some(Event::Head {
        head: again,
        end: over,
        ..
    })) = far.next(&mut input, &mut heads)
    else {
        panic!("we read what we write");
    };
    assert_eq!(
        (start(&again), fields(&again), over),
        (start(head), fields(head), end)
    );

    // What has a place of its own in HTTP/2 takes fields here: the host, and how long the content is.
    let limits = h1::H1Limits::default();
    let mut far = h1::Conn::server(h1::H1Limits {
        header_count_max: limits.header_count_max + 2,
        ..limits
    });
    let mut near = h1::Conn::client(limits);
    let stream = near.open().expect("a fresh connection");
    let mut out = Out::new();
    near.head(stream, head, end, &mut out)
        .expect("what was read can be written");
    input.extend(out.pending());
    let event = far.next(&mut input, &mut heads);
    let Ok(Some(Event::Head { head: again, .. })) = event else {
        panic!("HTTP/1 reads what we write: {event:?}");
    };
    let without_framing = |head: &Head| -> Fields {
        let mut fields = fields(head);
        fields.retain(|(name, _)| !name.eq_ignore_ascii_case(b"content-length"));
        fields
    };
    assert_eq!(start(&again), start(head));
    assert_eq!(without_framing(&again), without_framing(head));
    assert!(input.is_empty(), "one request is one request");
}

/// One of two ends.
struct End {
    conn: Conn,
    heads: HeadPool,
    input: ReadBuf,
    out: Out,
    open: Vec<StreamId>,
    broken: Option<ProtocolError>,
}

impl End {
    fn new(conn: Conn) -> Self {
        Self {
            conn,
            heads: HeadPool::new(),
            input: ReadBuf::default(),
            out: Out::new(),
            open: Vec::new(),
            broken: None,
        }
    }

    /// Takes `bytes`; a server answers each request that has ended.
    fn take(&mut self, bytes: &[u8], answer: usize) {
        self.input.extend(bytes);
        loop {
            let (stream, ended) = match self.conn.next(&mut self.input, &mut self.heads) {
                Ok(Some(Event::Head { stream, head, end })) => {
                    if head.method().is_some() {
                        self.open.push(stream);
                    }
                    self.heads.give(head);
                    (stream, end)
                }
                Ok(Some(Event::Data { stream, bytes, end })) => {
                    let len = bytes.len();
                    self.conn.consumed(stream, len);
                    (stream, end)
                }
                Ok(Some(Event::Trailers { stream, .. })) => (stream, true),
                Ok(Some(Event::Reset { stream, .. } | Event::Malformed { stream, .. })) => {
                    self.open.retain(|open| *open != stream);
                    self.conn.reset(stream, Reason::Cancelled);
                    continue;
                }
                Ok(Some(_)) => continue,
                Ok(None) => return,
                Err(error) => {
                    self.broken = Some(error);
                    return;
                }
            };
            if ended && self.open.contains(&stream) && answer > 0 {
                let mut head = Head::response(200);
                head.add(b"x-answer", b"yes");
                let written = self.conn.head(stream, &head, answer == 1, &mut self.out);
                if written.is_ok() && answer > 1 {
                    self.send(stream, answer);
                }
            }
        }
    }

    fn send(&mut self, stream: StreamId, len: usize) {
        let content = vec![b'x'; len];
        let taken = self.conn.data(stream, &content, true, &mut self.out);
        assert!(taken.unwrap_or(0) <= len);
        assert!(self.out.len() <= OUT_BYTES_MAX + 64 * 1024);
    }

    fn written(&mut self) -> Vec<u8> {
        self.conn.flush(&mut self.out);
        let bytes = self.out.pending().to_vec();
        self.out.clear();
        bytes
    }
}

/// A script for two ends, two bytes for each thing that one of them does; the first says whether bytes are spoilt between.
pub(crate) fn both(data: &[u8]) {
    let Some((mode, script)) = data.split_first() else {
        return;
    };
    let limits = H2Limits {
        stream_window: 1 << (mode & 15),
        header_table_bytes: u32::from(*mode) * 17,
        ..H2Limits::default()
    };
    let mut client = End::new(Conn::client(limits));
    let mut server = End::new(Conn::server(limits));
    let mut spoilt = false;
    let (steps, _) = script.as_chunks::<2>();
    for [what, much] in steps {
        let len = usize::from(*much) * 37;
        match what % 11 {
            0 | 1 => ask(&mut client, len),
            2 | 3 => {
                let bytes = client.written();
                server.take(&bytes, len);
            }
            4 | 5 => {
                let bytes = server.written();
                client.take(&bytes, 0);
            }
            6 => {
                if let Some(stream) = client.conn.next_writable(&client.out) {
                    client.send(stream, len);
                }
                if let Some(stream) = server.conn.next_writable(&server.out) {
                    server.send(stream, len);
                }
            }
            7 => client
                .conn
                .reset(StreamId(u32::from(*much) * 2 + 1), Reason::Cancelled),
            8 => server
                .conn
                .reset(StreamId(u32::from(*much) * 2 + 1), Reason::Internal),
            9 if *much > 200 => server.conn.drain(&mut server.out),
            9 => client.conn.ping(&mut client.out),
            _ if mode & 128 != 0 => {
                let mut bytes = client.written();
                if let Some(byte) = bytes.get_mut(usize::from(*much)) {
                    *byte ^= 1 << (what % 8);
                    spoilt = true;
                }
                server.take(&bytes, len);
            }
            _ => {}
        }
    }
    for _ in 0..8 {
        let (up, down) = (client.written(), server.written());
        server.take(&up, 0);
        client.take(&down, 0);
    }
    if !spoilt {
        assert_eq!(
            (client.broken, server.broken),
            (None, None),
            "both keep the rules"
        );
    }
}

/// Begins a request with `len` bytes of content, if there is room.
fn ask(client: &mut End, len: usize) {
    let Some(stream) = client.conn.open() else {
        return;
    };
    let mut head = Head::request(b"POST", b"a", b"/path");
    head.add(b"user-agent", b"fuzz");
    head.add(b"x-len", len.to_string().as_bytes());
    client
        .conn
        .head(stream, &head, len == 0, &mut client.out)
        .expect("the request is good");
    if len > 0 {
        client.send(stream, len);
    }
}
