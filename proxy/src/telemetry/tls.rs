//! Counts of TLS handshakes. There are few of them beside requests: plain atomics will do.

use std::sync::atomic::{AtomicU64, Ordering};

/// Handshakes of a listener or a cluster, by how they ended.
#[derive(Debug, Default)]
pub struct TlsStats([AtomicU64; RESULTS.len()]);

/// Values of the `result` label: a new session, a resumed one, or why there is none.
pub const RESULTS: [&str; 22] = [
    "ok",
    "resumed",
    "timeout",
    "closed",
    "io",
    "no_certificate",
    "alert",
    "not_ready",
    "protocol",
    "certificate_malformed",
    "certificate_expired",
    "certificate_not_yet_valid",
    "certificate_self_signed",
    "certificate_unknown_issuer",
    "certificate_of_an_authority",
    "certificate_wrong_trust_domain",
    "certificate_wrong_name",
    "certificate_not_pinned",
    "certificate_revoked",
    "certificate_wrong_purpose",
    "certificate_bad_signature",
    "no_trust",
];

impl TlsStats {
    /// One handshake ended like this.
    pub fn count(&self, result: &str) {
        let at = RESULTS.iter().position(|known| *known == result);
        if let Some(counter) = at.and_then(|at| self.0.get(at)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Results that there were, with how often.
    pub fn counted(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.0.iter().map(|counter| counter.load(Ordering::Relaxed));
        RESULTS
            .into_iter()
            .zip(counts)
            .filter(|(_, count)| *count > 0)
    }
}
