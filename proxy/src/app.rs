//! The one place that names every room: builds, wires, runs.
//!
//! Threads: one control thread (xDS, DNS, listening sockets, admin, telemetry, drain), and the workers. [`Proxy::start`] returns when
//! what is known at the start is in force and its listeners are bound.

pub mod cli;

mod bounds;
mod cgroup;
mod config;
mod control;
mod http;
mod identity;
mod limits;
mod mesh;
mod pages;
mod plan;
mod running;

pub use config::{Config, SetLevel, Source, StartError};
pub use mesh::{MeshConfig, OUTBOUND, OUTBOUND_IPV6, OutboundLimits, OutboundPolicy, Redirection};
pub use running::{Proxy, Running};
