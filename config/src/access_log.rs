//! Access log formats: Envoy's command operators, compiled.

/// A format that cannot be used: what, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FormatError {
    message: String,
}
