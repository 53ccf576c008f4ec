//! Streams become requests: head, codecs, engine and pump.

pub mod codec;
pub mod head;

mod engine;
pub mod pump;

pub use engine::FLAG_HEADER;
pub use pump::Worker;
