//! First bytes become a protocol, within a deadline; no byte is lost.

pub mod classify;

mod detector;
mod hello;

pub use classify::{Protocol, classify, classify_http};
pub use detector::{Detector, Found, Scan};
pub use hello::{HELLO_BYTES_MAX, Hello, HelloScan, scan_hello};

#[cfg(test)]
mod tests;
