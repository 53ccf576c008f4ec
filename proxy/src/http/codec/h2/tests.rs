//! Tables of bytes, and our two ends against each other. The helpers here drive a connection as an engine would.

mod exchange;
mod floods;
mod flow;
mod frames;
mod messages;
mod responses;
mod spelling;
mod split;
mod tunnels;
mod writing;

use super::frame::{self, Header};
use super::*;
use crate::http::codec::{Event, ReadBuf};
use crate::http::head::{Head, HeadPool};

/// An event in a form that can be compared; pieces of a body are joined.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Head(u32, String, Vec<(String, String)>, bool),
    Interim(u32, u16),
    Body(u32, String, bool),
    Trailers(u32, Vec<(String, String)>),
    Reset(u32, Reason),
    Malformed(u32, ProtocolError),
    Error(ProtocolError),
}

fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| *byte as char).collect()
}

fn fields_of(head: &Head) -> Vec<(String, String)> {
    head.forwarded()
        .map(|field| (text(field.name), text(field.value)))
        .collect()
}

fn start_of(head: &Head) -> String {
    match head.method() {
        Some(_) => format!(
            "{} {} {}",
            text(head.method_bytes()),
            text(head.authority()),
            text(head.path())
        ),
        None => head.status().to_string(),
    }
}

/// Notes `event`, joining it to the body before.
fn note(seen: &mut Vec<Seen>, event: Event<'_>) {
    let piece = match event {
        Event::Head { stream, head, end } => {
            Seen::Head(stream.0, start_of(&head), fields_of(&head), end)
        }
        Event::Interim { stream, head } => Seen::Interim(stream.0, head.status()),
        Event::Trailers { stream, head } => Seen::Trailers(stream.0, fields_of(&head)),
        Event::Data { stream, bytes, end } => {
            if let Some(Seen::Body(last, had, over)) = seen.last_mut()
                && *last == stream.0
            {
                assert!(!*over, "data behind the end");
                had.push_str(&text(bytes));
                *over = end;
                return;
            }
            Seen::Body(stream.0, text(bytes), end)
        }
        Event::Reset { stream, why } => Seen::Reset(stream.0, why),
        Event::Malformed { stream, error, .. } => Seen::Malformed(stream.0, error),
        Event::Ignored { .. } => return,
        Event::Raw { .. } => panic!("not on HTTP/2"),
    };
    seen.push(piece);
}

/// A connection with its buffers.
struct End {
    conn: Conn,
    heads: HeadPool,
    input: ReadBuf,
    out: Out,
}

impl End {
    fn new(conn: Conn) -> Self {
        Self {
            conn,
            heads: HeadPool::new(),
            input: ReadBuf::default(),
            out: Out::new(),
        }
    }

    /// What is seen of `bytes`.
    fn read(&mut self, bytes: &[u8]) -> Vec<Seen> {
        let mut seen = Vec::new();
        self.read_more(bytes, &mut seen);
        seen
    }

    fn read_more(&mut self, bytes: &[u8], seen: &mut Vec<Seen>) {
        self.input.extend(bytes);
        loop {
            match self.conn.next(&mut self.input, &mut self.heads) {
                Ok(Some(event)) => note(seen, event),
                Ok(None) => break,
                Err(error) => {
                    seen.push(Seen::Error(error));
                    assert!(self.conn.wants_close() && self.conn.wants_flush());
                    break;
                }
            }
        }
        assert!(self.input.is_empty(), "all is taken");
    }

    /// All frames that were written since the last call.
    fn written(&mut self) -> Vec<(Header, Vec<u8>)> {
        self.conn.flush(&mut self.out);
        let bytes = self.take_out();
        let mut rest = bytes.strip_prefix(&frame::PREFACE[..]).unwrap_or(&bytes);
        let mut frames = Vec::new();
        while let Some(header) = Header::parse(rest) {
            let end = frame::HEADER_BYTES + header.len as usize;
            frames.push((header, rest[frame::HEADER_BYTES..end].to_vec()));
            rest = &rest[end..];
        }
        assert!(rest.is_empty(), "whole frames");
        frames
    }

    fn take_out(&mut self) -> Vec<u8> {
        self.conn.flush(&mut self.out);
        let bytes = self.out.pending().to_vec();
        self.out.clear();
        bytes
    }

