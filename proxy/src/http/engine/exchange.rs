//! An exchange: a request on a downstream stream, paired with the upstream stream that serves it.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use smallvec::SmallVec;
use tokio::time::Instant;
use weft_config::listener::HttpLimits;
use weft_config::policy::access::Claims;

use super::arena::Key;
use super::body::{AnswerRest, RequestBody};
use super::connection::ConnId;
use super::filters::Held;
use super::pool::PoolKey;
use crate::balance::{ActiveGuard, BreakerGuard, EndpointId, EndpointState};
use crate::endpoint::Beside;
use crate::http::codec::StreamId;
use crate::http::head::{Head, Start};
use crate::listener::ConnectionFacts;
use crate::policy::{CallerTerms, RetryState};
use crate::route::Routed;
use crate::telemetry::{Limit, RequestLog};

/// The name of an exchange.
pub(crate) type ExchangeId = Key<Exchange>;

/// One request from its head to the end of its answer.
pub(crate) struct Exchange {
    pub(super) facts: Rc<ConnectionFacts>,
    pub(super) down: ConnId,
    pub(super) stream: StreamId,
    pub(super) phase: Phase,
    /// The request's head, edited as far as filters and route have come; kept for further attempts.
    pub(super) head: Head,
    /// What its head started with when it was let through.
    pub(super) judged: Option<Start>,
    pub(super) asks: Asks,
    pub(super) body: RequestBody,
    /// The one view that decides everything about this request.
    pub(super) routed: Option<Routed>,
    pub(super) attempt: Attempt,
    pub(super) retry: Option<RetryState>,
    /// What its caller asks for of time-outs and retries, where it may.
    pub(super) terms: Option<Box<CallerTerms>>,
    /// What its tokens say.
    pub(super) claims: Claims,
    /// A fault under way.
    pub(super) held: Option<Held>,
    /// Endpoints that failed this request.
    pub(super) avoid: SmallVec<[EndpointId; 4]>,
    pub(super) answer: Answer,
    /// The head of an answer that may be thrown away for another attempt when its trailers come.
    pub(super) withheld: Option<Head>,
    /// What of the answer the downstream has not taken yet.
    pub(super) rest: AnswerRest,
    pub(super) deadlines: Deadlines,
    pub(super) limits: HttpLimits,
    /// What is counted and logged at the end; `None` until a listener is found.
    pub(super) log: Option<RequestLog>,
    /// The address that the request came from, as far as hops are trusted.
    pub(super) client: IpAddr,
    pub(super) started_at: Instant,
    /// Bytes that came behind an upgrade before both sides were ready for it.
    pub(super) raw_from_down: Vec<u8>,
    /// There are no more of them.
    pub(super) raw_ended: bool,
    /// What the answer to an upgrade is to say of the key that the downstream sent.
    pub(super) websocket_accept: Option<Box<str>>,
    pub(super) raw_from_up: Vec<u8>,
}

/// How far an exchange has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Its route is not found yet, because the control plane is being asked for the name.
    Naming,
    /// Runs filters from this one on. Held by a fault while `Deadlines::wake_at` is set, or until keys come.
    Filtering(usize),
    /// Waits for a connection of the pool.
    Pending,
    /// Waits before the next attempt.
    Backoff,
    /// Request and answer pass.
    Streaming,
    /// Bytes pass that are no messages, on a stream of a connection that other streams share.
    Tunnel,
    /// The 101 or 200 is written; once both sides are flushed their sockets leave.
    Switching,
}

/// What the request is, apart from its head's fields.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asks {
    /// `HEAD`: the answer has no body.
    pub(super) head_only: bool,
    /// `CONNECT`.
    pub(super) connect: bool,
    /// Something follows its head: content, or with `opaque` what is none.
    pub(super) content: bool,
    /// Asks for another protocol, and may.
    pub(super) upgrade: bool,
    /// Asks to leave HTTP on a stream of a connection that others share: what follows its head is no body.
    pub(super) opaque: bool,
    /// `content-type: application/grpc…`.
    pub(super) grpc: bool,
    /// Its method may be repeated.
    pub(super) idempotent: bool,
}

