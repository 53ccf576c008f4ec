//! Streams become requests: head, codecs, engine and pump.

pub mod codec;
pub mod head;
