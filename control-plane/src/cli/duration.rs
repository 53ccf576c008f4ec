//! Durations on the command line.

use std::time::Duration;

/// Reads `20s`, `500ms`, `1h30m`: whole numbers, each with a unit of `h`, `m`, `s` or `ms`.
///
/// # Errors
/// If the text is empty, a number has no unit, a unit is unknown, or the sum does not fit.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    if rest.is_empty() {
        return Err("must not be empty: write a number with a unit, such as 20s".to_owned());
    }
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, tail) = rest.split_at(digits);
        let number: u64 = number
            .parse()
            .map_err(|_| format!("expected a number at {rest:?}"))?;
        let letters = tail.len()
            - tail
                .trim_start_matches(|c: char| c.is_ascii_alphabetic())
                .len();
        let (unit, tail) = tail.split_at(letters);
        let millis = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "" => return Err(format!("{number} has no unit: use ms, s, m or h")),
            other => return Err(format!("unknown unit {other:?}: use ms, s, m or h")),
        };
        let part = number.checked_mul(millis).ok_or("is too long")?;
        total = total
            .checked_add(Duration::from_millis(part))
            .ok_or("is too long")?;
        rest = tail;
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_without_a_known_unit_are_refused() {
        for wrong in [
            "",
            "20",
            "s",
            "20d",
            "1h30",
            "-5s",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn units_add_up() {
        assert_eq!(parse("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
    }
}
