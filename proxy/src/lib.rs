//! The Weft data plane: a sidecar proxy driven by xDS.
//!
//! A connection goes through the rooms in the order in which they are listed. `listener` takes a
//! connection through `detect` and `tls` to `http` or `tunnel`; `http` takes a request through `route`,
//! `policy`, `balance` and `endpoint`. The others answer when asked and never call back; `worker` is
//! the thread that all of it runs on, and `app` builds and wires them.

pub mod listener;

pub mod detect;

pub mod tls;

pub mod tunnel;

pub mod http;

pub mod route;

pub mod policy;

pub mod balance;

pub mod endpoint;

pub mod snapshot;

pub mod xds;

pub mod identity;

pub mod jwks;

pub mod dns;

pub mod telemetry;

pub mod admin;

pub mod drain;

pub mod overload;

mod clock;

mod regular_file;

mod stamp;

pub mod stream;

pub mod worker;

pub mod redirect;

pub mod app;
