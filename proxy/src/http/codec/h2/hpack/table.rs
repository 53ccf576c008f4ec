//! The dynamic table (RFC 7541 §2.3.2): a ring of entries over one run of bytes.

use std::collections::VecDeque;

use super::name::Name;

/// What an entry costs beside its bytes (RFC 7541 §4.1).
const ENTRY_COST: usize = 32;

/// No table is larger, whatever is allowed: so that lengths fit 16 bits.
pub(super) const BYTES_MAX: u32 = 65_536;

/// Entries that were received or sent, the newest first. Without memory while empty.
#[derive(Debug)]
pub(super) struct Table {
    /// Names and values, the oldest entry's in front, behind those of entries that are gone.
    bytes: Vec<u8>,
    /// The position of the first of `bytes`, in the count of all that was ever put in. Wraps around.
    base: u32,
    entries: VecDeque<Entry>,
    size: usize,
    max: usize,
    /// How many entries were ever put in. Wraps around.
    inserted: u16,
}

/// One entry, without its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    at: u32,
    name_len: u16,
    value_len: u16,
    pub(super) is: Name,
    /// Whether the value is one that a field can have.
    pub(super) good_value: bool,
}

impl Entry {
    fn len(&self) -> usize {
        usize::from(self.name_len) + usize::from(self.value_len)
    }

    /// The length of the name.
    pub(super) fn name_len(&self) -> usize {
        usize::from(self.name_len)
    }
}

impl Table {
    /// An empty table of at most `max` bytes.
    pub(super) fn new(max: u32) -> Self {
        Self {
            bytes: Vec::new(),
            base: 0,
            entries: VecDeque::new(),
            size: 0,
            max: max.min(BYTES_MAX) as usize,
            inserted: 0,
        }
    }

    /// The largest size of all entries together.
    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// The entry `age` before the newest, and its name and value in one run.
    pub(super) fn get(&self, age: usize) -> Option<(Entry, &[u8])> {
        let entry = *self.entries.get(self.entries.len().checked_sub(age + 1)?)?;
        let start = entry.at.wrapping_sub(self.base) as usize;
        Some((entry, self.bytes.get(start..start + entry.len())?))
    }

    /// How many entries were put in before the one at `number`, for [`Self::age_of`].
    pub(super) fn next_number(&self) -> u16 {
        self.inserted
    }

    /// How many entries are newer than the one with `number`; `None` when it is gone.
    pub(super) fn age_of(&self, number: u16) -> Option<usize> {
        let age = usize::from(self.inserted.wrapping_sub(number).checked_sub(1)?);
        (age < self.entries.len()).then_some(age)
    }

    /// Puts in an entry in front of all; the oldest go as far as there is need (RFC 7541 §4.4).
    pub(super) fn insert(&mut self, name: &[u8], value: &[u8], is: Name, good_value: bool) {
        let len = name.len() + value.len();
        self.shrink_to(self.max.saturating_sub(len + ENTRY_COST));
        let (Ok(name_len), Ok(value_len)) = (u16::try_from(name.len()), u16::try_from(value.len()))
        else {
            return;
        };
        if len + ENTRY_COST > self.max {
            return; // RFC 7541 §4.4: it has emptied the table and is no error
        }
        self.make_room(len);
        let at = self.base.wrapping_add(self.bytes.len() as u32);
        self.bytes.extend(name.iter().map(u8::to_ascii_lowercase));
        self.bytes.extend_from_slice(value);
        self.entries.push_back(Entry {
            at,
            name_len,
            value_len,
            is,
            good_value,
        });
        self.size += len + ENTRY_COST;
        self.inserted = self.inserted.wrapping_add(1);
    }

    /// Changes the largest size (RFC 7541 §4.3).
    pub(super) fn set_max(&mut self, max: u32) {
        self.max = max.min(BYTES_MAX) as usize;
        self.shrink_to(self.max);
        if self.entries.is_empty() {
            self.bytes = Vec::new();
            self.entries = VecDeque::new();
        }
    }

    /// Lets the oldest entries go until all together take `size` at most.
    fn shrink_to(&mut self, size: usize) {
        while self.size > size
            && let Some(entry) = self.entries.pop_front()
        {
            self.size -= entry.len() + ENTRY_COST;
        }
    }

    /// Gives up the bytes of entries that are gone, when these are a good part of all and the others would not fit.
    fn make_room(&mut self, len: usize) {
        if self.bytes.len() + len <= self.bytes.capacity() {
            return;
        }
        let gone = match self.entries.front() {
            Some(oldest) => oldest.at.wrapping_sub(self.base) as usize,
            None => self.bytes.len(),
        };
        if gone * 3 >= self.bytes.len() {
            self.bytes.drain(..gone.min(self.bytes.len()));
            self.base = self.base.wrapping_add(gone as u32);
        }
    }
}
