//! The reading half of a connection: from bytes to frames.

use super::Conn;
use super::frame::{self, HEADER_BYTES, Header, PREFACE};
use super::streams::Read;
use crate::http::codec::{Event, ProtocolError, ReadBuf, Reason, StreamId};
use crate::http::head::{Head, HeadPool};

/// Where in the input we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// In what a client sends first, of which this much was seen.
    Preface(u8),
    /// At a frame's header.
    Frame,
    /// In the content of a DATA frame.
    Data(Data),
    /// In what nobody wants: padding, or content of a stream that is closed.
    Skip(u32),
}

/// What is left of a DATA frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Data {
    pub(super) stream: u32,
    pub(super) left: u32,
    pub(super) padding: u32,
    pub(super) end: bool,
}

/// A field block of which a part has arrived (RFC 9113 §4.3).
#[derive(Debug)]
pub(super) struct Block {
    pub(super) stream: u32,
    pub(super) end: bool,
    pub(super) bytes: Vec<u8>,
    pub(super) continuations: u32,
}

/// What was found at the front of the input.
#[derive(Debug)]
pub(super) enum Step {
    Head {
        stream: u32,
        head: Head,
        end: bool,
    },
    Interim {
        stream: u32,
        head: Head,
    },
    Trailers {
        stream: u32,
        head: Head,
    },
    /// Content: this many bytes at the front of the input.
    Data {
        stream: u32,
        len: usize,
        end: bool,
    },
    Malformed {
        stream: u32,
        error: ProtocolError,
        asked: Option<Head>,
    },
    Reset {
        stream: u32,
        why: Reason,
    },
    Ignored {
        stream: u32,
    },
}

/// A frame at the front of the input.
enum Front {
    /// All of it that is needed, which is this much.
    Whole(Header, usize),
    /// Not yet: so much more is needed at least.
    Part(usize),
}

