//! What must hold of the HTTP/1 codec for any bytes. Called by the fuzz targets, and by a seeded test on stable.
//!
//! - However the bytes are cut, the events are the same, and every byte is taken unless a request waits its turn.
//! - Whatever was accepted can be written, and what was written is read again as the same one message.

#![allow(dead_code, reason = "each fuzz target calls one of the two")]

use weft_proxy::http::codec::h1::{Conn, H1Limits};
use weft_proxy::http::codec::{Event, Out, ProtocolError, ReadBuf};
use weft_proxy::http::head::{Head, HeadPool, Known};

/// A message as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Message {
    start: (Vec<u8>, Vec<u8>, Vec<u8>, u16),
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    body: Vec<u8>,
    raw: Vec<u8>,
    trailers: Vec<(Vec<u8>, Vec<u8>)>,
    interims: Vec<u16>,
    ended: bool,
    tunnel: bool,
}

/// What came of some bytes: the messages, what broke the rules, and the messages as they were written on.
#[derive(Debug, Default)]
struct Outcome {
    messages: Vec<Message>,
    error: Option<ProtocolError>,
    written: Vec<Vec<u8>>,
}

/// Requests: the first byte says how the others are cut.
pub(crate) fn server(data: &[u8]) {
    let Some((cut, bytes)) = data.split_first() else {
        return;
    };
    let whole = serve(&[bytes]);
    assert_alike(&whole, &serve(&pieces(bytes, *cut)));
    for (message, written) in whole.messages.iter().zip(&whole.written) {
        if !message.ended && !message.tunnel {
            continue;
        }
        let again = serve(&[written]);
        assert_eq!(again.error, None, "we read what we write");
        assert_eq!(again.messages, std::slice::from_ref(message));
    }
}

/// Responses: the first byte says how the others are cut and which request they answer.
pub(crate) fn client(data: &[u8]) {
    let Some((choice, bytes)) = data.split_first() else {
        return;
    };
    let request = match choice >> 6 {
        0 => "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        1 => "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
        2 => "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
        _ => "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    };
    let whole = receive(request, &[bytes]);
    let cut = receive(request, &pieces(bytes, choice & 0x3f));
    assert_alike(&whole, &cut);
    let ([message], [written]) = (&whole.messages[..], &whole.written[..]) else {
        return;
    };
    if message.ended || message.tunnel {
        let again = receive(request, &[written]);
        assert_eq!(again.error, None, "we read what we write");
        assert_eq!(again.messages, std::slice::from_ref(message));
    }
}

/// What was written may differ in the size of its chunks.
fn assert_alike(whole: &Outcome, cut: &Outcome) {
    assert_eq!(whole.messages, cut.messages);
    assert_eq!(whole.error, cut.error);
}

fn pieces(bytes: &[u8], cut: u8) -> Vec<&[u8]> {
    bytes.chunks(usize::from(cut).max(1)).collect()
}

fn serve(pieces: &[&[u8]]) -> Outcome {
    let mut conn = Conn::server(H1Limits::default());
    let (mut heads, mut input) = (HeadPool::new(), ReadBuf::default());
    let mut outcome = Outcome::default();
    let mut onward = Conn::client(H1Limits::default());
    for piece in pieces {
        input.extend(piece);
        loop {
            let event = match conn.next(&mut input, &mut heads) {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(error) => {
                    outcome.error = Some(error);
                    return outcome;
                }
            };
            if let Event::Head { .. } = &event {
                onward = Conn::client(H1Limits::default());
                onward.open().expect("a fresh connection");
            }
            let stream = event.stream();
            if note(&mut outcome, event, &mut onward) {
                conn.head(stream, &Head::response(204), true, &mut Out::new())
                    .expect("an answer");
            }
        }
        assert!(
            input.is_empty() || !conn.wants_input(),
            "every byte is taken"
        );
    }
    outcome
}

fn receive(request: &str, pieces: &[&[u8]]) -> Outcome {
    let (mut heads, mut input) = (HeadPool::new(), ReadBuf::default());
    let mut onward = Conn::server(H1Limits::default());
    input.extend(request.as_bytes());
    let Ok(Some(Event::Head { head, end, .. })) = onward.next(&mut input, &mut heads) else {
        panic!("the request is good");
    };
    let mut conn = Conn::client(H1Limits::default());
    let stream = conn.open().expect("a fresh connection");
    conn.head(stream, &head, end, &mut Out::new())
        .expect("the request is good");
    let mut outcome = Outcome::default();
    for piece in pieces {
        input.extend(piece);
        loop {
            match conn.next(&mut input, &mut heads) {
                Ok(Some(event)) => {
                    note(&mut outcome, event, &mut onward);
                }
                Ok(None) => break,
                Err(error) => {
                    outcome.error = Some(error);
                    return outcome;
                }
            }
        }
        assert!(input.is_empty(), "every byte is taken");
    }
    match conn.eof() {
        Ok(Some(event)) => {
            note(&mut outcome, event, &mut onward);
        }
        Ok(None) => {}
        Err(error) => outcome.error = Some(error),
    }
    outcome
}

/// Notes `event` and writes it to `onward`; whether the message has ended.
fn note(outcome: &mut Outcome, event: Event<'_>, onward: &mut Conn) -> bool {
    let stream = weft_proxy::http::codec::StreamId(1);
    let mut out = Out::new();
    let fresh = match &event {
        Event::Interim { .. } => outcome.messages.is_empty(),
        Event::Head { head, .. } => head.method().is_some() || outcome.messages.is_empty(),
        _ => false,
    };
    if fresh {
        outcome.messages.push(Message::default());
        outcome.written.push(Vec::new());
    }
    let message = outcome.messages.last_mut().expect("a head came first");
    match event {
        Event::Head { head, end, .. } => {
            onward
                .head(stream, &head, end, &mut out)
                .expect("what was read can be written");
            message.start = (
                head.method_bytes().to_vec(),
                head.authority().to_vec(),
                head.path().to_vec(),
                head.status(),
            );
            message.fields = fields(&head);
            message.ended = end;
            message.tunnel = head.status() == 101 || head.method_bytes() == b"CONNECT";
        }
        Event::Interim { head, .. } => {
            onward
                .head(stream, &head, false, &mut out)
                .expect("what was read can be written");
            message.interims.push(head.status());
        }
        Event::Data { bytes, end, .. } => {
            let taken = onward.data(stream, bytes, end, &mut out);
            assert_eq!(taken, Ok(bytes.len()));
            message.body.extend_from_slice(bytes);
            message.ended = end;
        }
        Event::Raw { bytes, .. } => {
            let taken = onward.data(stream, bytes, false, &mut out);
            assert_eq!(taken, Ok(bytes.len()));
            message.raw.extend_from_slice(bytes);
            message.tunnel = true;
        }
        Event::Trailers { head, .. } => {
            onward
                .trailers(stream, &head, &mut out)
                .expect("what was read can be written");
            message.trailers = fields(&head);
            message.ended = true;
        }
        Event::Reset { .. } | Event::Malformed { .. } | Event::Ignored { .. } => {
            panic!("not on HTTP/1")
        }
    }
    let ended = message.ended;
    let written = outcome.written.last_mut().expect("one for each message");
    written.extend_from_slice(out.pending());
    ended
}

/// The fields that go on, but those that each hop may write for itself.
fn fields(head: &Head) -> Vec<(Vec<u8>, Vec<u8>)> {
    head.forwarded()
        .filter(|field| !matches!(field.known, Known::Host | Known::ContentLength))
        .map(|field| (field.name.to_vec(), field.value.to_vec()))
        .collect()
}
