//! The Weft control plane and CLI: from Gateway API to xDS.
//!
//! Data flows one way: `source` → `store` → `translate` → `snapshot` → `xds`. `identity` says who
//! is who, `status` holds who acknowledged what, `api`
//! and `cli` ask and change, and `app` alone names every room: it builds, wires and runs them.

pub mod source;

pub mod store;

pub mod translate;

pub mod snapshot;

pub mod xds;

pub mod identity;

pub mod status;

pub mod authz;

pub mod api;

pub mod cli;

pub mod app;

mod accept;
