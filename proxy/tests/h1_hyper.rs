//! Beside hyper: what both accept must be the same message, and what only one accepts must be a stated difference.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test may panic; the lints exempt test functions, not their helpers"
)]

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weft_proxy::http::codec::h1::{Conn, H1Limits};
use weft_proxy::http::codec::{Event, Out, ProtocolError, ReadBuf};
use weft_proxy::http::head::{Head, HeadPool, Known};

/// A message as either side understood it: method or status, path, fields by lower-case name, body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Message {
    start: String,
    path: String,
    fields: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

/// The first request of `bytes` as we read it, or why we refuse it; `None` when it is not complete.
fn ours(bytes: &[u8]) -> Option<Result<Message, ProtocolError>> {
    let mut conn = Conn::server(H1Limits::default());
    let (mut input, mut heads) = (ReadBuf::default(), HeadPool::new());
    input.extend(bytes);
    collect(&mut conn, &mut input, &mut heads, false)
}

fn our_response(bytes: &[u8]) -> Option<Result<Message, ProtocolError>> {
    let mut conn = Conn::client(H1Limits::default());
    let (mut input, mut heads) = (ReadBuf::default(), HeadPool::new());
    let stream = conn.open().unwrap();
    let request = Head::request(b"GET", b"a", b"/");
    conn.head(stream, &request, true, &mut Out::new()).unwrap();
    input.extend(bytes);
    collect(&mut conn, &mut input, &mut heads, true)
}

fn collect(
    conn: &mut Conn,
    input: &mut ReadBuf,
    heads: &mut HeadPool,
    eof: bool,
) -> Option<Result<Message, ProtocolError>> {
    let mut message = Message::default();
    loop {
        let event = match conn.next(input, heads) {
            Ok(Some(event)) => event,
            Ok(None) if eof => match conn.eof() {
                Ok(event) => return event.map(|_| Ok(message)),
                Err(error) => return Some(Err(error)),
            },
            Ok(None) => return None,
            Err(error) => return Some(Err(error)),
        };
        let end = match event {
            Event::Head { head, end, .. } => {
                message.start = match head.status() {
                    0 => String::from_utf8_lossy(head.method_bytes()).into_owned(),
                    status => status.to_string(),
                };
                message.path = String::from_utf8_lossy(head.path()).into_owned();
                message.fields = head
                    .fields()
                    .filter(|field| !matches!(field.known, Known::Host | Known::Te | Known::Expect))
                    .map(|field| {
                        let name = String::from_utf8_lossy(field.name).to_lowercase();
                        (name, field.value.to_vec())
                    })
                    .collect();
                end
            }
            Event::Data { bytes, end, .. } => {
                message.body.extend_from_slice(bytes);
                end
            }
            Event::Trailers { .. } => true,
            _ => false,
        };
        if end {
            message.fields.sort();
            return Some(Ok(message));
        }
    }
}

fn fields_of(map: &hyper::HeaderMap) -> Vec<(String, Vec<u8>)> {
    let mut fields: Vec<_> = map
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "host" | "te" | "expect"))
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect();
    fields.sort();
    fields
}

/// The first request of `bytes` as hyper's server hands it on with its whole body; `None` when it does not.
async fn hypers(bytes: &[u8]) -> Option<Message> {
    let (mut near, far) = tokio::io::duplex(1 << 20);
    let seen = Arc::new(Mutex::new(None));
    let noted = seen.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let noted = noted.clone();
        async move {
            let mut message = Message {
                start: request.method().to_string(),
                path: request
                    .uri()
                    .path_and_query()
                    .map(|path| path.as_str().to_owned())
                    .unwrap_or_default(),
                fields: fields_of(request.headers()),
                body: Vec::new(),
            };
            if let Ok(body) = request.into_body().collect().await {
                message.body = body.to_bytes().to_vec();
                noted.lock().unwrap().get_or_insert(message);
            }
            Ok::<_, Infallible>(hyper::Response::new(Empty::<Bytes>::new()))
        }
    });
    near.write_all(bytes).await.unwrap();
    near.shutdown().await.unwrap();
    let served = hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .serve_connection(TokioIo::new(far), service)
        .await;
    drop(served);
    seen.lock().unwrap().take()
}

