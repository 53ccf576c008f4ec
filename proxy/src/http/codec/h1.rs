//! HTTP/1.0 and HTTP/1.1 (RFC 9112).

use super::{Event, Out, ProtocolError, ReadBuf, Refused, StreamId};
use crate::http::head::{Head, HeadPool};

/// What one connection may cost us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct H1Limits {
    /// Bytes of a request line. Default 16 KiB; more is a 414.
    pub request_line_bytes_max: u32,
    /// Bytes of a head, start line included. Default 60 KiB, as Envoy's; more is a 431.
    pub header_bytes_max: u32,
    /// Fields of a head. Default 100, as Envoy's; more is a 431.
    pub header_count_max: u32,
    /// Bytes of the trailers of one message. Default 16 KiB.
    pub trailer_bytes_max: u32,
    /// Fields of the trailers of one message. Default 100.
    pub trailer_count_max: u32,
    /// Bytes of all chunk extensions of one message. Default 16 KiB.
    pub chunk_extension_bytes_max: u32,
    /// Empty lines before a request. Default 2.
    pub blank_lines_max: u32,
    /// Interim responses to one request. Default 16.
    pub interim_max: u32,
}

impl Default for H1Limits {
    fn default() -> Self {
        Self {
            request_line_bytes_max: 16 * 1024,
            header_bytes_max: 60 * 1024,
            header_count_max: 100,
            trailer_bytes_max: 16 * 1024,
            trailer_count_max: 100,
            chunk_extension_bytes_max: 16 * 1024,
            blank_lines_max: 2,
            interim_max: 16,
        }
    }
}

/// One HTTP/1 connection.
#[derive(Debug)]
pub struct Conn {
    limits: H1Limits,
}

impl Conn {
    /// The codec of a downstream connection: reads requests, writes responses.
    pub fn server(limits: H1Limits) -> Self {
        Self { limits }
    }

    /// The codec of an upstream connection: writes requests, reads responses.
    pub fn client(limits: H1Limits) -> Self {
        Self { limits }
    }

    /// See [`Codec::next`](super::Codec::next).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn next<'a>(
        &mut self,
        _input: &'a mut ReadBuf,
        _heads: &mut HeadPool,
    ) -> Result<Option<Event<'a>>, ProtocolError> {
        unimplemented!("{:?}", self.limits)
    }

    /// See [`Codec::eof`](super::Codec::eof).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn eof(&mut self) -> Result<Option<Event<'static>>, ProtocolError> {
        unimplemented!()
    }

    /// See [`Codec::open`](super::Codec::open).
    pub fn open(&mut self) -> Option<StreamId> {
        unimplemented!()
    }

    /// See [`Codec::head`](super::Codec::head).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn head(
        &mut self,
        _stream: StreamId,
        _head: &Head,
        _end: bool,
        _out: &mut Out,
    ) -> Result<(), Refused> {
        unimplemented!()
    }

    /// See [`Codec::data`](super::Codec::data).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn data(
        &mut self,
        _stream: StreamId,
        _bytes: &[u8],
        _end: bool,
        _out: &mut Out,
    ) -> Result<usize, Refused> {
        unimplemented!()
    }

    /// See [`Codec::trailers`](super::Codec::trailers).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn trailers(
        &mut self,
        _stream: StreamId,
        _head: &Head,
        _out: &mut Out,
    ) -> Result<(), Refused> {
        unimplemented!()
    }

    /// See [`Codec::reset`](super::Codec::reset).
    pub fn reset(&mut self, _stream: StreamId) {
        unimplemented!()
    }

    /// See [`Codec::drain`](super::Codec::drain).
    pub fn drain(&mut self) {
        unimplemented!()
    }

    /// See [`Codec::wants_input`](super::Codec::wants_input).
    pub fn wants_input(&self) -> bool {
        unimplemented!()
    }

    /// See [`Codec::wants_close`](super::Codec::wants_close).
    pub fn wants_close(&self) -> bool {
        unimplemented!()
    }

    /// See [`Codec::is_idle`](super::Codec::is_idle).
    pub fn is_idle(&self) -> bool {
        unimplemented!()
    }

    /// See [`Codec::is_tunnel`](super::Codec::is_tunnel).
    pub fn is_tunnel(&self, _stream: StreamId) -> bool {
        unimplemented!()
    }

    /// See [`Codec::answerable`](super::Codec::answerable).
    pub fn answerable(&self) -> Option<StreamId> {
        unimplemented!()
    }
}
