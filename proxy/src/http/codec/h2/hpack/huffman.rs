//! The Huffman code of strings (RFC 7541 §5.2, Appendix B).
//!
//! The code is canonical: within a length, codes follow the order of the symbols. So the lengths say it all, and the
//! tables are made from them by the compiler.

use crate::http::codec::ProtocolError;

/// Bits of the code of each byte, and of the end of a string.
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, //
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, //
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, //
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, //
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, //
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, //
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, //
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, //
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, //
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, //
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, //
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, //
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, //
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, //
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, //
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, //
    30,
];

const SYMBOLS: usize = 257;
const END_OF_STRING: u16 = 256;
const LENGTH_MAX: usize = 30;
/// Codes of up to this many bits are found by one look; these are all that text has, and some.
const SHORT_BITS: u32 = 8;

/// The code of each symbol, and its bits.
static CODES: [(u32, u8); SYMBOLS] = CANON.codes;
/// By the next eight bits: the symbol and the bits of its code, or no bits where the code is longer.
static SHORT: [(u8, u8); 1 << SHORT_BITS] = short_codes();
/// All symbols in the order of their codes.
static ORDER: [u16; SYMBOLS] = CANON.order;
/// By bits: behind the last code of that many bits, moved to the left of 32; and what to add to a code for its place in
/// [`ORDER`].
static LONG: [(u64, i32); LENGTH_MAX + 1] = CANON.long;

struct Canon {
    codes: [(u32, u8); SYMBOLS],
    order: [u16; SYMBOLS],
    long: [(u64, i32); LENGTH_MAX + 1],
}

const CANON: Canon = canon();

#[expect(
    clippy::indexing_slicing,
    reason = "done by the compiler, which checks every index"
)]
const fn canon() -> Canon {
    let mut canon = Canon {
        codes: [(0, 0); SYMBOLS],
        order: [0; SYMBOLS],
        long: [(0, 0); LENGTH_MAX + 1],
    };
    let (mut code, mut place, mut bits) = (0_u32, 0_usize, 1_usize);
    while bits <= LENGTH_MAX {
        code <<= 1;
        canon.long[bits].1 = place as i32 - code as i32;
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == bits {
                canon.codes[symbol] = (code, bits as u8);
                canon.order[place] = symbol as u16;
                code += 1;
                place += 1;
            }
            symbol += 1;
        }
        canon.long[bits].0 = (code as u64) << (32 - bits);
        bits += 1;
    }
    canon
}

#[expect(
    clippy::indexing_slicing,
    reason = "done by the compiler, which checks every index"
)]
const fn short_codes() -> [(u8, u8); 1 << SHORT_BITS] {
    let mut table = [(0, 0); 1 << SHORT_BITS];
    let mut symbol = 0;
    while symbol < 256 {
        let (code, bits) = CANON.codes[symbol];
        if bits as u32 <= SHORT_BITS {
            let free = SHORT_BITS - bits as u32;
            let mut at = (code as usize) << free;
            let end = (code as usize + 1) << free;
            while at < end {
                table[at] = (symbol as u8, bits);
                at += 1;
            }
        }
        symbol += 1;
    }
    table
}

/// The symbol whose code the high bits of `bits` start with, and the bits of that code.
#[expect(clippy::indexing_slicing, reason = "eight bits are below 256")]
fn symbol(bits: u64) -> (u16, u32) {
    match SHORT[(bits >> (64 - SHORT_BITS)) as usize] {
        (_, 0) => long_symbol((bits >> 32) as u32),
        (symbol, bits) => (u16::from(symbol), u32::from(bits)),
    }
}

#[cold]
fn long_symbol(bits: u32) -> (u16, u32) {
    let longer = LONG.iter().enumerate().skip(SHORT_BITS as usize + 1);
    for (len, (end, to_place)) in longer {
        if u64::from(bits) < *end {
            let code = (bits >> (32 - len as u32)) as i32;
            let place = usize::try_from(code + to_place).unwrap_or(usize::MAX);
            return (
                ORDER.get(place).copied().unwrap_or(END_OF_STRING),
                len as u32,
            );
        }
    }
    // Thirty ones or more than there are codes for: both are the end of the string, which must not be there.
    (END_OF_STRING, LENGTH_MAX as u32)
}

/// Puts the string coded in `code` behind `out`.
pub(super) fn decode(mut code: &[u8], out: &mut Vec<u8>) -> Result<(), ProtocolError> {
    out.reserve(code.len() * 8 / 5);
    let (mut bits, mut have) = (0_u64, 0_u32);
    loop {
        if let Some(next) = code.first_chunk::<8>() {
            bits |= u64::from_be_bytes(*next) >> have;
            let taken = (63 - have) / 8;
            have += taken * 8;
            code = code.get(taken as usize..).unwrap_or_default();
        } else {
            while have <= 56
                && let [next, rest @ ..] = code
            {
                bits |= u64::from(*next) << (56 - have);
                have += 8;
                code = rest;
            }
            if have < 32 {
                break;
            }
        }
        while have >= LENGTH_MAX as u32 {
            let (symbol, len) = symbol(bits);
            // RFC 7541 §5.2: a string that holds the end of string is a decoding error.
            out.push(u8::try_from(symbol).map_err(|_| ProtocolError::BadHuffman)?);
            bits <<= len;
            have -= len;
        }
    }
    decode_end(bits, have, out)
}

/// The last bits: whole codes, and padding of fewer than eight bits, all ones (RFC 7541 §5.2).
fn decode_end(mut bits: u64, mut have: u32, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
    loop {
        let padding = u64::MAX >> have;
        let (symbol, len) = symbol(bits | padding);
        if len > have {
            let good = have < 8 && bits | padding == u64::MAX;
            return good.then_some(()).ok_or(ProtocolError::BadHuffman);
        }
        out.push(u8::try_from(symbol).map_err(|_| ProtocolError::BadHuffman)?);
        bits <<= len;
        have -= len;
    }
}

#[expect(clippy::indexing_slicing, reason = "a byte is below 257")]
fn code_of(byte: u8) -> (u32, u8) {
    CODES[usize::from(byte)]
}

/// How many bytes `text` takes when coded.
pub(super) fn encoded_len(text: impl Iterator<Item = u8>) -> usize {
    let bits: usize = text.map(|byte| usize::from(code_of(byte).1)).sum();
    bits.div_ceil(8)
}

/// Puts the code of `text` behind `out`.
pub(super) fn encode(text: impl Iterator<Item = u8>, out: &mut Vec<u8>) {
    let (mut bits, mut have) = (0_u64, 0_u32);
    for byte in text {
        let (code, len) = code_of(byte);
        bits = bits << len | u64::from(code);
        have += u32::from(len);
        if have >= 32 {
            have -= 32;
            out.extend_from_slice(&((bits >> have) as u32).to_be_bytes());
        }
    }
    // Filled up with ones, which start the end of string.
    let free = have.wrapping_neg() % 8;
    let last = bits << free | ((1 << free) - 1);
    let len = (have + free) as usize / 8;
    let bytes = (last as u32).to_be_bytes();
    out.extend_from_slice(bytes.get(4 - len.min(4)..).unwrap_or_default());
}
