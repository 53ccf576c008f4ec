//! First bytes become a protocol, within a deadline; no byte is lost.

pub mod classify;

pub use classify::{Protocol, classify};
