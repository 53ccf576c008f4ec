//! Both protocols as one.

use std::collections::BTreeMap;

use weft_xds_proto::pb::envoy::service::discovery::v3 as pb;

use super::{Answer, Asked};

impl Asked {
    pub(super) fn from_delta(request: pb::DeltaDiscoveryRequest) -> Self {
        Self {
            stream: 0,
            type_url: request.type_url,
            names: request.resource_names_subscribe,
            unsubscribed: request.resource_names_unsubscribe,
            held: request.initial_resource_versions.into_iter().collect(),
            nonce: request.response_nonce,
            error: request.error_detail.map(|it| it.message),
            node: request.node.map(|it| it.id),
        }
    }

    pub(super) fn from_sotw(request: pb::DiscoveryRequest) -> Self {
        Self {
            stream: 0,
            type_url: request.type_url,
            names: request.resource_names,
            unsubscribed: vec![SOTW.to_owned()],
            held: BTreeMap::new(),
            nonce: request.response_nonce,
            error: request.error_detail.map(|it| it.message),
            node: request.node.map(|it| it.id),
        }
    }

    pub(super) fn is_delta(&self) -> bool {
        self.unsubscribed.first().map(String::as_str) != Some(SOTW)
    }
}

/// In place of names unsubscribed from, which that protocol does not have.
const SOTW: &str = "(state of the world)";

impl Answer {
    pub(super) fn into_delta(self) -> pb::DeltaDiscoveryResponse {
        let resources = self
            .news
            .into_iter()
            .map(|(name, version, packed)| pb::Resource {
                name,
                version: version.to_string(),
                resource: Some(packed),
                ..Default::default()
            });
        pb::DeltaDiscoveryResponse {
            type_url: self.type_url,
            nonce: self.nonce,
            system_version_info: self.version.to_string(),
            resources: resources.collect(),
            removed_resources: self.removed,
            ..Default::default()
        }
    }

    pub(super) fn into_sotw(self) -> pb::DiscoveryResponse {
        pb::DiscoveryResponse {
            type_url: self.type_url,
            nonce: self.nonce,
            version_info: self.version.to_string(),
            resources: self.all,
            ..Default::default()
        }
    }
}
