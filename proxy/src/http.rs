//! Streams become requests: head, codecs, engine and pump.
