//! The fields of a head: where they are, and what is known of them.

use std::ops::BitOr;

use super::known::Known;

/// A place in a head's buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The offset of its first byte.
    pub start: u32,
    /// Its length in bytes.
    pub len: u32,
}

impl Span {
    /// The span from `start` up to `end`; empty when they cross.
    pub fn new(start: usize, end: usize) -> Self {
        Self {
            start: u32::try_from(start).unwrap_or(u32::MAX),
            len: u32::try_from(end.saturating_sub(start)).unwrap_or(0),
        }
    }

    /// The offset behind its last byte.
    pub fn end(self) -> usize {
        self.start as usize + self.len as usize
    }

    /// Whether it holds nothing.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// Its bytes in `buffer`; empty when it does not lie within.
    pub fn of(self, buffer: &[u8]) -> &[u8] {
        buffer
            .get(self.start as usize..self.end())
            .unwrap_or_default()
    }
}

/// What was noted about a field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    /// Removed: nobody sees it any more.
    pub const DROPPED: Self = Self(1);
    /// Not as received: added, or its value replaced.
    pub const ADDED: Self = Self(2);
    /// Never put into a compression table, by nobody on the way (RFC 7541 §7.1.3).
    pub const NEVER_INDEX: Self = Self(4);
    /// Meant for this hop alone (RFC 9110 §7.6.1): readable, never forwarded.
    pub const HOP_BY_HOP: Self = Self(8);
    /// Lies in the buffer as the line it came in, so that HTTP/1 can copy it.
    pub(crate) const LINE: Self = Self(16);

    /// Whether all of `other` is set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is set.
    pub const fn any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) fn set(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub(crate) fn unset(&mut self, other: Self) {
        self.0 &= !other.0;
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// One field line, as spans into its head's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name, in the case it came in.
    pub name: Span,
    /// Its value, without the whitespace around it.
    pub value: Span,
    /// Its name, when well known.
    pub known: Known,
    /// What was noted about it.
    pub flags: Flags,
}

/// A field as it is seen when a head is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldRef<'a> {
    /// Its name, in the case it came in.
    pub name: &'a [u8],
    /// Its value, without the whitespace around it.
    pub value: &'a [u8],
    /// Its name, when well known.
    pub known: Known,
    /// What was noted about it.
    pub flags: Flags,
}
