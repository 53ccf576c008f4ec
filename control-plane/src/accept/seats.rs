//! The connections of the server: as many as there may be, of which those that say nothing make room for others.
//!
//! A connection speaks while it has a stream that has said who asks. Of those that do not, the one that has been silent the
//! longest goes when there is no room for a new one; where all speak, the new one is refused.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tonic::transport::server::Connected;

use super::{Bound, Counted};
use crate::identity::{Caller, Shown};

/// How long a connection that was told to go may take before the new one is refused instead.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// All seats.
#[derive(Debug)]
pub(crate) struct Seats {
    bound: Arc<Bound>,
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Counts the moments at which a connection became silent.
    moments: u64,
    /// Connections that say nothing, by the moment from which on they do not.
    silent: BTreeMap<u64, Arc<Seat>>,
    /// Connections that were told to go and are still there.
    leaving: usize,
}

/// What there is for a new connection.
enum Room {
    Free,
    /// Another one is about to go.
    Soon,
    None,
}

impl Seats {
    /// The bound that it keeps.
    pub(crate) fn bound(&self) -> &Bound {
        &self.bound
    }

    pub(crate) fn new(bound: Arc<Bound>) -> Arc<Self> {
        Arc::new(Self {
            bound,
            state: Mutex::default(),
            freed: Notify::new(),
        })
    }

    /// Takes a connection in as soon as there is room, or closes it.
    pub(crate) async fn admit(self: &Arc<Self>, stream: TcpStream) -> Option<Connection> {
        let end = Instant::now() + LEAVE_TIMEOUT;
        loop {
            match self.make_room() {
                Room::Free => return Some(Connection::new(self, stream)),
                Room::Soon if timeout_at(end, self.freed.notified()).await.is_ok() => {}
                Room::Soon | Room::None => {
                    self.bound.meet();
                    return None;
                }
            }
        }
    }

    fn make_room(&self) -> Room {
        if self.bound.open() < self.bound.max() {
            return Room::Free;
        }
        let mut state = self.lock();
        if state.leaving > 0 {
            return Room::Soon;
        }
        let Some((_, oldest)) = state.silent.pop_first() else {
            return Room::None;
        };
        state.leaving += 1;
        oldest.told_to_go.store(true, Ordering::Release);
        drop(state);
        self.bound.meet();
        oldest.task.wake();
        Room::Soon
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Plain values, consistent after every statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The seat of one connection.
struct Seat {
    seats: Arc<Seats>,
    told_to_go: AtomicBool,
    /// Of the connection, to hear that it is to go.
    task: AtomicWaker,
    /// Locked after the state of the seats.
    own: Mutex<Own>,
}

#[derive(Debug, Default)]
struct Own {
    speaking: usize,
    silent_since: u64,
    left: bool,
}

impl Seat {
    fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that it says nothing from now on.
    fn is_silent(self: &Arc<Self>, state: &mut State, own: &mut Own) {
        state.moments += 1;
        own.silent_since = state.moments;
        state.silent.insert(state.moments, Arc::clone(self));
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat").finish_non_exhaustive()
    }
}

/// Keeps its connection among those that speak.
#[derive(Debug)]
pub(crate) struct Speaking(Arc<Seat>);

impl Speaking {
    fn new(seat: &Arc<Seat>) -> Self {
        let mut state = seat.seats.lock();
        let mut own = seat.own();
        own.speaking += 1;
        state.silent.remove(&own.silent_since);
        Self(Arc::clone(seat))
    }
}

impl Drop for Speaking {
    fn drop(&mut self) {
        let seat = &self.0;
        let mut state = seat.seats.lock();
        let mut own = seat.own();
        own.speaking -= 1;
        if own.speaking == 0 && !own.left && !seat.told_to_go.load(Ordering::Acquire) {
            seat.is_silent(&mut state, &mut own);
        }
    }
}

/// Who is at the other end of a connection.
#[derive(Clone)]
pub(crate) struct Peer {
    caller: Caller,
    seat: Arc<Seat>,
}

impl Peer {
    /// The same, with what a handshake has shown.
    pub(super) fn has_shown(mut self, shown: Shown) -> Self {
        self.caller.shown = shown;
        self
    }

    /// Who that is, as far as its handshake has proved it.
    pub(crate) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// It has said who asks.
    pub(crate) fn speaks(&self) -> Speaking {
        Speaking::new(&self.seat)
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.caller.address {
            Some(address) => address.fmt(f),
            None => f.write_str("unknown"),
        }
    }
}

/// A connection that can be told to go.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    seat: Arc<Seat>,
    /// Until it is gone.
    counted: Option<Counted>,
}

impl Connection {
    fn new(seats: &Arc<Seats>, stream: TcpStream) -> Self {
        let seat = Arc::new(Seat {
            seats: Arc::clone(seats),
            told_to_go: AtomicBool::new(false),
            task: AtomicWaker::new(),
            own: Mutex::default(),
        });
        seat.is_silent(&mut seats.lock(), &mut seat.own());
        Self {
            stream,
            seat,
            counted: Some(seats.bound.count()),
        }
    }

    /// Whether it may stay; where it may, `cx` is woken when it no longer does.
    fn may_stay(&self, cx: &Context<'_>) -> io::Result<()> {
        self.seat.task.register(cx.waker());
        match self.seat.told_to_go.load(Ordering::Acquire) {
            true => Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "it was silent and makes room for others",
            )),
            false => Ok(()),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut state = self.seat.seats.lock();
        let mut own = self.seat.own();
        own.left = true;
        state.silent.remove(&own.silent_since);
        if self.seat.told_to_go.load(Ordering::Acquire) {
            state.leaving -= 1;
        }
        drop(self.counted.take()); // before anybody looks whether there is room
        self.seat.seats.freed.notify_one();
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        Peer {
            caller: Caller {
                address: self.stream.peer_addr().ok(),
                shown: Shown::Plain,
            },
            seat: Arc::clone(&self.seat),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.may_stay(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.may_stay(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.may_stay(cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
