//! Bytes both ways between two sockets: TCP, upgrades and CONNECT.

mod ends;

pub use ends::{Close, Ends, Preread, TunnelOptions};
