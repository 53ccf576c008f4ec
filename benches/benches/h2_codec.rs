//! What a head of 15 fields costs over HTTP/2 once a connection is warm: read it, write it, both.

use std::hint::black_box;

use weft_proxy::http::codec::h2::{Conn, H2Limits};
use weft_proxy::http::codec::{Event, Out, ReadBuf, StreamId};
use weft_proxy::http::head::{Head, HeadPool};

fn main() {
    divan::main();
}

const REQUEST: &[(&str, &str)] = &[
    (
        "user-agent",
        "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    ),
    (
        "accept",
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    ),
    ("accept-language", "en-US,en;q=0.5"),
    ("accept-encoding", "gzip, deflate, br"),
    (
        "referer",
        "http://productpage.default.svc.cluster.local:9080/",
    ),
    ("cookie", "session=eyJ1c2VyIjoiamFzb24ifQ.ZxYz; theme=dark"),
    ("x-request-id", "7f1c0f6e-8f0b-4d1c-9a53-2c6f3a1a9b11"),
    ("x-forwarded-for", "10.1.2.3"),
    ("x-forwarded-proto", "http"),
    (
        "traceparent",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ),
    ("cache-control", "no-cache"),
    (
        "authorization",
        "Bearer abcdefghijklmnopqrstuvwxyz0123456789",
    ),
    (
        "if-none-match",
        "\"33a64df551425fcc55e4d42a148795d9f25f89d4\"",
    ),
    ("x-envoy-attempt-count", "1"),
    ("x-user", "jason"),
];

const RESPONSE: &[(&str, &str)] = &[
    ("content-type", "text/html; charset=utf-8"),
    ("content-length", "0"),
    ("date", "Tue, 15 Nov 1994 08:12:31 GMT"),
    ("server", "envoy"),
    ("x-envoy-upstream-service-time", "14"),
    ("vary", "accept-encoding, cookie"),
    ("cache-control", "private, max-age=60"),
    ("etag", "\"33a64df551425fcc55e4d42a148795d9f25f89d4\""),
    ("last-modified", "Tue, 15 Nov 1994 08:00:00 GMT"),
    ("content-language", "en"),
    ("strict-transport-security", "max-age=31536000"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("x-request-id", "7f1c0f6e-8f0b-4d1c-9a53-2c6f3a1a9b11"),
    ("via", "1.1 weft"),
];

fn with_fields(mut head: Head, fields: &[(&str, &str)]) -> Head {
    for (name, value) in fields {
        head.add(name.as_bytes(), value.as_bytes());
    }
    head
}

fn request() -> Head {
    let (host, path) = (
        &b"productpage.default.svc.cluster.local:9080"[..],
        &b"/productpage?u=normal&page=2"[..],
    );
    with_fields(Head::request(b"GET", host, path), REQUEST)
}

/// A client and a server that have warmed their tables, and the buffers of a worker.
struct Pair {
    client: Conn,
    server: Conn,
    input: ReadBuf,
    heads: HeadPool,
    out: Out,
}

impl Pair {
    fn new() -> Self {
        let mut pair = Self {
            client: Conn::client(H2Limits::default()),
            server: Conn::server(H2Limits::default()),
            input: ReadBuf::with_capacity(64 * 1024),
            heads: HeadPool::new(),
            out: Out::new(),
        };
        pair.client.flush(&mut pair.out);
        for _ in 0..4 {
            pair.serve();
            pair.receive();
        }
        let (request, response) = (request(), with_fields(Head::response(200), RESPONSE));
        for _ in 0..4 {
            pair.exchange(&request, &response);
        }
        pair
    }

    fn ask(&mut self, request: &Head) -> StreamId {
        let stream = self.client.open().expect("room");
        self.client
            .head(stream, request, true, &mut self.out)
            .expect("a good head");
        stream
    }

    fn answer(&mut self, stream: StreamId, response: &Head) {
        self.server
            .head(stream, response, true, &mut self.out)
            .expect("a good head");
    }

    fn serve(&mut self) -> Option<Head> {
        self.input.extend(self.out.pending());
        self.out.clear();
        let head = read(&mut self.server, &mut self.input, &mut self.heads);
        self.server.flush(&mut self.out);
        head
    }

    fn receive(&mut self) -> Option<Head> {
        self.input.extend(self.out.pending());
        self.out.clear();
        let head = read(&mut self.client, &mut self.input, &mut self.heads);
        self.client.flush(&mut self.out);
        head
    }

    fn exchange(&mut self, request: &Head, response: &Head) {
        let stream = self.ask(request);
        let head = self.serve();
        self.heads.give(black_box(head).expect("a request"));
        self.answer(stream, response);
        let head = self.receive();
        self.heads.give(black_box(head).expect("a response"));
    }
}

fn read(conn: &mut Conn, input: &mut ReadBuf, heads: &mut HeadPool) -> Option<Head> {
    let mut found = None;
    while let Some(event) = conn.next(input, heads).expect("good frames") {
        match event {
            Event::Head { head, .. } => found = Some(head),
            other => panic!("{other:?}"),
        }
    }
    found
}

/// A request written by one end and read by the other, and a short answer, so that the stream ends.
#[divan::bench(sample_size = 1000)]
fn request_written_and_read(bencher: divan::Bencher<'_, '_>) {
    let (mut pair, request, response) = (Pair::new(), request(), Head::response(204));
    bencher.bench_local(move || pair.exchange(black_box(&request), &response));
}

/// A short request, and a response of 15 fields written by one end and read by the other.
#[divan::bench(sample_size = 1000)]
fn response_written_and_read(bencher: divan::Bencher<'_, '_>) {
    let request = Head::request(b"GET", b"a", b"/");
    let response = with_fields(Head::response(200), RESPONSE);
    let mut pair = Pair::new();
    bencher.bench_local(move || pair.exchange(&request, black_box(&response)));
}

/// What is the same in both: a request and a response without fields.
#[divan::bench(sample_size = 1000)]
fn neither(bencher: divan::Bencher<'_, '_>) {
    let (request, response) = (Head::request(b"GET", b"a", b"/"), Head::response(204));
    let mut pair = Pair::new();
    bencher.bench_local(move || pair.exchange(&request, black_box(&response)));
}

/// As a proxy does it: the head that was read is written on.
#[divan::bench(sample_size = 1000)]
fn request_passed_on(bencher: divan::Bencher<'_, '_>) {
    let (request, response) = (request(), Head::response(204));
    let (mut down, mut up) = (Pair::new(), Pair::new());
    bencher.bench_local(move || {
        let stream = down.ask(&request);
        let head = down.serve().expect("a request");
        up.exchange(&head, &response);
        down.heads.give(head);
        down.answer(stream, &response);
        down.receive();
    });
}
