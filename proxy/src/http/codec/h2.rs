//! HTTP/2 (RFC 9113), with HPACK (RFC 7541) and extended CONNECT (RFC 8441).
//!
//! One [`Conn`] carries many exchanges at a time, each on a stream. What it has to say without being asked
//! (acknowledgements, credit, resets) waits in `pending` until something is written or [`Conn::flush`] is called.
//!
//! - `read` cuts the input into frames, `control`, `messages` and `content` know what each means; `message` makes heads of fields.
//! - `write` and `emit` go the other way.
//! - `streams` holds what is open, `window` counts credit, `guard` counts what a peer may do only so often.
//!
//! A stream's credit is given back by [`Conn::consumed`], the connection's on receipt: a reader that sleeps holds up its own
//! stream and no other. So what of bodies can wait for readers is `streams_max` × `stream_window` at most. Heads have no
//! credit: one for each stream can wait, and whoever writes them looks at how much waits. At rest a connection keeps its tables and little else.

mod content;
mod control;
mod emit;
mod ending;
mod error;
mod frame;
mod guard;
mod hpack;
mod limits;
mod message;
mod messages;
mod pending;
mod read;
mod settings;
mod spelling;
mod streams;
#[cfg(test)]
mod tests;
mod window;
mod write;

pub use self::error::ErrorCode;
#[cfg(test)]
pub(in crate::http) use self::hpack::BlockReader;
pub use self::limits::{H2Limits, Hit};

use self::ending::Drain;
use self::guard::Guard;
use self::hpack::{Decoder, Encoder};
use self::pending::Pending;
use self::read::{Block, Reading};
use self::settings::Settings;
use self::streams::{Read, Stream, Streams, Write};
use self::window::{ReceiveWindow, SendWindow};
use super::{Out, ProtocolError, Reason, StreamId};

/// Bytes that wait to be written, from which on no more of a body is taken.
pub const OUT_BYTES_MAX: usize = 256 * 1024;

/// What the codec has to say is not put off beyond this: the resets of some hundred streams.
const PENDING_BYTES_WAIT: usize = 2048;

/// One HTTP/2 connection.
#[derive(Debug)]
pub struct Conn {
    role: Role,
    limits: H2Limits,
    reading: Reading,
    /// The first bytes of a frame of which the others were not there. Without memory in between.
    partial: Vec<u8>,
    /// A field block of which a part is in frames to come.
    block: Option<Box<Block>>,
    /// Frames that were read, but for those that continue a field block.
    frames: u32,
    decoder: Decoder,
    encoder: Encoder,
    /// Whether the peer is told how names were spelled, and tells it; memory to write it in.
    spelling: Option<Vec<u8>>,
    streams: Streams,
    pending: Pending,
    guard: Guard,
    hits: u16,
    /// Streams that were refused since [`Conn::hits`] was called last.
    refused: u32,
    /// What the peer has told, and whether it told anything.
    peer: Settings,
    peer_told: bool,
    /// Whether the peer has acknowledged our settings, so that they are in force.
    settings_acked: bool,
    send: SendWindow,
    receive: ReceiveWindow,
    /// The highest stream that the peer has opened.
    last_peer: u32,
    /// The stream that we open next.
    next_own: u32,
    /// The highest stream that we have sent a head on.
    last_sent: u32,
    /// The last stream that the peer says it answers.
    goaway: Option<u32>,
    drain: Drain,
    /// A keepalive PING that was not answered yet.
    awaits_pong: bool,
    /// Whether a rule was broken: nothing more is understood.
    failed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Server,
    Client,
}

impl Conn {
    /// The codec of a downstream connection: reads requests, writes responses.
    pub fn server(limits: H2Limits) -> Self {
        Self::new(Role::Server, limits)
    }

    /// The codec of an upstream connection: writes requests, reads responses.
    pub fn client(limits: H2Limits) -> Self {
        Self::new(Role::Client, limits)
    }

