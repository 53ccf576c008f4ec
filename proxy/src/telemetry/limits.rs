//! Counts of the bounds that were met.

use super::counter::Counter;

macro_rules! limits {
    ($($name:ident $label:literal $meaning:literal;)*) => {
        /// A bound of the proxy that can be met.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Limit {
            $(#[doc = $meaning] $name,)*
        }

        impl Limit {
            /// Every bound.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The value of its `limit` label.
            pub fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)*
                }
            }

            /// When it counts, in a sentence.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => $meaning,)*
                }
            }
        }
    };
}

limits! {
    HeaderBytes "header_bytes" "A head or its trailers were larger than the bound.";
    HeaderCount "header_count" "A head had more fields than its bound.";
    HeaderTime "header_time" "A head was not complete in time.";
    IdleTime "idle_time" "A connection or request was silent for its bound.";
    HalfClosedTime "half_closed_time" "A tunnel was cut because one of its sides had closed and the other was silent for the bound.";
    Interims "interim_responses" "An upstream sent more interim responses to one request than the bound.";
    Http2Continuations "http2_continuations" "A connection was closed because of a head in more frames than the bound.";
    Http2Settings "http2_settings" "A connection was closed because its peer did not acknowledge the settings in time.";
    Http2Streams "http2_streams" "A stream was refused because its connection had as many open as it may.";
    Http2PrematureResets "http2_premature_resets" "A connection was closed because its peer reset too many streams before their answer.";
    Http2ProvokedResets "http2_provoked_resets" "A connection was closed because too many of its streams had to be reset for faults of its peer.";
    Http2EmptyFrames "http2_empty_frames" "A connection was closed because of frames in a row that carried nothing and ended nothing.";
    Http2PriorityFrames "http2_priority_frames" "A connection was closed because of too many PRIORITY frames.";
    Http2WindowUpdates "http2_window_updates" "A connection was closed because of too many WINDOW_UPDATE frames.";
    Http2ControlFrames "http2_control_frames" "A connection was closed because too many answers to its peer's frames waited to be written.";
    Http2ClosedStreamFrames "http2_closed_stream_frames" "A connection was closed because of too many frames on streams that were over.";
    Http2UnknownFrames "http2_unknown_frames" "A connection was closed because of too many frames of unknown types.";
    Keepalive "keepalive" "A connection was closed because its peer did not answer a PING in time.";
    Buffer "buffer" "Reading was stopped because the other side did not take what was there.";
    WaitingHeads "waiting_heads" "An answer was given up because too much of heads and trailers waited for its caller to read.";
    SlowReader "slow_reader" "A peer did not take its last answer in time.";
    Connections "connections" "A connection was refused because too many were open.";
    ShedConnections "shed_connections" "A connection was refused, or accepting stopped, because the proxy sheds load.";
    ShedRequests "shed_requests" "A request was refused because the proxy sheds load.";
    DetectionBytes "detection_bytes" "A connection was taken for what its first bytes looked like: its first line was longer than the bound.";
    DetectionTime "detection_time" "A connection was taken as opaque: it stayed silent for the bound.";
    Names "names" "A name was not asked for because too many are in use or asked for.";
    Keys "keys" "A request was refused because too many wait for the keys of tokens.";
    RateLimitKeys "rate_limit_keys" "A rate limit gave up a key's bucket because too many keys were there.";
    AccessLogBuffer "access_log_buffer" "An access log line was dropped because its file took no more.";
    MetricSeries "metric_series" "A cluster or listener is counted as `overflow` because there are too many series.";
}

/// How often each bound was met.
#[derive(Debug)]
pub struct LimitStats(Box<[Counter]>);

impl Default for LimitStats {
    fn default() -> Self {
        Self(Limit::ALL.iter().map(|_| Counter::default()).collect())
    }
}

impl LimitStats {
    /// The bound was met once more.
    pub fn hit(&self, limit: Limit) {
        if let Some(counter) = self.0.get(limit as usize) {
            counter.inc();
        }
    }

    /// How often it was met.
    pub fn get(&self, limit: Limit) -> u64 {
        self.0.get(limit as usize).map_or(0, Counter::get)
    }
}
