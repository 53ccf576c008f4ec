//! The same tests over HTTP/1 and HTTP/2: their ends are written as HTTP/1, and between these and the worker stands a
//! translator where the worker is to speak HTTP/2.

mod text;

use std::cell::Cell;
use std::future::poll_fn;

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response};
use tokio::net::tcp::OwnedWriteHalf;
use weft_config::cluster::UpstreamProtocol;

use self::text::{Framing, Piece, Reader, chunk, end};
use super::*;
use crate::detect::Protocol;

/// What the worker speaks before and behind.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wires {
    downstream_http2: bool,
    upstream_http2: bool,
}

thread_local! {
    // A test has its thread, and all of its workers and ends speak alike.
    static WIRES: Cell<Wires> = Cell::default();
}

/// Runs `test` with HTTP/1 and HTTP/2 on each side of the worker.
pub(super) fn in_each_pairing(test: impl AsyncFn()) {
    for (downstream_http2, upstream_http2) in
        [(false, false), (false, true), (true, false), (true, true)]
    {
        let wires = Wires {
            downstream_http2,
            upstream_http2,
        };
        WIRES.set(wires);
        eprintln!("{wires:?}");
        local(test());
    }
    WIRES.set(Wires::default());
}

impl Wires {
    pub(super) fn now() -> Self {
        WIRES.get()
    }

    pub(super) fn downstream(self) -> Option<Protocol> {
        self.downstream_http2.then_some(Protocol::Http2)
    }

    pub(super) fn upstream(self) -> UpstreamProtocol {
        match self.upstream_http2 {
            true => UpstreamProtocol::Http2,
            false => UpstreamProtocol::default(),
        }
    }

    /// Where clients that speak HTTP/1 reach the worker.
    pub(super) async fn before(self, worker: SocketAddr) -> SocketAddr {
        match self.downstream_http2 {
            true => translate(move |stream| ask_worker(stream, worker)).await,
            false => worker,
        }
    }

    /// Where the worker reaches an origin that speaks HTTP/1.
    pub(super) async fn behind(self, origin: SocketAddr) -> SocketAddr {
        match self.upstream_http2 {
            true => translate(move |stream| serve_worker(stream, origin)).await,
            false => origin,
        }
    }
}

/// Carries each connection by `each`.
async fn translate<F: Future<Output: 'static> + 'static>(
    each: impl Fn(TcpStream) -> F + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            spawn_local(each(stream));
        }
    });
    address
}

/// Every stream of a connection goes to the origin over a connection of its own.
async fn serve_worker(stream: TcpStream, origin: SocketAddr) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        spawn_local(async move {
            let _ = ask_origin(request, respond, origin).await;
        });
    }
}

/// `None` once either side has broken off, which the other side then hears.
async fn ask_origin(
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    origin: SocketAddr,
) -> Option<()> {
    let (read, mut write) = TcpStream::connect(origin).await.ok()?.into_split();
    let (head, body) = request.into_parts();
    let path = head.uri.path_and_query()?;
    let host = head.uri.authority()?;
    let mut message = format!("{} {path} HTTP/1.1\r\nhost: {host}\r\n", head.method);
    text::write_fields(&mut message, &head.headers);
    let asking = async {
        pass(message, body, &mut write).await;
        std::future::pending().await
    };
    tokio::select! {
        answered = answer(Reader::new(read), respond) => answered,
        never = asking => never,
    }
}

/// Passes what an origin says to the worker.
async fn answer(mut origin: Reader, mut respond: SendResponse<Bytes>) -> Option<()> {
    let message = tokio::select! {
        message = origin.message() => message,
        _ = poll_fn(|cx| respond.poll_reset(cx)) => return None,
    };
    let Some(message) = message else {
        respond.send_reset(Reason::INTERNAL_ERROR);
        return None;
    };
    let mut response = Response::builder().status(message.word(1));
    *response.headers_mut()? = message.fields();
    let over = message.framing == Framing::Length(0);
    let response = response.body(()).ok()?;
    let mut stream = respond.send_response(response, over).ok()?;
    match over {
        true => Some(()),
        false => send(&mut origin, message.framing, &mut stream).await,
    }
}

