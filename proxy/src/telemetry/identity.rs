//! Counts of requests for the workload's own certificate. There are few of them: plain atomics will do.

use std::sync::atomic::{AtomicU64, Ordering};

/// How requests for a certificate ended.
#[derive(Debug, Default)]
pub struct IdentityStats([AtomicU64; IdentityResult::ALL.len()]);

/// How a request for a certificate ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityResult {
    /// A certificate is in force.
    Issued,
    /// The authority said no.
    Refused,
    /// The authority was not reached.
    Unreachable,
    /// What came, or what we had to show, is of no use.
    Unusable,
}

impl IdentityResult {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Issued,
        Self::Refused,
        Self::Unreachable,
        Self::Unusable,
    ];

    /// The value of the `result` label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Unusable => "unusable",
        }
    }
}

impl IdentityStats {
    /// A request ended like this.
    pub fn count(&self, result: IdentityResult) {
        let counters = IdentityResult::ALL.into_iter().zip(&self.0);
        for (_, counter) in counters.filter(|(known, _)| *known == result) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often each ending was met.
    pub fn counted(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.0.iter().map(|counter| counter.load(Ordering::Relaxed));
        IdentityResult::ALL
            .map(IdentityResult::label)
            .into_iter()
            .zip(counts)
    }
}
