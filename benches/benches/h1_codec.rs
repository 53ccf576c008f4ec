//! What a head of 15 fields costs: read it, edit it as a proxy does, write it.

use std::hint::black_box;

use weft_proxy::http::codec::h1::{Conn, H1Limits};
use weft_proxy::http::codec::{Event, Out, ReadBuf};
use weft_proxy::http::head::{Head, HeadPool, Known};

fn main() {
    divan::main();
}

const REQUEST: &[u8] = b"GET /productpage?u=normal&page=2 HTTP/1.1\r\n\
Host: productpage.default.svc.cluster.local:9080\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
Accept-Language: en-US,en;q=0.5\r\n\
Accept-Encoding: gzip, deflate, br\r\n\
Referer: http://productpage.default.svc.cluster.local:9080/\r\n\
Cookie: session=eyJ1c2VyIjoiamFzb24ifQ.ZxYz; theme=dark\r\n\
X-Request-Id: 7f1c0f6e-8f0b-4d1c-9a53-2c6f3a1a9b11\r\n\
X-Forwarded-For: 10.1.2.3\r\n\
X-Forwarded-Proto: http\r\n\
Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\
Cache-Control: no-cache\r\n\
Authorization: Bearer abcdefghijklmnopqrstuvwxyz0123456789\r\n\
If-None-Match: \"33a64df551425fcc55e4d42a148795d9f25f89d4\"\r\n\
Connection: keep-alive\r\n\r\n";

struct Proxy {
    input: ReadBuf,
    heads: HeadPool,
    out: Out,
}

impl Proxy {
    fn new() -> Self {
        Self {
            input: ReadBuf::with_capacity(16 * 1024),
            heads: HeadPool::new(),
            out: Out::new(),
        }
    }

    fn parse(&mut self) -> Head {
        self.input.extend(REQUEST);
        let mut conn = Conn::server(H1Limits::default());
        match conn.next(&mut self.input, &mut self.heads) {
            Ok(Some(Event::Head { head, .. })) => head,
            other => panic!("{other:?}"),
        }
    }

    fn emit(&mut self, head: &Head) {
        self.out.clear();
        let mut conn = Conn::client(H1Limits::default());
        let stream = conn.open().expect("a fresh connection");
        conn.head(stream, head, true, &mut self.out)
            .expect("a good head");
        black_box(self.out.pending());
    }
}

#[divan::bench(sample_size = 1000)]
fn parse(bencher: divan::Bencher<'_, '_>) {
    let mut proxy = Proxy::new();
    bencher.bench_local(move || {
        let head = proxy.parse();
        proxy.heads.give(black_box(head));
    });
}

#[divan::bench(sample_size = 1000)]
fn emit(bencher: divan::Bencher<'_, '_>) {
    let mut proxy = Proxy::new();
    let head = proxy.parse();
    bencher.bench_local(move || proxy.emit(black_box(&head)));
}

#[divan::bench(sample_size = 1000)]
fn parse_edit_emit(bencher: divan::Bencher<'_, '_>) {
    let mut proxy = Proxy::new();
    bencher.bench_local(move || {
        let mut head = proxy.parse();
        head.append(b"x-forwarded-for", b"10.4.5.6");
        head.set(b"x-request-id", b"00000000-0000-0000-0000-000000000000");
        head.remove(Known::Authorization);
        head.add(b"x-envoy-attempt-count", b"1");
        proxy.emit(&head);
        proxy.heads.give(head);
    });
}
