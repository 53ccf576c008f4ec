//! Compressed field blocks (RFC 7541).

#[cfg(test)]
mod block;
mod decode;
mod encode;
mod huffman;
mod integer;
mod name;
mod static_table;
mod table;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(in crate::http) use self::block::BlockReader;
pub(super) use self::decode::{Decoded, Decoder, Fields};
pub(super) use self::encode::{Encoder, Indexing};
pub(super) use self::name::Kind;

/// The table size that both sides start with (RFC 9113 §6.5.2).
pub(super) const TABLE_BYTES_DEFAULT: u32 = 4096;

/// The largest table that we keep.
pub(super) const TABLE_BYTES_MAX: u32 = table::BYTES_MAX;
