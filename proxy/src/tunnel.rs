//! Bytes both ways between two sockets: TCP, upgrades and CONNECT.
//!
//! A direction begins by copying through the worker's scratch buffer, which is cheapest for small messages, and goes
//! over to `splice(2)` through a pipe when a read brings much. A connection at rest owns neither pipe nor bytes.

mod ends;
mod flow;
mod pools;
mod run;
mod silence;
mod socket;

pub use ends::{Close, Ends, Preread, TunnelOptions};
pub use pools::{Pools, TunnelLimits};
pub use run::{between, run};
pub use socket::Socket;

#[cfg(test)]
mod tests;
