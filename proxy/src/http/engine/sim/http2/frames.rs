//! Frames of HTTP/2 as simulated peers write and read them.

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const ACK: u8 = 1;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(in super::super) const NO_ERROR: u32 = 0;
pub(in super::super) const SETTINGS_TIMEOUT: u32 = 4;
pub(in super::super) const REFUSED_STREAM: u32 = 7;
pub(in super::super) const CANCEL: u32 = 8;

/// A whole frame that was read.
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    /// The frame at the front of `input`, taken out; `None` while it is not whole.
    pub(super) fn take(input: &mut Vec<u8>) -> Option<Self> {
        let head = input.first_chunk::<9>()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        if input.len() < 9 + length {
            return None;
        }
        let frame = Self {
            kind: head[3],
            flags: head[4],
            stream: word(&head[5..]),
            payload: input[9..9 + length].to_vec(),
        };
        input.drain(..9 + length);
        Some(frame)
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// The number of 31 bits at the front of `bytes`.
pub(super) fn word(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().unwrap()) & 0x7fff_ffff
}

/// Puts a frame behind `out`.
pub(super) fn put(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    out.extend_from_slice(&length[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// A field block of literals that go into no table (RFC 7541 §6.2.2).
pub(super) fn block(fields: &[(String, String)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            assert!(text.len() < 127, "a short text");
            out.push(u8::try_from(text.len()).unwrap());
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}
