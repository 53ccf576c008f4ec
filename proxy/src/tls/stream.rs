//! An encrypted connection: a socket and its session.
//!
//! What is read is opened in the thread's scratch memory and handed on at once; what is written is sealed there. The connection
//! itself keeps the beginning of a record whose rest has not come, and what its socket did not take; mostly neither.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::peer::TlsFacts;
use super::session::Session;
use crate::stream::Plain;

/// An encrypted connection, with its handshake behind it.
pub struct TlsStream {
    socket: Plain,
    session: Session,
    facts: Arc<TlsFacts>,
    /// The beginning of a record.
    unread: Vec<u8>,
    /// Plain bytes that came before anybody asked for them, or more than were asked for.
    early: Vec<u8>,
    unsent: Unsent,
    reading: Reading,
}

/// Sealed bytes that the socket has not taken.
#[derive(Default)]
struct Unsent {
    bytes: Vec<u8>,
    sent: usize,
    /// So many plain bytes are in there, of which nobody has been told yet that they were written.
    plain: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Open,
    /// The peer said that it sends no more.
    Ended,
    /// The peer broke the protocol, or went away without a word.
    Broken,
}

/// Read at once: two whole records.
const READ_BYTES: usize = 2 * (16 * 1024 + 256);

/// Sealed at once: what a socket takes in one go, mostly.
const SEAL_BYTES_MAX: usize = 64 * 1024;

thread_local! {
    /// A worker carries one connection at a time: all of them share this memory.
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::default());
}

#[derive(Default)]
struct Scratch {
    read: Vec<u8>,
    sealed: Vec<u8>,
}

impl TlsStream {
    /// A connection whose handshake is over; `unread` was read behind it.
    pub(super) fn new(
        socket: Plain,
        session: Session,
        facts: TlsFacts,
        unread: Vec<u8>,
        early: Vec<u8>,
        ended: bool,
    ) -> Self {
        Self {
            socket,
            session,
            facts: Arc::new(facts),
            unread,
            early,
            unsent: Unsent::default(),
            reading: match ended {
                true => Reading::Ended,
                false => Reading::Open,
            },
        }
    }

    /// What the handshake has shown.
    pub fn facts(&self) -> &Arc<TlsFacts> {
        &self.facts
    }

    /// The socket below.
    pub(crate) fn socket(&self) -> &Plain {
        &self.socket
    }

    /// Reads what is there and gives `plain` what it says. `Ready(0)`: the peer sends no more.
    ///
    /// # Errors
    /// The socket failed, the peer broke the protocol, or it went away without saying that it had sent all (RFC 8446 §6.1): what
    /// came may have been cut off by somebody else.
    pub(crate) fn poll_open(
        &mut self,
        cx: &mut Context<'_>,
        plain: &mut dyn FnMut(&[u8]),
    ) -> Poll<io::Result<usize>> {
        if !self.early.is_empty() {
            let early = std::mem::take(&mut self.early);
            plain(&early);
            return Poll::Ready(Ok(early.len()));
        }
        SCRATCH.with_borrow_mut(|scratch| {
            loop {
                match self.reading {
                    Reading::Open => {}
                    Reading::Ended => return Poll::Ready(Ok(0)),
                    Reading::Broken => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                }
                let opened = ready!(self.poll_once(cx, scratch, plain))?;
                if opened > 0 {
                    return Poll::Ready(Ok(opened));
                }
            }
        })
    }

