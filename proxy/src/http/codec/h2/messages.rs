//! Frames of field blocks, HEADERS and CONTINUATION, and what they mean for their stream (RFC 9113 §8.1).

use super::control::Place;
use super::error::ErrorCode;
use super::frame::{self, Header};
use super::message::{Expected, Facts, Reader, add_upgrade};
use super::read::{Block, Step};
use super::streams::{Read, Request, Stream};
use super::{Conn, Drain, Role, settings};
use crate::http::codec::ProtocolError;
use crate::http::head::{Flags, Head, HeadPool, Known, Method, Start};

/// What a block gave.
type Message = Result<(Head, Facts), Fault>;

/// Field blocks of so many times the bytes that a head may hold are decoded.
const BLOCK_FACTOR: u32 = 4;

/// What is wrong with a message.
struct Fault {
    error: ProtocolError,
    /// What of a request that is too large says who asks for what.
    asked: Option<Head>,
}

impl From<ProtocolError> for Fault {
    fn from(error: ProtocolError) -> Self {
        Self { error, asked: None }
    }
}

impl Conn {
    pub(super) fn message_frame(&mut self, empty: bool) -> Result<(), ProtocolError> {
        let streams = self.streams.len();
        self.guard.message_frame(empty, streams, &self.limits)
    }

    /// RFC 9113 §6.2.
    pub(super) fn headers_frame(
        &mut self,
        header: Header,
        payload: &[u8],
        heads: &mut HeadPool,
    ) -> Result<Option<Step>, ProtocolError> {
        if header.stream == 0 {
            return Err(ProtocolError::BadStream);
        }
        let mut fragment = unpadded(header, payload)?;
        if header.has(frame::PRIORITY_FLAG) {
            // RFC 9113 §5.3.2: what it says of priority means nothing any more.
            let rest = fragment.split_at_checked(5);
            fragment = rest.ok_or(ProtocolError::BadFrameLength)?.1;
        }
        let end = header.has(frame::END_STREAM);
        self.message_frame(fragment.is_empty() && !end)?;
        if header.has(frame::END_HEADERS) {
            return self.field_block(header.stream, end, fragment, heads);
        }
        self.block = Some(Box::new(Block {
            stream: header.stream,
            end,
            bytes: fragment.to_vec(),
            continuations: 0,
        }));
        Ok(None)
    }

    /// RFC 9113 §6.10.
    pub(super) fn continuation_frame(
        &mut self,
        header: Header,
        payload: &[u8],
        heads: &mut HeadPool,
    ) -> Result<Option<Step>, ProtocolError> {
        let Some(mut block) = self.block.take() else {
            return Err(ProtocolError::BrokenBlock);
        };
        self.message_frame(payload.is_empty())?;
        // A block above its limit is decoded all the same, so that its stream alone ends and not those of everybody else. One
        // that is larger by far is not even collected.
        let bytes_max = (self.limits.header_bytes_max.saturating_mul(BLOCK_FACTOR) as usize)
            .max(self.limits.frame_bytes_max as usize);
        // Those that are as long as every peer takes them are bounded by their bytes.
        block.continuations += u32::from(payload.len() < settings::FRAME_BYTES_MIN as usize);
        if block.continuations > self.limits.continuations_max {
            return Err(ProtocolError::TooManyContinuations);
        }
        if block.bytes.len() + payload.len() > bytes_max {
            return Err(ProtocolError::BlockTooLarge);
        }
        block.bytes.extend_from_slice(payload);
        if !header.has(frame::END_HEADERS) {
            self.block = Some(block);
            return Ok(None);
        }
        self.field_block(block.stream, block.end, &block.bytes, heads)
    }

    /// A whole field block.
    fn field_block(
        &mut self,
        id: u32,
        end: bool,
        block: &[u8],
        heads: &mut HeadPool,
    ) -> Result<Option<Step>, ProtocolError> {
        if self.place_of(id) == Place::Idle {
            // RFC 9113 §5.1.1: only clients open streams, with odd numbers.
            if self.role == Role::Client || id.is_multiple_of(2) {
                return Err(ProtocolError::StreamOrder);
            }
            return self.new_request(id, end, block, heads);
        }
        self.known_place(id)?;
        let read = self.streams.get(id).map(|stream| stream.read);
        let expected = match read {
            Some(Read::Head) => Expected::Response,
            Some(Read::Body) => Expected::Trailers,
            // Trailers may have been under way when we closed the stream.
            None if self.role == Role::Server => Expected::Trailers,
            Some(Read::Discard | Read::Done) | None => Expected::Nothing,
        };
        // Whatever becomes of the fields, the tables follow (RFC 9113 §4.3).
        let message = self.decode(expected, block, heads)?;
        match read {
            Some(Read::Head) => Ok(Some(self.response(id, end, message, heads))),
            Some(Read::Body) => Ok(Some(self.trailers_in(id, end, message, heads))),
            Some(Read::Discard) => {
                self.discard(id, end);
                Ok(Some(Step::Ignored { stream: id }))
            }
            // RFC 9113 §5.1, half-closed (remote).
            Some(Read::Done) => Ok(self.reset_for(id, ProtocolError::ClosedStream)),
            None => after_the_end(id, message, heads),
        }
    }

