//! Ways to harm a proxy by HTTP/2, from either side of it.
//!
//! Each is what one connection sends, once. RFC 9113 §10.5 names most of them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, ensure};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::frames::{
    Frames, PREFACE, block, flag, frame, get, integer, kind, request, setting, settings, string,
    word_frame,
};

/// ENHANCE_YOUR_CALM (RFC 9113 §7).
const CALM: u32 = 0x0b;

/// What whoever does not read offers to receive, so that what it does not read soon waits at the sender.
const UNREAD_BYTES: u32 = 4096;

/// A way to harm a proxy.
#[derive(Clone, Copy, Debug)]
pub struct Flood {
    /// What it is called.
    pub name: &'static str,
    /// The label of the bound that it meets; empty where none is counted.
    pub limit: &'static str,
    /// What becomes of the connection.
    pub end: End,
    /// The window that streams of the proxy start with.
    window: u32,
    /// What is sent, from this side, behind SETTINGS. An origin answers on this stream.
    frames: fn(Side, u32) -> Vec<u8>,
}

/// What becomes of a connection that floods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It ends with GOAWAY and ENHANCE_YOUR_CALM.
    Calm,
    /// It ends.
    Closed,
    /// One message is refused, and it goes on.
    GoesOn,
    /// It waits for its peer.
    Held,
}

/// Who floods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who came to the proxy.
    Client,
    /// Whom the proxy went to.
    Origin,
}

impl Flood {
    const fn new(
        name: &'static str,
        limit: &'static str,
        end: End,
        frames: fn(Side, u32) -> Vec<u8>,
    ) -> Self {
        Self {
            name,
            limit,
            end,
            window: 65_535,
            frames,
        }
    }

    const fn with_window(mut self, window: u32) -> Self {
        self.window = window;
        self
    }

    /// What a client can do.
    pub fn of_clients() -> Vec<Self> {
        let mut floods = Self::of_both();
        floods.extend([
            Self::new(
                "rapid resets",
                "http2_premature_resets",
                End::Calm,
                rapid_resets,
            ),
            Self::new(
                "provoked resets",
                "http2_provoked_resets",
                End::Calm,
                provoked_resets,
            ),
            Self::new("half a preface", "", End::Closed, half_preface),
            Self::new("zero window", "", End::Held, downloads).with_window(0),
            Self::new("tiny window", "", End::Held, tiny_updates).with_window(1),
            Self::new("never read", "", End::Held, unread_downloads).with_window(0x7fff_ffff),
        ]);
        floods
    }

    /// What an origin can do.
    pub fn of_origins() -> Vec<Self> {
        let mut floods = Self::of_both();
        floods.push(Self::new(
            "interim responses",
            "interim_responses",
            End::GoesOn,
            interims,
        ));
        floods.push(Self::new("zero window", "", End::Held, |_, _| Vec::new()).with_window(0));
        floods
    }

    /// What both can do.
    fn of_both() -> Vec<Self> {
        let unread = "http2_control_frames";
        vec![
            Self::new(
                "CONTINUATION",
                "http2_continuations",
                End::Calm,
                continuations,
            ),
            Self::new("SETTINGS", unread, End::Calm, many_settings),
            Self::new("PING", unread, End::Calm, many_pings),
            Self::new(
                "WINDOW_UPDATE",
                "http2_window_updates",
                End::Calm,
                window_updates,
            ),
            Self::new("PRIORITY", "http2_priority_frames", End::Calm, priorities),
            Self::new("empty DATA", "http2_empty_frames", End::Calm, empty_data),
            Self::new("many fields", "header_count", End::GoesOn, many_fields),
            Self::new("long fields", "header_bytes", End::GoesOn, long_fields),
            Self::new("HPACK bomb", "header_bytes", End::GoesOn, hpack_bomb),
            Self::new(
                "frames on a closed stream",
                "http2_closed_stream_frames",
                End::Calm,
                closed_stream,
            ),
            Self::new(
                "unknown frames",
                "http2_unknown_frames",
                End::Calm,
                unknown_frames,
            ),
            Self::new("half a frame", "", End::Closed, half_frame),
        ]
    }

