//! What an HTTP/2 connection takes: little at rest, and nothing more for each exchange. Counted by the allocator, for each thread
//! by itself: the harness allocates on another one when it likes.

#![expect(clippy::expect_used, reason = "helpers of a test fail the test")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use weft_proxy::http::codec::h2::{Conn, H2Limits};
use weft_proxy::http::codec::{Event, Out, ReadBuf};
use weft_proxy::http::head::{Head, HeadPool};

struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

fn note(bytes: isize, allocations: usize) {
    // A thread that ends has nobody who counts.
    let _ = LIVE.try_with(|live| live.set(live.get() + bytes));
    let _ = COUNT.try_with(|count| count.set(count.get() + allocations));
}

#[expect(unsafe_code, reason = "the trait of allocators is unsafe")]
// SAFETY: all is left to the system's allocator; counting touches no memory of its own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size() as isize, 1);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        note(-(layout.size() as isize), 0);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn live() -> isize {
    LIVE.get()
}

fn count() -> usize {
    COUNT.get()
}

/// The buffers of a worker, which connections borrow.
struct Worker {
    input: ReadBuf,
    heads: HeadPool,
    out: Out,
}

impl Worker {
    /// Has `to` read what was written; the streams whose messages have ended.
    fn carry(&mut self, to: &mut Conn) -> usize {
        self.input.extend(self.out.pending());
        self.out.clear();
        let mut ended = 0;
        while let Some(event) = to
            .next(&mut self.input, &mut self.heads)
            .expect("the other end keeps the rules")
        {
            match event {
                Event::Head { head, end, .. } => {
                    self.heads.give(head);
                    ended += usize::from(end);
                }
                Event::Data { stream, bytes, end } => {
                    let len = bytes.len();
                    to.consumed(stream, len);
                    ended += usize::from(end);
                }
                other => panic!("{other:?}"),
            }
        }
        to.flush(&mut self.out);
        ended
    }

    /// One exchange, with content in many frames both ways.
    fn exchange(&mut self, client: &mut Conn, server: &mut Conn, request: &Head, response: &Head) {
        let stream = client.open().expect("room");
        client
            .head(stream, request, false, &mut self.out)
            .expect("a good head");
        for last in [false, false, false, true] {
            let taken = client.data(stream, &[7; 5000], last, &mut self.out);
            assert_eq!(taken, Ok(5000));
        }
        assert_eq!(self.carry(server), 1);
        server
            .head(stream, response, false, &mut self.out)
            .expect("a good head");
        let taken = server.data(stream, &[7; 20_000], true, &mut self.out);
        assert_eq!(taken, Ok(20_000));
        assert_eq!(self.carry(client), 1);
        assert_eq!(self.carry(server), 0);
    }
}

fn request() -> Head {
    let mut head = Head::request(
        b"POST",
        b"productpage.default.svc.cluster.local:9080",
        b"/productpage?u=normal&page=2",
    );
    for (name, value) in [
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
        ("content-type", "application/json"),
        ("x-envoy-attempt-count", "1"),
    ] {
        head.add(name.as_bytes(), value.as_bytes());
    }
    head
}

fn response() -> Head {
    let mut head = Head::response(200);
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("date", "Tue, 15 Nov 1994 08:12:31 GMT"),
        ("server", "weft"),
        ("vary", "accept-encoding"),
        ("cache-control", "max-age=60"),
        ("x-envoy-upstream-service-time", "3"),
    ] {
        head.add(name.as_bytes(), value.as_bytes());
    }
    head
}

#[test]
fn a_connection_takes_little_at_rest_and_nothing_for_an_exchange() {
    let (request, response) = (request(), response());
    let mut worker = Worker {
        input: ReadBuf::with_capacity(128 * 1024),
        heads: HeadPool::new(),
        out: Out::with_memory(Vec::with_capacity(128 * 1024)),
    };
    let (mut client, mut server) = (
        Conn::client(H2Limits::default()),
        Conn::server(H2Limits::default()),
    );
    client.flush(&mut worker.out);
    worker.carry(&mut server);
    worker.carry(&mut client);
    worker.carry(&mut server);
    // Fields are indexed when they come again, and half a mebibyte is given back at a time: after that, nothing is new.
    for _ in 0..60 {
        worker.exchange(&mut client, &mut server, &request, &response);
    }
    let before = count();
    for _ in 0..100 {
        worker.exchange(&mut client, &mut server, &request, &response);
    }
    assert_eq!(count() - before, 0, "allocations in a hundred exchanges");
    for (name, conn) in [("client", client), ("server", server)] {
        assert!(conn.is_idle());
        let held = live();
        drop(conn);
        let freed = (held - live()) as usize + size_of::<Conn>();
        println!(
            "{name}: {freed} bytes, {} of them itself",
            size_of::<Conn>()
        );
        assert!(freed < 3 * 1024, "{name}: {freed} bytes at rest");
    }
}
