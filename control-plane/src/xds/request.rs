//! Discovery requests, read from either protocol.

use std::collections::HashMap;

use weft_xds_proto::pb::envoy::config::core::v3::Node;
use weft_xds_proto::pb::envoy::service::discovery::v3 as discovery;

/// A state-of-the-world request.
#[derive(Clone, Debug, Default)]
pub struct SotwRequest {
    /// Who asks; with the first request of a stream.
    pub node: Option<Node>,
    /// What kind of resource.
    pub type_url: String,
    /// Everything that is subscribed to.
    pub names: Vec<String>,
    /// The last version that was accepted.
    pub version: String,
    /// The response that this answers; empty: none.
    pub nonce: String,
    /// Why that response was refused; `None`: it was accepted.
    pub refusal: Option<String>,
}

/// An incremental request.
#[derive(Clone, Debug, Default)]
pub struct DeltaRequest {
    /// Who asks; with the first request of a stream.
    pub node: Option<Node>,
    /// What kind of resource.
    pub type_url: String,
    /// Names to add to the subscription.
    pub subscribe: Vec<String>,
    /// Names to take from it.
    pub unsubscribe: Vec<String>,
    /// What the client still has from an earlier stream.
    pub initial_versions: HashMap<String, String>,
    /// The response that this answers; empty: none.
    pub nonce: String,
    /// Why that response was refused; `None`: it was accepted.
    pub refusal: Option<String>,
}

/// Why a stream is ended by us.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The first request did not say who asks.
    #[error("the first request of a stream must carry node.id")]
    NoNode,
    /// A node that says more of itself than any has to say.
    #[error("a node has at most {limit} bytes, got {got}")]
    LargeNode {
        /// The bound.
        limit: usize,
        /// The node's length.
        got: usize,
    },
    /// A node whose names cannot be shown.
    #[error("node.id and node.cluster must be without control characters")]
    UnprintableNode,
    /// Another node than that of the first request.
    #[error("the node of a stream cannot change from {was} to {now}")]
    NodeChanged {
        /// The stream's.
        was: String,
        /// The request's.
        now: String,
    },
    /// Metadata that cannot be read.
    #[error(transparent)]
    Node(#[from] super::NodeFault),
    /// A node that says it is somebody else than it has proved to be.
    #[error(transparent)]
    Claim(#[from] crate::identity::ClaimRefused),
    /// More names than one stream may ask for.
    #[error("a stream may subscribe to at most {limit} resources of a type")]
    TooManyNames {
        /// The bound.
        limit: usize,
    },
    /// A name longer than any that exists.
    #[error("a resource name has at most {limit} bytes, got {got}")]
    LongName {
        /// The bound.
        limit: usize,
        /// The name's length.
        got: usize,
    },
    /// A separate service was asked for another type.
    #[error("this service serves {serves}, not {asked}")]
    WrongService {
        /// Its own.
        serves: &'static str,
        /// The one asked for.
        asked: String,
    },
    /// A type URL that is missing on the aggregated service.
    #[error("type_url must be given on an aggregated stream")]
    NoType,
}

impl From<discovery::DiscoveryRequest> for SotwRequest {
    fn from(proto: discovery::DiscoveryRequest) -> Self {
        Self {
            node: proto.node,
            type_url: proto.type_url,
            names: proto.resource_names,
            version: proto.version_info,
            nonce: proto.response_nonce,
            refusal: proto.error_detail.map(|status| status.message),
        }
    }
}

impl From<discovery::DeltaDiscoveryRequest> for DeltaRequest {
    fn from(proto: discovery::DeltaDiscoveryRequest) -> Self {
        Self {
            node: proto.node,
            type_url: proto.type_url,
            subscribe: proto.resource_names_subscribe,
            unsubscribe: proto.resource_names_unsubscribe,
            initial_versions: proto.initial_resource_versions,
            nonce: proto.response_nonce,
            refusal: proto.error_detail.map(|status| status.message),
        }
    }
}
