//! Error codes (RFC 9113 §7), both ways.

use crate::http::codec::{ProtocolError, Reason};

/// An error code of RST_STREAM and GOAWAY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ErrorCode {
    /// NO_ERROR.
    NoError = 0x00,
    /// PROTOCOL_ERROR.
    Protocol = 0x01,
    /// INTERNAL_ERROR.
    Internal = 0x02,
    /// FLOW_CONTROL_ERROR.
    FlowControl = 0x03,
    /// SETTINGS_TIMEOUT.
    SettingsTimeout = 0x04,
    /// STREAM_CLOSED.
    StreamClosed = 0x05,
    /// FRAME_SIZE_ERROR.
    FrameSize = 0x06,
    /// REFUSED_STREAM.
    RefusedStream = 0x07,
    /// CANCEL.
    Cancel = 0x08,
    /// COMPRESSION_ERROR.
    Compression = 0x09,
    /// ENHANCE_YOUR_CALM.
    EnhanceYourCalm = 0x0b,
}

impl ErrorCode {
    /// The code that tells the peer what it did.
    pub fn of(error: ProtocolError) -> Self {
        use ProtocolError as E;
        match error {
            E::FrameTooLarge | E::BadFrameLength => Self::FrameSize,
            E::SettingsTimeout => Self::SettingsTimeout,
            E::ClosedStream => Self::StreamClosed,
            E::WindowOverflow | E::WindowExceeded => Self::FlowControl,
            E::BadIndex | E::BadInteger | E::BadHuffman | E::BadTableSize | E::TruncatedBlock => {
                Self::Compression
            }
            E::BlockTooLarge
            | E::TooManyContinuations
            | E::EmptyFrames
            | E::PriorityFlood
            | E::WindowUpdateFlood
            | E::ControlFlood
            | E::ResetFlood
            | E::ProvokedFlood
            | E::ClosedStreamFlood
            | E::UnknownFrameFlood => Self::EnhanceYourCalm,
            _ => Self::Protocol,
        }
    }
}

impl From<Reason> for ErrorCode {
    fn from(why: Reason) -> Self {
        match why {
            Reason::NoError => Self::NoError,
            Reason::Cancelled => Self::Cancel,
            Reason::NotBegun => Self::RefusedStream,
            Reason::Internal => Self::Internal,
            Reason::Protocol => Self::Protocol,
        }
    }
}

/// What the peer means by `code`.
pub(super) fn reason_of(code: u32) -> Reason {
    match code {
        0x00 => Reason::NoError,
        0x07 => Reason::NotBegun,
        0x08 => Reason::Cancelled,
        // PROTOCOL_ERROR, and the errors that are more exact about the same: it does not like what we sent.
        0x01 | 0x03..=0x06 | 0x09 => Reason::Protocol,
        // INTERNAL_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM and others. RFC 9113 §7: an unknown one is no special case.
        _ => Reason::Internal,
    }
}
