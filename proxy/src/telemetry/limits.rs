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
        }
    };
}

limits! {
    HeaderBytes "header_bytes" "A head was larger than its bound.";
    HeaderCount "header_count" "A head had more fields than its bound.";
    ConcurrentStreams "concurrent_streams" "A stream was refused because too many were open on its connection.";
    Connections "connections" "A connection was refused because too many were open.";
    PendingRequests "pending_requests" "A request was refused because too many waited.";
    Buffer "buffer" "Reading was stopped because the other side did not take what was there.";
    RequestBody "request_body" "A request body was larger than its bound.";
    DetectionBytes "detection_bytes" "A connection was taken as opaque: its first bytes told nothing within the bound.";
    DetectionTime "detection_time" "A connection was taken as opaque: it stayed silent for the bound.";
    HeaderTime "header_time" "A head was not complete in time.";
    IdleTime "idle_time" "A connection or request was silent for its bound.";
    RapidReset "rapid_reset" "An HTTP/2 peer opened and reset streams too fast.";
    ContinuationFlood "continuation_flood" "An HTTP/2 peer sent too many CONTINUATION frames.";
    SettingsFlood "settings_flood" "An HTTP/2 peer sent too many SETTINGS frames.";
    PingFlood "ping_flood" "An HTTP/2 peer sent too many PING frames.";
    EmptyFrames "empty_frames" "An HTTP/2 peer sent too many frames that carry nothing.";
    SlowReader "slow_reader" "A peer did not take its answer in time.";
    Memory "memory" "Work was shed because memory was short.";
    RateLimitKeys "rate_limit_keys" "A rate limit gave up a key's bucket because too many keys were there.";
    AccessLogBuffer "access_log_buffer" "An access log line was dropped because its file took no more.";
    MetricSeries "metric_series" "A cluster or listener is counted as `overflow` because there are too many series.";
    SnapshotNames "snapshot_names" "A name was not asked for because too many are in use.";
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
