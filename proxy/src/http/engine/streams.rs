//! Which exchange runs on which stream of a connection.

use smallvec::SmallVec;

use super::exchange::ExchangeId;
use crate::http::codec::StreamId;

/// The exchanges of a connection by stream: one at most on HTTP/1, many on HTTP/2.
///
/// Sorted. Streams begin in the order of their numbers, so that a new one goes to the end.
#[derive(Default)]
pub(super) struct Streams(SmallVec<[(StreamId, ExchangeId); 1]>);

impl Streams {
    /// An exchange begins on `stream`.
    pub(super) fn insert(&mut self, stream: StreamId, exchange: ExchangeId) {
        match self.place(stream) {
            Ok(at) => {
                if let Some(entry) = self.0.get_mut(at) {
                    entry.1 = exchange;
                }
            }
            Err(at) => self.0.insert(at, (stream, exchange)),
        }
    }

    /// The exchange on `stream`.
    pub(super) fn get(&self, stream: StreamId) -> Option<ExchangeId> {
        let at = self.place(stream).ok()?;
        self.0.get(at).map(|(_, exchange)| *exchange)
    }

    /// The exchange on `stream` is over. Memory for many is given back with the last.
    pub(super) fn remove(&mut self, stream: StreamId) {
        if let Ok(at) = self.place(stream) {
            self.0.remove(at);
        }
        if self.0.is_empty() && self.0.spilled() {
            self.0 = SmallVec::new();
        }
    }

    /// The first of them; on HTTP/1 the only one.
    pub(super) fn first(&self) -> Option<ExchangeId> {
        self.0.first().map(|(_, exchange)| *exchange)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, as they are now.
    pub(super) fn all(&self) -> SmallVec<[ExchangeId; 1]> {
        self.0.iter().map(|(_, exchange)| *exchange).collect()
    }

    fn place(&self, stream: StreamId) -> Result<usize, usize> {
        // What begins or came last is looked for most.
        match self.0.last() {
            Some((last, _)) if *last < stream => Err(self.0.len()),
            Some((last, _)) if *last == stream => Ok(self.0.len() - 1),
            _ => self.0.binary_search_by_key(&stream, |(stream, _)| *stream),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::arena::Key;
    use super::*;

    #[test]
    fn streams_are_found_until_they_end() {
        let mut streams = Streams::default();
        let keys: Vec<_> = (0..9).map(Key::first_of).collect();
        for (at, key) in keys.iter().enumerate() {
            streams.insert(StreamId(2 * u32::try_from(at).unwrap() + 1), *key);
        }
        assert_eq!(streams.get(StreamId(7)), Some(keys[3]));
        streams.remove(StreamId(7));
        streams.remove(StreamId(8));
        assert_eq!(streams.get(StreamId(7)), None);
        assert_eq!(streams.get(StreamId(17)), Some(keys[8]));
        assert_eq!(streams.all().len(), 8);
        for id in 0..20 {
            streams.remove(StreamId(id));
        }
        assert!(streams.is_empty() && !streams.0.spilled());
    }
}