/// The response in `bytes` as hyper's client reads it.
async fn hypers_response(bytes: &[u8]) -> Option<Message> {
    let (mut near, far) = tokio::io::duplex(1 << 20);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(far))
        .await
        .ok()?;
    let request = hyper::Request::get("/")
        .header("host", "a")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let answer = async {
        let response = sender.send_request(request).await.ok()?;
        let (parts, body) = response.into_parts();
        Some(Message {
            start: parts.status.as_u16().to_string(),
            path: String::new(),
            fields: fields_of(&parts.headers),
            body: body.collect().await.ok()?.to_bytes().to_vec(),
        })
    };
    let peer = async {
        let mut request = [0; 1024];
        let read = near.read(&mut request).await;
        near.write_all(bytes).await.ok();
        drop(near);
        read
    };
    let (message, _, _) = tokio::join!(answer, connection, peer);
    message
}

/// What came of the comparisons.
#[derive(Default)]
struct Tally {
    agreed: usize,
    /// The rules for which we refused what hyper accepted.
    stricter: BTreeSet<String>,
    faults: Vec<String>,
}

impl Tally {
    fn note(
        &mut self,
        bytes: &[u8],
        ours: Option<Result<Message, ProtocolError>>,
        theirs: Option<Message>,
    ) {
        match (&ours, &theirs) {
            (Some(Ok(_)), Some(_)) => self.agreed += 1,
            (Some(Err(error)), Some(_)) => drop(self.stricter.insert(format!("{error:?}"))),
            _ => {}
        }
        if let Err(fault) = judge(ours, theirs) {
            let bytes = String::from_utf8_lossy(bytes);
            self.faults.push(format!("{bytes:?}\n{fault}"));
        }
    }

    fn check(&self, agreed_min: usize, stricter: &[&str]) {
        let shown = self.faults.len().min(12);
        assert!(
            self.faults.is_empty(),
            "{}",
            self.faults[..shown].join("\n\n")
        );
        assert!(self.agreed >= agreed_min, "only {} compared", self.agreed);
        let found: Vec<_> = self.stricter.iter().map(String::as_str).collect();
        assert_eq!(found, stricter);
    }
}

/// Compares one message; says what differs.
fn judge(
    ours: Option<Result<Message, ProtocolError>>,
    theirs: Option<Message>,
) -> Result<(), String> {
    match (ours, theirs) {
        (Some(Ok(ours)), Some(theirs)) if ours != theirs => {
            // hyper gives a target in absolute-form without a path as "/", also for OPTIONS, and CONNECT's as none.
            let options = ours.start == "OPTIONS" && ours.path == "*" && theirs.path == "/";
            let same = Message {
                path: theirs.path.clone(),
                ..ours.clone()
            } == theirs;
            if options && same {
                Ok(())
            } else {
                Err(format!("ours {ours:?}\nhyper's {theirs:?}"))
            }
        }
        (Some(Ok(ours)), None) => Err(format!("hyper refuses {ours:?}")),
        _ => Ok(()),
    }
}

/// The rules for which we refuse requests that hyper accepts, in the tables below.
const REQUESTS_STRICTER: &[&str] = &[
    "BadTarget",         // `#` in a target (RFC 9112 §3.2: no form has it); hyper cuts it off
    "BareLf",            // a MAY of §2.2
    "LengthAndEncoding", // §6.3 lets Transfer-Encoding win, and warns
    "ManyHosts",         // §3.2: MUST be a 400; hyper leaves it to the application
    "ManyLengths",       // §6.3 lets equal ones be made one
    "NotFinallyChunked", // chunked twice, or a list with empty members
    "UnknownCoding",     // §6.1: SHOULD be a 501; hyper leaves it to the application
];

/// The rules for which we refuse responses that hyper accepts, in the tables below.
const RESPONSES_STRICTER: &[&str] = &[
    "BadLength", // beside Transfer-Encoding or on a response without body, where hyper does not look
    "BareLf",
    "LengthAndEncoding",
    "ManyLengths",
    "NotFinallyChunked", // hyper reads until the connection ends, as §6.3 says; what it reads is still encoded
    "UnknownCoding",
];

