//! One direction of a tunnel.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::pipe::{SpliceFlags, splice};
use tokio::io::{Interest, ReadBuf};

use super::pools::{Pipe, Pools};
use super::socket::Socket;

/// One direction: bytes read from one socket and owed to the other.
#[derive(Debug)]
pub(super) struct Flow {
    phase: Phase,
    mover: Mover,
    /// Bytes written.
    pub(super) moved: u64,
    /// Bytes owed that were copied: read before the tunnel began, or left by a short write.
    owed: Owed,
    /// Bytes owed that are in a pipe.
    pipe: Option<Pipe>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// The source has ended; what is owed is still written, then the end is passed on.
    Ending,
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mover {
    Copy,
    /// So many splices in a row were small.
    Splice {
        small: u8,
    },
    /// The kernel cannot splice these sockets.
    CopyOnly,
}

#[derive(Debug, Default)]
struct Owed {
    bytes: Vec<u8>,
    written: usize,
}

/// Which of the two sockets of a direction failed.
#[derive(Debug)]
pub(super) enum Fault {
    Read,
    Write,
}

/// Reads and writes of one direction in one turn; then others have theirs.
const ROUNDS_PER_TURN: usize = 16;

/// A read of so many bytes makes a direction splice. Where exactly splicing becomes cheaper is not measured yet: the
/// pings of `benches/benches/tcp.rs` varied several times over between runs on a machine that was not quiet.
const LARGE_READ_BYTES: usize = 16 * 1024;

/// A splice of fewer bytes counts as small: copying them is cheaper.
const SMALL_SPLICE_BYTES: usize = 8 * 1024;

/// So many small splices in a row make a direction copy again.
const SMALL_SPLICES_MAX: u8 = 8;

impl Flow {
    pub(super) fn new(preread: Vec<u8>) -> Self {
        Self {
            phase: Phase::Open,
            mover: Mover::Copy,
            moved: 0,
            owed: Owed {
                bytes: preread,
                written: 0,
            },
            pipe: None,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Whether the source has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.phase != Phase::Open
    }

    /// Gives up on this direction; what is owed is lost.
    pub(super) fn abandon(&mut self) {
        self.phase = Phase::Closed;
        self.pipe = None;
        self.owed = Owed::default();
    }

    /// Moves bytes until the source has ended and all is written (`Ready(Ok)`), a socket fails, or there is nothing
    /// to do now.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl Socket,
        to: &mut impl Socket,
        pools: &Pools,
    ) -> Poll<Result<(), Fault>> {
        for _ in 0..ROUNDS_PER_TURN {
            if self.phase == Phase::Closed {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_flush(cx, to))?;
            if self.phase == Phase::Ending {
                self.end(to);
                continue;
            }
            let filled = match self.mover {
                Mover::Copy | Mover::CopyOnly => self.poll_copy(cx, from, to, pools),
                Mover::Splice { .. } => self.poll_splice_in(cx, from, pools),
            };
            if filled.is_pending() {
                // At rest: an empty pipe serves others meanwhile.
                self.pipe.take_if(|pipe| pipe.held == 0);
            }
            ready!(filled)?;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes what is owed.
    fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut impl Socket,
    ) -> Poll<Result<(), Fault>> {
        while let Some(rest) = self
            .owed
            .bytes
            .get(self.owed.written..)
            .filter(|rest| !rest.is_empty())
        {
            let n = ready!(Pin::new(&mut *to).poll_write(cx, rest)).map_err(|_| Fault::Write)?;
            if n == 0 {
                return Poll::Ready(Err(Fault::Write));
            }
            self.owed.written += n;
            self.moved += n as u64;
        }
        if self.owed.written > 0 {
            self.owed = Owed::default();
        }
        self.poll_splice_out(cx, to)
    }

    fn poll_copy(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl Socket,
        to: &mut impl Socket,
        pools: &Pools,
    ) -> Poll<Result<(), Fault>> {
        let mut scratch = pools.scratch();
        let mut buffer = ReadBuf::new(&mut scratch);
        ready!(Pin::new(&mut *from).poll_read(cx, &mut buffer)).map_err(|_| Fault::Read)?;
        if buffer.filled().is_empty() {
            self.phase = Phase::Ending;
            return Poll::Ready(Ok(()));
        }
        let large = buffer.remaining() == 0 || buffer.filled().len() >= LARGE_READ_BYTES;
        if large && self.mover == Mover::Copy && from.splices() && to.splices() {
            self.mover = Mover::Splice { small: 0 };
        }
        let mut rest = buffer.filled();
        while !rest.is_empty() {
            match Pin::new(&mut *to).poll_write(cx, rest) {
                Poll::Ready(Ok(n)) if n > 0 => {
                    self.moved += n as u64;
                    rest = rest.get(n..).unwrap_or_default();
                }
                Poll::Ready(_) => return Poll::Ready(Err(Fault::Write)),
                Poll::Pending => {
                    // The scratch buffer is everybody's: what is left waits in a buffer of its own size.
                    self.owed.bytes = rest.to_vec();
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_splice_in(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl Socket,
        pools: &Pools,
    ) -> Poll<Result<(), Fault>> {
        loop {
            ready!(from.poll_read_ready(cx)).map_err(|_| Fault::Read)?;
            if self.pipe.is_none() {
                self.pipe = pools.pipe();
            }
            let Some(pipe) = &mut self.pipe else {
                self.mover = Mover::Copy;
                return Poll::Ready(Ok(()));
            };
            let len = pipe.bytes_max();
            let spliced = from.try_io(Interest::READABLE, || {
                Ok(splice(&*from, None, pipe.write_end(), None, len, FLAGS)?)
            });
            match spliced {
                Ok(0) => {
                    self.phase = Phase::Ending;
                    return Poll::Ready(Ok(()));
                }
                Ok(n) => {
                    pipe.held += n;
                    self.weigh(n);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if is_again(&error) => {}
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    self.mover = Mover::CopyOnly;
                    return Poll::Ready(Ok(()));
                }
                Err(_) => return Poll::Ready(Err(Fault::Read)),
            }
        }
    }

    fn poll_splice_out(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut impl Socket,
    ) -> Poll<Result<(), Fault>> {
        let Some(pipe) = &mut self.pipe else {
            return Poll::Ready(Ok(()));
        };
        while pipe.held > 0 {
            ready!(to.poll_write_ready(cx)).map_err(|_| Fault::Write)?;
            let spliced = to.try_io(Interest::WRITABLE, || {
                Ok(splice(pipe.read_end(), None, &*to, None, pipe.held, FLAGS)?)
            });
            match spliced {
                Ok(0) => return Poll::Ready(Err(Fault::Write)),
                Ok(n) => {
                    pipe.held = pipe.held.saturating_sub(n);
                    self.moved += n as u64;
                }
                Err(error) if is_again(&error) => {}
                Err(_) => return Poll::Ready(Err(Fault::Write)),
            }
        }
        if !matches!(self.mover, Mover::Splice { .. }) {
            self.pipe = None;
        }
        Poll::Ready(Ok(()))
    }

    /// Goes back to copying where splices stay small.
    fn weigh(&mut self, spliced: usize) {
        let Mover::Splice { small } = self.mover else {
            return;
        };
        self.mover = match small {
            _ if spliced >= SMALL_SPLICE_BYTES => Mover::Splice { small: 0 },
            SMALL_SPLICES_MAX.. => Mover::Copy,
            _ => Mover::Splice { small: small + 1 },
        };
    }

    /// Passes the source's end on: a FIN.
    fn end(&mut self, to: &mut impl Socket) {
        to.end();
        self.phase = Phase::Closed;
        self.pipe = None;
    }
}

const FLAGS: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);

fn is_again(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
