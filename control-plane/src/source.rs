//! Where desired state comes from besides the API: a watched directory, and names that are resolved.
//!
//! Sidecars that register themselves come over their xDS stream: see [`crate::xds::Registry`].

pub mod dns;
pub mod files;
