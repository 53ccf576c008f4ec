//! First bytes become a protocol, within a deadline; no byte is lost.

pub mod classify;

mod detector;

pub use classify::{Protocol, classify, classify_http};
pub use detector::{Detector, Found, Scan};

#[cfg(test)]
mod tests;
