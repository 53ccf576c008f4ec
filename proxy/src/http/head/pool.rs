//! Heads that wait to be used again.

use super::Head;

/// A worker's spare heads, so that a request allocates none and a connection at rest holds none.
#[derive(Debug, Default)]
pub struct HeadPool {
    spare: Vec<Head>,
}

/// Heads kept at most; further ones are freed.
const SPARE_MAX: usize = 128;

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
        self.spare.pop().unwrap_or_default()
    }

    /// Takes back a head that is no longer needed.
    pub fn give(&mut self, mut head: Head) {
        let large =
            head.bytes.capacity() > SPARE_BYTES_MAX || head.fields.capacity() > SPARE_FIELDS_MAX;
        if large || self.spare.len() >= SPARE_MAX {
            return;
        }
        head.clear();
        self.spare.push(head);
    }
}
