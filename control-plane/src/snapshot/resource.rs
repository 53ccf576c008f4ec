//! One xDS resource: its type, name, version and bytes.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use weft_xds_proto::type_url;

use super::encode;

/// A resource's version: 16 hexadecimal digits of its content's hash.
pub type Version = Arc<str>;

/// The types that are served, in the order in which they are sent: what is referred to before what refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceType {
    /// SDS.
    Secret,
    /// CDS.
    Cluster,
    /// EDS.
    Endpoint,
    /// LDS.
    Listener,
    /// RDS.
    Route,
}

impl ResourceType {
    /// All of them, in make-before-break order.
    pub const ALL: [Self; 5] = [
        Self::Secret,
        Self::Cluster,
        Self::Endpoint,
        Self::Listener,
        Self::Route,
    ];

    /// The xDS type URL.
    pub fn type_url(self) -> &'static str {
        match self {
            Self::Secret => type_url::SECRET,
            Self::Cluster => type_url::CLUSTER,
            Self::Endpoint => type_url::ENDPOINT,
            Self::Listener => type_url::LISTENER,
            Self::Route => type_url::ROUTE,
        }
    }

    /// The type of a type URL; `None` for one that is not served.
    pub fn from_type_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.type_url() == url)
    }

    /// The short name of its service: `CDS`.
    pub fn short(self) -> &'static str {
        match self {
            Self::Secret => "SDS",
            Self::Cluster => "CDS",
            Self::Endpoint => "EDS",
            Self::Listener => "LDS",
            Self::Route => "RDS",
        }
    }

    /// Whether a SotW response holds everything subscribed to, so that what is missing from it does not exist.
    ///
    /// xDS transport protocol, "Deleting Resources": true for LDS and CDS, which also have the wildcard.
    pub fn is_full_state(self) -> bool {
        matches!(self, Self::Cluster | Self::Listener)
    }
}

/// One resource, encoded once; its bytes are shared by every stream that sends it.
#[derive(Debug, PartialEq, Eq)]
pub struct Resource {
    /// Its type.
    pub kind: ResourceType,
    /// Its name.
    pub name: Arc<str>,
    /// Hash of its content.
    pub version: Version,
    /// A whole `google.protobuf.Any`.
    any: Bytes,
    value_at: usize,
}

impl Resource {
    /// Encodes `message`. It must not hold protobuf maps of several entries, whose order would not be stable.
    pub fn new(
        kind: ResourceType,
        name: impl Into<Arc<str>>,
        message: &impl prost::Message,
    ) -> Self {
        Self::from_value(kind, name, &message.encode_to_vec())
    }

    /// Takes an encoded message.
    pub fn from_value(kind: ResourceType, name: impl Into<Arc<str>>, value: &[u8]) -> Self {
        let mut any = BytesMut::with_capacity(value.len() + 96);
        encode::put_bytes(&mut any, 1, kind.type_url().as_bytes());
        encode::put_key_and_length(&mut any, 2, value.len());
        let value_at = any.len();
        any.put_slice(value);
        Self {
            kind,
            name: name.into(),
            version: format!("{:016x}", content_hash([value])).into(),
            any: any.freeze(),
            value_at,
        }
    }

    /// The encoded `Any`.
    pub fn any(&self) -> &Bytes {
        &self.any
    }

    /// The encoded message alone.
    pub fn value(&self) -> Bytes {
        self.any.slice(self.value_at..)
    }
}

/// FNV-1a over all `parts`, each ended by its length: stable across processes and releases, unlike the hashers of
/// the standard library, for versions outlive the process.
pub fn content_hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let add = |hash: u64, bytes: &[u8]| {
        bytes.iter().fold(hash, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(PRIME)
        })
    };
    parts.into_iter().fold(OFFSET, |hash, part| {
        add(add(hash, part), &(part.len() as u64).to_le_bytes())
    })
}
