//! The incremental xDS protocol for one kind of resource: what was asked for, held and acknowledged. No I/O.
//!
//! Source: the xDS REST and gRPC protocol, "Incremental xDS".

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use weft_xds_proto::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use weft_xds_proto::pb::google::rpc::Status;

use super::kind::Kind;
use super::subscription::{Reply, Subscription};

/// One kind on a stream, and what outlives the stream.
#[derive(Debug)]
pub struct Delta {
    kind: Kind,
    /// What is wanted.
    wanted: Subscription,
    /// Versions of the resources held, told to the server when a stream begins.
    held: BTreeMap<Arc<str>, String>,
    /// What the server was told on this stream; `None`: nothing yet.
    told: Option<BTreeSet<Arc<str>>>,
    /// Whether what is wanted may have changed since: names are many, and most responses change none.
    changed: bool,
    replies: VecDeque<Reply>,
}

impl Delta {
    /// Asks for what `wanted` says.
    pub fn new(kind: Kind, wanted: Subscription) -> Self {
        Self {
            kind,
            wanted,
            held: BTreeMap::new(),
            told: None,
            changed: false,
            replies: VecDeque::new(),
        }
    }

    /// What is asked for.
    pub fn wanted(&self) -> &Subscription {
        &self.wanted
    }

    /// What is asked for, to be changed; the next request tells the server.
    pub fn wanted_mut(&mut self) -> &mut Subscription {
        self.changed = true;
        &mut self.wanted
    }

    /// A new stream begins: nonces and what was told are of the old one, what is held stays.
    pub fn stream_began(&mut self) {
        self.told = None;
        self.replies.clear();
    }

    /// `name` is held in `version` from now on. Never called for a resource that was refused, so that a new stream asks for
    /// it again.
    pub fn holds(&mut self, name: Arc<str>, version: String) {
        self.held.insert(name, version);
    }

    /// `name` is not held any more.
    pub fn lost(&mut self, name: &str) {
        self.held.remove(name);
    }

    /// A response is to be acknowledged, or refused.
    pub fn reply(&mut self, reply: Reply) {
        self.replies.push_back(reply);
    }

    /// The next request to be sent; `None`: nothing is to be said.
    pub fn next_request(&mut self) -> Option<DeltaDiscoveryRequest> {
        if self.told.is_none() {
            return self.first_request();
        }
        let (subscribe, unsubscribe) = self.take_changes();
        let reply = self.replies.pop_front();
        if subscribe.is_empty() && unsubscribe.is_empty() && reply.is_none() {
            return None;
        }
        let (nonce, error) =
            reply.map_or_else(Default::default, |reply| (reply.nonce, reply.error));
        Some(DeltaDiscoveryRequest {
            type_url: self.kind.type_url().to_owned(),
            resource_names_subscribe: subscribe,
            resource_names_unsubscribe: unsubscribe,
            response_nonce: nonce,
            error_detail: error.map(status),
            ..Default::default()
        })
    }

    /// Names that came to be wanted and that ceased to be, since the server was told last.
    fn take_changes(&mut self) -> (Vec<String>, Vec<String>) {
        let Some(told) = self.told.as_mut().filter(|_| self.changed) else {
            return Default::default();
        };
        self.changed = false;
        let wanted = &self.wanted.names;
        let subscribe = wanted.difference(told).map(|it| it.to_string()).collect();
        let unsubscribe = told.difference(wanted).map(|it| it.to_string()).collect();
        told.clone_from(wanted);
        (subscribe, unsubscribe)
    }

    /// The first request of a kind on a stream says what is held already. One without names would be a wildcard, so it is
    /// not sent where nothing is wanted.
    fn first_request(&mut self) -> Option<DeltaDiscoveryRequest> {
        if self.wanted.is_empty() {
            return None;
        }
        self.told = Some(self.wanted.names.clone());
        self.changed = false;
        let mut subscribe: Vec<_> = self.wanted.names.iter().map(|it| it.to_string()).collect();
        if self.wanted.wildcard && !subscribe.is_empty() {
            subscribe.insert(0, "*".to_owned());
        }
        let held = self
            .held
            .iter()
            .filter(|(name, _)| self.wanted.covers(name));
        Some(DeltaDiscoveryRequest {
            type_url: self.kind.type_url().to_owned(),
            resource_names_subscribe: subscribe,
            initial_resource_versions: held
                .map(|(name, version)| (name.to_string(), version.clone()))
                .collect(),
            ..Default::default()
        })
    }
}

/// `INVALID_ARGUMENT`, as the protocol wants for a NACK.
pub(super) fn status(message: String) -> Status {
    const INVALID_ARGUMENT: i32 = 3;
    Status {
        code: INVALID_ARGUMENT,
        message,
        details: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
