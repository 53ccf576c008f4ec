//! The harness of Weft's tests: upstreams, clients, peers and processes, all on loopback and all bounded.
//!
//! Nothing here sleeps: a test awaits an event or polls with [`eventually()`]. Every listener binds port 0 and every
//! process that is started is ended by its guard.

pub mod ads;
mod anybody;
pub mod bootstrap;
pub mod ca_folder;
pub mod client;
pub mod clusters;
pub mod content;
pub mod envoy;
pub mod eventually;
pub mod flood;
pub mod frames;
pub mod http2;
pub mod netns;
pub mod peers;
pub mod pki;
pub mod process;
pub mod proxy;
pub mod secrets;
pub mod secured;
pub mod subscriber;
pub mod tokens;
pub mod upstream;
pub mod weave;
pub mod weft;
pub mod workload;

pub use eventually::eventually;
