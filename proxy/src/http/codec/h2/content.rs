//! DATA frames, and what they mean for their stream (RFC 9113 §6.1).

use super::Conn;
use super::control::Place;
use super::frame::{self, Header};
use super::read::{Data, Reading, Step};
use super::streams::{Read, Stream};
use crate::http::codec::ProtocolError;

impl Conn {
    /// RFC 9113 §6.1. `payload` holds no more than the length of the padding.
    pub(super) fn data_frame(
        &mut self,
        header: Header,
        payload: &[u8],
    ) -> Result<Option<Step>, ProtocolError> {
        if header.stream == 0 {
            return Err(ProtocolError::BadStream);
        }
        let end = header.has(frame::END_STREAM);
        let (content, padding) = content_of(header, payload)?;
        self.message_frame(content == 0 && !end)?;
        self.charge(header.len)?;
        // Passed over, unless somebody wants it.
        self.reading = match content + padding {
            0 => Reading::Frame,
            len => Reading::Skip(len),
        };
        if self.known_place(header.stream)? != Place::Open {
            return Ok(None);
        }
        let wanted = self.take_content(header, content, end);
        if wanted.is_none() && self.reads_content(header.stream) && (content > 0 || end) {
            self.reading = Reading::Data(Data {
                stream: header.stream,
                left: content,
                padding,
                end,
            });
        }
        Ok(wanted)
    }

    /// RFC 9113 §6.9.1: all of a frame counts, and on the connection even that of a closed stream. It is given back at once,
    /// so that no stream waits for the reader of another.
    fn charge(&mut self, bytes: u32) -> Result<(), ProtocolError> {
        self.receive.take(bytes)?;
        if let Some(increment) = self.receive.give(bytes, self.limits.connection_window) {
            self.pending.window_update(0, increment);
        }
        Ok(())
    }

    /// Whether somebody wants the content of a stream.
    fn reads_content(&self, id: u32) -> bool {
        let stream = self.streams.look(id);
        stream.is_some_and(|stream| stream.read == Read::Body)
    }

    /// Counts a frame of content on an open stream; what is to be told if it must not be there.
    fn take_content(&mut self, header: Header, content: u32, end: bool) -> Option<Step> {
        let id = header.stream;
        let stream = self.streams.get(id)?;
        if let Err(error) = stream.receive.take(header.len) {
            return self.reset_for(id, error);
        }
        match stream.read {
            Read::Body => {}
            Read::Discard => {
                self.discard(id, end);
                return None;
            }
            Read::Done => return self.reset_for(id, ProtocolError::ClosedStream),
            Read::Head => return Some(self.malformed(id, end, ProtocolError::DataBeforeHead)),
        }
        if let Err(error) = count_content(stream, content, end) {
            return Some(self.malformed(id, end, error));
        }
        if !end {
            // Nobody sees the padding, so nobody else gives its credit back.
            self.credit(id, header.len - content);
        }
        None
    }
}

/// RFC 9113 §8.1.1: what is announced is what comes.
fn count_content(stream: &mut Stream, content: u32, end: bool) -> Result<(), ProtocolError> {
    let Some(left) = &mut stream.length_in else {
        return Ok(());
    };
    match left.checked_sub(u64::from(content)) {
        Some(0) => *left = 0,
        Some(rest) if !end => *left = rest,
        _ => return Err(ProtocolError::LengthDiffers),
    }
    Ok(())
}

/// The bytes of content and of padding that follow the front of a DATA frame.
fn content_of(header: Header, payload: &[u8]) -> Result<(u32, u32), ProtocolError> {
    if !header.has(frame::PADDED) {
        return Ok((header.len, 0));
    }
    let [padding] = payload else {
        return Err(ProtocolError::BadFrameLength);
    };
    let padding = u32::from(*padding);
    let content = (header.len - 1).checked_sub(padding);
    Ok((content.ok_or(ProtocolError::BadPadding)?, padding))
}
