//! Reading field blocks (RFC 7541 §3, §6).

use super::name::Name;
use super::table::Table;
use super::{TABLE_BYTES_DEFAULT, huffman, integer, static_table};
use crate::http::codec::{ProtocolError, chars};
use crate::http::head::Span;

/// Who takes the fields of a block.
pub(in super::super) trait Fields {
    /// Where names and values are put.
    fn bytes(&mut self) -> &mut Vec<u8>;
    /// Takes a field whose bytes were put last. What it does not need of them it may cut off.
    fn field(&mut self, field: Decoded);
    /// Whether no further field is wanted: the table is kept in step, and nothing else is done.
    fn has_enough(&self) -> bool;
}

/// A field of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Decoded {
    pub(in super::super) name: Span,
    pub(in super::super) value: Span,
    pub(in super::super) is: Name,
    /// Whether the value holds no byte that a field's cannot (RFC 9113 §8.2.1).
    pub(in super::super) good_value: bool,
    /// Sent as one that must never be put into a table (RFC 7541 §6.2.3).
    pub(in super::super) never_index: bool,
}

/// The reading end of one direction.
#[derive(Debug)]
pub(in super::super) struct Decoder {
    table: Table,
    /// The largest table that we allow: our SETTINGS_HEADER_TABLE_SIZE in force.
    limit: u32,
    /// Whether the next block must begin with a new size, as the limit went below the old one.
    must_update: bool,
}

/// The name of a literal field.
enum Literal {
    New,
    Known(Name),
}

impl Decoder {
    pub(in super::super) fn new() -> Self {
        Self {
            table: Table::new(TABLE_BYTES_DEFAULT),
            limit: TABLE_BYTES_DEFAULT,
            must_update: false,
        }
    }

    /// Puts a limit in force that the peer has acknowledged (RFC 7541 §4.2).
    pub(in super::super) fn set_limit(&mut self, limit: u32) {
        self.must_update = (limit as usize) < self.table.max();
        self.limit = limit;
    }

    /// Reads a whole block.
    ///
    /// # Errors
    ///
    /// The tables are out of step: the connection cannot go on (RFC 9113 §4.3).
    pub(in super::super) fn decode(
        &mut self,
        mut block: &[u8],
        fields: &mut impl Fields,
    ) -> Result<(), ProtocolError> {
        self.sizes(&mut block)?;
        while let [first, rest @ ..] = block {
            block = rest;
            match *first {
                first @ 0x80.. => {
                    let index = integer::decode(first, 7, &mut block)?;
                    self.indexed(index, fields)?;
                }
                first @ 0x40..0x80 => self.literal(first, 6, &mut block, fields)?,
                first @ 0x00..0x20 => self.literal(first, 4, &mut block, fields)?,
                // RFC 7541 §4.2: a new size stands at the beginning of a block.
                0x20..0x40 => return Err(ProtocolError::BadTableSize),
            }
        }
        Ok(())
    }

    /// Takes the changes of the table's size at the front of `block` (RFC 7541 §6.3).
    fn sizes(&mut self, block: &mut &[u8]) -> Result<(), ProtocolError> {
        while let [first @ 0x20..0x40, rest @ ..] = *block {
            let first = *first;
            *block = rest;
            let size = integer::decode(first, 5, block)?;
            let size = u32::try_from(size).unwrap_or(u32::MAX);
            if size > self.limit {
                return Err(ProtocolError::BadTableSize);
            }
            self.table.set_max(size);
            self.must_update = false;
        }
        if self.must_update {
            return Err(ProtocolError::BadTableSize);
        }
        Ok(())
    }

