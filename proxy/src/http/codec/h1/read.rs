//! The reading half of a connection.

use super::chunked::{Chunk, Chunked};
use super::framing::{Facts, Length};
use super::parse::{HeadReader, Kind};
use super::{Conn, Exchange, Read, Role};
use crate::http::codec::{Event, ProtocolError, ReadBuf};
use crate::http::head::{Head, HeadPool, Method};

/// What was found at the front of the input.
enum Step {
    Nothing,
    Head {
        head: Head,
        end: bool,
    },
    Interim(Head),
    Trailers(Head),
    /// The body's next bytes are this many at the front of the input.
    Data {
        len: usize,
        end: bool,
    },
    Raw {
        len: usize,
    },
}

impl Conn {
    /// See [`Codec::next`](crate::http::codec::Codec::next).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn next<'a>(
        &mut self,
        input: &'a mut ReadBuf,
        heads: &mut HeadPool,
    ) -> Result<Option<Event<'a>>, ProtocolError> {
        let step = match self.step(input, heads) {
            Ok(step) => step,
            Err(error) => {
                self.fail();
                return Err(error);
            }
        };
        let stream = self.stream;
        let event = match step {
            Step::Nothing => return Ok(None),
            Step::Head { head, end } => Event::Head { stream, head, end },
            Step::Interim(head) => Event::Interim { stream, head },
            Step::Trailers(head) => Event::Trailers { stream, head },
            Step::Data { len, end } => Event::Data {
                stream,
                bytes: input.take(len),
                end,
            },
            Step::Raw { len } => Event::Raw {
                stream,
                bytes: input.take(len),
            },
        };
        Ok(Some(event))
    }

    /// See [`Codec::eof`](crate::http::codec::Codec::eof).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn eof(&mut self) -> Result<Option<Event<'static>>, ProtocolError> {
        self.persists = false;
        let at_rest = !self.active && self.partial.is_none();
        match self.read {
            Read::UntilClose => {
                self.ended();
                Ok(Some(Event::Data {
                    stream: self.stream,
                    bytes: &[],
                    end: true,
                }))
            }
            Read::Raw | Read::Discard | Read::Failed => Ok(None),
            // A request is complete: its client may have closed its side only and still wait for the response.
            Read::Done if self.role == Role::Server => Ok(None),
            Read::Head | Read::Done if at_rest => {
                self.over = true;
                Ok(None)
            }
            _ => {
                self.fail();
                Err(ProtocolError::Truncated)
            }
        }
    }

    fn step(&mut self, input: &mut ReadBuf, heads: &mut HeadPool) -> Result<Step, ProtocolError> {
        match &mut self.read {
            Read::Head => self.step_head(input, heads),
            Read::Length(left) => {
                let len = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                if len == 0 {
                    return Ok(Step::Nothing);
                }
                *left -= len as u64;
                let end = *left == 0;
                if end {
                    self.ended();
                }
                Ok(Step::Data { len, end })
            }
            Read::Chunked(chunked) => match chunked.read(input, &self.limits)? {
                Chunk::Wait => Ok(Step::Nothing),
                Chunk::Data(len) => Ok(Step::Data { len, end: false }),
                Chunk::Last => {
                    self.read = Read::Trailers;
                    self.step_trailers(input, heads)
                }
            },
            Read::Trailers => self.step_trailers(input, heads),
            Read::UntilClose if input.is_empty() => Ok(Step::Nothing),
            Read::UntilClose => Ok(Step::Data {
                len: input.len(),
                end: false,
            }),
            Read::Raw if input.is_empty() => Ok(Step::Nothing),
            Read::Raw => Ok(Step::Raw { len: input.len() }),
            // RFC 9112 §9.2: bytes for which no request is outstanding are no response to a later one.
            Read::Done if self.role == Role::Client && !input.is_empty() => {
                Err(ProtocolError::Unsolicited)
            }
            Read::Done => Ok(Step::Nothing),
            Read::Discard | Read::Failed => {
                input.clear();
                Ok(Step::Nothing)
            }
        }
    }

    fn step_head(
        &mut self,
        input: &mut ReadBuf,
        heads: &mut HeadPool,
    ) -> Result<Step, ProtocolError> {
        let kind = match self.role {
            Role::Server => Kind::Request,
            Role::Client => Kind::Response,
        };
        let Some(reader) = self.read_head(kind, input, heads)? else {
            return Ok(Step::Nothing);
        };
        let (head, facts) = reader.finish()?;
        match self.role {
            Role::Server => self.request(head, &facts),
            Role::Client => self.response(head, &facts),
        }
    }

    /// Reads on in a head; the reader once it is complete.
    fn read_head(
        &mut self,
        kind: Kind,
        input: &mut ReadBuf,
        heads: &mut HeadPool,
    ) -> Result<Option<HeadReader>, ProtocolError> {
        if input.is_empty() {
            return Ok(None);
        }
        if let Some(mut reader) = self.partial.take() {
            if reader.read(input, &self.limits)? {
                return Ok(Some(*reader));
            }
            self.partial = Some(reader);
            return Ok(None);
        }
        let mut reader = HeadReader::new(kind, heads.take());
        if reader.read(input, &self.limits)? {
            return Ok(Some(reader));
        }
        self.partial = Some(Box::new(reader));
        Ok(None)
    }

    fn request(&mut self, mut head: Head, facts: &Facts) -> Result<Step, ProtocolError> {
        let length = facts.length(head.version)?;
        if head.method() == Some(Method::Connect)
            && !matches!(length, Length::Unsaid | Length::Known(0))
        {
            // RFC 9110 §9.3.6: it has none, and what follows is the tunnel's.
            return Err(ProtocolError::ConnectWithBody);
        }
        self.persists &= facts.settle_hop(&mut head);
        self.begin(Exchange::of(&head));
        self.read = match length {
            Length::Unsaid | Length::Known(0) => Read::Done,
            Length::Known(n) => Read::Length(n),
            Length::Chunked => Read::Chunked(Chunked::new()),
        };
        let end = self.read == Read::Done && !self.exchange.connect;
        Ok(Step::Head { head, end })
    }

    fn response(&mut self, mut head: Head, facts: &Facts) -> Result<Step, ProtocolError> {
        let status = head.status();
        let persists = facts.settle_hop(&mut head);
        if (100..200).contains(&status) && status != 101 {
            // RFC 9110 §15.2: any number may come; a bound keeps a peer from sending nothing else.
            self.exchange.interims += 1;
            if self.exchange.interims > self.limits.interim_max {
                return Err(ProtocolError::TooManyInterims);
            }
            return Ok(Step::Interim(head));
        }
        if status == 101 && !(self.exchange.upgrade && head.upgrade().is_some()) {
            return Err(ProtocolError::UnexpectedSwitch);
        }
        if self.exchange.switches(status) {
            self.read = Read::Raw;
            self.settle();
            return Ok(Step::Head { head, end: false });
        }
        // Even where no body can follow, faulty framing is a fault.
        let length = facts.length(head.version)?;
        self.persists &= persists;
        self.read = match length {
            _ if self.exchange.is_bodiless(status) => Read::Done,
            Length::Known(0) => Read::Done,
            Length::Known(n) => Read::Length(n),
            Length::Chunked => Read::Chunked(Chunked::new()),
            Length::Unsaid => Read::UntilClose,
        };
        if self.read == Read::UntilClose {
            self.persists = false;
        }
        let end = self.read == Read::Done;
        if end {
            self.settle();
        }
        Ok(Step::Head { head, end })
    }

    fn step_trailers(
        &mut self,
        input: &mut ReadBuf,
        heads: &mut HeadPool,
    ) -> Result<Step, ProtocolError> {
        if self.partial.is_none() && input.filled().starts_with(b"\r\n") {
            input.take(2);
            self.ended();
            return Ok(Step::Data { len: 0, end: true });
        }
        let Some(reader) = self.read_head(Kind::Trailers, input, heads)? else {
            return Ok(Step::Nothing);
        };
        let (head, _) = reader.finish()?;
        self.ended();
        if head.forwarded().next().is_none() {
            heads.give(head);
            return Ok(Step::Data { len: 0, end: true });
        }
        Ok(Step::Trailers(head))
    }

    /// The peer's message has ended.
    fn ended(&mut self) {
        self.read = Read::Done;
        self.settle();
    }
}
