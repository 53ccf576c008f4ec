//! The writing half of a connection.

use super::emit::{self, Hop, Target};
use super::frame::{self, HEADER_BYTES, Header};
use super::hpack::Encoder;
use super::streams::{Request, Stream, Write};
use super::{Conn, OUT_BYTES_MAX, Role};
use crate::http::codec::{Out, Refused, StreamId};
use crate::http::head::{Head, Method};

/// How a head is written, and what follows it.
#[derive(Clone, Copy, Debug)]
struct Plan {
    hop: Hop,
    end: bool,
    /// The content that is announced.
    length: Option<u64>,
    then: Write,
    /// What follows belongs to no message.
    tunnel: bool,
}

impl Conn {
    /// See [`Codec::head`](crate::http::codec::Codec::head).
    ///
    /// A 101 that answers an extended CONNECT goes out as a 200; another 2xx would open the tunnel and is refused.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn head(
        &mut self,
        stream: StreamId,
        head: &Head,
        end: bool,
        out: &mut Out,
    ) -> Result<(), Refused> {
        if self.failed {
            return Err(Refused::OutOfTurn);
        }
        let found = self.streams.get(stream.0).ok_or(Refused::OutOfTurn)?;
        if found.write != Write::Head {
            return Err(Refused::OutOfTurn);
        }
        emit::check(head)?;
        let roomy = emit::check_size(head, self.peer.header_bytes_max)?;
        match self.role {
            Role::Client => self.request_head(stream.0, head, end, roomy, out),
            Role::Server => self.response_head(stream.0, head, end, roomy, out),
        }
    }

    fn request_head(
        &mut self,
        id: u32,
        head: &Head,
        end: bool,
        roomy: bool,
        out: &mut Out,
    ) -> Result<(), Refused> {
        // RFC 9113 §5.1.1: a new stream's number is above all before.
        if id <= self.last_sent {
            return Err(Refused::OutOfTurn);
        }
        let request = request_of(head)?;
        let tunnel = matches!(request, Request::Connect | Request::Extended);
        let extended = request == Request::Extended;
        if extended && !(self.limits.connect_protocol && self.peer.connect_protocol) {
            return Err(Refused::NoWebSockets);
        }
        let hop = Hop {
            extended,
            without_length: tunnel,
            spelled: roomy,
        };
        let length = if tunnel { None } else { emit::length_of(head)? };
        if end && !matches!(length, None | Some(0)) {
            return Err(Refused::TooShort);
        }
        let target = Target::of(head, hop)?;
        let plan = Plan {
            hop,
            end,
            length,
            then: Write::Body,
            tunnel: false, // until it is agreed to
        };
        if let Some(stream) = self.streams.get(id) {
            stream.request = request;
            if extended {
                stream.protocol = emit::asked_protocol(head).map(Box::from);
            }
        }
        self.last_sent = id;
        self.block(id, end, out, |encoder, spelling, tail| {
            emit::request(head, target, hop, spelling, encoder, tail);
        });
        self.head_written(id, plan);
        Ok(())
    }

    fn response_head(
        &mut self,
        id: u32,
        head: &Head,
        end: bool,
        roomy: bool,
        out: &mut Out,
    ) -> Result<(), Refused> {
        let stream = self.streams.get(id).ok_or(Refused::OutOfTurn)?;
        let mut plan = plan_response(stream, head, end)?;
        plan.hop.spelled = roomy;
        self.block(id, plan.end, out, |encoder, spelling, tail| {
            emit::response(head, plan.hop, spelling, encoder, tail);
        });
        self.head_written(id, plan);
        Ok(())
    }

    fn head_written(&mut self, id: u32, plan: Plan) {
        if let Some(stream) = self.streams.get(id) {
            stream.length_out = plan.length;
            stream.write = if plan.end { Write::Done } else { plan.then };
            stream.tunnel = plan.tunnel;
            self.settle(id);
        }
    }

    /// Writes a field block in as many frames as it takes (RFC 9113 §4.3).
    fn block(
        &mut self,
        id: u32,
        end: bool,
        out: &mut Out,
        write: impl FnOnce(&mut Encoder, Option<&mut Vec<u8>>, &mut Vec<u8>),
    ) {
        self.pending.write_all(out);
        let tail = out.tail();
        let start = tail.len();
        tail.extend_from_slice(&[0; HEADER_BYTES]);
        write(&mut self.encoder, self.spelling.as_mut(), tail);
        let len = tail.len() - start - HEADER_BYTES;
        let frame_max = self.peer.frame_bytes_max as usize;
        let rest = match len > frame_max {
            true => tail.split_off(start + HEADER_BYTES + frame_max),
            false => Vec::new(),
        };
        let end = if end { frame::END_STREAM } else { 0 };
        let header = |len: usize, kind, flags| {
            Header {
                len: len as u32,
                kind,
                flags,
                stream: id,
            }
            .bytes()
        };
        let whole = if rest.is_empty() {
            frame::END_HEADERS
        } else {
            0
        };
        if let Some(place) = tail.get_mut(start..start + HEADER_BYTES) {
            place.copy_from_slice(&header(len.min(frame_max), frame::HEADERS, end | whole));
        }
        let mut pieces = rest.chunks(frame_max).peekable();
        while let Some(piece) = pieces.next() {
            let last = if pieces.peek().is_none() {
                frame::END_HEADERS
            } else {
                0
            };
            tail.extend_from_slice(&header(piece.len(), frame::CONTINUATION, last));
            tail.extend_from_slice(piece);
        }
    }

    /// See [`Codec::data`](crate::http::codec::Codec::data). Takes what the windows and `out` allow, and `end` only with
    /// all of it; a stream of which less was taken is given by [`Self::next_writable`] when it can go on.
    ///
    /// # Errors
    ///
    /// When it breaks the length that was announced; the stream is then to be reset.
    pub fn data(
        &mut self,
        stream: StreamId,
        bytes: &[u8],
        end: bool,
        out: &mut Out,
    ) -> Result<usize, Refused> {
        let id = stream.0;
        let found = self.streams.get(id).filter(|_| !self.failed);
        let stream = found.ok_or(Refused::OutOfTurn)?;
        match stream.write {
            Write::Body => {}
            Write::Bodiless if end => {
                self.data_frame_out(id, b"", true, out);
                return Ok(bytes.len());
            }
            Write::Bodiless => return Ok(bytes.len()),
            Write::Head | Write::Done => return Err(Refused::OutOfTurn),
        }
        if let Some(left) = stream.length_out {
            let left = left.checked_sub(bytes.len() as u64);
            if left.ok_or(Refused::TooLong)? > 0 && end {
                return Err(Refused::TooShort);
            }
        }
        let stream_open = stream.send.open();
        self.flush(out);
        if bytes.is_empty() {
            if end {
                self.data_frame_out(id, b"", true, out);
            }
            return Ok(0);
        }
        let room = OUT_BYTES_MAX.saturating_sub(out.len());
        let open = stream_open.min(self.send.open()).min(room);
        let (taken, rest) = bytes.split_at(open.min(bytes.len()));
        let mut pieces = taken.chunks(self.peer.frame_bytes_max as usize).peekable();
        while let Some(piece) = pieces.next() {
            let last = pieces.peek().is_none() && rest.is_empty();
            self.data_frame_out(id, piece, end && last, out);
        }
        if !rest.is_empty() {
            self.streams.block(id);
        }
        Ok(taken.len())
    }

    fn data_frame_out(&mut self, id: u32, bytes: &[u8], end: bool, out: &mut Out) {
        let header = Header {
            len: bytes.len() as u32,
            kind: frame::DATA,
            flags: if end { frame::END_STREAM } else { 0 },
            stream: id,
        };
        out.extend(&header.bytes());
        out.extend(bytes);
        self.guard.data_sent();
        self.send.sent(bytes.len());
        let Some(stream) = self.streams.get(id) else {
            return;
        };
        stream.send.sent(bytes.len());
        if let Some(left) = &mut stream.length_out {
            *left = left.saturating_sub(bytes.len() as u64);
        }
        if end {
            stream.write = Write::Done;
            self.settle(id);
        }
    }

    /// See [`Codec::trailers`](crate::http::codec::Codec::trailers). All data was taken before.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn trailers(
        &mut self,
        stream: StreamId,
        head: &Head,
        out: &mut Out,
    ) -> Result<(), Refused> {
        let id = stream.0;
        let found = self.streams.get(id).filter(|_| !self.failed);
        let stream = found.ok_or(Refused::OutOfTurn)?;
        // RFC 9110 §6.5.1: where they have no place, they may be dropped.
        let dropped = stream.write == Write::Bodiless || stream.is_connect();
        if dropped || !emit::has_trailers(head) {
            return self.data(StreamId(id), b"", true, out).map(|_| ());
        }
        if stream.write != Write::Body {
            return Err(Refused::OutOfTurn);
        }
        if !matches!(stream.length_out, None | Some(0)) {
            return Err(Refused::TooShort);
        }
        emit::check(head)?;
        self.block(id, true, out, |encoder, _, tail| {
            emit::trailers(head, encoder, tail);
        });
        if let Some(stream) = self.streams.get(id) {
            stream.write = Write::Done;
            self.settle(id);
        }
        Ok(())
    }
}

