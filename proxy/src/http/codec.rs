//! HTTP codecs: bytes in, events out, heads and bodies in, bytes out.
//!
//! A codec knows no socket, no clock and no route. It keeps the rules of its protocol for one connection, in either
//! role: on a downstream connection it reads requests and writes responses, on an upstream one the reverse.

mod buffer;
mod chars;
mod error;
pub mod h1;
pub mod h2;

pub use self::buffer::{Out, ReadBuf};
pub use self::error::{ProtocolError, Refused};
use super::head::{Head, HeadPool};

/// One exchange on a connection. Never used twice on the same connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

/// What a codec tells the engine. Bodies are bytes passing through, borrowed from the read buffer.
#[derive(Debug)]
pub enum Event<'a> {
    /// A request's head, or a response's final one.
    Head {
        /// The exchange.
        stream: StreamId,
        /// The head. Goes back to the [`HeadPool`] after use.
        head: Head,
        /// Whether the message ends here.
        end: bool,
    },
    /// An interim response (1xx, but 101).
    Interim {
        /// The exchange.
        stream: StreamId,
        /// The head. Goes back to the [`HeadPool`] after use.
        head: Head,
    },
    /// A piece of a body. Empty when the end came without further bytes.
    Data {
        /// The exchange.
        stream: StreamId,
        /// The bytes, unframed.
        bytes: &'a [u8],
        /// Whether the message ends here.
        end: bool,
    },
    /// Bytes behind an upgrade or a `CONNECT`, belonging to no message.
    Raw {
        /// The exchange.
        stream: StreamId,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// The fields behind a body; the message ends here.
    Trailers {
        /// The exchange.
        stream: StreamId,
        /// The head. Goes back to the [`HeadPool`] after use.
        head: Head,
    },
    /// The peer gave up this exchange and no other. Never on HTTP/1, where it closes the connection.
    Reset {
        /// The exchange.
        stream: StreamId,
        /// Why.
        why: Reason,
    },
    /// The message on this stream broke a rule, and the connection goes on. A server can still answer. Never on HTTP/1,
    /// where whatever is wrong with a message is wrong with its connection.
    Malformed {
        /// The exchange.
        stream: StreamId,
        /// The rule.
        error: ProtocolError,
        /// What came of the head of a request that is too large, where that says who asks for what. Goes back to the
        /// [`HeadPool`] after use.
        asked: Option<Head>,
    },
    /// A head or trailers were read that nobody is told of: their exchange is refused, or over. Whoever counts work counts
    /// this too. Never on HTTP/1.
    Ignored {
        /// The exchange.
        stream: StreamId,
    },
}

impl Event<'_> {
    /// The exchange that it belongs to.
    pub fn stream(&self) -> StreamId {
        match self {
            Self::Head { stream, .. }
            | Self::Interim { stream, .. }
            | Self::Data { stream, .. }
            | Self::Raw { stream, .. }
            | Self::Trailers { stream, .. }
            | Self::Reset { stream, .. }
            | Self::Malformed { stream, .. }
            | Self::Ignored { stream } => *stream,
        }
    }
}

/// Why an exchange was given up before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nothing went wrong: what is left of the exchange is not needed.
    NoError,
    /// Nobody wants the answer any more.
    Cancelled,
    /// It was not begun and may be tried elsewhere.
    NotBegun,
    /// This side failed.
    Internal,
    /// The other side broke the rules.
    Protocol,
}

/// One connection's codec.
#[derive(Debug)]
pub enum Codec {
    /// HTTP/1.0 and HTTP/1.1.
    H1(h1::Conn),
    /// HTTP/2. Boxed: a connection of HTTP/1 would have to make room for it.
    H2(Box<h2::Conn>),
}

