//! What is counted of policies.

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
