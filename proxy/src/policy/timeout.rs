//! How long a request may take, from the route, the listener and the request itself.

use std::time::Duration;

use weft_config::listener::HttpLimits;
use weft_config::route::Forward;

/// Bounds on one forwarded request; `None` is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// From the end of the request (or its head) to the end of the answer, retries included.
    pub request: Option<Duration>,
    /// Each attempt, to the head of its answer. Never above `request`.
    pub per_try: Option<Duration>,
    /// Silence in both directions.
    pub idle: Option<Duration>,
}

impl Timeouts {
    /// The bounds of a request on this route; `grpc_timeout` is what the caller said, which can only shorten.
    pub fn of(forward: &Forward, limits: &HttpLimits, grpc_timeout: Option<Duration>) -> Self {
        let route = forward.timeout.filter(|timeout| !timeout.is_zero());
        let request = shorter(route, grpc_timeout);
        let retry = forward.retry.as_deref();
        let per_try = retry
            .and_then(|retry| retry.per_try_timeout)
            .filter(|timeout| !timeout.is_zero());
        let idle = forward.idle_timeout.unwrap_or(limits.stream_idle_timeout);
        Self {
            request,
            per_try: per_try.map(|timeout| shorter(Some(timeout), request).unwrap_or(timeout)),
            idle: Some(idle).filter(|timeout| !timeout.is_zero()),
        }
    }
}

fn shorter(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (only, None) | (None, only) => only,
    }
}

/// Reads a `grpc-timeout` header: one to eight digits and a unit. `None` for anything else, which gRPC ignores.
///
/// <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>, `Timeout`.
pub fn parse_grpc_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let amount: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    match unit {
        b'H' => Some(Duration::from_secs(amount * 3600)),
        b'M' => Some(Duration::from_secs(amount * 60)),
        b'S' => Some(Duration::from_secs(amount)),
        b'm' => Some(Duration::from_millis(amount)),
        b'u' => Some(Duration::from_micros(amount)),
        b'n' => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_timeouts_read_in_every_unit_and_nothing_else() {
        for bad in ["", "S", "5", "5s", "-5S", "123456789S", "1.5S", " 5S"] {
            assert_eq!(parse_grpc_timeout(bad.as_bytes()), None, "{bad:?}");
        }
        for (text, nanos) in [
            ("1H", 3_600_000_000_000_u128),
            ("2M", 120_000_000_000),
            ("3S", 3_000_000_000),
            ("4m", 4_000_000),
            ("5u", 5_000),
            ("99999999n", 99_999_999),
        ] {
            assert_eq!(
                parse_grpc_timeout(text.as_bytes()).map(|t| t.as_nanos()),
                Some(nanos),
                "{text}"
            );
        }
    }
}
