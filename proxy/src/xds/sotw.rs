//! The state-of-the-world xDS protocol for one kind of resource. No I/O.
//!
//! Source: the xDS REST and gRPC protocol, "Basic protocol overview".

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use weft_xds_proto::pb::envoy::service::discovery::v3::DiscoveryRequest;

use super::delta::status;
use super::kind::Kind;
use super::subscription::{Reply, Subscription};

/// One kind on a stream.
#[derive(Debug)]
pub struct Sotw {
    kind: Kind,
    wanted: Subscription,
    /// The version accepted last on this stream; a NACK repeats it. Not told to a new stream, which therefore answers in full:
    /// names may have changed in between, and what is equal is recognised.
    version: String,
    /// The nonce of the response replied to last.
    nonce: String,
    /// What the server was told on this stream; `None`: nothing yet.
    told: Option<BTreeSet<Arc<str>>>,
    replies: VecDeque<(Reply, String)>,
    /// Responses that are not replied to yet. Meanwhile no change of names is sent: its nonce would be stale, and servers
    /// ignore such requests; the reply carries the names.
    unanswered: usize,
}

impl Sotw {
    /// Asks for what `wanted` says.
    pub fn new(kind: Kind, wanted: Subscription) -> Self {
        Self {
            kind,
            wanted,
            version: String::new(),
            nonce: String::new(),
            told: None,
            replies: VecDeque::new(),
            unanswered: 0,
        }
    }

    /// What is asked for.
    pub fn wanted(&self) -> &Subscription {
        &self.wanted
    }

    /// What is asked for, to be changed; the next request tells the server.
    pub fn wanted_mut(&mut self) -> &mut Subscription {
        &mut self.wanted
    }

    /// A new stream begins: version, nonces and what was told are of the old one.
    pub fn stream_began(&mut self) {
        self.version.clear();
        self.nonce.clear();
        self.told = None;
        self.replies.clear();
        self.unanswered = 0;
    }

    /// A response came; [`Self::reply`] follows.
    pub fn received(&mut self) {
        self.unanswered += 1;
    }

    /// The response of this version is to be acknowledged, or refused.
    pub fn reply(&mut self, reply: Reply, version: String) {
        self.unanswered = self.unanswered.saturating_sub(1);
        self.replies.push_back((reply, version));
    }

    /// The next request to be sent; `None`: nothing is to be said.
    pub fn next_request(&mut self) -> Option<DiscoveryRequest> {
        let changed = match &self.told {
            None if self.wanted.is_empty() => return None,
            None => true,
            Some(told) => *told != self.wanted.names,
        };
        let mut error = None;
        match self.replies.pop_front() {
            Some((reply, version)) => {
                self.nonce = reply.nonce;
                match reply.error {
                    Some(faults) => error = Some(status(faults)),
                    None => self.version = version,
                }
            }
            None if !changed || self.unanswered > 0 => return None,
            None => {}
        }
        self.told = Some(self.wanted.names.clone());
        let mut names: Vec<_> = self.wanted.names.iter().map(|it| it.to_string()).collect();
        if self.wanted.wildcard && !names.is_empty() {
            names.insert(0, "*".to_owned());
        }
        Some(DiscoveryRequest {
            version_info: self.version.clone(),
            resource_names: names,
            type_url: self.kind.type_url().to_owned(),
            response_nonce: self.nonce.clone(),
            error_detail: error,
            ..Default::default()
        })
    }
}

#[cfg(test)]
mod tests;