impl Codec {
    /// The next event of what was read; `None` when `input` holds nothing more to tell now.
    ///
    /// After `None`, `input` is empty, unless [`Self::wants_input`] says no: then it holds what was pipelined, and this
    /// is to be called again when the response being written has ended.
    ///
    /// # Errors
    ///
    /// The peer broke a rule. A server may still answer where [`Self::answerable`] says so; then close the connection.
    pub fn next<'a>(
        &mut self,
        input: &'a mut ReadBuf,
        heads: &mut HeadPool,
    ) -> Result<Option<Event<'a>>, ProtocolError> {
        match self {
            Self::H1(conn) => conn.next(input, heads),
            Self::H2(conn) => conn.next(input, heads),
        }
    }

    /// The peer has closed its side, and [`Self::next`] has seen all bytes. Gives the end of a body that ends so: on HTTP/2
    /// none does.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::Truncated`] in the midst of a message.
    pub fn eof(&mut self) -> Result<Option<Event<'static>>, ProtocolError> {
        match self {
            Self::H1(conn) => conn.eof(),
            Self::H2(_) => Ok(None),
        }
    }

    /// Whether exchanges share the connection: a stream can end, fail or wait while the others go on.
    pub fn is_multiplexed(&self) -> bool {
        match self {
            Self::H1(_) => false,
            Self::H2(_) => true,
        }
    }

    /// How many exchanges could begin on an upstream connection now.
    pub fn room(&self) -> usize {
        match self {
            Self::H1(conn) => usize::from(conn.is_idle() && !conn.wants_close()),
            Self::H2(conn) => conn.room(),
        }
    }

    /// How many exchanges the endpoint takes at once; `None` while it has not said.
    pub fn streams_allowed(&self) -> Option<usize> {
        match self {
            Self::H1(_) => Some(1),
            Self::H2(conn) => conn.streams_allowed(),
        }
    }

    /// Whether no exchange will ever begin on an upstream connection again.
    pub fn is_going_away(&self) -> bool {
        match self {
            Self::H1(conn) => conn.wants_close(),
            Self::H2(conn) => conn.is_going_away(),
        }
    }

    /// Bytes of [`Event::Data`] were passed on or thrown away: the peer may send as many more on this stream.
    ///
    /// The peer is told at the next [`Self::flush`].
    pub fn consumed(&mut self, stream: StreamId, bytes: usize) {
        match self {
            Self::H1(_) => {}
            Self::H2(conn) => conn.consumed(stream, bytes),
        }
    }

    /// A stream whose data was not taken whole, and of which some would be taken now. Each is given once per chance.
    pub fn next_writable(&mut self, out: &Out) -> Option<StreamId> {
        match self {
            Self::H1(_) => None,
            Self::H2(conn) => conn.next_writable(out),
        }
    }

    /// Whether there is something of the codec's own to be written, by [`Self::flush`].
    pub fn wants_flush(&self) -> bool {
        match self {
            Self::H1(_) => false,
            Self::H2(conn) => conn.wants_flush(),
        }
    }

    /// Whether what the codec has to say by itself is little enough to be put off.
    pub fn flush_can_wait(&self) -> bool {
        match self {
            Self::H1(_) => true,
            Self::H2(conn) => conn.flush_can_wait(),
        }
    }

    /// Writes what the codec itself has to say. Whatever else is written has it written first.
    pub fn flush(&mut self, out: &mut Out) {
        match self {
            Self::H1(_) => {}
            Self::H2(conn) => conn.flush(out),
        }
    }

    /// Asks the peer for a sign of life, where the protocol can.
    pub fn ping(&mut self, out: &mut Out) {
        match self {
            Self::H1(_) => {}
            Self::H2(conn) => conn.ping(out),
        }
    }

    /// Whether the peer has not answered the last [`Self::ping`] yet.
    pub fn awaits_pong(&self) -> bool {
        match self {
            Self::H1(_) => false,
            Self::H2(conn) => conn.awaits_pong(),
        }
    }

    /// Whether the peer has yet to acknowledge what it was told of us, where it has to.
    pub fn awaits_settings(&self) -> bool {
        match self {
            Self::H1(_) => false,
            Self::H2(conn) => conn.awaits_settings(),
        }
    }

    /// The peer was too slow for its connection to go on, which `error` says; where exchanges share it.
    pub fn time_out(&mut self, error: ProtocolError) {
        match self {
            Self::H1(_) => {}
            Self::H2(conn) => conn.time_out(error),
        }
    }

    /// Which frame or head is not complete, as a number that another one does not have, where exchanges share the connection.
    pub fn unfinished(&self) -> Option<u32> {
        match self {
            Self::H1(_) => None,
            Self::H2(conn) => conn.unfinished(),
        }
    }

    /// The bounds of HTTP/2 that were met since this was asked last. Those of HTTP/1 are errors of [`Self::next`].
    pub fn hits(&mut self) -> impl Iterator<Item = h2::Hit> + use<> {
        match self {
            Self::H1(_) => None,
            Self::H2(conn) => Some(conn.hits()),
        }
        .into_iter()
        .flatten()
    }

    /// Begins an exchange on an upstream connection; `None` when it can take none (now).
    pub fn open(&mut self) -> Option<StreamId> {
        match self {
            Self::H1(conn) => conn.open(),
            Self::H2(conn) => conn.open(),
        }
    }

    /// Writes a head: a request's, a response's, or an interim one. `end` when no body follows.
    ///
    /// # Errors
    ///
    /// When it would be malformed or out of turn; nothing was written then.
    pub fn head(
        &mut self,
        stream: StreamId,
        head: &Head,
        end: bool,
        out: &mut Out,
    ) -> Result<(), Refused> {
        match self {
            Self::H1(conn) => conn.head(stream, head, end, out),
            Self::H2(conn) => conn.head(stream, head, end, out),
        }
    }

    /// Writes a piece of the body (or bytes behind an upgrade) and says how much of it was taken: all, on HTTP/1. The
    /// end is written once all of it is taken; an empty piece always is.
    ///
    /// # Errors
    ///
    /// When it breaks the length that was announced; the connection is then to be closed.
    pub fn data(
        &mut self,
        stream: StreamId,
        bytes: &[u8],
        end: bool,
        out: &mut Out,
    ) -> Result<usize, Refused> {
        match self {
            Self::H1(conn) => conn.data(stream, bytes, end, out),
            Self::H2(conn) => conn.data(stream, bytes, end, out),
        }
    }

    /// Writes trailers, which end the message. Where the framing has no place for them, the message just ends.
    ///
    /// # Errors
    ///
    /// As [`Self::data`]; also for a malformed field.
    pub fn trailers(
        &mut self,
        stream: StreamId,
        head: &Head,
        out: &mut Out,
    ) -> Result<(), Refused> {
        match self {
            Self::H1(conn) => conn.trailers(stream, head, out),
            Self::H2(conn) => conn.trailers(stream, head, out),
        }
    }

    /// Gives up an exchange. On HTTP/1 the connection cannot go on: [`Self::wants_close`] holds from here.
    /// Nothing happens where the exchange is over.
    /// The peer is told at the next [`Self::flush`].
    pub fn reset(&mut self, stream: StreamId, why: Reason) {
        match self {
            Self::H1(conn) => conn.reset(stream),
            Self::H2(conn) => conn.reset(stream, why),
        }
    }

    /// The peer gave up an exchange that was open for long, and before its answer began: this is nothing to hold against it.
    pub fn forgive(&mut self) {
        match self {
            Self::H1(_) => {}
            Self::H2(conn) => conn.forgive(),
        }
    }

    /// Takes no further exchange after those there are: on HTTP/1 the next head says `Connection: close`.
    pub fn drain(&mut self, out: &mut Out) {
        match self {
            Self::H1(conn) => conn.drain(),
            Self::H2(conn) => conn.drain(out),
        }
    }

    /// Whether bytes from the peer can be used now. No while pipelined requests wait for their turn.
    pub fn wants_input(&self) -> bool {
        match self {
            Self::H1(conn) => conn.wants_input(),
            Self::H2(conn) => conn.wants_input(),
        }
    }

    /// Whether the connection is to be closed as soon as everything pending is written.
    pub fn wants_close(&self) -> bool {
        match self {
            Self::H1(conn) => conn.wants_close(),
            Self::H2(conn) => conn.wants_close(),
        }
    }

    /// Whether the message being written has its end in that of the connection alone.
    pub fn ends_with_connection(&self) -> bool {
        match self {
            Self::H1(conn) => conn.ends_with_connection(),
            Self::H2(_) => false,
        }
    }

    /// Whether no exchange is under way, not even the first bytes of one.
    pub fn is_idle(&self) -> bool {
        match self {
            Self::H1(conn) => conn.is_idle(),
            Self::H2(conn) => conn.is_idle(),
        }
    }

    /// Whether `stream` has left HTTP in both directions, behind an upgrade or a `CONNECT`.
    pub fn is_tunnel(&self, stream: StreamId) -> bool {
        match self {
            Self::H1(conn) => conn.is_tunnel(stream),
            Self::H2(conn) => conn.is_tunnel(stream),
        }
    }

    /// Takes nothing more from the peer, for a reason that only the caller knows (a head that takes too long). As after
    /// an error of [`Self::next`], [`Self::answerable`] says whether the peer can still be told.
    pub fn refuse_input(&mut self) {
        match self {
            Self::H1(conn) => conn.refuse_input(),
            Self::H2(conn) => conn.refuse_input(),
        }
    }

    /// After an error of [`Self::next`] on a downstream connection: where the answer can still be written, if anywhere.
    pub fn answerable(&self) -> Option<StreamId> {
        match self {
            Self::H1(conn) => conn.answerable(),
            Self::H2(_) => None,
        }
    }
}
