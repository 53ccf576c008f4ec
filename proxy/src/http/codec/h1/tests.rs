//! Tables of bytes. The helpers here drive a connection as an engine would.

mod emit;
mod limits;
mod requests;
mod responses;
mod smuggling;
mod split;

use super::*;
use crate::http::codec::{Event, Out, ProtocolError, ReadBuf};
use crate::http::head::HeadPool;

/// An event in a form that can be compared; pieces of a body are joined.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Head {
        start: String,
        fields: Vec<(String, String)>,
        end: bool,
    },
    Interim(u16),
    Body {
        bytes: String,
        end: bool,
    },
    Trailers(Vec<(String, String)>),
    Raw(String),
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
        Event::Head { head, end, .. } => Seen::Head {
            start: start_of(&head),
            fields: fields_of(&head),
            end,
        },
        Event::Interim { head, .. } => Seen::Interim(head.status()),
        Event::Trailers { head, .. } => Seen::Trailers(fields_of(&head)),
        Event::Data { bytes, end, .. } => {
            if let Some(Seen::Body {
                bytes: had,
                end: over,
            }) = seen.last_mut()
            {
                had.push_str(&text(bytes));
                *over = end;
                return;
            }
            Seen::Body {
                bytes: text(bytes),
                end,
            }
        }
        Event::Raw { bytes, .. } => {
            if let Some(Seen::Raw(had)) = seen.last_mut() {
                had.push_str(&text(bytes));
                return;
            }
            Seen::Raw(text(bytes))
        }
        Event::Reset { .. } | Event::Malformed { .. } | Event::Ignored { .. } => {
            panic!("not on HTTP/1")
        }
    };
    seen.push(piece);
}

fn is_end(event: &Event<'_>) -> bool {
    match event {
        Event::Head { end, .. } | Event::Data { end, .. } => *end,
        Event::Trailers { .. } => true,
        _ => false,
    }
}

/// What a server sees of `pieces`, answering each request with a 204 when it has ended.
fn serve_with<'p>(limits: H1Limits, pieces: impl IntoIterator<Item = &'p [u8]>) -> Vec<Seen> {
    let (mut conn, mut heads) = (Conn::server(limits), HeadPool::new());
    let (mut input, mut out, mut seen) = (ReadBuf::default(), Out::new(), Vec::new());
    for piece in pieces {
        input.extend(piece);
        loop {
            match conn.next(&mut input, &mut heads) {
                Ok(Some(event)) => {
                    let end = is_end(&event);
                    note(&mut seen, event);
                    if end {
                        conn.head(conn.stream, &Head::response(204), true, &mut out)
                            .expect("an answer");
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    seen.push(Seen::Error(error));
                    return seen;
                }
            }
        }
        assert!(input.is_empty() || !conn.wants_input(), "all is taken");
    }
    seen
}

fn serve(bytes: impl AsRef<[u8]>) -> Vec<Seen> {
    serve_with(H1Limits::default(), [bytes.as_ref()])
}

/// What a client that has sent `request` sees of `pieces` and then of the connection's end.
fn receive_with<'p>(request: &Head, pieces: impl IntoIterator<Item = &'p [u8]>) -> Vec<Seen> {
    let (mut conn, mut heads) = (Conn::client(H1Limits::default()), HeadPool::new());
    let (mut input, mut out, mut seen) = (ReadBuf::default(), Out::new(), Vec::new());
    let stream = conn.open().expect("a fresh connection");
    conn.head(stream, request, true, &mut out)
        .expect("a good request");
    for piece in pieces {
        input.extend(piece);
        loop {
            match conn.next(&mut input, &mut heads) {
                Ok(Some(event)) => note(&mut seen, event),
                Ok(None) => break,
                Err(error) => {
                    seen.push(Seen::Error(error));
                    return seen;
                }
            }
        }
        assert!(input.is_empty(), "all is taken");
    }
    match conn.eof() {
        Ok(Some(event)) => note(&mut seen, event),
        Ok(None) => {}
        Err(error) => seen.push(Seen::Error(error)),
    }
    seen
}

fn receive(method: &str, bytes: impl AsRef<[u8]>) -> Vec<Seen> {
    let request = Head::request(method.as_bytes(), b"a:1", b"/");
    receive_with(&request, [bytes.as_ref()])
}

fn head(start: &str, fields: &[(&str, &str)], end: bool) -> Seen {
    Seen::Head {
        start: start.to_owned(),
        fields: owned(fields),
        end,
    }
}

fn owned(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn body(bytes: &str, end: bool) -> Seen {
    Seen::Body {
        bytes: bytes.to_owned(),
        end,
    }
}
