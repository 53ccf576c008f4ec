//! Metrics, access log.
