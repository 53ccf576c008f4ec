//! Listening sockets: addresses become accepted connections with their facts.
//!
//! [`ListenerSet`] binds on the control thread what the snapshot lists, one `SO_REUSEPORT` socket per worker, and keeps it
//! while the address stays. Workers accept, count, hand over to a less loaded worker, and take each connection through
//! detection to HTTP or a tunnel. A change of listeners never touches an accepted connection.

pub mod facts;

mod accept;
mod admission;
mod admitted;
mod bind;
mod bound;
mod encrypted;
mod first;
mod meant;
mod serve;
mod set;
mod tcp;

pub(crate) use accept::accept_loop;
pub(crate) use admission::Admission;
pub use admission::{ConnectionGuard, default_connections_max};
pub use bind::{BindError, Sharing};
pub(crate) use bound::Bound;
pub use facts::ConnectionFacts;
pub use serve::UNKNOWN;
pub(crate) use serve::{Accepted, Parcel, serve};
pub use set::ListenerSet;

#[cfg(test)]
mod tests;