    /// Reads a block. The outer error is for the connection, the inner one for the message.
    fn decode(
        &mut self,
        expected: Expected,
        block: &[u8],
        heads: &mut HeadPool,
    ) -> Result<Message, ProtocolError> {
        let mut reader = Reader::new(heads.take(), expected, &self.limits);
        if self.spelling.is_some() {
            reader.expect_spelling();
        }
        self.decoder.decode(block, &mut reader)?;
        Ok(match reader.finish(self.limits.connect_protocol) {
            Ok((head, _)) if expected == Expected::Nothing => {
                heads.give(head);
                Ok((Head::new(), Facts::default()))
            }
            Ok(message) => Ok(message),
            Err(unread) if unread.is_known => Err(Fault {
                error: unread.error,
                asked: Some(unread.head),
            }),
            Err(unread) => {
                heads.give(unread.head);
                Err(unread.error.into())
            }
        })
    }

    /// A stream that the peer opens.
    fn new_request(
        &mut self,
        id: u32,
        end: bool,
        block: &[u8],
        heads: &mut HeadPool,
    ) -> Result<Option<Step>, ProtocolError> {
        self.last_peer = id;
        self.guard.peer_opened(&self.limits)?;
        // RFC 9113 §6.8: above the last stream that we named, all is ignored.
        let too_late = matches!(self.drain, Drain::Last(_));
        let too_many = self.streams.len() >= self.limits.streams_max as usize;
        if too_late || too_many {
            drop(self.decode(Expected::Nothing, block, heads)?);
            if !too_late {
                self.refuse(id);
            }
            return Ok(Some(Step::Ignored { stream: id }));
        }
        let message = self.decode(Expected::Request, block, heads)?;
        let read = if end { Read::Done } else { Read::Body };
        let mut stream = Stream::new(id, read, self.peer.window, self.stream_window());
        let message = message.and_then(|(head, facts)| {
            stream.request = request_of(&head, facts);
            stream.length_in = facts.length;
            match facts.length {
                Some(1..) if end => Err((head, ProtocolError::LengthDiffers)),
                _ => Ok(head),
            }
            .map_err(|(head, error)| {
                heads.give(head);
                Fault::from(error)
            })
        });
        self.streams.insert(stream);
        Ok(Some(match message {
            Ok(head) => Step::Head {
                stream: id,
                head,
                end,
            },
            Err(Fault { error, asked }) => {
                self.hit(error);
                self.discard(id, end);
                Step::Malformed {
                    stream: id,
                    error,
                    asked,
                }
            }
        }))
    }

    /// RFC 9113 §5.1.2: a stream above the number that we take.
    fn refuse(&mut self, id: u32) {
        self.refused = self.refused.saturating_add(1);
        self.pending.reset(id, ErrorCode::RefusedStream);
        // Who has not acknowledged the number may not know it, and opens too many in good faith. Not any number.
        let may_know = self.settings_acked || self.guard.refused_early() > self.limits.streams_max;
        if may_know {
            self.guard.premature();
        }
    }

    /// The message broke a rule: nothing more of it is read.
    pub(super) fn malformed(&mut self, id: u32, end: bool, error: ProtocolError) -> Step {
        self.hit(error);
        self.discard(id, end);
        Step::Malformed {
            stream: id,
            error,
            asked: None,
        }
    }

    pub(super) fn discard(&mut self, id: u32, end: bool) {
        if let Some(stream) = self.streams.get(id) {
            stream.read = if end { Read::Done } else { Read::Discard };
            self.settle(id);
        }
    }

    /// The peer's message has ended.
    fn ended(&mut self, id: u32) {
        if let Some(stream) = self.streams.get(id) {
            stream.read = Read::Done;
            self.settle(id);
        }
    }

    /// The head of a response.
    fn response(&mut self, id: u32, end: bool, message: Message, heads: &mut HeadPool) -> Step {
        let (mut head, facts) = match message {
            Ok(message) => message,
            Err(fault) => return self.malformed(id, end, fault.error),
        };
        match self.response_to(id, end, &mut head, facts) {
            Ok(true) => Step::Interim { stream: id, head },
            Ok(false) => {
                if end {
                    self.ended(id);
                }
                Step::Head {
                    stream: id,
                    head,
                    end,
                }
            }
            Err(error) => {
                heads.give(head);
                self.malformed(id, end, error)
            }
        }
    }

