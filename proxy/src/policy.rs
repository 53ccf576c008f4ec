//! What a request may do: rate limits, faults, retries, time-outs.

use std::sync::Arc;

use weft_config::policy::{Fault, LocalRateLimit};

/// A local rate limit with its buckets.
#[derive(Debug)]
pub struct LocalRateLimiter {
    /// As configured.
    pub config: Arc<LocalRateLimit>,
}

impl LocalRateLimiter {
    /// Full buckets.
    pub fn new(config: Arc<LocalRateLimit>) -> Self {
        Self { config }
    }
}

/// Decides which requests are held or answered.
#[derive(Debug)]
pub struct FaultInjector {
    /// As configured.
    pub config: Arc<Fault>,
}

impl FaultInjector {
    /// No request held yet.
    pub fn new(config: Arc<Fault>) -> Self {
        Self { config }
    }
}
