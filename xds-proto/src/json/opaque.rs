//! What of a message cannot be shown: an `Any` of a type that is not carried, whose bytes are no such message, or that
//! lies too deep in others. One extension that is not known must not hide all else. What must not be shown goes on the
//! same walk.

use prost::bytes::Bytes;
use prost::{Message, Name};
use prost_reflect::{DynamicMessage, ReflectMessage, Value};

use super::{Descriptors, JsonError, mismatch, redact};
use crate::pb::google::protobuf::{Any, Struct, Value as Field, value::Kind};

/// Deepest nesting of messages in which an `Any` is opened. Decoding bounds the nesting within each, so that writing what
/// is left needs a bounded stack.
const DEPTH_MAX: usize = 64;

/// Puts something that can be shown in the place of every `Any` that cannot.
///
/// # Errors
/// If `message` is itself such an `Any`.
pub(super) fn hide_unknown(
    descriptors: &Descriptors,
    message: &mut DynamicMessage,
) -> Result<(), JsonError> {
    match is_any(message) {
        true => open(descriptors, message, 0),
        false => {
            fields(descriptors, message, 0);
            Ok(())
        }
    }
}

fn is_any(message: &DynamicMessage) -> bool {
    message.descriptor().full_name() == Any::full_name()
}

fn fields(descriptors: &Descriptors, message: &mut DynamicMessage, depth: usize) {
    for (field, value) in message.fields_mut() {
        if redact::is_sensitive(&field) {
            redact::redact(&field, value);
        }
        walk(descriptors, value, depth + 1);
    }
}

fn walk(descriptors: &Descriptors, value: &mut Value, depth: usize) {
    match value {
        Value::Message(message) if is_any(message) => {
            if let Err(why) = open(descriptors, message, depth) {
                *message = stand_in(message, &why).unwrap_or_else(|| message.clone());
            }
        }
        Value::Message(message) => fields(descriptors, message, depth),
        Value::List(values) => values
            .iter_mut()
            .for_each(|value| walk(descriptors, value, depth)),
        Value::Map(values) => values
            .values_mut()
            .for_each(|value| walk(descriptors, value, depth)),
        _ => {}
    }
}

/// Hides what cannot be shown inside an `Any`.
fn open(
    descriptors: &Descriptors,
    any: &mut DynamicMessage,
    depth: usize,
) -> Result<(), JsonError> {
    let mut packed: Any = any.transcode_to().map_err(mismatch)?;
    if depth > DEPTH_MAX {
        return Err(mismatch(format!("nests deeper than {DEPTH_MAX}")));
    }
    let type_name = packed.type_url.rsplit('/').next().unwrap_or_default();
    let unknown = || JsonError::UnknownType {
        path: String::new(),
        type_name: type_name.to_owned(),
    };
    let descriptor = descriptors.message(type_name).ok_or_else(unknown)?;
    let held = DynamicMessage::decode(descriptor, packed.value.as_slice());
    let mut held = held.map_err(mismatch)?;
    match is_any(&held) {
        true => open(descriptors, &mut held, depth + 1)?,
        false => fields(descriptors, &mut held, depth),
    }
    packed.value = held.encode_to_vec();
    let value = Value::Bytes(Bytes::from(packed.value));
    any.try_set_field_by_name("value", value).map_err(mismatch)
}

/// An `Any` of a `Struct` that tells of `any`.
fn stand_in(any: &DynamicMessage, why: &JsonError) -> Option<DynamicMessage> {
    let hidden: Any = any.transcode_to().ok()?;
    let text = |text: String| Field {
        kind: Some(Kind::StringValue(text)),
    };
    let told = Struct {
        fields: [
            ("type_url".to_owned(), text(hidden.type_url)),
            ("bytes".to_owned(), text(hidden.value.len().to_string())),
            ("not_shown".to_owned(), text(why.to_string())),
        ]
        .into(),
    };
    let told = Any {
        type_url: format!("type.googleapis.com/{}", Struct::full_name()),
        value: told.encode_to_vec(),
    };
    let mut stand_in = DynamicMessage::new(any.descriptor());
    stand_in.transcode_from(&told).ok()?;
    Some(stand_in)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{any_to_json, to_json};
    use crate::pb::envoy::config::core::v3::{Metadata, Node};
    use crate::type_url;

    fn packed<M: Name>(message: &M) -> Any {
        Any {
            type_url: format!("type.googleapis.com/{}", M::full_name()),
            value: message.encode_to_vec(),
        }
    }

    fn metadata(any: Any) -> Metadata {
        Metadata {
            typed_filter_metadata: [("here".to_owned(), any)].into(),
            ..Metadata::default()
        }
    }

    #[test]
    fn one_unknown_extension_hides_nothing_else() {
        let unknown = Any {
            type_url: "type.googleapis.com/acme.Filter".to_owned(),
            value: vec![1, 2, 3],
        };
        let mut outer = metadata(packed(&metadata(unknown)));
        let known = packed(&Node {
            id: "known".to_owned(),
            ..Node::default()
        });
        outer
            .typed_filter_metadata
            .insert("beside".to_owned(), known);
        let shown = any_to_json(&packed(&outer)).unwrap();
        let outer = shown.get("typed_filter_metadata").unwrap();
        assert_eq!(outer["beside"]["id"], "known");
        let hidden = &outer["here"]["typed_filter_metadata"]["here"]["value"];
        assert_eq!(hidden["type_url"], "type.googleapis.com/acme.Filter");
        assert_eq!(hidden["bytes"], "3");
        let why = hidden["not_shown"].as_str().unwrap();
        assert!(why.contains("\"acme.Filter\" is not known"), "{why}");
    }

    #[test]
    fn bytes_that_are_no_such_message_are_not_shown() {
        let broken = Any {
            type_url: type_url::CLUSTER.to_owned(),
            value: vec![0xff; 3],
        };
        let shown = to_json(&metadata(broken.clone())).unwrap();
        let hidden = &shown["typed_filter_metadata"]["here"]["value"];
        assert_eq!(hidden["type_url"], type_url::CLUSTER);
        assert!(
            any_to_json(&broken).is_err(),
            "nothing else is there to be shown"
        );
    }

    #[test]
    fn what_nests_without_end_needs_no_stack_without_end() {
        let mut any = packed(&Node::default());
        for _ in 0..5_000 {
            any = packed(&any);
        }
        assert!(any_to_json(&any).is_err());
        let shown = to_json(&metadata(any.clone())).unwrap().to_string();
        assert!(shown.contains("nests deeper than"), "{}", shown.len());
        for _ in 0..200 {
            any = packed(&metadata(any));
        }
        any_to_json(&any).unwrap();
    }
}