/// What the request `head` asks for.
fn request_of(head: &Head) -> Result<Request, Refused> {
    match head.method() {
        Some(Method::Connect) => Ok(Request::Connect),
        Some(Method::Get) if head.upgrade().is_some() => Ok(Request::Extended),
        // Only a GET can switch here: what another would carry has no place in an extended CONNECT.
        _ if head.upgrade().is_some() => Err(Refused::Switch),
        Some(Method::Head) => Ok(Request::Head),
        _ => Ok(Request::Plain),
    }
}

/// How the response `head` is written on `stream`.
fn plan_response(stream: &mut Stream, head: &Head, end: bool) -> Result<Plan, Refused> {
    let status = head.status();
    let plain = Plan {
        hop: Hop::default(),
        end,
        length: None,
        then: Write::Body,
        tunnel: false,
    };
    let without_length = Hop {
        without_length: true,
        ..Hop::default()
    };
    match status {
        0 => Err(Refused::WrongHead),
        101 => {
            if stream.request != Request::Extended || head.upgrade().is_none() {
                return Err(Refused::Switch);
            }
            let hop = Hop {
                extended: true,
                ..without_length
            };
            Ok(Plan {
                hop,
                tunnel: true,
                ..plain
            })
        }
        100..200 => Ok(Plan {
            hop: without_length,
            end: false,
            then: Write::Head,
            ..plain
        }),
        200..300 if stream.request == Request::Extended => Err(Refused::Switch),
        200..300 if stream.request == Request::Connect => Ok(Plan {
            hop: without_length,
            tunnel: true,
            ..plain
        }),
        200..1000 => {
            let length = emit::length_of(head)?;
            let bodiless = stream.request == Request::Head || status == 204 || status == 304;
            if end && !bodiless && !matches!(length, None | Some(0)) {
                return Err(Refused::TooShort);
            }
            // What asked for a tunnel and got none is an exchange like any other.
            stream.request = Request::Plain;
            Ok(Plan {
                hop: Hop {
                    without_length: status == 204,
                    ..Hop::default()
                },
                length: if bodiless { None } else { length },
                then: if bodiless {
                    Write::Bodiless
                } else {
                    Write::Body
                },
                ..plain
            })
        }
        _ => Err(Refused::Status),
    }
}
