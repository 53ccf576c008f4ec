//! Responses, before they are bytes.

use std::sync::Arc;

use bytes::BufMut;

use crate::snapshot::Resource;
use crate::snapshot::encode::{put_bytes, put_key_and_length};

/// One response of either protocol.
#[derive(Clone, Debug, PartialEq)]
pub enum Push {
    /// State of the world.
    Sotw(SotwPush),
    /// Incremental.
    Delta(DeltaPush),
}

/// A `DiscoveryResponse`.
#[derive(Clone, Debug, PartialEq)]
pub struct SotwPush {
    /// Of which type.
    pub type_url: Arc<str>,
    /// Hash over the names and versions of everything subscribed to that exists.
    pub version: String,
    /// Names this response.
    pub nonce: String,
    /// The resources, shared with all other streams.
    pub resources: Vec<Arc<Resource>>,
}

/// A `DeltaDiscoveryResponse`.
#[derive(Clone, Debug, PartialEq)]
pub struct DeltaPush {
    /// Of which type.
    pub type_url: Arc<str>,
    /// The revision, for people.
    pub system_version: String,
    /// Names this response.
    pub nonce: String,
    /// The resources, shared with all other streams.
    pub resources: Vec<Arc<Resource>>,
    /// Names that do not, or no longer, exist.
    pub removed: Vec<Arc<str>>,
}

impl Push {
    /// The type of its resources.
    pub fn type_url(&self) -> &str {
        match self {
            Self::Sotw(push) => &push.type_url,
            Self::Delta(push) => &push.type_url,
        }
    }

    /// The resources in it.
    pub fn resources(&self) -> &[Arc<Resource>] {
        match self {
            Self::Sotw(push) => &push.resources,
            Self::Delta(push) => &push.resources,
        }
    }

    /// Writes the message: the resources' bytes are copied into the stream's buffer and nowhere else.
    pub fn encode(&self, buf: &mut impl BufMut) {
        match self {
            Self::Sotw(push) => push.encode(buf),
            Self::Delta(push) => push.encode(buf),
        }
    }
}

impl SotwPush {
    /// Fields of `envoy.service.discovery.v3.DiscoveryResponse`.
    fn encode(&self, buf: &mut impl BufMut) {
        put_bytes(buf, 1, self.version.as_bytes());
        for resource in &self.resources {
            put_bytes(buf, 2, resource.any());
        }
        put_bytes(buf, 4, self.type_url.as_bytes());
        put_bytes(buf, 5, self.nonce.as_bytes());
    }
}

impl DeltaPush {
    /// Fields of `envoy.service.discovery.v3.DeltaDiscoveryResponse`.
    fn encode(&self, buf: &mut impl BufMut) {
        put_bytes(buf, 1, self.system_version.as_bytes());
        for resource in &self.resources {
            let any = resource.any();
            let length = field_length(resource.version.len())
                + field_length(any.len())
                + field_length(resource.name.len());
            put_key_and_length(buf, 2, length);
            put_bytes(buf, 1, resource.version.as_bytes());
            put_bytes(buf, 2, any);
            put_bytes(buf, 3, resource.name.as_bytes());
        }
        put_bytes(buf, 4, self.type_url.as_bytes());
        put_bytes(buf, 5, self.nonce.as_bytes());
        for name in &self.removed {
            put_bytes(buf, 6, name.as_bytes());
        }
    }
}

/// Bytes of a length-delimited field with a tag below 16.
fn field_length(length: usize) -> usize {
    1 + prost::encoding::encoded_len_varint(length as u64) + length
}
