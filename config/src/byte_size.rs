//! Sizes as people write them: `64Mi`, `60Ki`, `1G`, `4096`.

/// Reads a whole number of bytes with one of Kubernetes' suffixes, or none.
///
/// # Errors
/// A sentence that names the text and the rule, for anything else and for what 64 bits do not hold.
pub fn parse(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let split = text.split_at_checked(digits).and_then(|(number, suffix)| {
        let unit = UNITS.iter().find(|(name, _)| *name == suffix)?;
        number.parse::<u64>().ok()?.checked_mul(unit.1)
    });
    split.ok_or_else(|| {
        format!("must be a whole number of bytes, with Ki, Mi, Gi, Ti, k, M, G, T or without, got {text:?}")
    })
}

const UNITS: [(&str, u64); 9] = [
    ("", 1),
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_whole_numbers_with_kubernetes_suffixes() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("60Ki", 61_440),
            ("64Mi", 67_108_864),
            ("1G", 1_000_000_000),
            ("16777215Ti", 16_777_215 << 40),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "Mi",
            "-1",
            "+1",
            "1.5Gi",
            "64 Mi",
            "64mi",
            "64MiB",
            "64K",
            "16777216Ti",
            "1e6",
            "99999999999999999999",
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }
}
