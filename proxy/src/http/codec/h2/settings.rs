//! What the peers tell each other of themselves (RFC 9113 §6.5).

use super::frame::{self, Header};
use super::{H2Limits, Role, window};
use crate::http::codec::ProtocolError;

const HEADER_TABLE_SIZE: u16 = 0x01;
const ENABLE_PUSH: u16 = 0x02;
const MAX_CONCURRENT_STREAMS: u16 = 0x03;
const INITIAL_WINDOW_SIZE: u16 = 0x04;
const MAX_FRAME_SIZE: u16 = 0x05;
const MAX_HEADER_LIST_SIZE: u16 = 0x06;
/// RFC 8441 §3.
const ENABLE_CONNECT_PROTOCOL: u16 = 0x08;

/// The smallest SETTINGS_MAX_FRAME_SIZE, and what holds until another is told.
pub(super) const FRAME_BYTES_MIN: u32 = 16_384;
const FRAME_BYTES_MAX: u32 = (1 << 24) - 1;

/// Streams that a client opens before it was told how many it may. The RFC has no bound there; all others keep one.
const STREAMS_AT_FIRST: u32 = 100;

/// What the peer has told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) header_table_bytes: u32,
    pub(super) streams_max: u32,
    pub(super) window: u32,
    pub(super) frame_bytes_max: u32,
    pub(super) connect_protocol: bool,
    /// Bytes of a head, 32 for each field among them.
    pub(super) header_bytes_max: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            header_table_bytes: super::hpack::TABLE_BYTES_DEFAULT,
            streams_max: STREAMS_AT_FIRST,
            window: window::DEFAULT,
            frame_bytes_max: FRAME_BYTES_MIN,
            connect_protocol: false,
            header_bytes_max: u32::MAX,
        }
    }
}

impl Settings {
    /// These, as `payload` changes them. `of` is the role of the peer that sent it; `first` if it sent none before.
    pub(super) fn changed_by(
        mut self,
        payload: &[u8],
        of: Role,
        first: bool,
    ) -> Result<Self, ProtocolError> {
        if first {
            self.streams_max = u32::MAX;
        }
        // RFC 9113 §6.5: another length is an error of the connection.
        let (settings, []) = payload.as_chunks::<6>() else {
            return Err(ProtocolError::BadFrameLength);
        };
        for [a, b, value @ ..] in settings {
            self.set(u16::from_be_bytes([*a, *b]), u32::from_be_bytes(*value), of)?;
        }
        Ok(self)
    }

    /// RFC 9113 §6.5.2. What is not known is ignored.
    fn set(&mut self, name: u16, value: u32, of: Role) -> Result<(), ProtocolError> {
        match (name, value) {
            (HEADER_TABLE_SIZE, _) => self.header_table_bytes = value,
            // Only a client may say 1.
            (ENABLE_PUSH, 0) => {}
            (ENABLE_PUSH, 1) if of == Role::Client => {}
            (ENABLE_PUSH, _) => return Err(ProtocolError::BadSetting),
            (MAX_CONCURRENT_STREAMS, _) => self.streams_max = value,
            (INITIAL_WINDOW_SIZE, 0..=window::MAX) => self.window = value,
            (INITIAL_WINDOW_SIZE, _) => return Err(ProtocolError::WindowOverflow),
            (MAX_FRAME_SIZE, FRAME_BYTES_MIN..=FRAME_BYTES_MAX) => self.frame_bytes_max = value,
            (MAX_FRAME_SIZE, _) => return Err(ProtocolError::BadSetting),
            (MAX_HEADER_LIST_SIZE, _) => self.header_bytes_max = value,
            // RFC 8441 §3: it is not taken back once said.
            (ENABLE_CONNECT_PROTOCOL, 0) if !self.connect_protocol => {}
            (ENABLE_CONNECT_PROTOCOL, 1) => self.connect_protocol = true,
            (ENABLE_CONNECT_PROTOCOL, _) => return Err(ProtocolError::BadSetting),
            _ => {}
        }
        Ok(())
    }
}

/// The smallest size that the payload of a SETTINGS frame gives our table, if any.
pub(super) fn least_table_bytes(payload: &[u8]) -> Option<u32> {
    let (settings, _) = payload.as_chunks::<6>();
    let told = settings.iter().map(|[a, b, value @ ..]| {
        let name = u16::from_be_bytes([*a, *b]);
        (name, u32::from_be_bytes(*value))
    });
    let sizes = told.filter(|(name, _)| *name == HEADER_TABLE_SIZE);
    sizes.map(|(_, size)| size).min()
}

/// Our SETTINGS frame: what differs from what holds untold.
pub(super) fn ours(limits: &H2Limits, role: Role, out: &mut Vec<u8>) {
    let server = role == Role::Server;
    let all = [
        (
            HEADER_TABLE_SIZE,
            limits.header_table_bytes,
            limits.header_table_bytes != super::hpack::TABLE_BYTES_DEFAULT,
        ),
        (ENABLE_PUSH, 0, !server),
        (MAX_CONCURRENT_STREAMS, limits.streams_max, server),
        (
            INITIAL_WINDOW_SIZE,
            limits.stream_window,
            limits.stream_window != window::DEFAULT,
        ),
        (
            MAX_FRAME_SIZE,
            limits.frame_bytes_max,
            limits.frame_bytes_max != FRAME_BYTES_MIN,
        ),
        (MAX_HEADER_LIST_SIZE, limits.header_bytes_max, true),
        (
            ENABLE_CONNECT_PROTOCOL,
            1,
            server && limits.connect_protocol,
        ),
    ];
    let told = || all.iter().filter(|(_, _, told)| *told);
    let header = Header {
        len: told().count() as u32 * 6,
        kind: frame::SETTINGS,
        flags: 0,
        stream: 0,
    };
    out.extend_from_slice(&header.bytes());
    for (name, value, _) in told() {
        out.extend_from_slice(&name.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// `limits` within what the protocol can say.
pub(super) fn within_protocol(mut limits: H2Limits) -> H2Limits {
    limits.stream_window = limits.stream_window.min(window::MAX);
    // RFC 9113 §6.9.2: the connection's window starts at the default and can only grow.
    limits.connection_window = limits.connection_window.clamp(window::DEFAULT, window::MAX);
    limits.frame_bytes_max = limits
        .frame_bytes_max
        .clamp(FRAME_BYTES_MIN, FRAME_BYTES_MAX);
    limits.header_table_bytes = limits.header_table_bytes.min(super::hpack::TABLE_BYTES_MAX);
    limits
}
