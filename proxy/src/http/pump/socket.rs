//! The sockets of a worker, and who waits for them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::AsyncRead;

use crate::http::codec::ReadBuf;
use crate::http::engine::ConnId;
use crate::stream::Stream;

/// Sockets by connection.
#[derive(Default)]
pub(super) struct Sockets {
    slots: Vec<Option<(ConnId, Socket)>>,
}

/// A socket and the task that carries its connection.
pub(super) struct Socket {
    stream: Stream,
    task: Option<Waker>,
    /// It did not take everything, and nothing more is tried until it says that it can.
    blocked: bool,
    /// What waits for it is written when everybody had a turn.
    gathers: bool,
}

impl Sockets {
    pub(super) fn insert(&mut self, id: ConnId, stream: Stream) {
        let slot = id.slot() as usize;
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, || None);
        }
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some((
                id,
                Socket {
                    stream,
                    task: None,
                    blocked: false,
                    gathers: false,
                },
            ));
        }
    }

    pub(super) fn get(&mut self, id: ConnId) -> Option<&mut Socket> {
        match self.slots.get_mut(id.slot() as usize)? {
            Some((owner, socket)) if *owner == id => Some(socket),
            _ => None,
        }
    }

    /// Takes a socket out; its task is woken and finds it gone.
    pub(super) fn remove(&mut self, id: ConnId) -> Option<Stream> {
        self.get(id)?;
        let (_, socket) = self.slots.get_mut(id.slot() as usize)?.take()?;
        if let Some(task) = socket.task {
            task.wake();
        }
        Some(socket.stream)
    }

    /// Has the connection's task look again.
    pub(super) fn wake(&mut self, id: ConnId) {
        if let Some(task) = self.get(id).and_then(|socket| socket.task.as_ref()) {
            task.wake_by_ref();
        }
    }

    /// Closes the write side.
    pub(super) fn shutdown(&mut self, id: ConnId) {
        if let Some(socket) = self.get(id) {
            socket.stream.shutdown();
        }
    }

    /// Has the peer find a reset once the socket is dropped, and not the end of what was written.
    pub(super) fn abort(&mut self, id: ConnId) {
        if let Some(socket) = self.get(id) {
            socket.stream.abort();
        }
    }
}

impl Socket {
    pub(super) fn remember(&mut self, task: &Waker) {
        match &mut self.task {
            Some(known) => known.clone_from(task),
            None => self.task = Some(task.clone()),
        }
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// What waits for it is to be gathered; whether that is new.
    pub(super) fn gather(&mut self) -> bool {
        !std::mem::replace(&mut self.gathers, true)
    }

    /// What was gathered is about to be written.
    pub(super) fn gathered(&mut self) {
        self.gathers = false;
    }

    /// Reads once. A read that does not fill `into` tells the runtime that the socket is drained, without another call.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut ReadBuf,
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(socket) => {
                let mut buffer = tokio::io::ReadBuf::new(into.spare_mut());
                ready!(Pin::new(socket).poll_read(cx, &mut buffer))?;
                let bytes = buffer.filled().len();
                into.filled_by(bytes);
                Poll::Ready(Ok(bytes))
            }
            Stream::Tls(stream) => stream.poll_open(cx, &mut |plain| into.extend(plain)),
        }
    }

    /// Writes once; `None`: the socket takes nothing now.
    pub(super) fn try_write(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        let written = match &mut self.stream {
            Stream::Plain(socket) => socket.try_write(bytes),
            Stream::Tls(stream) => match stream.try_write(bytes)? {
                Some(bytes) => Ok(bytes),
                None => Err(io::ErrorKind::WouldBlock.into()),
            },
        };
        match written {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.blocked = true;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Ready once the socket may take bytes again (or is broken, which the next write tells).
    pub(super) fn poll_unblocked(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let ready = self.stream.socket().poll_write_ready(cx);
        if ready.is_ready() {
            self.blocked = false;
        }
        ready.map(drop)
    }
}
