//! Orderly stop.
