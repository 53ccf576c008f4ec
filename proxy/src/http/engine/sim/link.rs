//! A simulated connection: what is on the wire both ways, and what TCP makes of closing it.

use std::collections::VecDeque;

use fastrand::Rng;

use super::peer::{Peer, Wish};
use super::plan::Book;
use crate::http::engine::ConnId;

/// One connection and the task that carries it.
pub(super) struct Link {
    pub(super) id: ConnId,
    pub(super) peer: Peer,
    pub(super) to_proxy: VecDeque<u8>,
    pub(super) to_peer: VecDeque<u8>,
    /// What the wire holds towards the peer.
    pub(super) room: usize,
    pub(super) peer_wrote_last: bool,
    pub(super) peer_reset: bool,
    pub(super) proxy_wrote_last: bool,
    pub(super) proxy_reset: bool,
    /// The proxy has dropped its socket.
    pub(super) dropped: bool,
    /// The proxy passes its bytes on as they are.
    pub(super) switched: bool,
    /// The peer has closed its socket.
    pub(super) left: bool,
    /// The peer knows that the proxy closed.
    pub(super) told: bool,
    pub(super) waits_to_read: bool,
    pub(super) blocked: bool,
    pub(super) scheduled: bool,
    /// Bytes that the peer has read.
    read: usize,
    /// From so many on it reads nothing more until it is woken.
    sleeps_at: usize,
}

impl Link {
    pub(super) fn new(rng: &mut Rng, id: ConnId, peer: Peer) -> Self {
        Self {
            id,
            peer,
            to_proxy: VecDeque::new(),
            to_peer: VecDeque::new(),
            room: *rng.choice(&[50, 1000, 30_000, 1_000_000]).unwrap(),
            peer_wrote_last: false,
            peer_reset: false,
            proxy_wrote_last: false,
            proxy_reset: false,
            dropped: false,
            switched: false,
            left: false,
            told: false,
            waits_to_read: false,
            blocked: false,
            scheduled: true,
            read: 0,
            sleeps_at: if rng.u8(..3) == 0 {
                rng.usize(..5000)
            } else {
                usize::MAX
            },
        }
    }

    /// Whether the peer reads nothing before it is woken.
    pub(super) fn is_asleep(&self) -> bool {
        self.sleeps() && !self.left && !self.told
    }

    fn sleeps(&self) -> bool {
        self.read >= self.sleeps_at
    }

    /// It reads on, for a while at least.
    pub(super) fn wake(&mut self, rng: &mut Rng) {
        self.sleeps_at = match rng.bool() {
            true => self.read + rng.usize(1..20_000),
            false => usize::MAX,
        };
    }

    /// The proxy drops its socket: with bytes unread that is a reset, which takes away what the peer has not read.
    pub(super) fn drop_socket(&mut self, abort: bool) {
        self.dropped = true;
        if abort || !self.to_proxy.is_empty() {
            self.reset_peer();
        } else {
            self.proxy_wrote_last = true;
        }
        self.to_proxy.clear();
    }

    fn reset_peer(&mut self) {
        self.proxy_reset = true;
        self.to_peer.clear();
    }

    /// Something came for the proxy.
    fn stir(&mut self) {
        if self.waits_to_read {
            self.waits_to_read = false;
            self.scheduled = true;
        }
        // A reset ends waiting to write as well.
        if self.blocked && (self.peer_reset || self.to_peer.len() < self.room) {
            self.scheduled = true;
        }
    }

    /// What the peer does next: sends, reads, or closes. Whether it did anything.
    pub(super) fn act(&mut self, rng: &mut Rng, book: &mut Book) -> bool {
        if self.left {
            return false;
        }
        let first = rng.bool();
        let done = (first && self.send(rng))
            || self.read(rng, book)
            || self.think(rng, book)
            || self.send(rng);
        done || self.close(rng)
    }

