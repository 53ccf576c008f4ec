//! Frames of HTTP/2 (RFC 9113 §4.1) by hand, for peers that keep to no rule.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Bound of what is waited for, on a machine that has much else to do.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What a client sends first (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames (RFC 9113 §6).
pub mod kind {
    /// Content.
    pub const DATA: u8 = 0;
    /// A field block, or its first part.
    pub const HEADERS: u8 = 1;
    /// What means nothing any more.
    pub const PRIORITY: u8 = 2;
    /// The end of a stream.
    pub const RST_STREAM: u8 = 3;
    /// How the sender is to be spoken to.
    pub const SETTINGS: u8 = 4;
    /// A question for a sign of life.
    pub const PING: u8 = 6;
    /// The end of the connection.
    pub const GOAWAY: u8 = 7;
    /// Credit.
    pub const WINDOW_UPDATE: u8 = 8;
    /// A further part of a field block.
    pub const CONTINUATION: u8 = 9;
}

/// Flags of frames.
pub mod flag {
    /// Nothing follows on the stream.
    pub const END_STREAM: u8 = 0x1;
    /// SETTINGS or a PING is answered.
    pub const ACK: u8 = 0x1;
    /// The field block is whole.
    pub const END_HEADERS: u8 = 0x4;
}

/// Settings (RFC 9113 §6.5.2).
pub mod setting {
    /// SETTINGS_INITIAL_WINDOW_SIZE.
    pub const WINDOW: u16 = 4;
}

/// A frame that came.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// The stream that it is on.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The word that begins at `at` of the payload: an error code, an increment.
    pub fn word(&self, at: usize) -> Option<u32> {
        let bytes = self.payload.get(at..)?.first_chunk()?;
        Some(u32::from_be_bytes(*bytes))
    }
}

/// A frame on the wire.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let [_, a, b, c] = length.to_be_bytes();
    let [d, e, f, g] = stream.to_be_bytes();
    let mut bytes = vec![a, b, c, kind, flags, d, e, f, g];
    bytes.extend_from_slice(payload);
    bytes
}

/// A frame that carries one word: WINDOW_UPDATE, RST_STREAM.
pub fn word_frame(kind: u8, stream: u32, word: u32) -> Vec<u8> {
    frame(kind, 0, stream, &word.to_be_bytes())
}

/// SETTINGS.
pub fn settings(given: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (id, value) in given {
        payload.extend_from_slice(&id.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    }
    frame(kind::SETTINGS, 0, 0, &payload)
}

/// A field block of literals that go into no table (RFC 7541 §6.2.2).
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        string(&mut bytes, name);
        string(&mut bytes, value);
    }
    bytes
}

/// A string without Huffman coding (RFC 7541 §5.2).
pub fn string(to: &mut Vec<u8>, text: &str) {
    integer(to, 0, 7, text.len());
    to.extend_from_slice(text.as_bytes());
}

/// An integer behind `first`, in whose byte it has so many bits (RFC 7541 §5.1).
pub fn integer(to: &mut Vec<u8>, first: u8, bits: u32, value: usize) {
    let most = (1_usize << bits) - 1;
    if value < most {
        to.push(first | value as u8);
        return;
    }
    to.push(first | most as u8);
    let mut rest = value - most;
    while rest >= 0x80 {
        to.push(0x80 | (rest % 0x80) as u8);
        rest /= 0x80;
    }
    to.push(rest as u8);
}

/// The fields of a request.
pub fn request<'a>(method: &'a str, path: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", "web"),
    ]
}

/// HEADERS of a request without content.
pub fn get(stream: u32, path: &str) -> Vec<u8> {
    let flags = flag::END_HEADERS | flag::END_STREAM;
    frame(kind::HEADERS, flags, stream, &block(&request("GET", path)))
}

/// One end of a connection that says what it is told to.
pub struct Frames {
    stream: TcpStream,
    read: BytesMut,
}

impl Frames {
    /// Connects, and sends nothing.
    ///
    /// # Errors
    /// If it cannot.
    pub async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await;
        Self::over(stream.with_context(|| format!("connecting to {address}"))?)
    }

    /// Connects and begins in order, with these settings.
    ///
    /// # Errors
    /// If it cannot.
    pub async fn begin(address: SocketAddr, given: &[(u16, u32)]) -> anyhow::Result<Self> {
        let mut client = Self::connect(address).await?;
        client.send(&[PREFACE, &settings(given)].concat()).await?;
        Ok(client)
    }

    /// An end of a connection that is there.
    ///
    /// # Errors
    /// If it is there no more.
    pub fn over(stream: TcpStream) -> anyhow::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            read: BytesMut::new(),
        })
    }

    /// Reads what a client sends before its frames.
    ///
    /// # Errors
    /// If something else comes.
    pub async fn preface(&mut self) -> anyhow::Result<()> {
        while self.read.len() < PREFACE.len() {
            self.more().await?.context("it was closed")?;
        }
        anyhow::ensure!(self.read.starts_with(PREFACE), "{:?}", self.read);
        self.read.advance(PREFACE.len());
        Ok(())
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// If the other side is gone, or has taken nothing for 60 s.
    pub async fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        timeout(TIMEOUT, self.stream.write_all(bytes))
            .await
            .with_context(|| format!("nothing was taken for {TIMEOUT:?}"))?
            .context("sending")
    }

    /// The next frame; `None`: it was closed.
    ///
    /// # Errors
    /// If it was reset, ends within a frame, or is silent for 60 s.
    pub async fn next(&mut self) -> anyhow::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.cut() {
                return Ok(Some(frame));
            }
            if self.more().await?.is_none() {
                if self.read.is_empty() {
                    return Ok(None);
                }
                bail!("it was closed within a frame");
            }
        }
    }

    /// Reads on until a frame of this kind, acknowledgements left out.
    ///
    /// # Errors
    /// As [`Self::next`], and if it is closed before.
    pub async fn until(&mut self, kind: u8) -> anyhow::Result<Frame> {
        loop {
            let frame = self.next().await?;
            let frame = frame.with_context(|| format!("closed before a frame {kind}"))?;
            let acks = matches!(kind, kind::SETTINGS | kind::PING) && frame.flags & flag::ACK != 0;
            if frame.kind == kind && !acks {
                return Ok(frame);
            }
        }
    }

    /// Reads on, whatever it is, until the connection is closed in whatever way.
    ///
    /// # Errors
    /// If it is silent for 60 s.
    pub async fn closed(&mut self) -> anyhow::Result<()> {
        loop {
            self.read.clear();
            let read = timeout(TIMEOUT, self.stream.read_buf(&mut self.read)).await;
            let read = read.with_context(|| format!("silent for {TIMEOUT:?}"))?;
            if !matches!(read, Ok(1..)) {
                return Ok(());
            }
        }
    }

    fn cut(&mut self) -> Option<Frame> {
        let [a, b, c, kind, flags, d, e, f, g] = *self.read.first_chunk::<9>()?;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let whole = self.read.len() >= 9 + length;
        whole.then(|| {
            self.read.advance(9);
            Frame {
                kind,
                flags,
                stream: u32::from_be_bytes([d, e, f, g]) & 0x7fff_ffff,
                payload: self.read.split_to(length).to_vec(),
            }
        })
    }

    async fn more(&mut self) -> anyhow::Result<Option<()>> {
        let read = timeout(TIMEOUT, self.stream.read_buf(&mut self.read));
        let bytes = read
            .await
            .with_context(|| format!("silent for {TIMEOUT:?}"))??;
        Ok((bytes > 0).then_some(()))
    }
}
