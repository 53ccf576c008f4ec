//! What a tunnel starts from and what it ends with.

use std::time::Duration;

use crate::drain::DrainWatch;
use crate::telemetry::Limit;

/// What a tunnel starts from, besides its two sockets.
#[derive(Debug)]
pub struct TunnelOptions {
    /// Bytes that were read before the tunnel began, written first.
    pub preread: Preread,
    /// Silence in both directions that ends the tunnel; zero never.
    pub idle_timeout: Duration,
    /// When the drain is over, the tunnel is cut.
    pub drain: DrainWatch,
}

/// Bytes read before the tunnel began.
#[derive(Debug, Default)]
pub struct Preread {
    /// Read from downstream, owed to upstream.
    pub from_downstream: Vec<u8>,
    /// Read from upstream, owed to downstream.
    pub from_upstream: Vec<u8>,
}

/// What a tunnel carried and how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Bytes written to upstream, the bytes read before included.
    pub to_upstream: u64,
    /// Bytes written to downstream, the bytes read before included.
    pub to_downstream: u64,
    /// How it ended.
    pub close: Close,
}

impl Close {
    /// The bound that was met, and what logs say of it.
    pub fn limit(self) -> Option<(Limit, &'static str)> {
        match self {
            Self::Idle => Some((Limit::IdleTime, "idle_timeout")),
            Self::HalfClosed => Some((Limit::HalfClosedTime, "half_closed_timeout")),
            _ => None,
        }
    }
}

/// How a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// Both sides said they had no more to send.
    Orderly,
    /// Downstream reset the connection or went away; upstream was reset.
    DownstreamReset,
    /// Upstream reset the connection or went away; downstream was reset.
    UpstreamReset,
    /// Silence for longer than the idle timeout.
    Idle,
    /// One side had closed, and the other was silent for too long; both were reset.
    HalfClosed,
    /// Cut when the drain was over.
    Drained,
    /// Cut because it is no longer allowed; both sides were reset.
    Revoked,
}