    /// Settles what a response means for its stream; whether it is an interim one.
    fn response_to(
        &mut self,
        id: u32,
        end: bool,
        head: &mut Head,
        facts: Facts,
    ) -> Result<bool, ProtocolError> {
        let Some(stream) = self.streams.get(id) else {
            return Err(ProtocolError::ClosedStream);
        };
        match head.status() {
            101 => return Err(ProtocolError::SwitchInHttp2),
            100..200 => {
                // RFC 9113 §8.1: an interim response does not end a stream.
                if end {
                    return Err(ProtocolError::TrailersNotLast);
                }
                stream.interims += 1;
                if stream.interims > self.limits.interim_max {
                    return Err(ProtocolError::TooManyInterims);
                }
                return Ok(true);
            }
            200..300 if stream.is_connect() => {
                open_tunnel(head, stream.protocol.take());
                stream.length_in = None;
                stream.tunnel = true;
            }
            // RFC 9110 §6.4.1: these have no content, whatever the length is said to be.
            204 | 304 => stream.length_in = Some(0),
            _ if stream.request == Request::Head => stream.length_in = Some(0),
            _ => {
                stream.length_in = facts.length;
                stream.request = Request::Plain;
                if end && !matches!(facts.length, None | Some(0)) {
                    return Err(ProtocolError::LengthDiffers);
                }
            }
        }
        stream.read = Read::Body;
        Ok(false)
    }

    /// The fields behind a body.
    fn trailers_in(&mut self, id: u32, end: bool, message: Message, heads: &mut HeadPool) -> Step {
        let head = match message {
            Ok((head, _)) => head,
            Err(fault) => return self.malformed(id, end, fault.error),
        };
        let state = self
            .streams
            .get(id)
            .map(|stream| (stream.length_in, stream.is_connect()));
        let fault = match state {
            // RFC 9113 §8.1: the last field section ends the stream; §8.5: a tunnel has none.
            _ if !end => Some(ProtocolError::TrailersNotLast),
            Some((_, true)) => Some(ProtocolError::TrailersNotLast),
            Some((Some(1..), _)) => Some(ProtocolError::LengthDiffers),
            _ => None,
        };
        if let Some(error) = fault {
            heads.give(head);
            return self.malformed(id, end, error);
        }
        self.ended(id);
        if head.forwarded().next().is_some() {
            return Step::Trailers { stream: id, head };
        }
        heads.give(head);
        Step::Data {
            stream: id,
            len: 0,
            end: true,
        }
    }
}

/// Fields on a closed stream are passed over, but no number is used twice, or after a higher one (RFC 9113 §5.1.1): what
/// begins with pseudo-fields is a request.
fn after_the_end(
    stream: u32,
    message: Message,
    heads: &mut HeadPool,
) -> Result<Option<Step>, ProtocolError> {
    match message {
        Ok((head, _)) => heads.give(head),
        Err(fault) if fault.error == ProtocolError::BadPseudoField => {
            return Err(ProtocolError::StreamOrder);
        }
        Err(_) => {}
    }
    Ok(Some(Step::Ignored { stream }))
}

fn request_of(head: &Head, facts: Facts) -> Request {
    match head.method() {
        _ if facts.extended => Request::Extended,
        Some(Method::Connect) => Request::Connect,
        Some(Method::Head) => Request::Head,
        _ => Request::Plain,
    }
}

/// A 2xx to CONNECT: what follows belongs to no message. `asked` is the protocol of an extended one, whose answer is told
/// as HTTP/1 would have.
fn open_tunnel(head: &mut Head, asked: Option<Box<[u8]>>) {
    for field in &mut head.fields {
        if field.known == Known::ContentLength {
            field.flags.set(Flags::HOP_BY_HOP); // RFC 9110 §9.3.6
        }
    }
    if let Some(protocol) = asked {
        head.start = Start::Response { status: 101 };
        let value = head.put(&protocol);
        add_upgrade(head, value);
    }
}

/// A payload without its padding (RFC 9113 §6.2).
fn unpadded(header: Header, payload: &[u8]) -> Result<&[u8], ProtocolError> {
    if !header.has(frame::PADDED) {
        return Ok(payload);
    }
    let [padding, rest @ ..] = payload else {
        return Err(ProtocolError::BadFrameLength);
    };
    let len = rest.len().checked_sub(usize::from(*padding));
    let len = len.ok_or(ProtocolError::BadPadding)?;
    Ok(rest.get(..len).unwrap_or_default())
}