    fn new(role: Role, limits: H2Limits) -> Self {
        let limits = settings::within_protocol(limits);
        let mut conn = Self {
            role,
            limits,
            reading: match role {
                Role::Server => Reading::Preface(0),
                Role::Client => Reading::Frame,
            },
            partial: Vec::new(),
            block: None,
            frames: 0,
            decoder: Decoder::new(),
            encoder: Encoder::new(),
            spelling: None,
            streams: Streams::default(),
            pending: Pending::default(),
            guard: Guard::default(),
            hits: 0,
            refused: 0,
            peer: Settings::default(),
            peer_told: false,
            settings_acked: false,
            send: SendWindow::new(window::DEFAULT),
            receive: ReceiveWindow::new(limits.connection_window),
            last_peer: 0,
            next_own: 1,
            last_sent: 0,
            goaway: None,
            drain: Drain::No,
            awaits_pong: false,
            failed: false,
        };
        conn.pending.begin(&limits, role);
        conn
    }

    /// Begins an exchange on an upstream connection; `None` when it can take none (now).
    ///
    /// The heads of exchanges are to be written in the order in which they were begun (RFC 9113 §5.1.1).
    pub fn open(&mut self) -> Option<StreamId> {
        if self.room() == 0 {
            return None;
        }
        let id = self.next_own;
        self.next_own += 2;
        let (send, receive) = (self.peer.window, self.stream_window());
        self.streams
            .insert(Stream::new(id, Read::Head, send, receive));
        self.guard.opened();
        Some(StreamId(id))
    }

    /// How many more exchanges [`Self::open`] would begin now.
    pub fn room(&self) -> usize {
        if self.role == Role::Server || self.is_going_away() {
            return 0;
        }
        let numbers_left = (window::MAX - self.next_own) as usize / 2 + 1;
        let max = self.peer.streams_max.min(self.limits.streams_max) as usize;
        max.saturating_sub(self.streams.len()).min(numbers_left)
    }

    /// A client may open so many streams before the peer has said how many it takes.
    pub fn expect_streams(&mut self, streams: u32) {
        if !self.peer_told {
            self.peer.streams_max = streams;
        }
    }

    /// Both ends tell how names were spelled in heads that came over HTTP/1, and spell them so again. They have agreed on it.
    pub fn tell_spelling(&mut self) {
        self.spelling = Some(Vec::new());
    }

    /// How many streams the peer takes at once; `None` while it has not said.
    pub fn streams_allowed(&self) -> Option<usize> {
        self.peer_told.then_some(self.peer.streams_max as usize)
    }

    /// How many exchanges are under way.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Whether no exchange will ever begin on an upstream connection again.
    pub fn is_going_away(&self) -> bool {
        self.failed
            || self.goaway.is_some()
            || self.drain != Drain::No
            || self.next_own > window::MAX
    }

    /// Whether `stream` has left HTTP in both directions, behind a `CONNECT` or an upgrade told by one.
    pub fn is_tunnel(&self, stream: StreamId) -> bool {
        let stream = self.streams.look(stream.0);
        stream.is_some_and(|stream| stream.tunnel)
    }

    /// Gives up an exchange; the peer is told at the next [`Self::flush`].
    pub fn reset(&mut self, stream: StreamId, why: Reason) {
        let Some(stream) = self.streams.remove(stream.0) else {
            return;
        };
        // RFC 9113 §8.1.1: a malformed message is an error of its stream, even where it was answered.
        let why = match (stream.read, why) {
            (Read::Discard, Reason::NoError) => Reason::Protocol,
            _ => why,
        };
        // What was never begun is not known to the peer (RFC 9113 §6.4).
        if self.role == Role::Server || stream.write != Write::Head {
            self.pending.reset(stream.id, why.into());
            if why == Reason::Protocol {
                self.guard.provoked();
            }
        }
    }

