//! What a request may do: whose token it must bring, who gets in, rate limits, faults, retries. The engine keeps the time-outs.
//!
//! Everything here decides and nothing waits: the time and the random numbers come with the call, and what is
//! shared between workers is atomics.

pub mod access;
mod caller_terms;
mod fault;
mod grpc_timeout;
pub mod jwt;
mod rate_limit;
mod retry;
pub mod revoked;

pub use access::{AccessGate, Denied, Permit};
pub use caller_terms::CallerTerms;
pub use fault::{FaultDecision, FaultGuard, FaultInjector};
pub use grpc_timeout::{parse_grpc_timeout, write_grpc_timeout};
pub use jwt::{JwtGate, KeyRing, Keys};
pub use rate_limit::{LocalRateLimiter, RateDecision};
pub use retry::{Failure, RetryState, RetryVerdict};
