//! What a tunnel asks of a socket.

use std::io;
use std::os::fd::AsFd;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::{TcpStream, UnixStream};

/// A stream socket that the kernel may splice from and to.
pub trait Socket: AsyncRead + AsyncWrite + AsFd + Unpin {
    /// Ready once a read may succeed.
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ready once a write may succeed.
    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Tries a system call; where it would block, readiness is cleared.
    fn try_io<R>(&self, interest: Interest, call: impl FnMut() -> io::Result<R>) -> io::Result<R>;
}

macro_rules! socket {
    ($stream:ty) => {
        impl Socket for $stream {
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
        }
    };
}

socket!(TcpStream);
socket!(UnixStream);
