//! Reads what is needed to know the protocol, and keeps it.

use std::io;

use tokio::net::TcpStream;

use super::classify::{Protocol, REQUEST_LINE_BYTES_MAX, classify, classify_http};
use super::hello::{Hello, HelloScan, scan_hello};

/// What a connection may turn out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// Anything.
    Any,
    /// HTTP of some version; bytes that are none are for its codec to refuse.
    Http,
    /// TLS; bytes that are none are for the handshake to refuse.
    Tls,
}

/// How a protocol was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The first bytes said so.
    ByBytes(Protocol),
    /// The downstream ended, or nearly so, before its bytes said anything.
    ByEnd,
}

/// Reads the first bytes of one connection.
#[derive(Debug)]
pub struct Detector {
    scan: Scan,
    bytes: Vec<u8>,
}

/// Read at once. Request lines and ClientHellos are mostly shorter.
const READ_BYTES: usize = 4096;

impl Detector {
    /// Nothing read yet.
    pub fn new(scan: Scan) -> Self {
        Self {
            scan,
            bytes: Vec::new(),
        }
    }

    /// Reads until the protocol is known or the downstream ends. May be dropped and called again: what was read stays here.
    ///
    /// # Errors
    /// The socket failed.
    pub async fn run(&mut self, stream: &TcpStream) -> io::Result<Found> {
        loop {
            if let Some(found) = self.look(stream)? {
                return Ok(found);
            }
            stream.readable().await?;
        }
    }

    /// Reads what is there without waiting; `None` while more is needed.
    ///
    /// # Errors
    /// The socket failed.
    pub fn look(&mut self, stream: &TcpStream) -> io::Result<Option<Found>> {
        let mut buffer = [0; READ_BYTES];
        loop {
            match stream.try_read(&mut buffer) {
                Ok(0) => return Ok(Some(Found::ByEnd)),
                Ok(n) => self
                    .bytes
                    .extend_from_slice(buffer.get(..n).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            if let Some(protocol) = self.verdict() {
                return Ok(Some(Found::ByBytes(protocol)));
            }
        }
    }

    /// Reads the whole ClientHello of a connection that speaks TLS; `None`: it is none, which its handshake will say.
    ///
    /// # Errors
    /// The socket failed.
    pub async fn hello(&mut self, stream: &TcpStream) -> io::Result<Option<Hello>> {
        loop {
            match scan_hello(&self.bytes) {
                HelloScan::Whole(hello) => return Ok(Some(hello)),
                HelloScan::Broken => return Ok(None),
                HelloScan::More => {}
            }
            stream.readable().await?;
            let mut buffer = [0; READ_BYTES];
            match stream.try_read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(n) => {
                    let read = buffer.get(..n).unwrap_or_default();
                    self.bytes.extend_from_slice(read);
                }
                Err(error) if is_again(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether as much was read as is ever looked at, and its first line had no end yet.
    pub fn met_bound(&self) -> bool {
        let line = self.bytes.get(..REQUEST_LINE_BYTES_MAX);
        self.scan == Scan::Any && line.is_some_and(|line| memchr::memchr(b'\n', line).is_none())
    }

    /// What a connection is taken for that never said.
    pub fn undecided(&self) -> Protocol {
        match self.scan {
            Scan::Any => Protocol::Opaque,
            Scan::Http => Protocol::Http1,
            Scan::Tls => Protocol::Tls,
        }
    }

    /// What was read, for whoever takes the connection.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn verdict(&self) -> Option<Protocol> {
        match self.scan {
            Scan::Any => classify(&self.bytes),
            Scan::Http => classify_http(&self.bytes),
            Scan::Tls => self.bytes.first().map(|_| Protocol::Tls),
        }
    }
}

fn is_again(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, WouldBlock};
    matches!(error.kind(), WouldBlock | Interrupted)
}
