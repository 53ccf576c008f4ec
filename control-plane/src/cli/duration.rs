//! Durations on the command line are written as in manifests.

use std::time::Duration;

use weft_config::gateway_api::Span;

/// Reads `20s`, `500ms`, `1h30m`.
///
/// # Errors
/// As [`Span::parse`].
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    Span::parse(text).map(Span::duration)
}
