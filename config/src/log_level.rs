//! What `--log-level` and the proxy's `/logging` take.

/// Checks `info`, or `warn,weft_proxy::xds=debug`: levels and targets with a level, by commas.
///
/// The filter itself would take any word for a target of which everything is logged, and silence the rest: a misspelt level would end
/// the log.
///
/// # Errors
/// If a word is neither.
pub fn check(text: &str) -> Result<(), String> {
    let is_level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
    let good = |directive: &str| match directive.rsplit_once('=') {
        Some((target, level)) => !target.is_empty() && is_level(level),
        None => is_level(directive),
    };
    match text.split(',').map(str::trim).find(|it| !good(it)) {
        None => Ok(()),
        Some(wrong) => Err(format!(
            "must be one of {}, or TARGET=LEVEL, got {wrong:?}",
            LEVELS.join(", ")
        )),
    }
}

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_alone_and_of_targets_are_taken_and_other_words_are_not() {
        for good in [
            "info",
            "DEBUG",
            "off",
            "warn, weft_proxy::xds=debug",
            "a=trace",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for wrong in ["", "inof", "info,", "weft_proxy", "a=inof", "=info", "3"] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
    }
}
