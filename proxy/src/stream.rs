//! Connections as the rooms hand them on: a socket, plain or encrypted.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::tls::{TlsFacts, TlsStream};

/// A connection, to an endpoint or from a downstream.
#[derive(Debug)]
pub enum Stream {
    /// As it is.
    Plain(Plain),
    /// Encrypted.
    Tls(Box<TlsStream>),
}

/// A socket.
#[derive(Debug)]
pub enum Plain {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix domain socket.
    Unix(UnixStream),
}

impl Plain {
    /// Connects to a Unix socket: a file or, with `@` in front, a name of Linux's abstract namespace.
    ///
    /// # Errors
    /// As the system says.
    pub async fn connect_unix(path: &str) -> io::Result<Self> {
        let stream = match path.strip_prefix('@') {
            None => UnixStream::connect(path).await,
            Some(name) => UnixStream::connect(format!("\0{name}")).await,
        };
        stream.map(Self::Unix)
    }

    /// Writes once.
    ///
    /// # Errors
    /// `WouldBlock`: it takes nothing now. Any other: it is broken.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write(bytes),
            Self::Unix(stream) => stream.try_write(bytes),
        }
    }

    /// Ready once a write may succeed.
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_write_ready(cx),
            Self::Unix(stream) => stream.poll_write_ready(cx),
        }
    }

    /// Closes the write side.
    pub fn shutdown(&self) {
        // It fails where the peer is gone already, which reading tells.
        let _ = SockRef::from(self).shutdown(Shutdown::Write);
    }
}

impl Stream {
    /// Closes the write side; an encrypted one says so first.
    pub fn shutdown(&mut self) {
        match self {
            Self::Plain(socket) => socket.shutdown(),
            Self::Tls(stream) => stream.shutdown(),
        }
    }

    /// Our address and the peer's, where it is TCP.
    pub fn addresses(&self) -> Option<(SocketAddr, SocketAddr)> {
        match self.socket() {
            Plain::Tcp(stream) => Some((stream.local_addr().ok()?, stream.peer_addr().ok()?)),
            Plain::Unix(_) => None,
        }
    }

    /// Has the peer find a reset once the socket is dropped, and not the end of what was written.
    pub fn abort(&self) {
        if let Plain::Tcp(stream) = self.socket() {
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }

    /// Ready once the other side has said something, its end included.
    pub fn poll_heard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Plain(Plain::Tcp(stream)) => stream.poll_read_ready(cx).map(drop),
            Self::Plain(Plain::Unix(stream)) => stream.poll_read_ready(cx).map(drop),
            Self::Tls(stream) => stream.poll_heard(cx),
        }
    }

    /// What its handshake has shown; `None`: it is not encrypted.
    pub fn tls(&self) -> Option<&TlsFacts> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => Some(stream.facts()),
        }
    }

    /// The socket itself.
    pub fn socket(&self) -> &Plain {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.socket(),
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self::Plain(Plain::Tcp(stream))
    }
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        Self::Plain(Plain::Unix(stream))
    }
}

impl From<TlsStream> for Stream {
    fn from(stream: TlsStream) -> Self {
        Self::Tls(Box::new(stream))
    }
}

impl AsFd for Plain {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl AsyncRead for Plain {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, into),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Plain {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shutdown();
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, into),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }
}
