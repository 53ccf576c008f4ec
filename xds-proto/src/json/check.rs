//! Comparing JSON with descriptors before it is read, so that everything that is wrong is found at once and named by
//! the way to it. What passes here may still be refused by the reader; what is refused here never passes it.

use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value};

use super::{Descriptors, JsonError};

/// Deepest nesting that is read.
const DEPTH_MAX: usize = 100;

pub(super) fn check(
    descriptors: &Descriptors,
    message: &MessageDescriptor,
    value: &Value,
) -> Vec<JsonError> {
    let mut checker = Checker {
        descriptors,
        errors: Vec::new(),
    };
    checker.message(message, value, "", 0);
    checker.errors
}

struct Checker<'a> {
    descriptors: &'a Descriptors,
    errors: Vec<JsonError>,
}

impl Checker<'_> {
    fn mismatch(&mut self, path: &str, message: String) {
        self.errors.push(JsonError::Mismatch {
            path: path.to_owned(),
            message,
        });
    }

    fn message(&mut self, message: &MessageDescriptor, value: &Value, path: &str, depth: usize) {
        if depth > DEPTH_MAX {
            return self.mismatch(path, format!("nests deeper than {DEPTH_MAX}"));
        }
        let name = message.full_name();
        let fields = match (name.strip_prefix("google.protobuf."), value) {
            (Some("Any"), Value::Object(fields)) => return self.any(fields, path, depth),
            (Some("Struct" | "Value" | "ListValue" | "FieldMask"), _) => return,
            (Some("Duration"), _) => return self.duration(value, path),
            (Some("Timestamp"), _) => return,
            (Some(wrapper), _) if wrapper.ends_with("Value") => {
                let inner = message.get_field(1).map(|field| field.kind());
                return inner
                    .into_iter()
                    .for_each(|kind| self.value(&kind, value, path, depth));
            }
            (_, Value::Object(fields)) => fields,
            (_, other) => {
                return self.mismatch(path, format!("expected an object, got {}", shown(other)));
            }
        };
        self.fields(message, fields.iter(), path, depth);
    }

    fn fields<'v>(
        &mut self,
        message: &MessageDescriptor,
        fields: impl Iterator<Item = (&'v String, &'v Value)>,
        path: &str,
        depth: usize,
    ) {
        let mut chosen: Vec<FieldDescriptor> = Vec::new();
        for (name, value) in fields {
            let path = below(path, name);
            let known = message.get_field_by_name(name);
            match known.or_else(|| message.get_field_by_json_name(name)) {
                Some(field) => {
                    self.field(&field, value, &path, depth + 1);
                    if field.containing_oneof().is_some() && !value.is_null() {
                        self.one_of(&field, &chosen, &path);
                        chosen.push(field);
                    }
                }
                None => self.errors.push(JsonError::UnknownField {
                    path,
                    name: name.clone(),
                    message_type: message.full_name().to_owned(),
                    known: message.fields().map(|it| it.name().to_owned()).collect(),
                }),
            }
        }
    }

    /// Of the fields of a `oneof` there may be one.
    fn one_of(&mut self, field: &FieldDescriptor, chosen: &[FieldDescriptor], path: &str) {
        let same = |other: &&FieldDescriptor| other.containing_oneof() == field.containing_oneof();
        if let Some(other) = chosen.iter().find(same) {
            self.mismatch(path, format!("cannot stand beside {:?}", other.name()));
        }
    }

    fn field(&mut self, field: &FieldDescriptor, value: &Value, path: &str, depth: usize) {
        let kind = field.kind();
        match value {
            Value::Null => {}
            Value::Object(entries) if field.is_map() => {
                let entry = kind
                    .as_message()
                    .map(MessageDescriptor::map_entry_value_field);
                let Some(kind) = entry.map(|it| it.kind()) else {
                    return;
                };
                for (key, value) in entries {
                    self.value(&kind, value, &format!("{path}[{key:?}]"), depth);
                }
            }
            other if field.is_map() => {
                self.mismatch(path, format!("expected an object, got {}", shown(other)));
            }
            Value::Array(values) if field.is_list() => {
                for (index, value) in values.iter().enumerate() {
                    self.value(&kind, value, &format!("{path}[{index}]"), depth);
                }
            }
            other if field.is_list() => {
                self.mismatch(path, format!("expected a list, got {}", shown(other)));
            }
            value => self.value(&kind, value, path, depth),
        }
    }

    fn value(&mut self, kind: &Kind, value: &Value, path: &str, depth: usize) {
        let expected = match kind {
            Kind::Message(message) => return self.message(message, value, path, depth),
            Kind::Enum(kind) => return self.enumeration(kind, value, path),
            Kind::Bool if !value.is_boolean() => "true or false",
            Kind::String if !value.is_string() => "a string",
            Kind::Bytes if !value.is_string() => "a string in base64",
            Kind::Double | Kind::Float if !is_number::<f64>(value) => "a number",
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 if !is_integer::<i32>(value) => {
                "an integer of 32 bits"
            }
            Kind::Uint32 | Kind::Fixed32 if !is_integer::<u32>(value) => {
                "an integer of 32 bits that is not negative"
            }
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 if !is_integer::<i64>(value) => {
                "an integer"
            }
            Kind::Uint64 | Kind::Fixed64 if !is_integer::<u64>(value) => {
                "an integer that is not negative"
            }
            _ => return,
        };
        self.mismatch(path, format!("expected {expected}, got {}", shown(value)));
    }

    fn enumeration(&mut self, kind: &EnumDescriptor, value: &Value, path: &str) {
        if value.is_i64()
            || value
                .as_str()
                .is_some_and(|it| kind.get_value_by_name(it).is_some())
        {
            return;
        }
        let names: Vec<String> = kind.values().map(|it| it.name().to_owned()).collect();
        let names = names.join(", ");
        self.mismatch(
            path,
            format!("expected one of {names}, got {}", shown(value)),
        );
    }

    fn duration(&mut self, value: &Value, path: &str) {
        let number = value.as_str().and_then(|text| text.strip_suffix('s'));
        if number.is_none_or(|number| number.parse::<f64>().is_err()) {
            let got = shown(value);
            self.mismatch(
                path,
                format!("expected a duration in seconds as in \"1.5s\", got {got}"),
            );
        }
    }

    fn any(&mut self, fields: &Map<String, Value>, path: &str, depth: usize) {
        let Some(Value::String(url)) = fields.get("@type") else {
            if !fields.is_empty() {
                self.mismatch(path, "has no \"@type\"".to_owned());
            }
            return;
        };
        let type_name = url.rsplit_once('/').map_or(url.as_str(), |(_, name)| name);
        let Some(message) = self.descriptors.message(type_name) else {
            return self.errors.push(JsonError::UnknownType {
                path: path.to_owned(),
                type_name: type_name.to_owned(),
            });
        };
        match type_name.starts_with("google.protobuf.") {
            // Those with a JSON form of their own stand below `value`.
            true => {
                if let Some(value) = fields.get("value") {
                    self.message(&message, value, &below(path, "value"), depth + 1);
                }
            }
            false => {
                let fields = fields.iter().filter(|(name, _)| *name != "@type");
                self.fields(&message, fields, path, depth + 1);
            }
        }
    }
}

fn below(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    }
}

/// JSON integers may be written as strings, and with an empty fraction.
fn is_integer<T: std::str::FromStr + TryFrom<i128>>(value: &Value) -> bool {
    match value {
        Value::String(text) => text.parse::<T>().is_ok(),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), ..) => T::try_from(number.into()).is_ok(),
            (None, Some(number), _) => T::try_from(number.into()).is_ok(),
            (None, None, Some(number)) => {
                number.fract() == 0.0 && T::try_from(number as i128).is_ok()
            }
            (None, None, None) => false,
        },
        _ => false,
    }
}

fn is_number<T: std::str::FromStr>(value: &Value) -> bool {
    match value {
        Value::String(text) => text.parse::<T>().is_ok(),
        value => value.is_number(),
    }
}

/// A value as it is quoted in a message: short.
fn shown(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        value => {
            let text = value.to_string();
            match text.char_indices().nth(60) {
                Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
                None => text,
            }
        }
    }
}
