//! xDS messages as JSON, by the descriptors of all files that Weft reads or shows.
//!
//! The descriptors are built when first asked for and given back with the last [`Descriptors`]: a proxy needs them
//! for its bootstrap and then no more, and they take a few megabytes.

mod check;
mod opaque;
mod redact;

use std::sync::{Arc, Mutex, PoisonError, Weak};

use prost::{Message, Name};
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions,
};
use serde_json::Value;

use crate::memory::give_back_unused;
use crate::pb::google::protobuf::Any;

/// Why a message could not be read from or written as JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The type is not among the descriptors that are carried.
    #[error("{path}: type {type_name:?} is not known")]
    UnknownType {
        /// The way to the message; empty for the message itself.
        path: String,
        /// The full name of the type.
        type_name: String,
    },
    /// The message has no such field.
    #[error("{path}: {message_type} has no such field")]
    UnknownField {
        /// The way to the field, its own name last.
        path: String,
        /// The name as it was written.
        name: String,
        /// The full name of the message's type.
        message_type: String,
        /// The fields that it has.
        known: Vec<String>,
    },
    /// The value does not fit the field.
    #[error("{path}: {message}")]
    Mismatch {
        /// The way to the value, `static_resources.listeners[0].name`; empty for the message itself.
        path: String,
        /// What is wrong with it.
        message: String,
    },
}

/// The descriptors; holding one keeps them from being built again.
#[derive(Clone, Debug)]
pub struct Descriptors(Arc<Pool>);

static SHARED: Mutex<Weak<Pool>> = Mutex::new(Weak::new());

/// The pool, which gives its memory back to the system and not only to the allocator.
#[derive(Debug)]
struct Pool(DescriptorPool);

impl Drop for Pool {
    fn drop(&mut self) {
        self.0 = DescriptorPool::new();
        give_back_unused();
    }
}

impl Descriptors {
    /// The descriptors, built now if nobody holds them.
    pub fn load() -> Self {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = shared.upgrade() {
            return Self(pool);
        }
        let bytes = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
        let pool = DescriptorPool::decode(bytes.as_slice());
        let pool = pool.expect("the build script has made a sound descriptor set");
        let pool = Arc::new(Pool(pool));
        *shared = Arc::downgrade(&pool);
        Self(pool)
    }

    fn message(&self, type_name: &str) -> Option<MessageDescriptor> {
        self.0.0.get_message_by_name(type_name)
    }

    fn message_of<M: Name>(&self) -> Result<MessageDescriptor, JsonError> {
        let type_name = M::full_name();
        self.message(&type_name).ok_or(JsonError::UnknownType {
            path: String::new(),
            type_name,
        })
    }
}

/// `message` as JSON with the field names of the proto files; what has its default value is left out. An `Any` in it
/// that cannot be shown stands as a `Struct` that says which type it is of, how long it is, and why it is not shown. It is
/// for people's eyes: private keys and what else is marked as sensitive are redacted, as in Envoy.
///
/// # Errors
/// If the descriptors do not know the message.
pub fn to_json<M: Name>(message: &M) -> Result<Value, JsonError> {
    let descriptors = Descriptors::load();
    let descriptor = descriptors.message_of::<M>()?;
    let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice());
    let mut dynamic = dynamic.map_err(mismatch)?;
    opaque::hide_unknown(&descriptors, &mut dynamic)?;
    write(&dynamic)
}

/// What `any` holds, as JSON with its `@type`; see [`to_json`].
///
/// # Errors
/// If the descriptors do not know the type, or the bytes are not such a message.
pub fn any_to_json(any: &Any) -> Result<Value, JsonError> {
    to_json(any)
}

/// Reads a message from JSON, with the field names of the proto files or in lower camel case. Unknown fields are
/// errors; all that is wrong comes at once, each with the way to it.
///
/// # Errors
/// If a field is not known or a value does not fit.
pub fn from_json<M: Name + Default>(value: &Value) -> Result<M, Vec<JsonError>> {
    let descriptors = Descriptors::load();
    let descriptor = descriptors.message_of::<M>().map_err(|error| vec![error])?;
    let errors = check::check(&descriptors, &descriptor, value);
    if !errors.is_empty() {
        return Err(errors);
    }
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    DynamicMessage::deserialize_with_options(descriptor, value, &options)
        .map_err(mismatch)
        .and_then(|dynamic| M::decode(dynamic.encode_to_vec().as_slice()).map_err(mismatch))
        .map_err(|error| vec![error])
}

fn write(message: &DynamicMessage) -> Result<Value, JsonError> {
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .stringify_64_bit_integers(true);
    message
        .serialize_with_options(serde_json::value::Serializer, &options)
        .map_err(mismatch)
}

fn mismatch(error: impl std::fmt::Display) -> JsonError {
    JsonError::Mismatch {
        path: String::new(),
        message: error.to_string(),
    }
}