    /// Ready once the peer has said something, its end included; it is kept for whoever reads. Tickets and the like say nothing.
    pub(crate) fn poll_heard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.early.is_empty() {
            return Poll::Ready(());
        }
        let mut heard = Vec::new();
        let opened = self.poll_open(cx, &mut |plain| heard.extend_from_slice(plain));
        self.early = heard;
        opened.map(drop)
    }

    /// Reads once. No plain bytes: what came was none, or not whole.
    fn poll_once(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
        plain: &mut dyn FnMut(&[u8]),
    ) -> Poll<io::Result<usize>> {
        let Scratch { read, sealed } = scratch;
        let held = self.unread.len();
        read.resize(READ_BYTES.max(held * 2), 0);
        let spare = read.get_mut(held..).unwrap_or_default();
        let mut buffer = ReadBuf::new(spare);
        ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer))?;
        let came = buffer.filled().len();
        if came == 0 {
            self.reading = Reading::Broken;
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        if let Some(front) = read.get_mut(..held) {
            front.copy_from_slice(&self.unread);
        }
        self.unread = Vec::new();
        let input = read.get_mut(..held + came).unwrap_or_default();
        sealed.clear();
        let mut bytes = 0;
        let opened = self.session.open(input, sealed, &mut |piece| {
            bytes += piece.len();
            plain(piece);
        });
        self.answer(sealed);
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.reading = Reading::Broken;
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
            }
        };
        let rest = input.get(opened.used..).unwrap_or_default();
        if opened.ended {
            self.reading = Reading::Ended;
        } else if !rest.is_empty() {
            self.unread = rest.to_vec();
        }
        Poll::Ready(Ok(bytes))
    }

    /// Sends what the session says of its own: alerts, key updates. What the socket does not take waits for the next write.
    fn answer(&mut self, sealed: &[u8]) {
        if sealed.is_empty() {
            return;
        }
        let at_once = match self.unsent.bytes.is_empty() {
            // A failure shows with the next read or write.
            true => self.socket.try_write(sealed).unwrap_or(0),
            false => 0,
        };
        let rest = sealed.get(at_once..).unwrap_or_default();
        self.unsent.bytes.extend_from_slice(rest);
    }

    /// Writes once. `None`: the socket takes nothing now; the same bytes must come again.
    ///
    /// # Errors
    /// The socket failed.
    pub(crate) fn try_write(&mut self, plain: &[u8]) -> io::Result<Option<usize>> {
        if self.unsent.bytes.is_empty() {
            let plain = plain.get(..SEAL_BYTES_MAX).unwrap_or(plain);
            return SCRATCH.with_borrow_mut(|scratch| self.seal(plain, &mut scratch.sealed));
        }
        if !self.flush()? {
            return Ok(None);
        }
        match std::mem::take(&mut self.unsent.plain) {
            // What waited was the session's own.
            0 => self.try_write(plain),
            written => Ok(Some(written)),
        }
    }

    fn seal(&mut self, plain: &[u8], sealed: &mut Vec<u8>) -> io::Result<Option<usize>> {
        if plain.is_empty() {
            return Ok(Some(0));
        }
        sealed.clear();
        let done = self.session.seal(plain, &mut self.unread, sealed);
        done.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let mut sent = 0;
        while let Some(rest) = sealed.get(sent..).filter(|rest| !rest.is_empty()) {
            match self.socket.try_write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => sent += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.unsent.bytes.extend_from_slice(rest);
                    self.unsent.plain = plain.len();
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Some(plain.len()))
    }

    /// Writes what waits; `false`: not all of it.
    fn flush(&mut self) -> io::Result<bool> {
        let Unsent { bytes, sent, .. } = &mut self.unsent;
        while let Some(rest) = bytes.get(*sent..).filter(|rest| !rest.is_empty()) {
            match self.socket.try_write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => *sent += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        *bytes = Vec::new();
        *sent = 0;
        Ok(true)
    }

    /// Says that nothing more is sent, then closes the write side. All that was written has been taken by the socket; where a word
    /// of the session's own still waits, which nobody was told of, the connection ends without a farewell: half of a record
    /// behind which another begins would be taken for an attack.
    pub(crate) fn shutdown(&mut self) {
        if !self.flush().unwrap_or(false) {
            return self.socket.shutdown();
        }
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.sealed.clear();
            let ended = self.session.end(&mut self.unread, &mut scratch.sealed);
            if ended.is_ok() {
                // A few bytes, which a socket takes that has taken all before; one that is gone needs no farewell.
                let _ = self.socket.try_write(&scratch.sealed);
            }
        });
        self.socket.shutdown();
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        let mut more = Vec::new();
        ready!(stream.poll_open(cx, &mut |plain| {
            let fits = plain.len().min(into.remaining());
            let (now, later) = plain.split_at(fits);
            into.put_slice(now);
            more.extend_from_slice(later);
        }))?;
        stream.early = more;
        Poll::Ready(Ok(()))
    }
}

/// A write that is `Pending` has sealed its bytes already: the same ones must come again.
impl AsyncWrite for TlsStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        loop {
            if let Some(written) = stream.try_write(bytes)? {
                return Poll::Ready(Ok(written));
            }
            ready!(stream.socket.poll_write_ready(cx))?;
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        while !stream.flush()? {
            ready!(stream.socket.poll_write_ready(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        ready!(Pin::new(&mut *stream).poll_flush(cx))?;
        stream.shutdown();
        Poll::Ready(Ok(()))
    }
}

impl AsFd for TlsStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl std::fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsStream")
            .field("facts", &self.facts)
            .finish_non_exhaustive()
    }
}
