//! A cluster and a request become an endpoint.
//!
//! Nothing here waits, opens sockets or reads a clock: `now` and the random numbers come with the call. What a
//! request touches is atomics and one pointer load; whatever needs more is computed when endpoints change.

mod breaker;
mod cluster;
mod endpoint;

pub use breaker::{BreakerGuard, CircuitBreakers};
pub use cluster::{Cluster, PickContext, PickError};
pub use endpoint::{ActiveGuard, EndpointId, EndpointState, Outcome};