/// Asks the worker what a client asks, over one connection.
async fn ask_worker(stream: TcpStream, worker: SocketAddr) -> Option<()> {
    let (read, mut write) = stream.into_split();
    let mut client = Reader::new(read);
    let upstream = TcpStream::connect(worker).await.ok()?;
    let (mut sender, connection) = h2::client::handshake(upstream).await.ok()?;
    spawn_local(connection);
    loop {
        let message = client.message().await?;
        let uri = format!("http://{}{}", message.field("host"), message.word(1));
        let mut request = Request::builder().method(message.word(0)).uri(uri);
        *request.headers_mut()? = message.fields();
        let over = message.framing == Framing::Length(0);
        sender = sender.ready().await.ok()?;
        let request = request.body(()).ok()?;
        let (answer, mut stream) = sender.send_request(request, over).ok()?;
        if !over {
            send(&mut client, message.framing, &mut stream).await?;
        }
        // One that is given up is reset, for its stream is dropped.
        tokio::select! {
            heard = hear(answer, &mut write) => heard?,
            () = client.gone() => return None,
        }
    }
}

/// Passes what the worker says to a client.
async fn hear(answer: ResponseFuture, client: &mut OwnedWriteHalf) -> Option<()> {
    let (head, body) = answer.await.ok()?.into_parts();
    let mut message = format!("HTTP/1.1 {}\r\n", head.status);
    text::write_fields(&mut message, &head.headers);
    pass(message, body, client).await
}

/// Passes a body of HTTP/1 on.
async fn send(from: &mut Reader, framing: Framing, to: &mut SendStream<Bytes>) -> Option<()> {
    let mut left = framing;
    loop {
        let piece = tokio::select! {
            piece = from.piece(&mut left) => piece,
            _ = poll_fn(|cx| to.poll_reset(cx)) => return None,
        };
        match piece {
            Some(Piece::Data(bytes)) => {
                let over = left == Framing::Length(0);
                to.send_data(bytes, over).ok()?;
                if over {
                    return Some(());
                }
            }
            Some(Piece::End(trailers)) if trailers.is_empty() => {
                return to.send_data(Bytes::new(), true).ok();
            }
            Some(Piece::End(trailers)) => return to.send_trailers(trailers).ok(),
            None => {
                // What was sent before would be dropped while it waits to be written.
                tokio::task::yield_now().await;
                to.send_reset(Reason::INTERNAL_ERROR);
                return None;
            }
        }
    }
}

/// Passes a message of HTTP/2 on, of which `head` was written so far.
async fn pass(mut head: String, mut body: RecvStream, to: &mut OwnedWriteHalf) -> Option<()> {
    let chunked = !head.contains("content-length: ");
    if chunked {
        head += match body.is_end_stream() {
            true => "content-length: 0\r\n",
            false => "transfer-encoding: chunked\r\n",
        };
    }
    head += "\r\n";
    to.write_all(head.as_bytes()).await.ok()?;
    if body.is_end_stream() {
        return Some(());
    }
    while let Some(bytes) = body.data().await {
        let bytes = bytes.ok()?;
        body.flow_control().release_capacity(bytes.len()).ok()?;
        if bytes.is_empty() {
            continue; // as a chunk it would be the last
        }
        let written = match chunked {
            true => chunk(&bytes),
            false => bytes.to_vec(),
        };
        to.write_all(&written).await.ok()?;
    }
    let trailers = body.trailers().await.ok()?.unwrap_or_default();
    if chunked {
        to.write_all(end(&trailers).as_bytes()).await.ok()?;
    }
    Some(())
}
