//! Listening sockets: addresses become accepted connections with their facts.

pub mod facts;

pub use facts::ConnectionFacts;
