//! Packing messages into `google.protobuf.Any` and back.

use prost::Name;

use crate::pb::google::protobuf::Any;

/// Why an `Any` could not be read as the message asked for.
#[derive(Debug, thiserror::Error)]
pub enum AnyError {
    /// It holds another type.
    #[error("holds {got}, not {want}")]
    WrongType {
        /// The type URL found.
        got: String,
        /// The type URL wanted.
        want: String,
    },
    /// Its bytes are not such a message.
    #[error("does not decode as {type_url}")]
    Malformed {
        /// The type URL.
        type_url: String,
        /// What prost says.
        #[source]
        source: prost::DecodeError,
    },
}

/// Packs `message`.
pub fn pack<M: Name>(message: &M) -> Any {
    Any {
        type_url: M::type_url(),
        value: message.encode_to_vec(),
    }
}

/// Reads `any` as an `M`.
///
/// # Errors
/// If it holds another type, or bytes that are not an `M`.
pub fn unpack<M: Name + Default>(any: &Any) -> Result<M, AnyError> {
    if any.type_url != M::type_url() {
        return Err(AnyError::WrongType {
            got: any.type_url.clone(),
            want: M::type_url(),
        });
    }
    M::decode(any.value.as_slice()).map_err(|source| AnyError::Malformed {
        type_url: any.type_url.clone(),
        source,
    })
}