impl Conn {
    /// See [`Codec::next`](crate::http::codec::Codec::next). After `None`, `input` is empty: parts of frames are kept here.
    ///
    /// # Errors
    ///
    /// As there. The peer is told by a GOAWAY, which is pending; flush it, and close.
    pub fn next<'a>(
        &mut self,
        input: &'a mut ReadBuf,
        heads: &mut HeadPool,
    ) -> Result<Option<Event<'a>>, ProtocolError> {
        if self.failed {
            input.clear();
            return Ok(None);
        }
        match self.step(input, heads) {
            Ok(step) => Ok(step.map(|step| event(step, input))),
            Err(error) => {
                input.clear();
                self.fail(error);
                Err(error)
            }
        }
    }

    fn step(
        &mut self,
        input: &mut ReadBuf,
        heads: &mut HeadPool,
    ) -> Result<Option<Step>, ProtocolError> {
        loop {
            if let Some(step) = self.refused_by_goaway() {
                return Ok(Some(step));
            }
            match self.reading {
                Reading::Data(data) if data.left > 0 && input.is_empty() => return Ok(None),
                Reading::Data(data) => {
                    if let Some(step) = self.content(data, input) {
                        return Ok(Some(step));
                    }
                }
                _ if input.is_empty() => return Ok(None),
                Reading::Preface(seen) => self.preface(seen, input)?,
                Reading::Skip(left) => {
                    let taken = input.take(left as usize).len();
                    self.reading = match left - taken as u32 {
                        0 => Reading::Frame,
                        left => Reading::Skip(left),
                    };
                }
                Reading::Frame => {
                    if let Some(step) = self.next_frame(input, heads)? {
                        return Ok(Some(step));
                    }
                }
            }
        }
    }

    /// RFC 9113 §3.4.
    fn preface(&mut self, seen: u8, input: &mut ReadBuf) -> Result<(), ProtocolError> {
        let rest = PREFACE.get(usize::from(seen)..).unwrap_or_default();
        let taken = input.take(rest.len());
        if !rest.starts_with(taken) {
            return Err(ProtocolError::BadPreface);
        }
        self.reading = if taken.len() == rest.len() {
            Reading::Frame
        } else {
            Reading::Preface(seen + taken.len() as u8)
        };
        Ok(())
    }

    /// Takes a frame from the input, or what there is of it.
    fn next_frame(
        &mut self,
        input: &mut ReadBuf,
        heads: &mut HeadPool,
    ) -> Result<Option<Step>, ProtocolError> {
        if self.partial.is_empty() {
            if let Front::Whole(header, len) = self.front(input.filled())? {
                let payload = input.filled().get(HEADER_BYTES..len).unwrap_or_default();
                let step = self.frame(header, payload, heads)?;
                input.take(len);
                return Ok(step);
            }
            self.partial.extend_from_slice(input.take(usize::MAX));
            return Ok(None);
        }
        loop {
            match self.front(&self.partial)? {
                Front::Whole(header, len) => {
                    let whole = std::mem::take(&mut self.partial);
                    let payload = whole.get(HEADER_BYTES..len).unwrap_or_default();
                    return self.frame(header, payload, heads);
                }
                Front::Part(_) if input.is_empty() => return Ok(None),
                Front::Part(missing) => {
                    self.partial.extend_from_slice(input.take(missing));
                }
            }
        }
    }

    /// What stands at the front of `bytes`. Of DATA only the header is needed, and the length of the padding.
    fn front(&self, bytes: &[u8]) -> Result<Front, ProtocolError> {
        let Some(header) = Header::parse(bytes) else {
            return Ok(Front::Part(
                HEADER_BYTES - bytes.len().min(HEADER_BYTES - 1),
            ));
        };
        // RFC 9113 §3.4: this is no frame at all.
        if !self.peer_told && bytes.starts_with(b"HTTP/1.") {
            return Err(ProtocolError::AnswerInHttp1);
        }
        // RFC 9113 §4.2.
        if header.len > self.limits.frame_bytes_max {
            return Err(ProtocolError::FrameTooLarge);
        }
        let needed = match header.kind {
            frame::DATA if header.has(frame::PADDED) => header.len.min(1),
            frame::DATA => 0,
            _ => header.len,
        };
        let needed = HEADER_BYTES + needed as usize;
        Ok(match needed.checked_sub(bytes.len()) {
            Some(missing @ 1..) => Front::Part(missing),
            _ => Front::Whole(header, needed),
        })
    }

    /// What there is of the content of a DATA frame.
    fn content(&mut self, data: Data, input: &mut ReadBuf) -> Option<Step> {
        let len = input.len().min(data.left as usize);
        let left = data.left - len as u32;
        self.reading = match (left, data.padding) {
            (0, 0) => Reading::Frame,
            (0, padding) => Reading::Skip(padding),
            _ => Reading::Data(Data { left, ..data }),
        };
        // It may have been reset since the frame began.
        let wanted = self
            .streams
            .get(data.stream)
            .filter(|stream| stream.read == Read::Body);
        let Some(stream) = wanted else {
            input.take(len);
            return None;
        };
        let end = data.end && left == 0;
        if end {
            stream.read = Read::Done;
            self.settle(data.stream);
        }
        Some(Step::Data {
            stream: data.stream,
            len,
            end,
        })
    }
}

fn event(step: Step, input: &mut ReadBuf) -> Event<'_> {
    match step {
        Step::Head { stream, head, end } => Event::Head {
            stream: StreamId(stream),
            head,
            end,
        },
        Step::Interim { stream, head } => Event::Interim {
            stream: StreamId(stream),
            head,
        },
        Step::Trailers { stream, head } => Event::Trailers {
            stream: StreamId(stream),
            head,
        },
        Step::Data { stream, len, end } => Event::Data {
            stream: StreamId(stream),
            bytes: input.take(len),
            end,
        },
        Step::Malformed {
            stream,
            error,
            asked,
        } => Event::Malformed {
            stream: StreamId(stream),
            error,
            asked,
        },
        Step::Reset { stream, why } => Event::Reset {
            stream: StreamId(stream),
            why,
        },
        Step::Ignored { stream } => Event::Ignored {
            stream: StreamId(stream),
        },
    }
}
