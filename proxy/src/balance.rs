//! A cluster and a request become an endpoint.
//!
//! Nothing here waits, opens sockets or reads a clock on the way of a request: `now` and the random numbers come
//! with the call. What a request touches is atomics and one pointer load; whatever needs more is computed when
//! endpoints change, an endpoint is ejected or an ejection is over.

mod breaker;
mod budget;
mod cluster;
mod endpoint;
mod load;
mod original;
mod outlier;
mod spread;
mod table;
mod terms;
mod view;

pub use breaker::{BreakerGuard, CircuitBreakers};
pub use cluster::{Cluster, EndpointStatus, PickContext, PickError};
pub use endpoint::{ActiveGuard, EndpointId, EndpointState, Outcome};