/// The attempt that runs.
#[derive(Default)]
pub(crate) struct Attempt {
    /// How many were begun.
    pub(super) count: u32,
    pub(super) endpoint: Option<Arc<EndpointState>>,
    pub(super) up: Option<UpStream>,
    /// Whether it goes over HTTP/2.
    pub(super) http2: bool,
    /// Whether it is a tunnel, whose bytes nobody looks into.
    pub(super) opaque: bool,
    /// What the way to an application beside us depends on.
    pub(super) beside: Option<Beside>,
    /// How often the endpoint said that it had not begun.
    pub(super) not_begun: u8,
    /// Whether a pooled connection found dead was already replaced.
    pub(super) replaced: bool,
    /// It is answered, and the status that says how it went has not come yet.
    pub(super) status_due: bool,
    /// When its request began to be sent.
    pub(super) began_at: Option<Instant>,
    pub(super) running: Option<BreakerGuard>,
    pub(super) waiting: Option<BreakerGuard>,
    pub(super) retrying: Option<BreakerGuard>,
    pub(super) active: Option<ActiveGuard>,
}

impl Attempt {
    /// The pool that its connection comes from.
    pub(super) fn pool(&self, endpoint: EndpointId) -> PoolKey {
        PoolKey {
            endpoint,
            http2: self.http2,
            opaque: self.opaque,
            beside: self.beside,
        }
    }
}

/// The stream that serves an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UpStream {
    pub(super) conn: ConnId,
    pub(super) stream: StreamId,
    /// What the connection was ever to write before this request.
    pub(super) begins_at: u64,
}

/// What was told downstream.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Answer {
    pub(super) status: u16,
    /// The final head is on its way; from here there is no other answer.
    pub(super) begun: bool,
    pub(super) ended: bool,
    /// It is gRPC, and its trailers are to say how it ends.
    pub(super) ends_in_status: bool,
    pub(super) bytes: u64,
    /// When the upstream's head came.
    pub(super) head_at: Option<Instant>,
}

/// What ends or wakes an exchange.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadlines {
    /// The route's bound, once the request is complete.
    pub(super) whole: Option<Instant>,
    /// The attempt's bound, until its head comes.
    pub(super) attempt: Option<Instant>,
    /// When the head of an answer is withheld no longer.
    pub(super) withheld: Option<Instant>,
    /// The end of a fault's delay or of a retry's pause.
    pub(super) wake_at: Option<Instant>,
    /// The listener's bound on receiving the request.
    pub(super) request: Option<Instant>,
    /// The downstream closed its write side: when it is taken to be gone, unless the answer moves.
    pub(super) half_closed: Option<Instant>,
    /// The route's bound on the life of the stream, or the caller's where the route obeys it.
    pub(super) life: Option<Instant>,
    /// When the caller of a gRPC method gives up, as the upstream is told; it ends nothing by itself.
    pub(super) told: Option<Instant>,
    /// When something last moved.
    pub(super) moved_at: Instant,
    /// The longest silence; zero never.
    pub(super) idle: std::time::Duration,
    /// What that is counted as.
    pub(super) silence: Limit,
}

impl Deadlines {
    pub(super) fn none(now: Instant) -> Self {
        Self {
            whole: None,
            attempt: None,
            withheld: None,
            wake_at: None,
            request: None,
            half_closed: None,
            life: None,
            told: None,
            moved_at: now,
            idle: std::time::Duration::ZERO,
            silence: Limit::IdleTime,
        }
    }

    /// Nothing but silence ends the exchange from here.
    pub(super) fn only_idle(&mut self) {
        *self = Self {
            moved_at: self.moved_at,
            idle: self.idle,
            silence: self.silence,
            ..Self::none(self.moved_at)
        };
    }

    /// A side of a tunnel has closed: silence is bounded by `bound` too.
    pub(super) fn half_closed_tunnel(&mut self, bound: std::time::Duration) {
        if self.idle.is_zero() || bound < self.idle {
            self.idle = bound;
            self.silence = Limit::HalfClosedTime;
        }
    }

    /// When silence becomes too long.
    pub(super) fn idle_at(&self) -> Option<Instant> {
        (!self.idle.is_zero()).then(|| self.moved_at + self.idle)
    }

    /// The first of all.
    pub(super) fn next(&self) -> Option<Instant> {
        [
            self.whole,
            self.attempt,
            self.withheld,
            self.wake_at,
            self.request,
            self.half_closed,
            self.life,
            self.idle_at(),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}
