//! How long the caller of a gRPC method is willing to wait.

use std::io::Write as _;
use std::time::Duration;

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

/// Writes what is left of a call's time as a `grpc-timeout` header: in the finest unit that eight digits hold, never more
/// than is left, and never zero.
pub fn write_grpc_timeout(left: Duration, out: &mut Vec<u8>) {
    const AMOUNT_MAX: u128 = 99_999_999;
    let nanos = left.as_nanos().max(1);
    let (amount, unit) = UNITS
        .iter()
        .map(|(per, unit)| (nanos / per, *unit))
        .find(|(amount, _)| *amount <= AMOUNT_MAX)
        .unwrap_or((AMOUNT_MAX, 'H'));
    let _never_fails = write!(out, "{amount}{unit}");
}

/// Units from the finest on, in nanoseconds.
const UNITS: [(u128, char); 6] = [
    (1, 'n'),
    (1_000, 'u'),
    (1_000_000, 'm'),
    (1_000_000_000, 'S'),
    (60_000_000_000, 'M'),
    (3_600_000_000_000, 'H'),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_left_is_written_in_the_finest_unit_that_fits() {
        for (left, text) in [
            (Duration::ZERO, "1n"),
            (Duration::from_nanos(99_999_999), "99999999n"),
            (Duration::from_nanos(100_000_999), "100000u"),
            (Duration::from_millis(4_990), "4990000u"),
            (Duration::from_secs(100), "100000m"),
            (Duration::from_secs(3600 * 24 * 7), "604800S"),
            (Duration::MAX, "99999999H"),
        ] {
            let mut out = Vec::new();
            write_grpc_timeout(left, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), text, "{left:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_no_more_than_was_left_and_above_zero(
            secs in 0..400_000_000_000u64, nanos in 0..1_000_000_000u32,
        ) {
            let (left, mut out) = (Duration::new(secs, nanos), Vec::new());
            write_grpc_timeout(left, &mut out);
            let read = parse_grpc_timeout(&out).unwrap();
            prop_assert!(!read.is_zero() && (read <= left || left.is_zero()));
            prop_assert!(read.as_nanos() * 1_000_001 / 1_000_000 + 1 >= left.as_nanos() || secs > 359_999_000_000);
        }
    }

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
