//! Writing field blocks (RFC 7541 §3, §6).
//!
//! What repeats is put into the table, and it is the second time that tells: a field that was sent once is only noted
//! by a print of its hash. So neither request ids nor paths with numbers in them push out what is worth keeping, and no
//! list of names has to say which these are.

use super::name::Name;
use super::table::Table;
use super::{TABLE_BYTES_DEFAULT, huffman, integer, static_table};
use crate::http::head::Known;

/// What may be done with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Indexing {
    /// Put into the table when it comes again.
    WhenRepeated,
    /// Known to differ from message to message: not even looked up.
    Pointless,
    /// Never put into any table, by nobody on the way (RFC 7541 §7.1.3).
    Never,
}

/// The writing end of one direction.
#[derive(Debug)]
pub(in super::super) struct Encoder {
    table: Table,
    /// Where to look for a field: by its hash, in one of the sets of [`WAYS`].
    slots: Option<Box<[Slot; SETS * WAYS]>>,
    /// The smallest and the last size since the last block, which the next one must tell (RFC 7541 §4.2).
    update: Option<(u32, u32)>,
}

const SETS: usize = 16;
const WAYS: usize = 4;

/// A field that was sent: a print of its hash, and its number where it is in the table.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    print: u16,
    number: u16,
}

/// Set in a print when the field was put into the table.
const INDEXED: u16 = 1 << 15;

/// What is known of a field.
enum Found {
    /// In the table, this many entries before the newest.
    Indexed(usize),
    /// It was sent before; this is its slot.
    Again(usize),
    New,
}

impl Encoder {
    pub(in super::super) fn new() -> Self {
        Self {
            table: Table::new(TABLE_BYTES_DEFAULT),
            slots: None,
            update: None,
        }
    }

    /// The peer takes a table of at most `size` bytes. We never use more than the default.
    pub(in super::super) fn set_limit(&mut self, size: u32) {
        let size = size.min(TABLE_BYTES_DEFAULT);
        if size as usize == self.table.max() {
            return;
        }
        let least = self.update.map_or(size, |(least, _)| least.min(size));
        self.update = Some((least, size));
        self.table.set_max(size);
    }

    /// Begins a block.
    pub(in super::super) fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some((least, last)) = self.update.take() {
            if least < last {
                integer::encode(least as usize, 5, 0x20, out);
            }
            integer::encode(last as usize, 5, 0x20, out);
        }
    }

    /// Writes the entry `index` of the static table.
    pub(in super::super) fn fixed(&self, index: u8, out: &mut Vec<u8>) {
        out.push(0x80 | index);
    }

    /// Writes a field. Its name is put in lower case.
    pub(in super::super) fn field(
        &mut self,
        name: &[u8],
        value: &[u8],
        indexing: Indexing,
        out: &mut Vec<u8>,
    ) {
        if let Some(pattern) = self.short_form(name, value, indexing, out) {
            literal(name, static_table::index_of(name), value, pattern, out);
        }
    }

    /// Writes a field with a well-known name.
    pub(in super::super) fn known_field(
        &mut self,
        known: Known,
        value: &[u8],
        indexing: Indexing,
        out: &mut Vec<u8>,
    ) {
        let name = known.name().as_bytes();
        if let Some(pattern) = self.short_form(name, value, indexing, out) {
            let index = static_table::index_of_known(known);
            literal(name, index, value, pattern, out);
        }
    }

    /// Writes a field that is in the table; else gives the pattern of the literal by which it is to be written.
    fn short_form(
        &mut self,
        name: &[u8],
        value: &[u8],
        indexing: Indexing,
        out: &mut Vec<u8>,
    ) -> Option<u8> {
        Some(match indexing {
            Indexing::Never => 0x10,
            Indexing::Pointless => 0x00,
            // What takes a quarter of the table would push out too much.
            Indexing::WhenRepeated if name.len() + value.len() + 32 > self.table.max() / 4 => 0x00,
            Indexing::WhenRepeated => match self.find(name, value) {
                Found::Indexed(age) => {
                    integer::encode(static_table::LEN + 1 + age, 7, 0x80, out);
                    return None;
                }
                Found::Again(slot) => {
                    self.remember(slot, name, value);
                    0x40
                }
                Found::New => 0x00,
            },
        })
    }

    /// Looks for a field, and notes it when it is new.
    fn find(&mut self, name: &[u8], value: &[u8]) -> Found {
        let hash = hash(name, value);
        let print = (hash >> 48) as u16 & !INDEXED | 1;
        let first = hash as usize % SETS * WAYS;
        let slots = self
            .slots
            .get_or_insert_with(|| Box::new([Slot::default(); SETS * WAYS]));
        let Some(set) = slots.get_mut(first..first + WAYS) else {
            return Found::New;
        };
        let mut spare = None;
        for (way, slot) in set.iter_mut().enumerate() {
            let age = match slot.print & INDEXED {
                0 => None,
                _ => self.table.age_of(slot.number),
            };
            if slot.print & !INDEXED == print {
                let Some(age) = age else {
                    return Found::Again(first + way);
                };
                if is_entry(&self.table, age, name, value) {
                    return Found::Indexed(age);
                }
            }
            if age.is_none() {
                spare = spare.or(Some(slot));
            }
        }
        if let Some(slot) = spare {
            slot.print = print;
        }
        Found::New
    }

    /// Puts a field into the table.
    fn remember(&mut self, slot: usize, name: &[u8], value: &[u8]) {
        let number = self.table.next_number();
        let is = Name::field(Known::Other);
        self.table.insert(name, value, is, true);
        if let Some(slot) = self.slots.as_mut().and_then(|slots| slots.get_mut(slot)) {
            slot.print |= INDEXED;
            slot.number = number;
        }
    }
}

