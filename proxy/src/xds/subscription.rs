//! What is asked for of one kind.

use std::collections::BTreeSet;
use std::sync::Arc;

/// The resources of one kind that are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscription {
    /// Whether all that the server has for us are asked for (LDS and CDS only).
    pub wildcard: bool,
    /// Those asked for by name.
    pub names: BTreeSet<Arc<str>>,
}

impl Subscription {
    /// All that the server has for us.
    pub fn wildcard() -> Self {
        Self {
            wildcard: true,
            names: BTreeSet::new(),
        }
    }

    /// Whether anything is asked for.
    pub fn is_empty(&self) -> bool {
        !self.wildcard && self.names.is_empty()
    }

    /// Whether `name` is asked for.
    pub fn covers(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }
}

/// An acknowledgement to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The nonce of the response.
    pub nonce: String,
    /// The faults, for a NACK.
    pub error: Option<String>,
}
