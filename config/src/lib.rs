//! The model of everything configurable in Weft: types, parsing, diagnostics and decisions.
//!
//! No I/O and nothing asynchronous lives here. Bootstrap files, xDS resources and the user's
//! Gateway API documents are entrances to the same model; past the parsers no `Option` means
//! "default" and no string means a regular expression, a duration or a host. What decides
//! without I/O lives beside what it decides on, so that whoever else wants to know decides with the
//! code that the proxy runs.

pub mod access_log;
pub mod bootstrap;
pub mod byte_size;
pub mod causes;
pub mod cluster;
pub mod diag;
pub mod document;
pub mod endpoint;
pub mod flag;
pub mod gateway_api;
pub mod grpc;
mod grpc_servers;
pub mod http2;
pub mod jwt;
pub mod lint;
pub mod listener;
pub mod log_level;
pub mod policy;
mod proto;
pub mod resource;
pub mod route;
pub mod secret;
pub mod spiffe;
pub mod tls;
pub mod yaml;

#[cfg(test)]
mod testing;
