//! Regular expressions of xDS: RE2 syntax, of the whole value, bounded in size.

use regex::bytes::{Regex, RegexBuilder};

/// A compiled regular expression that compares by its source.
#[derive(Clone, Debug)]
pub struct Pattern(pub Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

/// Compiled program size above which an expression is refused.
const PROGRAM_BYTES_MAX: usize = 1 << 20;
const START: &str = r"\A(?:";
const END: &str = r")\z";

impl Pattern {
    /// An expression that the whole value must match (`RegexMatcher`).
    ///
    /// # Errors
    /// If it is not a regular expression, or too large; the text says where and why on one line.
    pub fn whole(source: &str) -> Result<Self, String> {
        // An unbalanced `)` could otherwise close our group instead of being an error.
        if source.contains(')') {
            compile(source)?;
        }
        compile(&format!("{START}{source}{END}")).map(Self)
    }

    /// An expression that may match anywhere, for rewrites.
    ///
    /// # Errors
    /// As for [`Self::whole`].
    pub fn anywhere(source: &str) -> Result<Self, String> {
        compile(source).map(Self)
    }

    /// The expression as it was given.
    pub fn source(&self) -> &str {
        let source = self.0.as_str();
        source
            .strip_prefix(START)
            .and_then(|rest| rest.strip_suffix(END))
            .unwrap_or(source)
    }

    /// Whether there is a group of this number; 0 is the whole match.
    pub(super) fn has_group(&self, number: u32) -> bool {
        usize::try_from(number).is_ok_and(|number| number < self.0.captures_len())
    }

    /// Characters with which every match of the whole starts; empty where that is not plain to see.
    pub(super) fn literal_prefix(&self) -> String {
        literal_prefix(self.source())
    }
}

/// Characters with which every match of the expression `source` starts, as far as that is plain to see.
pub(super) fn literal_prefix(source: &str) -> String {
    if source.contains('|') || source.contains("(?") {
        return String::new();
    }
    let mut prefix = String::new();
    let mut rest = source.strip_prefix('^').unwrap_or(source).chars();
    while let Some(char) = rest.next() {
        let literal = match char {
            '\\' => match rest.next() {
                // `\<` and `\>` are word boundaries.
                Some('<' | '>') | None => return prefix,
                Some(escaped) if escaped.is_ascii_punctuation() => escaped,
                Some(_) => return prefix,
            },
            '*' | '?' | '{' => {
                prefix.pop();
                return prefix;
            }
            '.' | '[' | '(' | '+' | '^' | '$' => return prefix,
            literal => literal,
        };
        prefix.push(literal);
    }
    prefix
}

/// Without Unicode classes, as RE2: `\d` is an ASCII digit, and the tables stay small.
fn compile(source: &str) -> Result<Regex, String> {
    RegexBuilder::new(source)
        .unicode(false)
        .size_limit(PROGRAM_BYTES_MAX)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(limit) => {
                format!("regular expression compiles to more than {limit} bytes")
            }
            error => last_line(&error.to_string()),
        })
}

fn last_line(text: &str) -> String {
    let line = text.lines().last().unwrap_or(text).trim();
    format!(
        "not a regular expression: {}",
        line.strip_prefix("error: ").unwrap_or(line)
    )
}