const LINES: &[&str] = &[
    "GET / HTTP/1.1",
    "GET /a?b=c&d[]=e HTTP/1.1",
    "POST /x HTTP/1.1",
    "POST /x HTTP/1.0",
    "PURGE /x HTTP/1.1",
    "GET http://b:1/x?y HTTP/1.1",
    "OPTIONS * HTTP/1.1",
    "OPTIONS http://b HTTP/1.1",
    "GET  / HTTP/1.1",
    "GET / HTTP/2.0",
    "GET / HTTP/1.1 ",
    "GET /a b HTTP/1.1",
    "G\u{1}T / HTTP/1.1",
    "GET /#x HTTP/1.1",
    "\r\nGET / HTTP/1.1",
];

const FIELDS: &[&str] = &[
    "",
    "X: y\r\n",
    "X:y \t\r\nx:\tz\r\n",
    "X:\r\n",
    "X : y\r\n",
    " X: y\r\n",
    "X: y\r\n z\r\n",
    "X: a\0b\r\n",
    "X: a\rb\r\n",
    "X: y\nZ: w\r\n",
    "X: \u{e9}\u{ff}\r\n",
    "(): y\r\n",
    ": y\r\n",
    "X\r\n",
    "Connection: close\r\n",
    "Host: b\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 5\r\nContent-Length: 5\r\n",
    "Content-Length: 5\r\nContent-Length: 6\r\n",
    "Content-Length: 5, 5\r\n",
    "Content-Length: +5\r\n",
    "Content-Length: 05\r\n",
    "Content-Length: \r\n",
    "Content-Length: 99999999999999999999\r\n",
    "Content-Length: 0\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: Chunked\r\n",
    "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Transfer-Encoding: chunked, gzip\r\n",
    "Transfer-Encoding: identity\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: xchunked\r\n",
    "Transfer-Encoding: ,chunked\r\n",
];

const BODIES: &[&str] = &[
    "hello",
    "",
    "5\r\nhello\r\n0\r\n\r\n",
    "5;a=b\r\nhello\r\n0\r\n\r\n",
    "5 ; a\r\nhello\r\n00\r\nT: 1\r\n\r\n",
    "5\nhello\n0\n\n",
    "5\r\nhelloX0\r\n\r\n",
    "+5\r\nhello\r\n0\r\n\r\n",
    "5;\nhello\r\n0\r\n\r\n",
    "fffffffffffffffff\r\nhello",
    "0\r\n\r\n",
    "3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
];

const STATUS_LINES: &[&str] = &[
    "HTTP/1.1 200 OK",
    "HTTP/1.1 200",
    "HTTP/1.1 200 ",
    "HTTP/1.0 200 OK",
    "HTTP/1.1 204 No Content",
    "HTTP/1.1 304 Not Modified",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK",
    "HTTP/1.1 20 OK",
    "HTTP/1.1 2x0 OK",
    "HTTP/2.0 200 OK",
    "HTTP/1.1  200 OK",
];

fn latin(text: &str) -> Vec<u8> {
    text.chars().map(|c| c as u8).collect()
}

#[tokio::test]
async fn requests_are_read_as_hyper_reads_them() {
    let mut tally = Tally::default();
    for line in LINES {
        for fields in FIELDS {
            for body in BODIES {
                let bytes = latin(&format!("{line}\r\nHost: a\r\n{fields}\r\n{body}"));
                tally.note(&bytes, ours(&bytes), hypers(&bytes).await);
            }
        }
    }
    tally.check(100, REQUESTS_STRICTER);
}

#[tokio::test]
async fn responses_are_read_as_hyper_reads_them() {
    let mut tally = Tally::default();
    for line in STATUS_LINES {
        for fields in FIELDS {
            for body in BODIES {
                let bytes = latin(&format!("{line}\r\n{fields}\r\n{body}"));
                tally.note(&bytes, our_response(&bytes), hypers_response(&bytes).await);
            }
        }
    }
    tally.check(100, RESPONSES_STRICTER);
}