    /// A field that is in one of the tables (RFC 7541 §6.1).
    fn indexed(&mut self, index: usize, fields: &mut impl Fields) -> Result<(), ProtocolError> {
        // RFC 7541 §6.1: index 0 is a decoding error.
        let at = index.checked_sub(1).ok_or(ProtocolError::BadIndex)?;
        let enough = fields.has_enough();
        let bytes = fields.bytes();
        let start = bytes.len();
        let (name_len, is, good_value) = match static_table::ENTRIES.get(at) {
            Some(entry) => {
                if !enough {
                    bytes.extend_from_slice(entry.name.as_bytes());
                    bytes.extend_from_slice(entry.value.as_bytes());
                }
                (entry.name.len(), entry.is, true)
            }
            None => {
                let found = self.table.get(at - static_table::LEN);
                let (entry, both) = found.ok_or(ProtocolError::BadIndex)?;
                if !enough {
                    bytes.extend_from_slice(both);
                }
                (entry.name_len(), entry.is, entry.good_value)
            }
        };
        if enough {
            return Ok(());
        }
        let end = bytes.len();
        fields.field(Decoded {
            name: Span::new(start, start + name_len),
            value: Span::new(start + name_len, end),
            is,
            good_value,
            never_index: false,
        });
        Ok(())
    }

    /// A field that stands here in full, or but for its name (RFC 7541 §6.2). `prefix` is that of the name's index.
    fn literal(
        &mut self,
        first: u8,
        prefix: u32,
        block: &mut &[u8],
        fields: &mut impl Fields,
    ) -> Result<(), ProtocolError> {
        let index = integer::decode(first, prefix, block)?;
        let enough = fields.has_enough();
        let bytes = fields.bytes();
        let start = bytes.len();
        let literal = self.name(index, block, bytes)?;
        let middle = bytes.len();
        string(block, bytes)?;
        let (both, end) = (bytes.get(start..).unwrap_or_default(), bytes.len());
        let (name, value) = both.split_at(middle - start);
        let is = match literal {
            Literal::New => Name::of(name),
            Literal::Known(is) => is,
        };
        let good_value = is_value(value);
        if prefix == 6 {
            self.table.insert(name, value, is, good_value);
        }
        if enough {
            bytes.truncate(start);
            return Ok(());
        }
        fields.field(Decoded {
            name: Span::new(start, middle),
            value: Span::new(middle, end),
            is,
            good_value,
            never_index: prefix == 4 && first & 0x10 != 0,
        });
        Ok(())
    }

    /// Puts a literal's name behind `bytes`: that of the entry at `index`, or the one that follows.
    fn name(
        &self,
        index: usize,
        block: &mut &[u8],
        bytes: &mut Vec<u8>,
    ) -> Result<Literal, ProtocolError> {
        let Some(at) = index.checked_sub(1) else {
            string(block, bytes)?;
            return Ok(Literal::New);
        };
        if let Some(entry) = static_table::ENTRIES.get(at) {
            bytes.extend_from_slice(entry.name.as_bytes());
            return Ok(Literal::Known(entry.is));
        }
        let found = self.table.get(at - static_table::LEN);
        let (entry, both) = found.ok_or(ProtocolError::BadIndex)?;
        bytes.extend_from_slice(both.get(..entry.name_len()).unwrap_or_default());
        Ok(Literal::Known(entry.is))
    }
}

/// Puts the string that follows behind `bytes` (RFC 7541 §5.2).
fn string(block: &mut &[u8], bytes: &mut Vec<u8>) -> Result<(), ProtocolError> {
    let [first, rest @ ..] = *block else {
        return Err(ProtocolError::TruncatedBlock);
    };
    *block = rest;
    let len = integer::decode(*first, 7, block)?;
    let found = block.split_at_checked(len);
    let (text, rest) = found.ok_or(ProtocolError::TruncatedBlock)?;
    *block = rest;
    if first & 0x80 != 0 {
        return huffman::decode(text, bytes);
    }
    bytes.extend_from_slice(text);
    Ok(())
}

/// Whether `value` may be a field's: no control byte but HTAB, no whitespace at its ends (RFC 9113 §8.2.1).
///
/// The RFC lets other control bytes than NUL, CR and LF pass; RFC 9110 §5.5 does not, nor do we on HTTP/1.
fn is_value(value: &[u8]) -> bool {
    chars::is_field_value(value) && !matches!(value, [b' ' | b'\t', ..] | [.., b' ' | b'\t'])
}
