//! Reading chunked bodies (RFC 9112 §7.1), a byte at a time where it must be and in slices where it can.

use super::H1Limits;
use super::chars;
use crate::http::codec::{ProtocolError, ReadBuf};

/// Where in a chunked body we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunked {
    at: At,
    /// Bytes of extensions so far, over all chunks.
    extension_bytes: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Size { digits: u8, size: u64 },
    Extension { size: u64, at: Ext },
    SizeLf { size: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
}

/// Where in `*( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )` (RFC 9112 §7.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ext {
    /// Whitespace, and then a `;` must come.
    BeforeSemicolon,
    BeforeName,
    Name,
    /// Whitespace behind a name: `=` or `;` must come.
    AfterName,
    BeforeValue,
    Value,
    Quoted,
    QuotedPair,
    AfterQuoted,
}

/// What comes next in a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    /// Nothing until more is read.
    Wait,
    /// Data: this many bytes at the front of the input.
    Data(usize),
    /// The last chunk was read; the trailer section follows.
    Last,
}

impl Chunked {
    pub(super) fn new() -> Self {
        Self {
            at: At::Size { digits: 0, size: 0 },
            extension_bytes: 0,
        }
    }

    /// Takes framing from `input` up to the next data, and says how much of that is there.
    pub(super) fn read(
        &mut self,
        input: &mut ReadBuf,
        limits: &H1Limits,
    ) -> Result<Chunk, ProtocolError> {
        let mut taken = 0;
        let mut last = false;
        for byte in input.filled() {
            if matches!(self.at, At::Data { .. }) {
                break;
            }
            taken += 1;
            if self.frame(*byte, limits)? {
                last = true;
                break;
            }
        }
        input.take(taken);
        if last {
            return Ok(Chunk::Last);
        }
        let At::Data { left } = &mut self.at else {
            return Ok(Chunk::Wait);
        };
        let len = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
        if len == 0 {
            return Ok(Chunk::Wait);
        }
        *left -= len as u64;
        if *left == 0 {
            self.at = At::DataCr;
        }
        Ok(Chunk::Data(len))
    }

    /// One byte of framing; whether it completed the last chunk.
    fn frame(&mut self, byte: u8, limits: &H1Limits) -> Result<bool, ProtocolError> {
        self.at = match (self.at, byte) {
            (At::Size { digits, size }, _) => size_byte(digits, size, byte)?,
            (At::Extension { size, at }, _) => {
                self.count_extension(limits)?;
                extension_byte(size, at, byte)?
            }
            (At::SizeLf { size: 0 }, b'\n') => return Ok(true),
            (At::SizeLf { size }, b'\n') => At::Data { left: size },
            (At::SizeLf { .. }, _) => return Err(ProtocolError::BareCr),
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::Size { digits: 0, size: 0 },
            (At::DataCr | At::DataLf | At::Data { .. }, _) => {
                return Err(ProtocolError::BadChunkEnd);
            }
        };
        Ok(false)
    }

    fn count_extension(&mut self, limits: &H1Limits) -> Result<(), ProtocolError> {
        self.extension_bytes = self.extension_bytes.saturating_add(1);
        if self.extension_bytes > limits.chunk_extension_bytes_max {
            return Err(ProtocolError::ChunkExtensionsTooLong);
        }
        Ok(())
    }
}

/// `chunk-size = 1*HEXDIG`. RFC 9112 §7.1: a recipient must expect large ones and not overflow.
fn size_byte(digits: u8, size: u64, byte: u8) -> Result<At, ProtocolError> {
    if let Some(digit) = (byte as char).to_digit(16) {
        let size = size << 4 | u64::from(digit);
        // Sixteen digits fit; the sign bit is refused because the next hop may read it as one.
        if digits >= 16 || size > i64::MAX as u64 {
            return Err(ProtocolError::BadChunkSize);
        }
        return Ok(At::Size {
            digits: digits + 1,
            size,
        });
    }
    match byte {
        _ if digits == 0 => Err(ProtocolError::BadChunkSize),
        b'\r' => Ok(At::SizeLf { size }),
        b';' | b' ' | b'\t' => extension_byte(size, Ext::BeforeSemicolon, byte),
        b'\n' => Err(ProtocolError::BareLf),
        _ => Err(ProtocolError::BadChunkSize),
    }
}

fn extension_byte(size: u64, at: Ext, byte: u8) -> Result<At, ProtocolError> {
    let next = match (at, byte) {
        (Ext::Quoted, b'"') => Ext::AfterQuoted,
        (Ext::Quoted, b'\\') => Ext::QuotedPair,
        (Ext::Quoted | Ext::QuotedPair, byte) if chars::is_field_value(&[byte]) => Ext::Quoted,
        (Ext::Quoted | Ext::QuotedPair, _) => return Err(ProtocolError::BadChunkExtension),
        // A quoted string cannot hold a line's end, so these mean the same everywhere else.
        (_, b'\n') => return Err(ProtocolError::BareLf),
        (Ext::Name | Ext::Value | Ext::AfterQuoted, b'\r') => return Ok(At::SizeLf { size }),
        (
            Ext::BeforeSemicolon | Ext::Name | Ext::AfterName | Ext::Value | Ext::AfterQuoted,
            b';',
        ) => Ext::BeforeName,
        (Ext::Name | Ext::AfterName, b'=') => Ext::BeforeValue,
        (
            Ext::BeforeSemicolon | Ext::BeforeName | Ext::AfterName | Ext::BeforeValue,
            b' ' | b'\t',
        ) => at,
        (Ext::Name, b' ' | b'\t') => Ext::AfterName,
        (Ext::Value | Ext::AfterQuoted, b' ' | b'\t') => Ext::BeforeSemicolon,
        (Ext::BeforeValue, b'"') => Ext::Quoted,
        (Ext::BeforeName | Ext::Name, byte) if chars::is_token_byte(byte) => Ext::Name,
        (Ext::BeforeValue | Ext::Value, byte) if chars::is_token_byte(byte) => Ext::Value,
        _ => return Err(ProtocolError::BadChunkExtension),
    };
    Ok(At::Extension { size, at: next })
}