    fn think(&mut self, rng: &mut Rng, book: &mut Book) -> bool {
        !self.is_deaf() && !self.peer_wrote_last && self.peer.think(rng, book)
    }

    /// Whether the peer knows that nobody hears it any more. In a tunnel the end of one side is not that of the other.
    fn is_deaf(&self) -> bool {
        self.told && (self.proxy_reset || !self.peer.in_tunnel())
    }

    fn send(&mut self, rng: &mut Rng) -> bool {
        if self.is_deaf() || self.peer_wrote_last || self.to_proxy.len() > 20_000 {
            return false;
        }
        let whole = self.peer.is_whole();
        let bytes = self.peer.unsent(rng);
        let n = if whole {
            bytes.len()
        } else {
            piece(rng, bytes.len())
        };
        if n == 0 {
            return false;
        }
        if !self.dropped {
            self.to_proxy.extend(&bytes[..n]);
        }
        self.peer.sent(n);
        if self.dropped {
            self.reset_peer();
        }
        self.stir();
        true
    }

    fn read(&mut self, rng: &mut Rng, book: &mut Book) -> bool {
        let reads = self.peer.reads() && !self.sleeps();
        if !reads && !self.proxy_reset {
            return false;
        }
        let n = piece(rng, self.to_peer.len());
        if n > 0 {
            let bytes: Vec<u8> = self.to_peer.drain(..n).collect();
            self.read += n;
            self.peer.received(&bytes, rng, book);
            self.stir_writer();
            return true;
        }
        if (self.proxy_wrote_last || self.proxy_reset) && !self.told {
            self.told = true;
            self.peer.ended(self.proxy_reset);
            return true;
        }
        false
    }

    fn stir_writer(&mut self) {
        if self.blocked && self.to_peer.len() < self.room {
            self.scheduled = true;
        }
    }

    fn close(&mut self, rng: &mut Rng) -> bool {
        let unsent = !self.peer.unsent(rng).is_empty();
        match self.peer.wish(self.told) {
            Wish::Stay => false,
            Wish::Shutdown if unsent || self.peer_wrote_last => false,
            Wish::Shutdown => {
                self.peer_wrote_last = true;
                self.stir();
                true
            }
            wish => {
                self.left = true;
                // Whoever closes without having read what is there resets.
                if wish == Wish::Reset || !self.to_peer.is_empty() {
                    self.reset_proxy();
                }
                self.peer_wrote_last = true;
                self.stir();
                true
            }
        }
    }

    fn reset_proxy(&mut self) {
        self.peer_reset = true;
        self.to_proxy.clear();
    }

    /// The client goes away without a word.
    pub(super) fn vanish(&mut self) {
        if !self.left {
            self.left = true;
            self.reset_proxy();
            self.stir();
        }
    }

    /// What the proxy writes: how much was taken; an error once the peer is gone.
    pub(super) fn write(&mut self, rng: &mut Rng, bytes: &[u8]) -> Result<Option<usize>, ()> {
        if self.peer_reset {
            return Err(());
        }
        if self.left {
            // The first write to a closed socket succeeds and brings a reset.
            self.reset_proxy();
            self.stir();
            return Ok(Some(bytes.len()));
        }
        let room = self
            .room
            .saturating_sub(self.to_peer.len())
            .min(bytes.len());
        if room == 0 {
            self.blocked = true;
            return Ok(None);
        }
        let n = if rng.bool() {
            room
        } else {
            rng.usize(1..=room)
        };
        self.to_peer.extend(&bytes[..n]);
        Ok(Some(n))
    }
}

/// How much of `len` moves at once.
fn piece(rng: &mut Rng, len: usize) -> usize {
    let most = match rng.u8(..6) {
        0 => rng.usize(1..10),
        1 => rng.usize(1..300),
        2 | 3 => rng.usize(1..20_000),
        _ => usize::MAX,
    };
    len.min(most)
}
