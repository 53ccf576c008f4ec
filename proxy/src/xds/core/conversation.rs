//! What is said on one stream: subscriptions, responses that are not acknowledged yet, and requests that are due.

use std::collections::VecDeque;
use std::sync::Arc;

use weft_xds_proto::pb::envoy::config::core::v3::Node;

use crate::telemetry::XdsTypeStats;
use crate::xds::kind::{Kind, PerKind};
use crate::xds::subscription::Reply;
use crate::xds::wire::{Protocol, Received, Request, Wire};

/// One stream, and what outlives it.
#[derive(Debug)]
pub(super) struct Conversation {
    /// The subscriptions.
    pub(super) wire: Wire,
    connected: bool,
    introduced: bool,
    /// Refusals of types that were never asked for, to be sent.
    strays: Vec<Request>,
    /// Responses that are not acknowledged yet.
    unanswered: PerKind<VecDeque<Unanswered>>,
}

/// A response that waits for the snapshot that holds its resources.
#[derive(Debug)]
pub(super) struct Unanswered {
    pub(super) nonce: String,
    pub(super) version: String,
    pub(super) error: Option<String>,
    pub(super) names: Vec<Arc<str>>,
}

/// Whether a response was accepted in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    Accepted,
    Refused,
}

impl Answered {
    pub(super) fn count(self, stats: &XdsTypeStats) {
        match self {
            Self::Accepted => stats.acked(),
            Self::Refused => stats.nacked(),
        }
    }
}

impl Conversation {
    /// Nothing is asked for yet.
    pub(super) fn new(protocol: Protocol) -> Self {
        Self {
            wire: Wire::new(protocol),
            connected: false,
            introduced: false,
            strays: Vec::new(),
            unanswered: PerKind::default(),
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connected
    }

    /// A stream is up. What is held stays in force and is told to the server.
    pub(super) fn began(&mut self) {
        self.wire.stream_began();
        self.connected = true;
        self.introduced = false;
        self.strays.clear();
        self.unanswered = PerKind::default();
    }

    /// The stream is gone; whether there was one.
    pub(super) fn ended(&mut self) -> bool {
        std::mem::take(&mut self.connected)
    }

    /// A response of a type that was never asked for.
    pub(super) fn refuse(&mut self, stray: &Received) {
        self.strays.push(self.wire.refuse_unknown(stray));
    }

    /// A response is to be answered, after those of its kind that came before.
    pub(super) fn owes(&mut self, kind: Kind, unanswered: Unanswered) {
        self.unanswered.of_mut(kind).push_back(unanswered);
    }

    /// Answers what is in force by now, in the order in which it came. `waits`: whether a resource is not in force yet.
    pub(super) fn answer(
        &mut self,
        kind: Kind,
        waits: impl Fn(&str) -> bool,
        mut note: impl FnMut(Answered),
    ) {
        let queue = self.unanswered.of_mut(kind);
        while let Some(first) = queue.front() {
            if first.names.iter().any(|name| waits(name)) {
                break;
            }
            let Some(done) = queue.pop_front() else {
                break;
            };
            note(match done.error {
                None => Answered::Accepted,
                Some(_) => Answered::Refused,
            });
            let reply = Reply {
                nonce: done.nonce,
                error: done.error,
            };
            self.wire.reply(kind, reply, done.version);
        }
    }

    /// All that is to be sent, in this order; the first request of a stream says who we are.
    pub(super) fn take_requests(&mut self, node: &Node) -> Vec<Request> {
        if !self.connected {
            return Vec::new();
        }
        let mut requests = std::mem::take(&mut self.strays);
        requests.extend(self.wire.take_requests());
        if let Some(first) = requests.first_mut().filter(|_| !self.introduced) {
            first.introduce(node);
            self.introduced = true;
        }
        requests
    }
}
