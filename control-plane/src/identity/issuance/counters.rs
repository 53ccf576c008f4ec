//! What is counted of issuing.

use std::sync::atomic::{AtomicU64, Ordering};

use super::proof::Proof;
use super::refused::RefusalKind;

/// What is counted of issuing.
#[derive(Debug, Default)]
pub(crate) struct IssueCounters {
    issued: [AtomicU64; Proof::KINDS.len()],
    refused: [AtomicU64; RefusalKind::ALL.len()],
}

impl IssueCounters {
    /// Certificates issued, by the kind of proof.
    pub(crate) fn issued(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.issued.iter().map(|it| it.load(Ordering::Relaxed));
        Proof::KINDS.into_iter().zip(counts)
    }

    /// Requests refused, by reason.
    pub(crate) fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.refused.iter().map(|it| it.load(Ordering::Relaxed));
        RefusalKind::ALL
            .map(|(_, name)| name)
            .into_iter()
            .zip(counts)
    }

    pub(super) fn count_issued(&self, proof: &Proof) {
        let place = Proof::KINDS.iter().position(|it| *it == proof.kind());
        if let Some(counter) = place.and_then(|place| self.issued.get(place)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn count_refused(&self, kind: RefusalKind) {
        let place = RefusalKind::ALL.iter().position(|(it, _)| *it == kind);
        if let Some(counter) = place.and_then(|place| self.refused.get(place)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}
