//! Streams become requests: head, codecs, engine and pump.

mod bounds;
pub mod codec;
pub mod head;

mod engine;
pub mod pump;

pub use bounds::Bounds;
pub use engine::FLAG_HEADER;
pub use pump::Worker;
