//! Frames other than those of messages (RFC 9113 §6), and which stream each may be on.

use super::error::{ErrorCode, reason_of};
use super::frame::{self, Header};
use super::read::Step;
use super::streams::{Read, Write};
use super::{Conn, Drain, Role, pending, settings};
use crate::http::codec::{ProtocolError, Reason};
use crate::http::head::HeadPool;

/// What a stream's number says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Not opened yet.
    Idle,
    Open,
    /// It was open once, or was passed over.
    Closed,
}

impl Conn {
    /// Does what a whole frame says (of DATA, its header).
    pub(super) fn frame(
        &mut self,
        header: Header,
        payload: &[u8],
        heads: &mut HeadPool,
    ) -> Result<Option<Step>, ProtocolError> {
        // RFC 9113 §3.4: SETTINGS come first.
        if !self.peer_told && (header.kind != frame::SETTINGS || header.has(frame::ACK)) {
            return Err(ProtocolError::NoSettings);
        }
        // RFC 9113 §4.3: the frames of a block follow each other.
        let in_block = self.block.as_ref().map(|block| block.stream);
        if in_block
            .is_some_and(|stream| header.kind != frame::CONTINUATION || header.stream != stream)
        {
            return Err(ProtocolError::BrokenBlock);
        }
        self.pending.check(&self.limits)?;
        if in_block.is_none() {
            self.frames = self.frames.wrapping_add(1);
        }
        match header.kind {
            frame::DATA => self.data_frame(header, payload),
            frame::HEADERS => self.headers_frame(header, payload, heads),
            frame::CONTINUATION => self.continuation_frame(header, payload, heads),
            frame::PRIORITY => self.priority_frame(header),
            frame::RST_STREAM => self.rst_stream_frame(header, payload),
            frame::SETTINGS => self.settings_frame(header, payload).map(|()| None),
            // RFC 9113 §8.4: a client cannot push, and ours forbids it.
            frame::PUSH_PROMISE => Err(ProtocolError::Push),
            frame::PING => self.ping_frame(header, payload).map(|()| None),
            frame::GOAWAY => self.goaway_frame(header, payload).map(|()| None),
            frame::WINDOW_UPDATE => self.window_update_frame(header, payload),
            // RFC 9113 §5.5: unknown frames are ignored.
            _ => self.guard.unknown(&self.limits).map(|()| None),
        }
    }

    /// What `stream`, on which a frame arrived, is.
    pub(super) fn place_of(&mut self, stream: u32) -> Place {
        // RFC 9113 §5.1.1: clients have the odd numbers. Even ones were for pushes, of which there are none.
        let begun = match self.role {
            Role::Server => stream <= self.last_peer,
            Role::Client => stream <= self.last_sent,
        };
        if stream.is_multiple_of(2) || !begun {
            return Place::Idle;
        }
        match self.streams.get(stream) {
            Some(_) => Place::Open,
            None => Place::Closed,
        }
    }

    /// [`Self::place_of`], where an idle stream is an error (RFC 9113 §5.1), and frames on closed ones are counted.
    pub(super) fn known_place(&mut self, stream: u32) -> Result<Place, ProtocolError> {
        let place = self.place_of(stream);
        match place {
            Place::Idle if stream == 0 => return Err(ProtocolError::BadStream),
            Place::Idle => return Err(ProtocolError::IdleStream),
            // RFC 9113 §5.1: frames may have been under way when it was closed; all are ignored, within a bound.
            Place::Closed => self.guard.closed_stream(&self.limits)?,
            Place::Open => self.guard.stream_is_open(),
        }
        Ok(place)
    }

    /// The peer broke a rule on one stream, for which that is reset (RFC 9113 §5.4.2).
    pub(super) fn reset_for(&mut self, stream: u32, error: ProtocolError) -> Option<Step> {
        self.pending.reset(stream, ErrorCode::of(error));
        self.guard.provoked();
        self.streams.remove(stream)?;
        Some(Step::Reset {
            stream,
            why: Reason::Protocol,
        })
    }

    /// RFC 9113 §6.3: it means nothing any more.
    fn priority_frame(&mut self, header: Header) -> Result<Option<Step>, ProtocolError> {
        self.guard.priority(&self.limits)?;
        if header.stream == 0 {
            return Err(ProtocolError::BadStream);
        }
        if header.len == 5 {
            return Ok(None);
        }
        match self.place_of(header.stream) {
            Place::Idle => Err(ProtocolError::BadFrameLength),
            _ => Ok(self.reset_for(header.stream, ProtocolError::BadFrameLength)),
        }
    }

    /// RFC 9113 §6.4.
    fn rst_stream_frame(
        &mut self,
        header: Header,
        payload: &[u8],
    ) -> Result<Option<Step>, ProtocolError> {
        let place = self.known_place(header.stream)?;
        let Ok(code) = payload.try_into().map(u32::from_be_bytes) else {
            return Err(ProtocolError::BadFrameLength);
        };
        if place == Place::Closed {
            return Ok(None);
        }
        let Some(stream) = self.streams.remove(header.stream) else {
            return Ok(None);
        };
        if self.role == Role::Server && stream.write == Write::Head {
            self.guard.premature();
        }
        Ok(Some(Step::Reset {
            stream: header.stream,
            why: reason_of(code),
        }))
    }

