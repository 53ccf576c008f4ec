//! The xDS client: subscriptions, acknowledgement, last good tables.
//!
//! [`core::Core`] decides and knows no I/O; [`task`] moves messages, files and time. The two protocols are state machines of
//! their own, [`delta`] and [`sotw`]. Only `app` knows this room: the rest of the proxy sees snapshots and `Demand`.

pub mod accepted;
pub mod core;
pub mod delta;
pub mod files;
pub mod kind;
pub mod node;
pub mod sotw;
pub mod state_dir;
pub mod status;
pub mod stream;
pub mod streams;
pub mod subscription;
pub mod task;
pub mod wire;

pub(crate) mod channel;
mod decode;
mod lines;

pub use decode::Refusal;
pub use kind::Kind;
pub use status::Status;
pub use wire::Protocol;
