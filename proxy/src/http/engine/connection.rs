//! A connection as the engine sees it: a codec, what waits to be written, and whose it is.

use std::rc::Rc;
use std::sync::Arc;

use tokio::time::Instant;
use weft_config::listener::HttpLimits;

use super::arena::Key;
use super::keepalive::Keepalive;
use super::pool::PoolKey;
use super::streams::Streams;
use crate::balance::{BreakerGuard, Cluster};
use crate::http::codec::{Codec, Out, ReadBuf};
use crate::listener::ConnectionFacts;

/// The name of a connection.
pub(crate) type ConnId = Key<Connection>;

/// One connection, downstream or upstream.
pub(crate) struct Connection {
    pub(super) codec: Codec,
    /// What waits to be written. Without memory while nothing does.
    pub(super) out: Out,
    /// What was read and not yet taken: requests pipelined behind one that runs. `None` at rest.
    pub(super) input: Option<ReadBuf>,
    pub(super) role: Role,
    /// The exchanges that run on it.
    pub(super) streams: Streams,
    /// The peer has closed its side.
    pub(super) eof: bool,
    /// Listed among the connections to be written at the end of the turn.
    pub(super) dirty: bool,
    /// The pump was told not to read, and waits to be told otherwise.
    pub(super) starved: bool,
    /// Its turn was over before its input was: it goes on when others had theirs.
    pub(super) paused: bool,
    pub(super) closing: Closing,
    /// The write side is closed once everything pending is written; the peer may go on sending.
    pub(super) half_closes: bool,
    /// Bytes that the socket took, of all that were ever to be written.
    pub(super) written: u64,
    /// Asks the peer for signs of life, where that is configured.
    pub(super) keepalive: Option<Box<Keepalive>>,
    /// When the peer has to have acknowledged our settings; looked at when that time has come, and not before.
    pub(super) settings_by: Option<Instant>,
    /// Bytes of trailers that wait behind bodies for the downstream to take them.
    pub(super) trailers_held: usize,
    /// When the connection came to rest or last moved.
    pub(super) active_at: Instant,
}

/// Whose connection it is.
pub(crate) enum Role {
    /// From a peer that came to us.
    Downstream(Downstream),
    /// To an endpoint.
    Upstream(Upstream),
}

/// How far a connection's end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    /// Not at all.
    No,
    /// Closed once everything pending is written. `linger`: the peer may still be sending, and would lose the
    /// answer to a reset if we closed with its bytes unread (RFC 9112 §9.6).
    Flush {
        /// Whether the write side is closed first and what comes is read and dropped for a while.
        linger: bool,
    },
    /// The write side is closed; what comes is dropped until the peer closes or this time.
    Linger(Instant),
}

/// A connection from a peer that came to us.
pub(crate) struct Downstream {
    pub(super) facts: Rc<ConnectionFacts>,
    pub(super) opened_at: Instant,
    /// When the first byte of an unfinished head came.
    pub(super) head_since: Option<Instant>,
    /// Which of them that is, on a connection that exchanges share.
    pub(super) unfinished: Option<u32>,
    pub(super) requests: u32,
    /// Those of the listener when the last request came.
    pub(super) limits: HttpLimits,
    /// Tells the peer to go elsewhere: by `Connection: close` on the next answer, or by GOAWAY.
    pub(super) draining: bool,
    /// When a peer that was told so by a GOAWAY is told which stream is the last, should it not have answered by then.
    pub(super) ends_at: Option<Instant>,
}

/// A connection to an endpoint.
pub(crate) struct Upstream {
    pub(super) cluster: Arc<Cluster>,
    /// The cluster as it was when the connection was made.
    pub(super) config: Arc<weft_config::cluster::Cluster>,
    pub(super) pool: PoolKey,
    pub(super) requests: u32,
    /// Takes no further request, and is closed after those that run on it.
    pub(super) retired: bool,
    /// When anything was last read.
    pub(super) heard_at: Instant,
    /// When the first request was sent since then; `None`: none was.
    pub(super) asked_at: Option<Instant>,
    /// Held for the circuit breaker's count of connections.
    pub(super) _open: BreakerGuard,
}

impl Connection {
    pub(super) fn downstream(codec: Codec, downstream: Downstream, now: Instant) -> Self {
        Self::new(codec, Role::Downstream(downstream), now)
    }

    pub(super) fn upstream(codec: Codec, upstream: Upstream, now: Instant) -> Self {
        Self::new(codec, Role::Upstream(upstream), now)
    }

    fn new(codec: Codec, role: Role, now: Instant) -> Self {
        Self {
            codec,
            out: Out::new(),
            input: None,
            role,
            streams: Streams::default(),
            eof: false,
            dirty: false,
            starved: false,
            paused: false,
            closing: Closing::No,
            half_closes: false,
            keepalive: None,
            settings_by: None,
            written: 0,
            trailers_held: 0,
            active_at: now,
        }
    }

    /// Bytes that were ever to be written: what is put next begins there.
    pub(super) fn queued(&self) -> u64 {
        self.written + self.out.len() as u64
    }

    pub(super) fn as_downstream(&mut self) -> Option<&mut Downstream> {
        match &mut self.role {
            Role::Downstream(down) => Some(down),
            Role::Upstream(_) => None,
        }
    }

    pub(super) fn as_upstream(&mut self) -> Option<&mut Upstream> {
        match &mut self.role {
            Role::Upstream(up) => Some(up),
            Role::Downstream(_) => None,
        }
    }
}
