//! How results are written: tables for people, YAML and JSON for programs.

use std::io::Write;

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table};
use serde::Serialize;

/// Writes a line to standard output, as `println!` does, but gives the error where that is closed or full.
macro_rules! say {
    ($($line:tt)*) => {{
        use std::io::Write as _;
        writeln!(std::io::stdout(), $($line)*)
    }};
}
pub(super) use say;

/// `-o`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// A table.
    #[default]
    Table,
    /// A table with more columns.
    Wide,
    /// YAML.
    Yaml,
    /// JSON, stable and complete.
    Json,
}

impl OutputFormat {
    /// Writes `value` where the format is a structured one, and says whether it did.
    ///
    /// # Errors
    /// If standard output is gone.
    pub fn print_structured(self, value: &impl Serialize) -> anyhow::Result<bool> {
        let text = match self {
            Self::Table | Self::Wide => return Ok(false),
            Self::Json => serde_json::to_string_pretty(value)? + "\n",
            Self::Yaml => yaml(&serde_json::to_value(value)?),
        };
        std::io::stdout().write_all(text.as_bytes())?;
        Ok(true)
    }
}

/// Writes a table of `rows` under `header`, without borders; says so where there is none.
///
/// # Errors
/// If standard output is gone.
pub(super) fn print_table(
    header: &[&str],
    rows: Vec<Vec<String>>,
    none: &str,
) -> anyhow::Result<()> {
    if rows.is_empty() {
        eprintln!("{none}");
        return Ok(());
    }
    let mut table = Table::new();
    table
        .load_style(comfy_table::presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(|h| h.to_uppercase()));
    table.add_rows(rows.into_iter().map(|row| row.into_iter().map(printable)));
    for line in table.lines() {
        writeln!(
            std::io::stdout(),
            "{}",
            line.trim_end().strip_prefix(' ').unwrap_or(&line)
        )?;
    }
    Ok(())
}

/// What others have said of themselves, without anything that a terminal would obey.
fn printable(cell: String) -> String {
    match cell.contains(|it: char| it.is_control() && it != '\n') {
        false => cell,
        true => cell.chars().flat_map(char::escape_debug).collect(),
    }
}

/// A number of things, in words: `1 proxy`, `2 proxies`.
pub(super) fn count(number: usize, one: &str) -> String {
    match (number, one.strip_suffix('y')) {
        (1, _) => format!("1 {one}"),
        (_, Some(stem)) => format!("{number} {stem}ies"),
        (_, None) => format!("{number} {one}s"),
    }
}

/// A time as people want it: `2026-01-31T23:59:59Z` without what comes after the seconds.
pub(super) fn to_the_second(time: &str) -> String {
    match time.split_once('.') {
        Some((whole, _)) => format!("{whole}Z"),
        None => time.to_owned(),
    }
}

/// A JSON value as a YAML document.
pub(crate) fn yaml(value: &serde_json::Value) -> String {
    let mut text = String::new();
    write_yaml(value, 0, &mut text);
    text
}

fn write_yaml(value: &serde_json::Value, indent: usize, out: &mut String) {
    use serde_json::Value;
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                *out += &" ".repeat(indent);
                *out += &yaml_string(key);
                write_yaml_child(value, indent, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                let mut inner = String::new();
                write_yaml(item, indent + 2, &mut inner);
                *out += &" ".repeat(indent);
                *out += "- ";
                *out += inner.trim_start();
            }
        }
        scalar => {
            *out += &" ".repeat(indent);
            *out += &yaml_scalar(scalar);
            out.push('\n');
        }
    }
}

fn write_yaml_child(value: &serde_json::Value, indent: usize, out: &mut String) {
    use serde_json::Value;
    let nested = match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    if nested {
        *out += ":\n";
        write_yaml(value, indent + 2, out);
    } else {
        *out += ": ";
        *out += &yaml_scalar(value);
        out.push('\n');
    }
}

fn yaml_scalar(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => yaml_string(text),
        other => other.to_string(), // numbers, booleans, null, {} and [] are written alike
    }
}

/// A string as a plain scalar where that reads back as the same string, else quoted as JSON, which YAML includes.
fn yaml_string(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c))
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
        );
    if plain {
        text.to_owned()
    } else {
        serde_json::Value::from(text).to_string()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_thing_is_not_several() {
        let counted = [
            (0, "proxy"),
            (1, "proxy"),
            (2, "proxy"),
            (1, "fault"),
            (2, "fault"),
        ];
        let counted = counted.map(|(number, one)| count(number, one));
        assert_eq!(
            counted,
            ["0 proxies", "1 proxy", "2 proxies", "1 fault", "2 faults"]
        );
        assert_eq!(
            to_the_second("2026-11-21T15:16:52.149940573Z"),
            "2026-11-21T15:16:52Z"
        );
    }

    #[test]
    fn strings_that_yaml_would_read_as_something_else_are_quoted() {
        let value = json!({"a": "true", "b": "1", "c": "plain-text", "d": "x: y", "e": "", "f": "2s", "NO": null});
        let expected =
            "a: \"true\"\nb: \"1\"\nc: plain-text\nd: \"x: y\"\ne: \"\"\nf: \"2s\"\n\"NO\": null\n";
        assert_eq!(yaml(&value), expected);
    }

    #[test]
    fn nested_values_keep_their_shape() {
        let value = json!({"list": [{"a": 1, "b": [true, []]}, "x"], "empty": {}});
        let expected = "list:\n  - a: 1\n    b:\n      - true\n      - []\n  - x\nempty: {}\n";
        assert_eq!(yaml(&value), expected);
    }
}
