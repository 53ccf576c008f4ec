//! The Envoy xDS v3 messages and services as Weft uses them: generated types, type URLs, `Any` packing.
//! No decisions are made here.

pub use envoy_types::pb;

pub mod any;
pub mod istio;
#[cfg(feature = "json")]
pub mod json;
#[cfg(feature = "json")]
pub mod memory;
pub mod type_url;
