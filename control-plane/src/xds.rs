//! The xDS server: ADS and the separate services, state of the world and incremental, and CSDS.
//!
//! `session` is the whole protocol of one stream as a value without I/O; `stream` moves its messages. A stream
//! holds no queue: whenever the client can take a message, the session is asked what, if anything, it lacks of the
//! snapshot in force, so changes merge by themselves while a client is slow. Nothing is sent under a lock.

mod codec;
mod csds;
mod node;
mod push;
mod request;
mod server;
mod service;
mod session;
mod stream;
mod subscription;

#[cfg(test)]
mod tests;

pub use self::node::{NodeFault, NodeInfo};
pub use self::push::{DeltaPush, Push, SotwPush};
pub use self::request::{DeltaRequest, Refusal, SotwRequest};
pub use self::server::{TypeCounters, XdsConfig, XdsCounters, XdsServer};
pub use self::session::{Answer, Mark, Nack, Session, SessionLimits, TypeReport};

pub(crate) use self::session::EntryReport;