    /// Connects and sends everything, or as much as is taken.
    ///
    /// # Errors
    /// If it cannot connect.
    pub async fn attack(&self, address: SocketAddr) -> anyhow::Result<Frames> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(UNREAD_BYTES)?;
        let stream = socket.connect(address).await;
        let mut client = Frames::over(stream.with_context(|| format!("connecting to {address}"))?)?;
        let mut bytes = (self.frames)(Side::Client, 1);
        if !PREFACE.starts_with(&bytes) {
            bytes = [
                PREFACE,
                &settings(&[(setting::WINDOW, self.window)]),
                &bytes,
            ]
            .concat();
        }
        // The proxy may end it in the midst, and what it says of that is still to be read.
        drop(client.send(&bytes).await);
        Ok(client)
    }

    /// Follows a connection that has flooded to its end, as a client.
    ///
    /// # Errors
    /// If that is another than it is to be.
    pub async fn follow(&self, mut client: Frames) -> anyhow::Result<()> {
        match self.end {
            End::Calm => {
                let told = client.until(kind::GOAWAY).await?;
                let code = told.word(4);
                ensure!(code == Some(CALM), "{code:?} instead of ENHANCE_YOUR_CALM");
                client.closed().await
            }
            End::Closed => client.closed().await,
            End::GoesOn => {
                client.send(&get(1001, "/")).await?;
                loop {
                    let head = client.until(kind::HEADERS).await?;
                    if head.stream == 1001 {
                        // RFC 7541 Appendix A: 8 is ":status 200".
                        ensure!(head.payload.contains(&0x88), "{head:?}");
                        return Ok(());
                    }
                }
            }
            End::Held => {
                let question = frame(kind::PING, 0, 0, b"are you?");
                client.send(&question).await?;
                loop {
                    let frame = client.next().await?.context("it was closed")?;
                    if frame.kind == kind::PING && frame.payload == b"are you?" {
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// An origin that floods every connection as soon as it is asked something. It ends with this guard.
pub struct HostileOrigin {
    address: SocketAddr,
    told: Arc<Mutex<Vec<u32>>>,
    task: JoinHandle<()>,
}

impl HostileOrigin {
    /// Starts it on a free port.
    ///
    /// # Errors
    /// If there is none.
    pub async fn start(flood: Flood) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let told: Arc<Mutex<Vec<u32>>> = Arc::default();
        let codes = told.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let codes = codes.clone();
                connections.spawn(async move {
                    if let Ok(Some(code)) = serve(stream, flood).await {
                        codes
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push(code);
                    }
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self {
            address,
            told,
            task,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The codes of all GOAWAY that it was told.
    pub fn told(&self) -> Vec<u32> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.clone()
    }

    /// Whether it was told to calm down.
    pub fn is_calmed(&self) -> bool {
        self.told().contains(&CALM)
    }
}

impl Drop for HostileOrigin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Floods one connection; the code of the GOAWAY that it is told, if any.
async fn serve(stream: TcpStream, flood: Flood) -> anyhow::Result<Option<u32>> {
    let mut origin = Frames::over(stream)?;
    origin.preface().await?;
    let given = settings(&[(setting::WINDOW, flood.window)]);
    origin.send(&given).await?;
    let asked = origin.until(kind::HEADERS).await?;
    drop(
        origin
            .send(&(flood.frames)(Side::Origin, asked.stream))
            .await,
    );
    while let Some(frame) = origin.next().await? {
        if frame.kind == kind::GOAWAY {
            return Ok(frame.word(4));
        }
    }
    Ok(None)
}

/// The fields that a message of this side begins with.
fn first_fields(side: Side) -> Vec<u8> {
    match side {
        Side::Client => block(&request("GET", "/h2")),
        Side::Origin => block(&[(":status", "200")]),
    }
}

/// The first frame of a message that goes on.
fn begun(side: Side, stream: u32) -> Vec<u8> {
    let fields = match side {
        Side::Client => block(&request("POST", "/h2")),
        Side::Origin => first_fields(side),
    };
    frame(kind::HEADERS, flag::END_HEADERS, stream, &fields)
}

/// A message of these fields, in as many frames as they take.
fn message(stream: u32, fields: &[u8]) -> Vec<u8> {
    let mut parts = fields.chunks(16_384).peekable();
    let (mut bytes, mut kind, mut flags) = (Vec::new(), kind::HEADERS, flag::END_STREAM);
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            flags |= flag::END_HEADERS;
        }
        bytes.extend(frame(kind, flags, stream, part));
        (kind, flags) = (kind::CONTINUATION, 0);
    }
    bytes
}

fn rapid_resets(_: Side, _: u32) -> Vec<u8> {
    let streams = (1..).step_by(2).take(1000);
    streams
        .flat_map(|stream| {
            [
                get(stream, "/h2"),
                word_frame(kind::RST_STREAM, stream, 0x08),
            ]
            .concat()
        })
        .collect()
}

/// Has the proxy itself reset the streams, by credit of nothing (RFC 9113 §6.9).
fn provoked_resets(_: Side, _: u32) -> Vec<u8> {
    let streams = (1..).step_by(2).take(1000);
    streams
        .flat_map(|stream| {
            [
                get(stream, "/h2"),
                word_frame(kind::WINDOW_UPDATE, stream, 0),
            ]
            .concat()
        })
        .collect()
}

fn continuations(side: Side, stream: u32) -> Vec<u8> {
    let mut bytes = frame(kind::HEADERS, 0, stream, &first_fields(side));
    for _ in 0..100 {
        bytes.extend(frame(kind::CONTINUATION, 0, stream, &block(&[("a", "b")])));
    }
    bytes
}

fn many_settings(_: Side, _: u32) -> Vec<u8> {
    settings(&[]).repeat(600_000)
}

fn many_pings(_: Side, _: u32) -> Vec<u8> {
    frame(kind::PING, 0, 0, &[0; 8]).repeat(400_000)
}

fn window_updates(_: Side, _: u32) -> Vec<u8> {
    word_frame(kind::WINDOW_UPDATE, 0, 1).repeat(200)
}

fn priorities(_: Side, stream: u32) -> Vec<u8> {
    frame(kind::PRIORITY, 0, stream, &[0; 5]).repeat(1000)
}

fn empty_data(side: Side, stream: u32) -> Vec<u8> {
    let empty = frame(kind::DATA, 0, stream, &[]);
    [begun(side, stream), empty.repeat(100)].concat()
}

fn many_fields(side: Side, stream: u32) -> Vec<u8> {
    let fields = block(&[("a", "b")]).repeat(1000);
    message(stream, &[first_fields(side), fields].concat())
}

fn long_fields(side: Side, stream: u32) -> Vec<u8> {
    let long = "a".repeat(8 * 1024);
    let fields = block(&[("a", &long)]).repeat(10);
    message(stream, &[first_fields(side), fields].concat())
}

/// One long field goes into the table (RFC 7541 §6.2.1), and is then named by a byte again and again.
fn hpack_bomb(side: Side, stream: u32) -> Vec<u8> {
    let mut fields = first_fields(side);
    fields.push(0x40);
    string(&mut fields, "a");
    string(&mut fields, &"b".repeat(4000));
    let mut index = Vec::new();
    integer(&mut index, 0x80, 7, 62);
    fields.extend(index.repeat(12_000));
    message(stream, &fields)
}

fn closed_stream(side: Side, stream: u32) -> Vec<u8> {
    let reset = word_frame(kind::RST_STREAM, stream, 0x08);
    let flags = flag::END_HEADERS | flag::END_STREAM;
    let whole = frame(kind::HEADERS, flags, stream, &first_fields(side));
    [whole, reset.repeat(12_000)].concat()
}

fn unknown_frames(_: Side, _: u32) -> Vec<u8> {
    frame(0xfa, 0, 0, b"what").repeat(1000)
}

fn half_frame(_: Side, stream: u32) -> Vec<u8> {
    let mut bytes = frame(kind::HEADERS, flag::END_HEADERS, stream, &[0; 16]);
    bytes.truncate(9);
    bytes
}

fn half_preface(_: Side, _: u32) -> Vec<u8> {
    let (half, _) = PREFACE.split_at(PREFACE.len() / 2);
    half.to_vec()
}

fn interims(_: Side, stream: u32) -> Vec<u8> {
    let fields = block(&[(":status", "103")]);
    frame(kind::HEADERS, flag::END_HEADERS, stream, &fields).repeat(100)
}

fn downloads(_: Side, _: u32) -> Vec<u8> {
    let streams = (1..).step_by(2).take(100);
    streams
        .flat_map(|stream| get(stream, "/h2/bytes/10000000"))
        .collect()
}

fn tiny_updates(side: Side, stream: u32) -> Vec<u8> {
    let mut bytes = downloads(side, stream);
    for stream in (1..).step_by(2).take(100) {
        bytes.extend(word_frame(kind::WINDOW_UPDATE, stream, 1));
    }
    bytes
}

fn unread_downloads(side: Side, stream: u32) -> Vec<u8> {
    let room = word_frame(kind::WINDOW_UPDATE, 0, 0x7fff_0000);
    [room, downloads(side, stream)].concat()
}
