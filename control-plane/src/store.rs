//! Typed desired state in immutable revisions.
