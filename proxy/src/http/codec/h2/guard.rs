//! Bounds on what costs the peer nothing and us something (RFC 9113 §10.5).

use super::H2Limits;
use crate::http::codec::ProtocolError;

/// Counts what is bounded over the life of a connection. What is bounded otherwise is counted where it lies.
#[derive(Debug, Default)]
pub(super) struct Guard {
    /// Frames in a row that carried nothing and ended nothing.
    empty: u32,
    priorities: u32,
    window_updates: u32,
    /// Frames in a row on streams that are closed.
    closed: u32,
    /// Frames in a row of types that nobody knows.
    unknown: u32,
    /// Streams that the peer has opened, or that we have.
    opened: u32,
    /// Streams that were reset before their answer began, by the peer or for its fault.
    premature: u32,
    /// Those of them that we have reset, for a fault of the peer.
    provoked: u32,
    data_sent: u32,
    /// Streams that were refused to a peer that had not acknowledged how many there may be.
    refused_early: u32,
}

/// On a connection with many streams, whose sender may be a proxy of many, one of so many may be reset for a fault.
const OPENED_PER_FAULT: u32 = 16;

impl Guard {
    /// We have opened a stream.
    pub(super) fn opened(&mut self) {
        self.opened = self.opened.saturating_add(1);
    }

    /// The peer has opened a stream.
    pub(super) fn peer_opened(&mut self, limits: &H2Limits) -> Result<(), ProtocolError> {
        self.opened();
        if self.premature > self.opened.max(limits.premature_reset_streams_min) / 2 {
            return Err(ProtocolError::ResetFlood);
        }
        if self.provoked
            > limits
                .provoked_resets_max
                .max(self.opened / OPENED_PER_FAULT)
        {
            return Err(ProtocolError::ProvokedFlood);
        }
        Ok(())
    }

    /// A stream was reset by the peer before its answer began, or for a fault of the peer.
    pub(super) fn premature(&mut self) {
        self.premature = self.premature.saturating_add(1);
    }

    /// We reset a stream for a fault of the peer, which nobody makes to do well.
    pub(super) fn provoked(&mut self) {
        self.premature();
        self.provoked = self.provoked.saturating_add(1);
    }

    /// A stream is refused to a peer that may not know better: how many were.
    pub(super) fn refused_early(&mut self) -> u32 {
        self.refused_early = self.refused_early.saturating_add(1);
        self.refused_early
    }

    /// The last of those was not premature.
    pub(super) fn forgive(&mut self) {
        self.premature = self.premature.saturating_sub(1);
    }

    /// A frame of DATA was sent.
    pub(super) fn data_sent(&mut self) {
        self.data_sent = self.data_sent.saturating_add(1);
    }

    /// A frame of a message arrived; `empty` if it carries nothing and ends nothing. Where many of `streams` end at once, a peer
    /// that has trailers to send may say so with one such frame on each.
    pub(super) fn message_frame(
        &mut self,
        empty: bool,
        streams: usize,
        limits: &H2Limits,
    ) -> Result<(), ProtocolError> {
        self.unknown = 0;
        if !empty {
            self.empty = 0;
            return Ok(());
        }
        let streams = u32::try_from(streams.max(1)).unwrap_or(u32::MAX);
        let max = limits.empty_frames_max.saturating_mul(streams);
        count(&mut self.empty, max, ProtocolError::EmptyFrames)
    }

    /// A frame arrived on an open stream, for which it means something.
    pub(super) fn stream_is_open(&mut self) {
        self.closed = 0;
    }

    /// A frame arrived on a stream that is closed.
    pub(super) fn closed_stream(&mut self, limits: &H2Limits) -> Result<(), ProtocolError> {
        count(
            &mut self.closed,
            limits.closed_stream_frames_max,
            ProtocolError::ClosedStreamFlood,
        )
    }

    /// A frame of a type that we do not know arrived.
    pub(super) fn unknown(&mut self, limits: &H2Limits) -> Result<(), ProtocolError> {
        count(
            &mut self.unknown,
            limits.unknown_frames_max,
            ProtocolError::UnknownFrameFlood,
        )
    }

    /// A PRIORITY frame arrived.
    pub(super) fn priority(&mut self, limits: &H2Limits) -> Result<(), ProtocolError> {
        let max = limits
            .priority_frames_per_stream_max
            .saturating_mul(self.opened.saturating_add(1));
        count(&mut self.priorities, max, ProtocolError::PriorityFlood)
    }

    /// A WINDOW_UPDATE arrived.
    pub(super) fn window_update(&mut self, limits: &H2Limits) -> Result<(), ProtocolError> {
        let for_data = limits
            .window_updates_per_data_frame_max
            .saturating_mul(self.data_sent);
        // As Envoy reckons: each stream may have its window set up, before there is data.
        let max = for_data
            .saturating_add(self.opened)
            .saturating_mul(2)
            .saturating_add(5);
        count(
            &mut self.window_updates,
            max,
            ProtocolError::WindowUpdateFlood,
        )
    }
}

fn count(counter: &mut u32, max: u32, error: ProtocolError) -> Result<(), ProtocolError> {
    *counter = counter.saturating_add(1);
    if *counter > max { Err(error) } else { Ok(()) }
}
