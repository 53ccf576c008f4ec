//! Bodies on their way: straight through while the other side takes them, kept while it does not or another may.

use crate::http::codec::{Codec, Out, Refused, StreamId};
use crate::http::head::Head;

/// A stream that bytes are passed on to.
pub(super) struct Sink<'a> {
    pub(super) codec: &'a mut Codec,
    pub(super) stream: StreamId,
    pub(super) out: &'a mut Out,
    /// Bytes that may wait to be written, where the codec itself does not say.
    pub(super) room: usize,
}

impl Sink<'_> {
    /// Writes as much of `bytes` as is taken now, and the end once all of them are.
    fn data(&mut self, bytes: &[u8], end: bool) -> Result<usize, Refused> {
        if !self.codec.is_multiplexed() && self.out.len() >= self.room && !bytes.is_empty() {
            return Ok(0);
        }
        self.codec.data(self.stream, bytes, end, self.out)
    }

    fn trailers(&mut self, trailers: &Head) -> Result<(), Refused> {
        self.codec.trailers(self.stream, trailers, self.out)
    }
}

/// Bytes of a request's body that may be needed (again), and how the body ends.
#[derive(Default)]
pub(crate) struct RequestBody {
    /// All bytes from the beginning while not `spent`, else those that nobody took yet.
    kept: Vec<u8>,
    /// How many of `kept` the attempt that runs has taken.
    sent: usize,
    /// Some bytes are gone: there can be no further attempt.
    spent: bool,
    /// Bytes kept for another attempt at most.
    limit: usize,
    /// Bytes for which the sender has had credit.
    credited: u64,
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

    /// Whether an upstream has taken all of it, its end too.
    pub(super) fn is_sent(&self) -> bool {
        self.ended && self.waiting() == 0
    }

    /// Bytes that an upstream took for the first time since this was asked last: the sender may send as many more.
    pub(super) fn credit(&mut self) -> usize {
        let taken = self.bytes - self.waiting() as u64;
        let due = taken.saturating_sub(self.credited);
        self.credited += due;
        usize::try_from(due).unwrap_or(usize::MAX)
    }

    /// Passes bytes on to the attempt that runs, or keeps them while there is none.
    pub(super) fn pass(
        &mut self,
        bytes: &[u8],
        end: bool,
        to: Option<Sink<'_>>,
    ) -> Result<(), Refused> {
        self.ended |= end;
        self.bytes += bytes.len() as u64;
        let Some(mut to) = to.filter(|_| self.waiting() == 0) else {
            self.kept.extend_from_slice(bytes);
            return Ok(());
        };
        let taken = to.data(bytes, end)?;
        if !self.spent && self.kept.len() + bytes.len() <= self.limit {
            self.kept.extend_from_slice(bytes);
            self.sent += taken;
        } else if !bytes.is_empty() {
            self.forget();
            self.kept
                .extend_from_slice(bytes.get(taken..).unwrap_or_default());
        }
        Ok(())
    }

    /// Passes the fields behind the body on, once nothing before them waits.
    pub(super) fn pass_trailers(
        &mut self,
        head: Head,
        to: Option<Sink<'_>>,
    ) -> Result<(), Refused> {
        self.ended = true;
        let passed = match to.filter(|_| self.waiting() == 0) {
            Some(mut to) => to.trailers(&head),
            None => Ok(()),
        };
        self.trailers = Some(head);
        passed
    }

    /// Goes on with what waits, as far as it is taken now.
    pub(super) fn push(&mut self, to: Sink<'_>) -> Result<(), Refused> {
        if self.waiting() == 0 {
            return Ok(());
        }
        self.send(to)
    }

    /// Sends what is there to an attempt that begins; its head is written, and did not end the message.
    pub(super) fn replay(&mut self, to: Sink<'_>) -> Result<(), Refused> {
        if self.waiting() == 0 && !self.ended {
            return Ok(());
        }
        self.send(to)
    }

    fn send(&mut self, mut to: Sink<'_>) -> Result<(), Refused> {
        let end = self.ended && self.trailers.is_none();
        let waiting = self.kept.get(self.sent..).unwrap_or_default();
        if !waiting.is_empty() || end {
            self.sent += to.data(waiting, end)?;
        }
        if self.waiting() == 0
            && let Some(trailers) = &self.trailers
        {
            to.trailers(trailers)?;
        }
        if self.spent || (self.waiting() == 0 && self.kept.len() > self.limit) {
            self.forget();
        }
        Ok(())
    }

    /// What was sent will not be sent again: the answer has begun.
    pub(super) fn forget(&mut self) {
        self.kept.drain(..self.sent);
        self.sent = 0;
        if self.kept.is_empty() {
            self.kept = Vec::new();
        }
        self.spent |= self.bytes > 0;
    }

    /// The attempt failed; the next begins from the first byte.
    pub(super) fn rewind(&mut self) {
        self.sent = 0;
    }

    /// Bytes follow that belong to no message.
    pub(super) fn reopen(&mut self) {
        self.forget();
        self.spent = true;
        self.ended = false;
    }

    /// Whether the message is its head alone.
    pub(super) fn is_empty(&self) -> bool {
        self.ended && self.bytes == 0 && self.trailers.is_none()
    }
}

/// What of an answer waits for the downstream to take it.
#[derive(Default)]
pub(crate) struct AnswerRest {
    bytes: Vec<u8>,
    sent: usize,
    /// Nothing comes behind it.
    ended: bool,
    trailers: Option<Head>,
}

impl AnswerRest {
    /// Bytes that wait.
    pub(super) fn waiting(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Whether the answer is complete but for what waits.
    pub(super) fn is_last(&self) -> bool {
        self.ended
    }

    /// Passes bytes on, and keeps what is not taken. How many were taken.
    pub(super) fn pass(
        &mut self,
        bytes: &[u8],
        end: bool,
        mut to: Sink<'_>,
    ) -> Result<usize, Refused> {
        let taken = match self.waiting() {
            0 => to.data(bytes, end)?,
            _ => 0,
        };
        if taken < bytes.len() || self.waiting() > 0 {
            self.bytes
                .extend_from_slice(bytes.get(taken..).unwrap_or_default());
            self.ended |= end;
        }
        Ok(taken)
    }

    /// Passes the fields behind the body on, or keeps them behind what waits; gives them back once they are passed.
    pub(super) fn pass_trailers(
        &mut self,
        head: Head,
        mut to: Sink<'_>,
    ) -> Result<Option<Head>, (Head, Refused)> {
        if self.waiting() > 0 {
            self.ended = true;
            self.trailers = Some(head);
            return Ok(None);
        }
        match to.trailers(&head) {
            Ok(()) => Ok(Some(head)),
            Err(refused) => Err((head, refused)),
        }
    }

    /// Keeps the last of an answer that was not taken.
    pub(super) fn keep_last(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.ended = true;
    }

    /// Goes on with what waits, as far as it is taken now. How much was.
    pub(super) fn push(&mut self, mut to: Sink<'_>) -> Result<usize, Refused> {
        let waiting = self.bytes.get(self.sent..).unwrap_or_default();
        let taken = to.data(waiting, self.ended && self.trailers.is_none())?;
        self.sent += taken;
        if self.waiting() == 0 {
            self.bytes = Vec::new();
            self.sent = 0;
            if let Some(trailers) = &self.trailers {
                to.trailers(trailers)?;
            }
        } else if self.sent > self.bytes.len() / 2 {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
        Ok(taken)
    }

    /// The fields that waited behind the body.
    pub(super) fn take_trailers(&mut self) -> Option<Head> {
        self.trailers.take()
    }
}
