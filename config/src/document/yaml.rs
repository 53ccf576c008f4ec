//! YAML and JSON texts as JSON values, with the place of each.

use std::collections::HashMap;

use saphyr::{LoadableYamlNode, MarkedYaml, Marker, Scalar, YamlData};
use serde_json::{Map, Number, Value};

use crate::diag::{FieldPath, Finding, Location, Severity};

/// Longest text that is read.
pub const TEXT_BYTES_MAX: usize = 16 << 20;
/// Deepest nesting that is read.
const DEPTH_MAX: usize = 100;

/// Where values stand in a file.
#[derive(Clone, Debug)]
pub(super) struct Places {
    file: String,
    /// Line and column, from one, by path.
    by_path: HashMap<String, (u32, u32)>,
}

impl Places {
    /// `finding` with its place, or with that of the nearest value around it.
    pub(super) fn locate(&self, mut finding: Finding) -> Finding {
        let plain = plain_path(finding.path.as_str());
        let mut path = plain.as_str();
        loop {
            if let Some((line, column)) = self.by_path.get(path) {
                finding.location = Some(Location {
                    file: self.file.clone(),
                    line: *line,
                    column: *column,
                });
                return finding;
            }
            let Some(end) = path.rfind(['.', '[']) else {
                break;
            };
            path = path.get(..end).unwrap_or_default();
        }
        finding
    }

    fn note(&mut self, path: &str, at: &Marker) {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let place = (number(at.line()), number(at.col() + 1));
        self.by_path.insert(path.to_owned(), place);
    }
}

/// Entries of maps are written `["key"]` in findings; here they are fields.
fn plain_path(path: &str) -> String {
    path.replace("[\"", ".").replace("\"]", "")
}

/// Reads the one document in `text`.
pub(super) fn read(text: &str, file: &str) -> Result<(Value, Places), Box<Finding>> {
    let fault = |at: Option<Marker>, message: String| {
        Box::new(Finding {
            severity: Severity::Fault,
            path: FieldPath::root(),
            location: at.map(|at| Location {
                file: file.to_owned(),
                line: u32::try_from(at.line()).unwrap_or(u32::MAX),
                column: u32::try_from(at.col() + 1).unwrap_or(u32::MAX),
            }),
            message,
        })
    };
    if text.len() > TEXT_BYTES_MAX {
        return Err(fault(
            None,
            format!("{file}: longer than {TEXT_BYTES_MAX} bytes"),
        ));
    }
    check_depth(text).map_err(|line| {
        fault(
            Some(Marker::new(0, line, 0)),
            format!("nests deeper than {DEPTH_MAX}"),
        )
    })?;
    let documents = MarkedYaml::load_from_str(text)
        .map_err(|error| fault(Some(*error.marker()), error.info().to_owned()))?;
    let document = match documents.as_slice() {
        [document] => document,
        [] => return Err(fault(None, format!("{file}: is empty"))),
        [_, second, ..] => {
            return Err(fault(
                Some(second.span.start),
                "a second document".to_owned(),
            ));
        }
    };
    let mut reader = Reader {
        places: Places {
            file: file.to_owned(),
            by_path: HashMap::new(),
        },
    };
    match reader.value(document, "", 0) {
        Ok(value) => Ok((value, reader.places)),
        Err((at, message)) => Err(fault(Some(at), message)),
    }
}

/// Refuses, with the number of the line, what the YAML library would build a tower of: brackets in brackets, or many
/// dashes in a line.
fn check_depth(text: &str) -> Result<(), usize> {
    let mut open = 0usize;
    for (index, line) in text.lines().enumerate() {
        let start = line.bytes().take_while(|byte| b" -?:".contains(byte));
        let columns = start.count();
        open = line.bytes().fold(open, |open, byte| match byte {
            b'[' | b'{' => open + 1,
            b']' | b'}' => open.saturating_sub(1),
            _ => open,
        });
        // Indentation by two for each level, and brackets that stand in texts.
        if columns > 4 * DEPTH_MAX || open > 2 * DEPTH_MAX {
            return Err(index + 1);
        }
    }
    Ok(())
}

struct Reader {
    places: Places,
}

type Fault = (Marker, String);

impl Reader {
    fn value(&mut self, node: &MarkedYaml<'_>, path: &str, depth: usize) -> Result<Value, Fault> {
        let at = node.span.start;
        if depth > DEPTH_MAX {
            return Err((at, format!("nests deeper than {DEPTH_MAX}")));
        }
        match &node.data {
            YamlData::Value(scalar) => scalar_value(scalar).map_err(|message| (at, message)),
            YamlData::Sequence(items) => {
                let mut list = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    let path = format!("{path}[{index}]");
                    self.places.note(&path, &item.span.start);
                    list.push(self.value(item, &path, depth + 1)?);
                }
                Ok(Value::Array(list))
            }
            YamlData::Mapping(entries) => {
                let mut object = Map::with_capacity(entries.len());
                for (key, value) in entries {
                    let name = key_name(key).map_err(|message| (key.span.start, message))?;
                    let path = match path {
                        "" => name.clone(),
                        path => format!("{path}.{name}"),
                    };
                    self.places.note(&path, &key.span.start);
                    let value = self.value(value, &path, depth + 1)?;
                    // Two keys that differ as YAML and not as JSON: `1` and `"1"`.
                    if object.insert(name, value).is_some() {
                        return Err((key.span.start, "duplicate key".to_owned()));
                    }
                }
                Ok(Value::Object(object))
            }
            YamlData::Tagged(tag, _) => Err((at, format!("tags are not supported, got {tag}"))),
            YamlData::Representation(..) | YamlData::Alias(_) | YamlData::BadValue => {
                Err((at, "not a value that can be read".to_owned()))
            }
        }
    }
}

fn scalar_value(scalar: &Scalar<'_>) -> Result<Value, String> {
    Ok(match scalar {
        Scalar::Null => Value::Null,
        Scalar::Boolean(bool) => Value::Bool(*bool),
        Scalar::Integer(number) => Value::Number((*number).into()),
        Scalar::FloatingPoint(number) => {
            let number = number.into_inner();
            // JSON of protobuf writes those that JSON has no number for as texts.
            Number::from_f64(number).map_or_else(
                || match number {
                    _ if number.is_nan() => Value::from("NaN"),
                    _ if number > 0.0 => Value::from("Infinity"),
                    _ => Value::from("-Infinity"),
                },
                Value::Number,
            )
        }
        Scalar::String(text) => Value::String(text.to_string()),
    })
}

fn key_name(key: &MarkedYaml<'_>) -> Result<String, String> {
    match &key.data {
        YamlData::Value(Scalar::String(text)) => Ok(text.to_string()),
        YamlData::Value(Scalar::Integer(number)) => Ok(number.to_string()),
        YamlData::Value(Scalar::Boolean(bool)) => Ok(bool.to_string()),
        _ => Err("a key must be a text".to_owned()),
    }
}
