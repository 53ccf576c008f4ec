//! Values with a grammar of their own: durations, shares, regular expressions.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

/// A duration as Gateway API writes it (GEP-2257): `1h30m`, `2s`, `25ms`; up to four parts of at most five digits each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(Duration);

impl Span {
    /// The duration.
    pub fn duration(self) -> Duration {
        self.0
    }

    /// Whether it is `0s`, which Gateway API gives the meaning "no bound".
    pub fn is_zero(self) -> bool {
        self.0.is_zero()
    }

    /// Reads the form of GEP-2257.
    ///
    /// # Errors
    /// A sentence that names the text and the rule, for anything else.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "must be a duration such as `1h30m`, `2s` or `25ms` (whole numbers of at most 5 digits, units h, m, s, ms), got `{text}`"
            )
        };
        let mut rest = text;
        let mut total = Duration::ZERO;
        let mut parts = 0;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, tail) = rest.split_at_checked(digits).ok_or_else(bad)?;
            let (unit, tail) = UNITS
                .iter()
                .find_map(|(unit, millis)| Some((millis, tail.strip_prefix(unit)?)))
                .ok_or_else(bad)?;
            if digits == 0 || digits > 5 {
                return Err(bad());
            }
            let number: u64 = number.parse().map_err(|_| bad())?;
            total += Duration::from_millis(number * unit);
            parts += 1;
            rest = tail;
        }
        if parts == 0 || parts > 4 {
            return Err(bad());
        }
        Ok(Self(total))
    }
}

impl From<Duration> for Span {
    /// Whole milliseconds of `duration`, at most the longest that can be written.
    fn from(duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(Duration::from_millis(millis.min(SPAN_MAX_MILLIS)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = u64::try_from(self.0.as_millis()).unwrap_or(SPAN_MAX_MILLIS);
        if left == 0 {
            return f.write_str("0s");
        }
        for (unit, millis) in [("h", HOUR), ("m", MINUTE), ("s", SECOND), ("ms", 1)] {
            let count = left / millis;
            if count > 0 {
                write!(f, "{count}{unit}")?;
                left -= count * millis;
            }
        }
        Ok(())
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^([0-9]{1,5}(h|m|s|ms)){1,4}$",
            "description": "A duration: `1h30m`, `2s`, `25ms`",
        })
    }
}

/// A share, kept in parts per million; written in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u32);

impl Percent {
    /// All.
    pub const ALL: Self = Self(1_000_000);

    /// From 0 to 1,000,000.
    pub fn per_million(self) -> u32 {
        self.0
    }

    /// Reads percent, from 0 to 100 with at most four decimals.
    ///
    /// # Errors
    /// A sentence that names the value and the rule.
    pub fn parse(percent: f64) -> Result<Self, String> {
        if !(0.0..=100.0).contains(&percent) {
            return Err(format!("must be from 0 to 100 percent, got {percent}"));
        }
        let parts = percent * 10_000.0;
        let rounded = parts.round();
        if (parts - rounded).abs() > 1e-6 {
            return Err(format!(
                "must have at most four decimals, got {percent} percent"
            ));
        }
        Ok(Self(rounded as u32))
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(10_000) {
            return serializer.serialize_u32(self.0 / 10_000);
        }
        serializer.serialize_f64(f64::from(self.0) / 10_000.0)
    }
}

impl JsonSchema for Percent {
    fn schema_name() -> Cow<'static, str> {
        "Percent".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "number", "minimum": 0, "maximum": 100, "description": "Percent, at most four decimals"})
    }
}

/// A regular expression that compiles (RE2 syntax: no look-around, no back-references); it must match the whole value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct RegexText(String);

impl RegexText {
    /// The expression as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Checks that `text` compiles, within the bounds of the proxy.
    ///
    /// # Errors
    /// A sentence that names the expression and what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > REGEX_BYTES_MAX {
            return Err(format!(
                "a regular expression has at most {REGEX_BYTES_MAX} bytes, got {}",
                text.len()
            ));
        }
        regex::bytes::RegexBuilder::new(text)
            .size_limit(REGEX_COMPILED_BYTES_MAX)
            .build()
            .map_err(|error| format!("`{text}` is not a regular expression: {}", reason(&error)))?;
        Ok(Self(text.to_owned()))
    }
}

impl JsonSchema for RegexText {
    fn schema_name() -> Cow<'static, str> {
        "RegularExpression".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "minLength": 1, "maxLength": REGEX_BYTES_MAX, "description": "A regular expression (RE2 syntax) that must match the whole value"})
    }
}

/// The last line of what the compiler says; the lines before it draw a picture.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// Units by length, so that `ms` is not read as `m`.
const UNITS: [(&str, u64); 4] = [("ms", 1), ("h", HOUR), ("m", MINUTE), ("s", SECOND)];

/// `99999h59m59s999ms`, the longest that [`Span`]'s `Display` writes in a form that parses.
const SPAN_MAX_MILLIS: u64 = 99_999 * HOUR + 59 * MINUTE + 59 * SECOND + 999;

/// Gateway API's bound on path and header values.
const REGEX_BYTES_MAX: usize = 4096;
const REGEX_COMPILED_BYTES_MAX: usize = 1 << 20;
