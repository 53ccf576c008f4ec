//! How a connection ends: in order, by our own will, or because a rule was broken.

use super::error::ErrorCode;
use super::{Conn, Role, pending, window};
use crate::http::codec::{Out, ProtocolError};

/// Where we are in our own orderly end (RFC 9113 §6.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drain {
    No,
    /// Told that an end comes; streams that are under way to us are still taken.
    Announced,
    /// Told which stream is the last.
    Last(u32),
}

impl Conn {
    /// Takes nothing more from the peer, for a reason that only the caller knows.
    pub fn refuse_input(&mut self) {
        if !self.failed {
            self.end(ErrorCode::NoError, "");
        }
    }

    /// Ends the connection in order (RFC 9113 §6.8): streams that are open run to their end, and a client begins no more.
    ///
    /// A server first only announces the end, lest streams be lost that are under way to it; it names the last one when the
    /// peer has answered a PING, or at a second call, which the caller makes in time.
    pub fn drain(&mut self, out: &mut Out) {
        if !self.failed {
            match (self.role, self.drain) {
                (Role::Server, Drain::No) => {
                    self.drain = Drain::Announced;
                    self.pending.goaway(window::MAX, ErrorCode::NoError, "");
                    self.pending.ping(pending::DRAIN_PING);
                }
                (Role::Server, Drain::Announced) | (Role::Client, Drain::No) => self.name_last(),
                _ => {}
            }
        }
        self.flush(out);
    }

    /// Says which stream is the last one that is answered.
    pub(super) fn name_last(&mut self) {
        self.drain = Drain::Last(self.last_peer);
        self.pending.goaway(self.last_peer, ErrorCode::NoError, "");
    }

    /// The peer was too slow, as `error` says: as after an error of [`Self::next`].
    pub fn time_out(&mut self, error: ProtocolError) {
        self.fail(error);
    }

    /// A rule was broken for which the connection ends: the peer is told why, and which stream was the last.
    pub(super) fn fail(&mut self, error: ProtocolError) {
        self.hit(error);
        self.end(ErrorCode::of(error), &error.to_string());
    }

    pub(super) fn end(&mut self, code: ErrorCode, why: &str) {
        self.failed = true;
        self.partial = Vec::new();
        self.block = None;
        let last = match self.drain {
            Drain::Last(last) => last,
            _ => self.last_peer,
        };
        self.pending.goaway(last, code, why);
    }
}
