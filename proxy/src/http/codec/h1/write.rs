//! The writing half of a connection.

use super::emit::{self, Added, Framing, Hop};
use super::{Conn, Exchange, Read, Role, Write, announces_content};
use crate::http::codec::{Out, Refused, StreamId};
use crate::http::head::{Head, Method};

impl Conn {
    /// See [`Codec::head`](crate::http::codec::Codec::head).
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
        if !self.active || stream != self.stream || self.write != Write::Head {
            return Err(Refused::OutOfTurn);
        }
        let mark = out.mark();
        let written = match self.role {
            Role::Client => self.request_head(head, end, out),
            Role::Server if (100..200).contains(&head.status()) && head.status() != 101 => {
                self.interim_head(head, out)
            }
            Role::Server if self.exchange.switches(head.status()) => self.switch(head, out),
            Role::Server => self.response_head(head, end, out),
        };
        if written.is_err() {
            out.undo_to(mark);
        }
        written
    }

    fn request_head(&mut self, head: &Head, end: bool, out: &mut Out) -> Result<(), Refused> {
        let length = emit::length_of(head)?;
        let exchange = Exchange::of(head);
        let mut hop = Hop {
            close: self.draining,
            upgrade: exchange.upgrade,
            ..Hop::default()
        };
        let framing = match (exchange.connect, end, length) {
            (true, ..) => {
                hop.without_length = true;
                Framing::Bodiless
            }
            (_, true, Some(n)) if n > 0 => return Err(Refused::TooShort),
            (_, true, None) => {
                // RFC 9110 §8.6: for methods that anticipate content, its absence is said.
                if let Some(Method::Post | Method::Put | Method::Patch) = head.method() {
                    hop.framing = Added::ZeroLength;
                }
                Framing::Bodiless
            }
            (_, true, Some(_)) => Framing::Bodiless,
            (_, false, Some(n)) => Framing::Length(n),
            (_, false, None) => {
                hop.framing = Added::Chunked;
                Framing::Chunked
            }
        };
        emit::request(head, hop, out)?;
        self.exchange = exchange;
        self.read = Read::Head;
        self.begin_body(framing, end || exchange.connect);
        Ok(())
    }

    fn interim_head(&mut self, head: &Head, out: &mut Out) -> Result<(), Refused> {
        if self.exchange.http10 {
            return Ok(()); // RFC 9110 §15.2: an HTTP/1.0 client gets none
        }
        let hop = Hop {
            without_length: true, // RFC 9110 §8.6
            ..Hop::default()
        };
        emit::response(head, hop, out)
    }

    /// A 101, or a 2xx to CONNECT: what follows belongs to no message.
    fn switch(&mut self, head: &Head, out: &mut Out) -> Result<(), Refused> {
        let upgrade = head.status() == 101;
        if upgrade && !(self.exchange.upgrade && head.upgrade().is_some()) {
            return Err(Refused::Switch);
        }
        let hop = Hop {
            upgrade,
            without_length: true, // RFC 9110 §8.6
            ..Hop::default()
        };
        emit::response(head, hop, out)?;
        self.write = Write::Raw;
        self.settle();
        Ok(())
    }

    fn response_head(&mut self, head: &Head, end: bool, out: &mut Out) -> Result<(), Refused> {
        let (status, mut hop) = (head.status(), Hop::default());
        let length = emit::length_of(head)?;
        let framing = if self.exchange.is_bodiless(status) {
            hop.without_length = status == 204; // RFC 9110 §8.6
            Framing::Bodiless
        } else if end {
            if announces_content(head) {
                return Err(Refused::TooShort);
            }
            if length.is_none() {
                hop.framing = Added::ZeroLength;
            }
            Framing::Bodiless
        } else if let Some(n) = length {
            Framing::Length(n)
        } else if self.exchange.http10 {
            Framing::Close // RFC 9112 §6.3: what an HTTP/1.0 client understands
        } else {
            hop.framing = Added::Chunked;
            Framing::Chunked
        };
        // A request that is not read to its end by now is not read at all, and its client told so (RFC 9112 §9.6).
        let persists = self.persists
            && !self.draining
            && framing != Framing::Close
            && self.read == Read::Done
            // Whoever hoped for a tunnel may have sent what is no request.
            && !self.exchange.connect;
        hop.close = !persists;
        hop.keep_alive = persists && self.exchange.http10;
        // RFC 9110 §15.5.22: a 426 says to what.
        hop.upgrade = status == 426 && head.upgrade().is_some();
        emit::response(head, hop, out)?;
        self.persists = persists;
        self.begin_body(framing, end);
        Ok(())
    }

    fn begin_body(&mut self, framing: Framing, end: bool) {
        self.write = if end {
            Write::Done
        } else {
            Write::Body(framing)
        };
        self.settle();
    }

    /// See [`Codec::data`](crate::http::codec::Codec::data).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn data(
        &mut self,
        stream: StreamId,
        bytes: &[u8],
        end: bool,
        out: &mut Out,
    ) -> Result<usize, Refused> {
        if !self.active || stream != self.stream {
            return Err(Refused::OutOfTurn);
        }
        match self.write {
            Write::Raw => {
                out.extend(bytes);
                return Ok(bytes.len());
            }
            Write::Head | Write::Done => return Err(Refused::OutOfTurn),
            Write::Body(Framing::Bodiless) => {}
            Write::Body(Framing::Length(left)) => {
                let left = left
                    .checked_sub(bytes.len() as u64)
                    .ok_or(Refused::TooLong)?;
                if end && left > 0 {
                    return Err(Refused::TooShort);
                }
                out.extend(bytes);
                self.write = Write::Body(Framing::Length(left));
            }
            // RFC 9112 §7.1: an empty chunk would be the last.
            Write::Body(Framing::Chunked) => {
                if !bytes.is_empty() {
                    emit::chunk_size(bytes.len(), out);
                    out.extend(bytes);
                    out.extend(b"\r\n");
                }
                if end {
                    out.extend(b"0\r\n\r\n");
                }
            }
            Write::Body(Framing::Close) => out.extend(bytes),
        }
        if end {
            self.write = Write::Done;
            self.settle();
        }
        Ok(bytes.len())
    }

    /// See [`Codec::trailers`](crate::http::codec::Codec::trailers).
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
        if self.write != Write::Body(Framing::Chunked) {
            // RFC 9110 §6.5.1: trailers need a framing that has them; otherwise they may be dropped.
            return self.data(stream, b"", true, out).map(|_| ());
        }
        if !self.active || stream != self.stream {
            return Err(Refused::OutOfTurn);
        }
        let mark = out.mark();
        out.extend(b"0\r\n");
        if let Err(refused) = emit::trailers(head, out) {
            out.undo_to(mark);
            return Err(refused);
        }
        self.write = Write::Done;
        self.settle();
        Ok(())
    }
}
