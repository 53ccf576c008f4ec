//! Heads that wait to be used again.

use super::Head;

/// A worker's spare heads, so that a request allocates none and a connection at rest holds none.
#[derive(Debug, Default)]
pub struct HeadPool {
    spare: Vec<Head>,
    /// Bytes that the buffers of `spare` have.
    bytes: usize,
}

/// Bytes of buffers kept at most, and heads: as many as run at once on some connections with many streams each.
const BYTES_MAX: usize = 1024 * 1024;
const SPARE_MAX: usize = 1024;

/// A head whose buffer grew beyond this is freed, lest one large request be paid for forever.
const SPARE_BYTES_MAX: usize = 16 * 1024;

/// The same for the number of fields.
const SPARE_FIELDS_MAX: usize = 256;

impl HeadPool {
    /// An empty pool.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty head.
    pub fn take(&mut self) -> Head {
        let head = self.spare.pop().unwrap_or_default();
        self.bytes = self.bytes.saturating_sub(head.bytes.capacity());
        head
    }

    /// Takes back a head that is no longer needed.
    pub fn give(&mut self, mut head: Head) {
        let large =
            head.bytes.capacity() > SPARE_BYTES_MAX || head.fields.capacity() > SPARE_FIELDS_MAX;
        let bytes = self.bytes + head.bytes.capacity();
        if large || self.spare.len() >= SPARE_MAX || bytes > BYTES_MAX {
            return;
        }
        self.bytes = bytes;
        head.clear();
        self.spare.push(head);
    }
}
