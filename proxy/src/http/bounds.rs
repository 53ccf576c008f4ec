//! Bounds on what a peer may do for nothing: those that no listener and no cluster says.

use std::time::Duration;

/// Bounds of all HTTP connections of the process, downstream and upstream. What concerns HTTP/2 alone is RFC 9113 §10.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Interim responses to one request, of HTTP/1 too. Default 16.
    pub interims_max: u32,
    /// CONTINUATION frames of one field block. Default 8.
    pub continuations_max: u32,
    /// A connection ends when more of its streams were reset before their answer than half of this, and than half of all.
    /// Default 500.
    pub premature_reset_streams_min: u32,
    /// A stream that was open for longer than this may be reset before its answer. Default 1 s.
    pub premature_reset_life: Duration,
    /// A connection ends when we had to reset more of its streams for a fault of the peer than this, and than a sixteenth of all.
    /// Default 32.
    pub provoked_resets_max: u32,
    /// Frames in a row on streams that are over. Default 10,000.
    pub closed_stream_frames_max: u32,
    /// Frames in a row of types that nobody knows. Default 100.
    pub unknown_frames_max: u32,
    /// From the beginning of a connection to the acknowledgement of our SETTINGS. Default 10 s.
    pub settings_timeout: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            interims_max: 16,
            continuations_max: 8,
            premature_reset_streams_min: 500,
            premature_reset_life: Duration::from_secs(1),
            provoked_resets_max: 32,
            closed_stream_frames_max: 10_000,
            unknown_frames_max: 100,
            settings_timeout: Duration::from_secs(10),
        }
    }
}
