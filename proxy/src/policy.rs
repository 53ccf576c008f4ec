//! What a request may do: rate limits, faults, retries, time-outs.
//!
//! Everything here decides and nothing waits: the time and the random numbers come with the call, and what is
//! shared between workers is atomics.

mod fault;
mod rate_limit;
mod retry;
mod timeout;

pub use fault::{FaultDecision, FaultGuard, FaultInjector};
pub use rate_limit::{LocalRateLimiter, RateDecision};
pub use retry::{Failure, RetryState, RetryVerdict};
pub use timeout::{Timeouts, parse_grpc_timeout};
