//! The request's body on its way: straight through while an upstream takes it, kept while none does or another may.

use crate::http::codec::{Codec, Out, Refused, StreamId};
use crate::http::head::Head;

/// Bytes of a request's body that may be needed (again), and how the body ends.
#[derive(Default)]
pub(crate) struct RequestBody {
    /// All bytes from the beginning while `whole`, else those that nobody took yet.
    kept: Vec<u8>,
    /// How many of `kept` the attempt that runs has taken.
    sent: usize,
    /// Some bytes are gone: there can be no further attempt.
    spent: bool,
    /// Bytes kept for another attempt at most.
    limit: usize,
    pub(super) ended: bool,
    pub(super) trailers: Option<Head>,
    pub(super) bytes: u64,
}

impl RequestBody {
    /// Up to `limit` bytes are kept for further attempts.
    pub(super) fn new(limit: usize, ended: bool) -> Self {
        Self {
            limit,
            ended,
            ..Self::default()
        }
    }

    /// How much is kept for further attempts from now on.
    pub(super) fn keep_up_to(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Whether the whole of what came can be sent again.
    pub(super) fn can_repeat(&self) -> bool {
        !self.spent
    }

    /// Bytes that wait for an upstream to take them.
    pub(super) fn waiting(&self) -> usize {
        self.kept.len() - self.sent
    }

    /// Takes bytes while there is no upstream.
    pub(super) fn hold(&mut self, bytes: &[u8], end: bool) {
        self.kept.extend_from_slice(bytes);
        self.bytes += bytes.len() as u64;
        self.ended |= end;
    }

    /// Passes bytes on to the attempt that runs, which has had everything before.
    pub(super) fn pass(
        &mut self,
        bytes: &[u8],
        end: bool,
        to: (&mut Codec, StreamId, &mut Out),
    ) -> Result<(), Refused> {
        self.bytes += bytes.len() as u64;
        self.ended |= end;
        if !self.spent {
            if self.kept.len() + bytes.len() <= self.limit {
                self.kept.extend_from_slice(bytes);
                self.sent = self.kept.len();
            } else if !bytes.is_empty() {
                self.forget();
            }
        }
        let (codec, stream, out) = to;
        codec.data(stream, bytes, end, out).map(drop)
    }

    /// Sends what is there to an attempt that begins; its head is written, and did not end the message.
    pub(super) fn replay(&mut self, to: (&mut Codec, StreamId, &mut Out)) -> Result<(), Refused> {
        let (codec, stream, out) = to;
        let end = self.ended && self.trailers.is_none();
        if !self.kept.is_empty() || end {
            codec.data(stream, &self.kept, end, out)?;
        }
        if let Some(trailers) = &self.trailers {
            codec.trailers(stream, trailers, out)?;
        }
        self.sent = self.kept.len();
        if self.kept.len() > self.limit {
            self.forget();
        }
        Ok(())
    }

    /// Nothing will be sent again: the answer has begun.
    pub(super) fn forget(&mut self) {
        self.kept = Vec::new();
        self.sent = 0;
        self.spent |= self.bytes > 0;
    }

    /// The attempt failed; the next begins from the first byte.
    pub(super) fn rewind(&mut self) {
        self.sent = 0;
    }

    /// Whether the message is its head alone.
    pub(super) fn is_empty(&self) -> bool {
        self.ended && self.bytes == 0 && self.trailers.is_none()
    }
}
