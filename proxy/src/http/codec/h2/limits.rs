//! What one connection may cost us, and what of that was met.

use crate::http::codec::ProtocolError;

/// What one connection may cost us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct H2Limits {
    /// Streams open at a time (SETTINGS_MAX_CONCURRENT_STREAMS). Default 1,024; further ones are refused.
    pub streams_max: u32,
    /// Bytes of a stream that may wait for its reader (SETTINGS_INITIAL_WINDOW_SIZE). Default 65,535; at most 2^31-1.
    pub stream_window: u32,
    /// Bytes under way on all streams. Default 1 MiB; at least 65,535, at most 2^31-1. Given back on receipt.
    pub connection_window: u32,
    /// Bytes of a frame that is sent to us (SETTINGS_MAX_FRAME_SIZE). Default and least 16,384, at most 2^24-1.
    pub frame_bytes_max: u32,
    /// Bytes of a head or of trailers (SETTINGS_MAX_HEADER_LIST_SIZE), 32 for each field among them. Default 60 KiB, as
    /// Envoy's; more is a 431.
    pub header_bytes_max: u32,
    /// Fields of a head or of trailers, without the pseudo-fields. Default 100, as Envoy's; more is a 431.
    pub header_count_max: u32,
    /// Bytes of the table by which the peer compresses (SETTINGS_HEADER_TABLE_SIZE). Default 4,096; at most 65,536. Ours is
    /// 4,096, or less if the peer says so.
    pub header_table_bytes: u32,
    /// Interim responses to one request. Default 16.
    pub interim_max: u32,
    /// Whether a server takes extended CONNECT (SETTINGS_ENABLE_CONNECT_PROTOCOL, RFC 8441), and a client asks for it where its
    /// peer does. Default yes.
    pub connect_protocol: bool,
    /// CONTINUATION frames of one field block that are shorter than 16,384 bytes. Default 8.
    pub continuations_max: u32,
    /// Frames of DATA, HEADERS and CONTINUATION in a row that carry nothing and end nothing, for each stream that is open. Default
    /// 1, as Envoy's `max_consecutive_inbound_frames_with_empty_payload`, which counts no streams.
    pub empty_frames_max: u32,
    /// PRIORITY frames for each stream opened, and as many before. Default 100, as Envoy's
    /// `max_inbound_priority_frames_per_stream`.
    pub priority_frames_per_stream_max: u32,
    /// WINDOW_UPDATE frames for each frame of DATA that we sent; beside them, some for each stream. Default 10, as Envoy's
    /// `max_inbound_window_update_frames_per_data_frame_sent`.
    pub window_updates_per_data_frame_max: u32,
    /// Answers to the peer's frames (acknowledgements, resets) that wait to be written. Default 1,000, as Envoy's
    /// `max_outbound_control_frames`.
    pub control_frames_max: u32,
    /// The connection ends when more streams than half of this, and than half of all, were reset before their answer began,
    /// but for those that [`Conn::forgive`](super::Conn::forgive) takes out. Default 500, as Envoy's
    /// `overload.premature_reset_total_stream_count`.
    pub premature_reset_streams_min: u32,
    /// The connection ends when we had to reset more of its streams for a fault of the peer than this, and than a sixteenth of
    /// all. Default 32.
    pub provoked_resets_max: u32,
    /// Frames in a row on streams that are closed. Default 10,000: what is under way when a stream is reset may be many
    /// small ones.
    pub closed_stream_frames_max: u32,
    /// Frames in a row of types that we do not know. Default 100.
    pub unknown_frames_max: u32,
}

impl Default for H2Limits {
    fn default() -> Self {
        Self {
            streams_max: 1024,
            stream_window: 65_535,
            connection_window: 1024 * 1024,
            frame_bytes_max: 16_384,
            header_bytes_max: 60 * 1024,
            header_count_max: 100,
            header_table_bytes: 4096,
            interim_max: 16,
            connect_protocol: true,
            continuations_max: 8,
            empty_frames_max: 1,
            priority_frames_per_stream_max: 100,
            window_updates_per_data_frame_max: 10,
            control_frames_max: 1000,
            premature_reset_streams_min: 500,
            provoked_resets_max: 32,
            closed_stream_frames_max: 10_000,
            unknown_frames_max: 100,
        }
    }
}

/// Declares [`Hit`] and which errors stand for each.
macro_rules! hits {
    ($($(#[$doc:meta])* $hit:ident = $($error:ident)|+;)*) => {
        /// A bound that a peer has met.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Hit {
            /// [`H2Limits::streams_max`].
            Streams,
            $($(#[$doc])* $hit,)*
        }

        impl Hit {
            pub(super) const ALL: &[Self] = &[$(Self::$hit,)*];

            /// The bound that `error` is about, if any.
            pub fn of(error: ProtocolError) -> Option<Self> {
                match error {
                    $($(ProtocolError::$error)|+ => Some(Self::$hit),)*
                    _ => None,
                }
            }
        }
    };
}

hits! {
    /// [`H2Limits::header_bytes_max`], or what a field block of that many bytes takes at most.
    HeaderBytes = HeadTooLarge | BlockTooLarge;
    /// [`H2Limits::header_count_max`].
    HeaderCount = TooManyFields;
    /// Either of the two, in trailers.
    Trailers = TrailersTooLarge;
    /// [`H2Limits::continuations_max`].
    Continuations = TooManyContinuations;
    /// [`H2Limits::interim_max`].
    Interims = TooManyInterims;
    /// [`H2Limits::empty_frames_max`].
    EmptyFrames = EmptyFrames;
    /// [`H2Limits::priority_frames_per_stream_max`].
    Priorities = PriorityFlood;
    /// [`H2Limits::window_updates_per_data_frame_max`].
    WindowUpdates = WindowUpdateFlood;
    /// [`H2Limits::control_frames_max`].
    ControlFrames = ControlFlood;
    /// [`H2Limits::premature_reset_streams_min`].
    PrematureResets = ResetFlood;
    /// [`H2Limits::provoked_resets_max`].
    ProvokedResets = ProvokedFlood;
    /// [`H2Limits::closed_stream_frames_max`].
    ClosedStreams = ClosedStreamFlood;
    /// [`H2Limits::unknown_frames_max`].
    UnknownFrames = UnknownFrameFlood;
}

impl Hit {
    pub(super) fn bit(self) -> u16 {
        1 << self as u16
    }
}
