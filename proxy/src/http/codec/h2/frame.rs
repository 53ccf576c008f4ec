//! Frames on the wire (RFC 9113 §4.1).

use super::error::ErrorCode;

/// Bytes before each payload.
pub(super) const HEADER_BYTES: usize = 9;

/// What a client sends first (RFC 9113 §3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const END_STREAM: u8 = 0x01;
pub(super) const ACK: u8 = 0x01;
pub(super) const END_HEADERS: u8 = 0x04;
pub(super) const PADDED: u8 = 0x08;
pub(super) const PRIORITY_FLAG: u8 = 0x20;

pub(super) const DATA: u8 = 0x00;
pub(super) const HEADERS: u8 = 0x01;
pub(super) const PRIORITY: u8 = 0x02;
pub(super) const RST_STREAM: u8 = 0x03;
pub(super) const SETTINGS: u8 = 0x04;
pub(super) const PUSH_PROMISE: u8 = 0x05;
pub(super) const PING: u8 = 0x06;
pub(super) const GOAWAY: u8 = 0x07;
pub(super) const WINDOW_UPDATE: u8 = 0x08;
pub(super) const CONTINUATION: u8 = 0x09;

/// What stands before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Bytes of the payload.
    pub(super) len: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Header {
    /// The header at the front of `bytes`, when all of it is there.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, kind, flags, stream @ ..] = bytes.first_chunk::<HEADER_BYTES>()?;
        Some(Self {
            len: u32::from_be_bytes([0, *a, *b, *c]),
            kind: *kind,
            flags: *flags,
            // RFC 9113 §4.1: the reserved bit is ignored.
            stream: u32::from_be_bytes(*stream) & 0x7fff_ffff,
        })
    }

    pub(super) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub(super) fn bytes(self) -> [u8; HEADER_BYTES] {
        let [_, a, b, c] = self.len.to_be_bytes();
        let [d, e, f, g] = self.stream.to_be_bytes();
        [a, b, c, self.kind, self.flags, d, e, f, g]
    }
}

/// A whole frame of four bytes, which RST_STREAM and WINDOW_UPDATE are.
fn word_frame(kind: u8, stream: u32, word: u32) -> [u8; HEADER_BYTES + 4] {
    let header = Header {
        len: 4,
        kind,
        flags: 0,
        stream,
    };
    let [a, b, c, d, e, f, g, h, i] = header.bytes();
    let [j, k, l, m] = word.to_be_bytes();
    [a, b, c, d, e, f, g, h, i, j, k, l, m]
}

/// RFC 9113 §6.4.
pub(super) fn rst_stream(stream: u32, code: ErrorCode) -> [u8; HEADER_BYTES + 4] {
    word_frame(RST_STREAM, stream, code as u32)
}

/// RFC 9113 §6.9.
pub(super) fn window_update(stream: u32, increment: u32) -> [u8; HEADER_BYTES + 4] {
    word_frame(WINDOW_UPDATE, stream, increment)
}
