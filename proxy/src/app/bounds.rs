//! Bounds on what a peer may do for nothing, as command line and bootstrap give them.

use std::time::Duration;

use clap::Args;
use weft_config::bootstrap::runtime::Runtime;
use weft_config::gateway_api::Span;

use crate::http::Bounds;

/// Bounds on all HTTP connections, of applications and of endpoints.
#[derive(Clone, Debug, Default, Args)]
pub struct HttpBoundArgs {
    /// Interim (1xx) responses to one request [default: 16]
    #[arg(long, env = "WEFT_INTERIM_RESPONSES_MAX", value_name = "N")]
    pub interim_responses_max: Option<u32>,
    /// CONTINUATION frames shorter than 16 KiB of one head on HTTP/2 [default: 8]
    #[arg(long, env = "WEFT_HTTP2_CONTINUATIONS_MAX", value_name = "N")]
    pub http2_continuations_max: Option<u32>,
    /// An HTTP/2 connection ends when more streams than half of this, and than half of all, were reset before their answer
    /// [default: 500, or what the bootstrap says]
    #[arg(long, env = "WEFT_HTTP2_PREMATURE_RESET_STREAMS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub http2_premature_reset_streams: Option<u32>,
    /// How long a stream is open that may be reset before its answer, 0s to 1h [default: 1s, or what the bootstrap says]
    #[arg(long, env = "WEFT_HTTP2_PREMATURE_RESET_LIFE", value_name = "DURATION", value_parser = life)]
    pub http2_premature_reset_life: Option<Duration>,
    /// An HTTP/2 connection ends when more of its streams than this, and than a sixteenth of all, had to be reset for faults of its
    /// peer [default: 32]
    #[arg(long, env = "WEFT_HTTP2_PROVOKED_RESETS_MAX", value_name = "N")]
    pub http2_provoked_resets_max: Option<u32>,
    /// Frames in a row on streams of HTTP/2 that are over [default: 10000]
    #[arg(long, env = "WEFT_HTTP2_CLOSED_STREAM_FRAMES_MAX", value_name = "N")]
    pub http2_closed_stream_frames_max: Option<u32>,
    /// Frames in a row of types that HTTP/2 does not have [default: 100]
    #[arg(long, env = "WEFT_HTTP2_UNKNOWN_FRAMES_MAX", value_name = "N")]
    pub http2_unknown_frames_max: Option<u32>,
    /// How long a peer on HTTP/2 may take to acknowledge the settings, 1ms to 1h [default: 10s]
    #[arg(long, env = "WEFT_HTTP2_SETTINGS_TIMEOUT", value_name = "DURATION", value_parser = settings_timeout)]
    pub http2_settings_timeout: Option<Duration>,
}

impl HttpBoundArgs {
    /// The bounds, of which the command line's go before the bootstrap's.
    pub(super) fn bounds(&self, said: Runtime) -> Bounds {
        let default = Bounds::default();
        let premature_streams = self.http2_premature_reset_streams;
        let premature_streams = premature_streams.or(said.premature_reset_streams_min);
        let premature_life = self.http2_premature_reset_life;
        let premature_life = premature_life.or(said.premature_reset_life);
        let settings_timeout = self.http2_settings_timeout;
        Bounds {
            interims_max: self.interim_responses_max.unwrap_or(default.interims_max),
            continuations_max: self
                .http2_continuations_max
                .unwrap_or(default.continuations_max),
            premature_reset_streams_min: premature_streams
                .unwrap_or(default.premature_reset_streams_min),
            premature_reset_life: premature_life.unwrap_or(default.premature_reset_life),
            provoked_resets_max: self
                .http2_provoked_resets_max
                .unwrap_or(default.provoked_resets_max),
            closed_stream_frames_max: self
                .http2_closed_stream_frames_max
                .unwrap_or(default.closed_stream_frames_max),
            unknown_frames_max: self
                .http2_unknown_frames_max
                .unwrap_or(default.unknown_frames_max),
            settings_timeout: settings_timeout.unwrap_or(default.settings_timeout),
        }
    }
}

const LONGEST: Duration = Duration::from_secs(3600);

fn life(text: &str) -> Result<Duration, String> {
    let life = Span::parse(text)?.duration();
    match life <= LONGEST {
        true => Ok(life),
        false => Err(format!("must be from 0s to 1h, got {text}")),
    }
}

fn settings_timeout(text: &str) -> Result<Duration, String> {
    let timeout = Span::parse(text)?.duration();
    match !timeout.is_zero() && timeout <= LONGEST {
        true => Ok(timeout),
        false => Err(format!("must be from 1ms to 1h, got {text}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_goes_before_the_bootstrap_and_that_before_the_defaults() {
        assert_eq!(
            HttpBoundArgs::default().bounds(Runtime::default()),
            Bounds::default()
        );
        let said = Runtime {
            premature_reset_streams_min: Some(7),
            premature_reset_life: Some(Duration::from_secs(3)),
        };
        let args = HttpBoundArgs {
            http2_premature_reset_streams: Some(9),
            http2_unknown_frames_max: Some(1),
            ..HttpBoundArgs::default()
        };
        let bounds = args.bounds(said);
        assert_eq!(bounds.premature_reset_streams_min, 9);
        assert_eq!(bounds.premature_reset_life, Duration::from_secs(3));
        assert_eq!(bounds.unknown_frames_max, 1);
    }

    #[test]
    fn times_are_within_their_bounds() {
        assert_eq!(life("0s"), Ok(Duration::ZERO));
        assert_eq!(settings_timeout("1h"), Ok(LONGEST));
        assert!(settings_timeout("0s").is_err() && settings_timeout("2h").is_err());
        assert!(life("61m").is_err() && life("-1s").is_err());
    }
}
