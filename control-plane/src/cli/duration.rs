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

/// The same, from as many seconds as a token or a certificate may live at least.
///
/// # Errors
/// As [`parse`], or if it is less than a second.
pub(super) fn parse_lifetime(text: &str) -> Result<Duration, String> {
    let duration = parse(text)?;
    match duration < Duration::from_secs(1) {
        true => Err(format!("must be 1s at least, got {text:?}")),
        false => Ok(duration),
    }
}

/// As it is written.
pub(super) fn shown(duration: Duration) -> Span {
    Span::from(duration)
}
