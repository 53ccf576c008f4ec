//! What is counted of policies.

use weft_config::jwt::Refused;

use super::counter::Counter;

/// Counts of one rate limit, by the name it was given.
#[derive(Debug, Default)]
pub struct RateLimitStats {
    /// Requests that had a token.
    pub allowed: Counter,
    /// Requests that were refused.
    pub denied: Counter,
    /// Requests that had no token and passed because the limit is enforced for a share of requests only.
    pub not_enforced: Counter,
}

/// Counts of access rules, by the name they were given.
#[derive(Debug, Default)]
pub struct AccessStats {
    /// Requests and connections that were let through.
    pub allowed: Counter,
    /// Requests and connections that were not, or were cut.
    pub denied: Counter,
    /// Those that shadow rules would have let through.
    pub shadow_allowed: Counter,
    /// Those that shadow rules would not have let through.
    pub shadow_denied: Counter,
}

/// Counts of a filter that looks at tokens, by the name it was given.
#[derive(Debug, Default)]
pub struct JwtStats {
    /// Requests that went on.
    pub allowed: Counter,
    /// Requests that did not, beside [`Refused::LABELS`].
    refused: [Counter; Refused::LABELS.len()],
    /// Tokens whose signature was looked at, and held.
    pub verified: Counter,
    /// Tokens whose signature had held before.
    pub remembered: Counter,
    /// Requests that waited for keys.
    pub waited: Counter,
}

impl JwtStats {
    /// A request did not go on.
    pub fn refuse(&self, why: Refused) {
        let all = Refused::LABELS.into_iter().zip(&self.refused);
        for (_, counter) in all.filter(|(label, _)| *label == why.label()) {
            counter.inc();
        }
    }

    /// How often requests did not go on, by reason.
    pub fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.refused.iter().map(Counter::get);
        Refused::LABELS.into_iter().zip(counts)
    }
}

/// Counts of attempts to get keys, by the cluster or the file that they come from.
#[derive(Debug, Default)]
pub struct KeysStats {
    /// Keys came.
    pub fetched: Counter,
    /// None came.
    pub failed: Counter,
    /// What came holds none.
    pub unusable: Counter,
}

/// Counts of injected faults.
#[derive(Debug, Default)]
pub struct FaultStats {
    /// Requests held back.
    pub delayed: Counter,
    /// Requests answered.
    pub aborted: Counter,
    /// Requests that were spared because too many faults were under way.
    pub overflow: Counter,
}
