//! What we have to say without being asked, in order.

use super::error::ErrorCode;
use super::frame::{self, Header};
use super::{H2Limits, Role, settings, window};
use crate::http::codec::{Out, ProtocolError};

/// What a PING of each kind carries (RFC 9113 §6.7), so that its answer tells which it was.
pub(super) const KEEPALIVE_PING: [u8; 8] = *b"weft-alv";
pub(super) const DRAIN_PING: [u8; 8] = *b"weft-end";

/// Frames that wait to be written.
#[derive(Debug, Default)]
pub(super) struct Pending {
    bytes: Vec<u8>,
    count: u32,
}

/// Memory that is kept when all is written: enough for the credit of a stream and of the connection.
const BYTES_KEPT: usize = 64;

impl Pending {
    /// What each side sends first (RFC 9113 §3.4).
    pub(super) fn begin(&mut self, limits: &H2Limits, role: Role) {
        if role == Role::Client {
            self.bytes.extend_from_slice(frame::PREFACE);
        }
        settings::ours(limits, role, &mut self.bytes);
        if limits.connection_window > window::DEFAULT {
            self.window_update(0, limits.connection_window - window::DEFAULT);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Puts all behind what `out` holds.
    pub(super) fn write_all(&mut self, out: &mut Out) {
        if self.bytes.is_empty() {
            return;
        }
        out.extend(&self.bytes);
        self.count = 0;
        self.bytes.clear();
        if self.bytes.capacity() > BYTES_KEPT {
            self.bytes = Vec::new();
        }
    }

    pub(super) fn reset(&mut self, stream: u32, code: ErrorCode) {
        self.count += 1;
        self.bytes
            .extend_from_slice(&frame::rst_stream(stream, code));
    }

    pub(super) fn window_update(&mut self, stream: u32, increment: u32) {
        self.count += 1;
        self.bytes
            .extend_from_slice(&frame::window_update(stream, increment));
    }

    /// `why` is for people (RFC 9113 §6.8).
    pub(super) fn goaway(&mut self, last: u32, code: ErrorCode, why: &str) {
        self.frame(frame::GOAWAY, 0, 8 + why.len() as u32);
        self.bytes.extend_from_slice(&last.to_be_bytes());
        self.bytes.extend_from_slice(&(code as u32).to_be_bytes());
        self.bytes.extend_from_slice(why.as_bytes());
    }

    pub(super) fn ping(&mut self, data: [u8; 8]) {
        self.frame(frame::PING, 0, 8);
        self.bytes.extend_from_slice(&data);
    }

    pub(super) fn pong(&mut self, data: [u8; 8]) {
        self.frame(frame::PING, frame::ACK, 8);
        self.bytes.extend_from_slice(&data);
    }

    pub(super) fn settings_ack(&mut self) {
        self.frame(frame::SETTINGS, frame::ACK, 0);
    }

    /// Whether no more frames wait than may.
    pub(super) fn check(&self, limits: &H2Limits) -> Result<(), ProtocolError> {
        if self.count > limits.control_frames_max {
            return Err(ProtocolError::ControlFlood);
        }
        Ok(())
    }

    fn frame(&mut self, kind: u8, flags: u8, len: u32) {
        self.count += 1;
        let header = Header {
            len,
            kind,
            flags,
            stream: 0,
        };
        self.bytes.extend_from_slice(&header.bytes());
    }
}