    /// RFC 9113 §6.5.
    fn settings_frame(&mut self, header: Header, payload: &[u8]) -> Result<(), ProtocolError> {
        if header.stream != 0 {
            return Err(ProtocolError::BadStream);
        }
        if header.has(frame::ACK) {
            return self.settings_ack(payload);
        }
        let (of, first) = match self.role {
            Role::Server => (Role::Client, !self.peer_told),
            Role::Client => (Role::Server, !self.peer_told),
        };
        let peer = self.peer.changed_by(payload, of, first)?;
        // RFC 7541 §4.2: the smallest of all sizes is told back, too.
        if let Some(least) = settings::least_table_bytes(payload) {
            self.encoder.set_limit(least);
        }
        self.encoder.set_limit(peer.header_table_bytes);
        let by = i64::from(peer.window) - i64::from(self.peer.window);
        if by != 0 {
            // RFC 9113 §6.9.2: streams that are open follow.
            for stream in self.streams.iter_mut() {
                stream.send.shift(by)?;
            }
            self.streams.make_all_ready();
        }
        self.peer = peer;
        self.peer_told = true;
        self.pending.settings_ack();
        Ok(())
    }

    /// Ours are in force from here on (RFC 9113 §6.5.3).
    fn settings_ack(&mut self, payload: &[u8]) -> Result<(), ProtocolError> {
        if !payload.is_empty() {
            return Err(ProtocolError::BadFrameLength);
        }
        if self.settings_acked {
            return Err(ProtocolError::UnaskedAck);
        }
        let before = self.stream_window();
        self.settings_acked = true;
        self.decoder.set_limit(self.limits.header_table_bytes);
        let window = self.stream_window();
        for stream in self.streams.iter_mut() {
            stream.receive.shift(i64::from(window) - i64::from(before));
            // What was little of the old window may be much of the new one, and nothing more may come to give it back.
            if matches!(stream.read, Read::Head | Read::Body)
                && let Some(increment) = stream.receive.give(0, window)
            {
                self.pending.window_update(stream.id, increment);
            }
        }
        Ok(())
    }

    /// RFC 9113 §6.7.
    fn ping_frame(&mut self, header: Header, payload: &[u8]) -> Result<(), ProtocolError> {
        if header.stream != 0 {
            return Err(ProtocolError::BadStream);
        }
        let Ok(data) = <[u8; 8]>::try_from(payload) else {
            return Err(ProtocolError::BadFrameLength);
        };
        if !header.has(frame::ACK) {
            self.pending.pong(data);
        } else if data == pending::KEEPALIVE_PING {
            self.awaits_pong = false;
        } else if data == pending::DRAIN_PING && self.drain == Drain::Announced {
            self.name_last();
        }
        Ok(())
    }

    /// RFC 9113 §6.8.
    fn goaway_frame(&mut self, header: Header, payload: &[u8]) -> Result<(), ProtocolError> {
        if header.stream != 0 {
            return Err(ProtocolError::BadStream);
        }
        let Some([a, b, c, d, ..]) = payload.first_chunk::<8>() else {
            return Err(ProtocolError::BadFrameLength);
        };
        let last = u32::from_be_bytes([*a, *b, *c, *d]) & 0x7fff_ffff;
        if self.goaway.is_some_and(|before| last > before) {
            return Err(ProtocolError::BadGoaway);
        }
        self.goaway = Some(last);
        Ok(())
    }

    /// RFC 9113 §6.8: what is above the peer's last stream was not begun, and may be tried elsewhere.
    pub(super) fn refused_by_goaway(&mut self) -> Option<Step> {
        if self.role == Role::Server {
            return None;
        }
        let stream = self.streams.last_above(self.goaway?)?;
        self.streams.remove(stream);
        Some(Step::Reset {
            stream,
            why: Reason::NotBegun,
        })
    }

    /// RFC 9113 §6.9.
    fn window_update_frame(
        &mut self,
        header: Header,
        payload: &[u8],
    ) -> Result<Option<Step>, ProtocolError> {
        self.guard.window_update(&self.limits)?;
        let Ok(increment) = payload.try_into().map(u32::from_be_bytes) else {
            return Err(ProtocolError::BadFrameLength);
        };
        let by = i64::from(increment & 0x7fff_ffff);
        if header.stream == 0 {
            if by == 0 {
                return Err(ProtocolError::NoIncrement);
            }
            self.send.shift(by)?;
            return Ok(None);
        }
        if self.known_place(header.stream)? == Place::Closed {
            return Ok(None);
        }
        if by == 0 {
            return Ok(self.reset_for(header.stream, ProtocolError::NoIncrement));
        }
        let Some(stream) = self.streams.get(header.stream) else {
            return Ok(None);
        };
        if let Err(error) = stream.send.shift(by) {
            return Ok(self.reset_for(header.stream, error));
        }
        self.streams.make_ready(header.stream);
        Ok(None)
    }
}