    /// Says that `bytes` of the Data of a stream were passed on or thrown away, so that the peer may send as much again.
    /// It is told at the next [`Self::flush`].
    pub fn consumed(&mut self, stream: StreamId, bytes: usize) {
        self.credit(stream.0, u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// A stream that the peer has just reset before its answer began was open for long: it does not count as a reset.
    pub fn forgive(&mut self) {
        self.guard.forgive();
    }

    /// Gives credit to a stream, unless its peer has ended.
    fn credit(&mut self, id: u32, bytes: u32) {
        let window = self.stream_window();
        let Some(stream) = self.streams.get(id) else {
            return;
        };
        if !matches!(stream.read, Read::Head | Read::Body) {
            return;
        }
        if let Some(increment) = stream.receive.give(bytes, window) {
            self.pending.window_update(id, increment);
        }
    }

    /// A stream that could not send all it had and now can, each in turn. The caller calls [`Self::data`] for it.
    pub fn next_writable(&mut self, out: &Out) -> Option<StreamId> {
        if self.send.open() == 0 || out.len() >= OUT_BYTES_MAX {
            return None;
        }
        self.streams.next_ready().map(StreamId)
    }

    /// Asks the peer for a sign of life (RFC 9113 §6.7); the caller has the clock.
    pub fn ping(&mut self, out: &mut Out) {
        if !self.failed && !self.awaits_pong {
            self.awaits_pong = true;
            self.pending.ping(pending::KEEPALIVE_PING);
        }
        self.flush(out);
    }

    /// Whether a [`Self::ping`] was not answered yet.
    pub fn awaits_pong(&self) -> bool {
        self.awaits_pong
    }

    /// Writes what waits: acknowledgements, credit, resets, GOAWAY. Not while `out` is full of what the peer does not read.
    pub fn flush(&mut self, out: &mut Out) {
        if out.len() < OUT_BYTES_MAX {
            self.pending.write_all(out);
        }
    }

    /// Whether what [`Self::flush`] would write is little, so that more of the input may be looked at first.
    pub fn flush_can_wait(&self) -> bool {
        self.pending.len() <= PENDING_BYTES_WAIT && !self.failed
    }

    /// Whether [`Self::flush`] has something to write.
    pub fn wants_flush(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether the peer has yet to acknowledge our settings. The caller has the clock (RFC 9113 §6.5.3).
    pub fn awaits_settings(&self) -> bool {
        !self.settings_acked && !self.failed
    }

    /// Whether bytes from the peer can be used now: as long as nothing has failed.
    pub fn wants_input(&self) -> bool {
        !self.failed
    }

    /// Whether the connection is to be closed as soon as everything pending is written.
    pub fn wants_close(&self) -> bool {
        let last = matches!(self.drain, Drain::Last(_))
            || (self.role == Role::Client && self.goaway.is_some());
        self.failed || (last && self.streams.is_empty())
    }

    /// Which frame or field block is not complete, as a number that another one does not have; `None`: there is none. Of DATA,
    /// what counts is its header.
    pub fn unfinished(&self) -> Option<u32> {
        let part = !self.partial.is_empty() || self.block.is_some();
        (part && !self.failed).then_some(self.frames)
    }

    /// Whether no exchange is under way, not even the first bytes of one.
    pub fn is_idle(&self) -> bool {
        self.streams.is_empty()
            && self.partial.is_empty()
            && self.block.is_none()
            && matches!(self.reading, Reading::Frame | Reading::Preface(_))
    }

    /// Which bounds were met since the last call: each once, and that of streams once for each that was refused. For metrics.
    pub fn hits(&mut self) -> impl Iterator<Item = Hit> + use<> {
        let hits = std::mem::take(&mut self.hits);
        let refused = std::mem::take(&mut self.refused);
        let others = Hit::ALL
            .iter()
            .copied()
            .filter(move |hit| hits & hit.bit() != 0);
        std::iter::repeat_n(Hit::Streams, refused as usize).chain(others)
    }

    fn hit(&mut self, error: ProtocolError) {
        if let Some(hit) = Hit::of(error) {
            self.hits |= hit.bit();
        }
    }

    /// The window that the peer's streams start with: ours once it has acknowledged it (RFC 9113 §6.5.3).
    fn stream_window(&self) -> u32 {
        if self.settings_acked {
            self.limits.stream_window
        } else {
            window::DEFAULT
        }
    }

    /// Forgets a stream of which both sides have ended.
    fn settle(&mut self, id: u32) {
        if self.streams.get(id).is_some_and(|stream| stream.is_over()) {
            self.streams.remove(id);
        }
    }
}
