//! Bytes on their way in and out of a codec.

/// Bytes read from a connection that its codec has not taken yet.
///
/// Borrowed from a pool while a connection is readable: once [`Codec::next`](super::Codec::next) has returned `None`
/// it is empty again, unless requests are pipelined behind one that still waits for its response.
#[derive(Debug, Default)]
pub struct ReadBuf {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl ReadBuf {
    /// A buffer that one read can fill with up to `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            bytes: vec![0; capacity],
            start: 0,
            end: 0,
        }
    }

    /// The bytes not taken yet.
    pub fn filled(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// How many bytes are not taken yet.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether every byte was taken.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Where the next read may write; initialised memory. Empty when the buffer is full.
    pub fn spare_mut(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    /// Says that a read wrote `n` bytes into [`Self::spare_mut`].
    pub fn filled_by(&mut self, n: usize) {
        self.end = self.end.saturating_add(n).min(self.bytes.len());
    }

    /// Puts bytes behind those there are, growing when they do not fit.
    pub fn extend(&mut self, more: &[u8]) {
        if self.spare_mut().len() < more.len() {
            self.bytes.resize(self.end + more.len(), 0);
        }
        if let Some(room) = self.spare_mut().get_mut(..more.len()) {
            room.copy_from_slice(more);
            self.filled_by(more.len());
        }
    }

    /// Forgets every byte.
    pub fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
    }

    /// Takes the first `n` bytes, or all when there are fewer.
    pub fn take(&mut self, n: usize) -> &[u8] {
        let from = self.start;
        self.start = from.saturating_add(n).min(self.end);
        self.bytes.get(from..self.start).unwrap_or_default()
    }
}

/// Bytes that wait to be written to a connection: heads and bodies in one run, so that they leave in one write.
#[derive(Debug, Default)]
pub struct Out {
    bytes: Vec<u8>,
    start: usize,
}

impl Out {
    /// An empty one, without memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty one that reuses `memory`.
    pub fn with_memory(mut memory: Vec<u8>) -> Self {
        memory.clear();
        Self {
            bytes: memory,
            start: 0,
        }
    }

    /// Gives up the memory; what was pending is lost.
    pub fn into_memory(self) -> Vec<u8> {
        self.bytes
    }

    /// The bytes still to be written.
    pub fn pending(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// How many bytes are still to be written.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Whether everything was written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Says that the first `n` pending bytes were written.
    pub fn advance(&mut self, n: usize) {
        self.start = self.start.saturating_add(n).min(self.bytes.len());
        if self.is_empty() {
            self.clear();
        }
    }

    /// Forgets everything pending, keeping the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.start = 0;
    }

    /// Puts bytes behind those there are.
    pub fn extend(&mut self, more: &[u8]) {
        // Written bytes in front are given up before the buffer would grow for their sake.
        if self.start > 0 && self.bytes.capacity() - self.bytes.len() < more.len() {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(more);
    }

    /// The bytes themselves, for who puts many small pieces behind them. Those there are must stay as they are.
    pub(crate) fn tail(&mut self) -> &mut Vec<u8> {
        // Written bytes in front are given up while that is cheap: as many as there are behind them.
        if self.start > self.len() {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        &mut self.bytes
    }

    /// Where a message begun now starts, for [`Self::undo_to`].
    pub(crate) fn mark(&self) -> usize {
        self.len()
    }

    /// Takes back what was put since `mark`.
    pub(crate) fn undo_to(&mut self, mark: usize) {
        self.bytes.truncate(self.start + mark);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_makes_room() {
        let mut buf = ReadBuf::with_capacity(4);
        buf.spare_mut().copy_from_slice(b"abcd");
        buf.filled_by(4);
        assert!(buf.spare_mut().is_empty());
        assert_eq!(buf.take(3), b"abc");
        assert_eq!(buf.spare_mut().len(), 3);
        assert_eq!(buf.filled(), b"d");
        assert_eq!(buf.take(9), b"d");
        assert!(buf.is_empty());
    }

    #[test]
    fn extend_grows_past_the_capacity() {
        let mut buf = ReadBuf::with_capacity(2);
        buf.extend(b"abc");
        buf.extend(b"def");
        assert_eq!(buf.filled(), b"abcdef");
    }

    #[test]
    fn out_survives_partial_writes_and_undo() {
        let mut out = Out::new();
        out.extend(b"hello");
        out.advance(2);
        let mark = out.mark();
        out.extend(&[b'x'; 100]);
        out.undo_to(mark);
        assert_eq!(out.pending(), b"llo");
        out.advance(3);
        assert!(out.is_empty());
    }
}