fn is_entry(table: &Table, age: usize, name: &[u8], value: &[u8]) -> bool {
    table.get(age).is_some_and(|(entry, both)| {
        both.split_at_checked(entry.name_len())
            .is_some_and(|(had, had_value)| {
                had_value == value && (had == name || had.eq_ignore_ascii_case(name))
            })
    })
}

/// A literal field (RFC 7541 §6.2); `pattern` says which kind.
///
/// What goes into the table is sent once and coded where that is shorter. What is not indexed is sent each time: coding
/// and decoding it would cost both sides more than the quarter of its bytes that it saves.
fn literal(name: &[u8], index: Option<usize>, value: &[u8], pattern: u8, out: &mut Vec<u8>) {
    if pattern == 0x40 {
        match index {
            Some(index) => integer::encode(index, 6, pattern, out),
            None => {
                out.push(pattern);
                coded(name.iter().map(u8::to_ascii_lowercase), out);
            }
        }
        return coded(value.iter().copied(), out);
    }
    match index {
        Some(index) => integer::encode(index, 4, pattern, out),
        None => {
            out.push(pattern);
            integer::encode(name.len(), 7, 0x00, out);
            out.extend(name.iter().map(u8::to_ascii_lowercase));
        }
    }
    integer::encode(value.len(), 7, 0x00, out);
    out.extend_from_slice(value);
}

/// A string (RFC 7541 §5.2), coded where that makes it shorter.
fn coded(text: impl ExactSizeIterator<Item = u8> + Clone, out: &mut Vec<u8>) {
    let len = huffman::encoded_len(text.clone());
    if len < text.len() {
        integer::encode(len, 7, 0x80, out);
        return huffman::encode(text, out);
    }
    integer::encode(text.len(), 7, 0x00, out);
    out.extend(text);
}

/// A number that differs for most fields that differ: of the lengths and of both ends of name and value.
///
/// It only says where to look; what is found there is compared in full.
fn hash(name: &[u8], value: &[u8]) -> u64 {
    const FOLD: u64 = 0x2020_2020_2020_2020;
    let (name_first, name_last) = ends(name);
    let (first, last) = ends(value);
    let (second, middle) = match value.len() {
        0..=8 => (0, 0),
        len => (
            word(value.get(len / 2 - 4..).unwrap_or_default()),
            word(value.get(len / 4..).unwrap_or_default()),
        ),
    };
    let lengths = (name.len() as u64) << 32 | value.len() as u64;
    mix(name_first | FOLD, (name_last | FOLD).rotate_left(32))
        ^ mix(first ^ lengths, last.rotate_left(24))
        ^ mix(second, middle.rotate_left(40))
}

/// Two odd numbers without pattern, from the digits of pi, times each other by parts.
fn mix(a: u64, b: u64) -> u64 {
    const ONE: u64 = 0x243f_6a88_85a3_08d3;
    const TWO: u64 = 0x1319_8a2e_0370_7345;
    let product = u128::from(a ^ ONE) * u128::from(b ^ TWO);
    product as u64 ^ (product >> 64) as u64
}

/// The first and the last eight bytes.
fn ends(text: &[u8]) -> (u64, u64) {
    match text.last_chunk::<8>() {
        Some(last) => (word(text), u64::from_le_bytes(*last)),
        None => (word(text), 0),
    }
}

/// The first eight bytes, or all of fewer.
fn word(text: &[u8]) -> u64 {
    if let Some(first) = text.first_chunk::<8>() {
        return u64::from_le_bytes(*first);
    }
    match (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32
        }
        _ => text
            .iter()
            .fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}
