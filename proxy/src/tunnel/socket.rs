//! What a tunnel asks of a socket.

use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::{TcpStream, UnixStream};

use crate::stream::Plain;
use crate::tls::TlsStream;

/// A stream socket that the kernel may splice from and to, where it says so.
pub trait Socket: AsyncRead + AsyncWrite + AsFd + Unpin {
    /// Whether its bytes may be moved by the kernel, unseen.
    fn splices(&self) -> bool;

    /// Ready once a read may succeed.
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ready once a write may succeed.
    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Tries a system call; where it would block, readiness is cleared.
    fn try_io<R>(&self, interest: Interest, call: impl FnMut() -> io::Result<R>) -> io::Result<R>;

    /// Closes the write side, once all that was written has been taken.
    fn end(&mut self);
}

macro_rules! spliced {
    ($stream:ty) => {
        impl Socket for $stream {
            fn splices(&self) -> bool {
                true
            }

            fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                <$stream>::poll_read_ready(self, cx)
            }

            fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                <$stream>::poll_write_ready(self, cx)
            }

            fn try_io<R>(
                &self,
                interest: Interest,
                call: impl FnMut() -> io::Result<R>,
            ) -> io::Result<R> {
                <$stream>::try_io(self, interest, call)
            }

            fn end(&mut self) {
                // One that is gone already tells so on the other direction.
                drop(SockRef::from(&*self).shutdown(Shutdown::Write));
            }
        }
    };
}

spliced!(TcpStream);
spliced!(UnixStream);

impl Socket for Plain {
    fn splices(&self) -> bool {
        true
    }

    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Unix(stream) => stream.poll_read_ready(cx),
        }
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_write_ready(self, cx)
    }

    fn try_io<R>(&self, interest: Interest, call: impl FnMut() -> io::Result<R>) -> io::Result<R> {
        match self {
            Self::Tcp(stream) => stream.try_io(interest, call),
            Self::Unix(stream) => stream.try_io(interest, call),
        }
    }

    fn end(&mut self) {
        self.shutdown();
    }
}

impl Socket for TlsStream {
    fn splices(&self) -> bool {
        false
    }

    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Socket::poll_read_ready(self.socket(), cx)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_write_ready(cx)
    }

    fn try_io<R>(&self, interest: Interest, call: impl FnMut() -> io::Result<R>) -> io::Result<R> {
        self.socket().try_io(interest, call)
    }

    fn end(&mut self) {
        self.shutdown();
    }
}
