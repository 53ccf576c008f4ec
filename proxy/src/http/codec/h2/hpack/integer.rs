//! Integers with a prefix (RFC 7541 §5.1).

use crate::http::codec::ProtocolError;

/// Continuation bytes of an integer at most. Four hold 28 bits, far more than any length or index that we take.
const CONTINUATIONS_MAX: u32 = 4;

/// Reads an integer whose first byte is `first`, of which the low `prefix` bits count; the others are in `rest`.
#[inline]
pub(super) fn decode(first: u8, prefix: u32, rest: &mut &[u8]) -> Result<usize, ProtocolError> {
    let full = (1_u32 << prefix) - 1;
    match u32::from(first) & full {
        value if value < full => Ok(value as usize),
        _ => decode_rest(full, rest),
    }
}

fn decode_rest(mut value: u32, rest: &mut &[u8]) -> Result<usize, ProtocolError> {
    for count in 0..CONTINUATIONS_MAX {
        let [byte, tail @ ..] = *rest else {
            return Err(ProtocolError::TruncatedBlock);
        };
        *rest = tail;
        // Below 2^28 and a prefix: this cannot overflow.
        value += u32::from(byte & 0x7f) << (7 * count);
        if byte & 0x80 == 0 {
            return Ok(value as usize);
        }
    }
    // RFC 7541 §5.1: what is over the limit, in value or in length, is a decoding error.
    Err(ProtocolError::BadInteger)
}

/// Writes `value` behind the high bits `pattern` of a byte that leaves `prefix` bits.
#[inline]
pub(super) fn encode(value: usize, prefix: u32, pattern: u8, out: &mut Vec<u8>) {
    let full = (1_usize << prefix) - 1;
    if value < full {
        out.push(pattern | value as u8);
    } else {
        out.push(pattern | full as u8);
        encode_rest(value - full, out);
    }
}

fn encode_rest(mut left: usize, out: &mut Vec<u8>) {
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}