    /// The error code of the GOAWAY that was written.
    fn goaway(&mut self) -> Option<(u32, u8)> {
        self.written()
            .iter()
            .find(|(header, _)| header.kind == frame::GOAWAY)
            .map(|(_, payload)| {
                let last = u32::from_be_bytes([payload[0], payload[1], payload[2], payload[3]]);
                (last, payload[7])
            })
    }

    /// The streams and codes of the RST_STREAM frames that were written.
    fn resets(&mut self) -> Vec<(u32, u8)> {
        self.written()
            .iter()
            .filter(|(header, _)| header.kind == frame::RST_STREAM)
            .map(|(header, payload)| (header.stream, payload[3]))
            .collect()
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let header = Header {
        len: payload.len() as u32,
        kind,
        flags,
        stream,
    };
    [&header.bytes()[..], payload].concat()
}

/// A field block of literals.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            let latin: Vec<u8> = text.chars().map(|c| c as u8).collect();
            match latin.len() {
                len @ ..127 => bytes.push(len as u8),
                len => {
                    let len = len - 127;
                    bytes.extend([0x7f, (len & 0x7f | 0x80) as u8, (len >> 7) as u8]);
                }
            }
            bytes.extend(latin);
        }
    }
    bytes
}

fn settings(all: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (name, value) in all {
        payload.extend(name.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    frame(frame::SETTINGS, 0, 0, payload)
}

fn settings_ack() -> Vec<u8> {
    frame(frame::SETTINGS, frame::ACK, 0, b"")
}

/// HEADERS with all of a block.
fn headers(stream: u32, fields: &[(&str, &str)], end: bool) -> Vec<u8> {
    let flags = frame::END_HEADERS | if end { frame::END_STREAM } else { 0 };
    frame(frame::HEADERS, flags, stream, block(fields))
}

fn data(stream: u32, bytes: impl AsRef<[u8]>, end: bool) -> Vec<u8> {
    frame(
        frame::DATA,
        if end { frame::END_STREAM } else { 0 },
        stream,
        bytes,
    )
}

fn window_update(stream: u32, by: u32) -> Vec<u8> {
    frame(frame::WINDOW_UPDATE, 0, stream, by.to_be_bytes())
}

const GET: &[(&str, &str)] = &[
    (":method", "GET"),
    (":scheme", "http"),
    (":authority", "a"),
    (":path", "/"),
];

const POST: &[(&str, &str)] = &[
    (":method", "POST"),
    (":scheme", "http"),
    (":authority", "a"),
    (":path", "/"),
];

const OK: &[(&str, &str)] = &[(":status", "200")];

/// A server that has read a client's first bytes and an acknowledgement.
fn server_with(limits: H2Limits) -> End {
    let mut end = End::new(Conn::server(limits));
    let first = [&frame::PREFACE[..], &settings(&[]), &settings_ack()].concat();
    assert_eq!(end.read(&first), []);
    end.take_out();
    end
}

fn server() -> End {
    server_with(H2Limits::default())
}

/// A client that has read a server's first bytes and an acknowledgement.
fn client_with(limits: H2Limits) -> End {
    let mut end = End::new(Conn::client(limits));
    assert_eq!(end.read(&[settings(&[]), settings_ack()].concat()), []);
    end.take_out();
    end
}

fn client() -> End {
    client_with(H2Limits::default())
}

/// A client that has sent a request of `method`; its stream is 1.
fn asking(method: &str) -> End {
    let mut end = client();
    let stream = end.conn.open().expect("a fresh connection");
    let request = Head::request(method.as_bytes(), b"a:1", b"/");
    let tunnel = method == "CONNECT";
    end.conn
        .head(stream, &request, !tunnel, &mut end.out)
        .expect("a good request");
    end.take_out();
    end
}

fn head(stream: u32, start: &str, fields: &[(&str, &str)], end: bool) -> Seen {
    Seen::Head(stream, start.to_owned(), owned(fields), end)
}

fn owned(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn body(stream: u32, bytes: &str, end: bool) -> Seen {
    Seen::Body(stream, bytes.to_owned(), end)
}

/// Moves what both have written to the other until neither has more; what each saw.
fn talk(client: &mut End, server: &mut End) -> (Vec<Seen>, Vec<Seen>) {
    let (mut by_client, mut by_server) = (Vec::new(), Vec::new());
    for _ in 0..1000 {
        let (to_server, to_client) = (client.take_out(), server.take_out());
        if to_server.is_empty() && to_client.is_empty() {
            break;
        }
        server.read_more(&to_server, &mut by_server);
        client.read_more(&to_client, &mut by_client);
    }
    (by_client, by_server)
}
