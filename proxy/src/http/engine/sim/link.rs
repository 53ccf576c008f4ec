//! A simulated connection: what is on the wire both ways, and what TCP makes of closing it.

use std::collections::VecDeque;

use fastrand::Rng;

use super::peer::{Peer, Wish};
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
    /// The peer has closed its socket.
    pub(super) left: bool,
    /// The peer knows that the proxy closed.
    pub(super) told: bool,
    pub(super) waits_to_read: bool,
    pub(super) blocked: bool,
    pub(super) scheduled: bool,
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
            left: false,
            told: false,
            waits_to_read: false,
            blocked: false,
            scheduled: true,
        }
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

    /// Whether what the peer sends arrives undivided.
    pub(super) fn is_whole(&self) -> bool {
        matches!(&self.peer, Peer::Origin(origin) if origin.whole)
    }

    fn wish(&self) -> Wish {
        match &self.peer {
            Peer::Client(client) => client.wish(self.told),
            Peer::Origin(origin) => origin.wish(self.told),
        }
    }

    /// What the peer does next: sends, reads, or closes. Whether it did anything.
    pub(super) fn act(
        &mut self,
        rng: &mut Rng,
        mut look: impl FnMut(&mut Peer, &[u8], &mut Rng),
    ) -> bool {
        if self.left {
            return false;
        }
        let done = (rng.bool() && self.send(rng)) || self.read(rng, &mut look) || self.send(rng);
        done || self.close(rng)
    }

    fn send(&mut self, rng: &mut Rng) -> bool {
        if self.told || self.peer_wrote_last || self.to_proxy.len() > 20_000 {
            return false;
        }
        let whole = self.is_whole();
        let bytes = match &mut self.peer {
            Peer::Client(client) => client.unsent(rng),
            Peer::Origin(origin) => origin.unsent(),
        };
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
        match &mut self.peer {
            Peer::Client(client) => client.sent(n),
            Peer::Origin(origin) => origin.sent(n),
        }
        if self.dropped {
            self.reset_peer();
        }
        self.stir();
        true
    }

    fn read(&mut self, rng: &mut Rng, look: &mut impl FnMut(&mut Peer, &[u8], &mut Rng)) -> bool {
        if matches!(&self.peer, Peer::Client(client) if !client.reads()) && !self.proxy_reset {
            return false;
        }
        let n = piece(rng, self.to_peer.len());
        if n > 0 {
            let bytes: Vec<u8> = self.to_peer.drain(..n).collect();
            look(&mut self.peer, &bytes, rng);
            self.stir_writer();
            return true;
        }
        if (self.proxy_wrote_last || self.proxy_reset) && !self.told {
            self.told = true;
            if let Peer::Client(client) = &mut self.peer {
                client.ended(self.proxy_reset);
            }
            return true;
        }
        // An origin may have been waiting for its own answer to be sent.
        if let Peer::Origin(origin) = &self.peer
            && origin.over.is_none()
            && origin.unsent().is_empty()
        {
            look(&mut self.peer, &[], rng);
        }
        false
    }

    fn stir_writer(&mut self) {
        if self.blocked && self.to_peer.len() < self.room {
            self.scheduled = true;
        }
    }

    fn close(&mut self, rng: &mut Rng) -> bool {
        let unsent = match &mut self.peer {
            Peer::Client(client) => !client.unsent(rng).is_empty(),
            Peer::Origin(origin) => !origin.unsent().is_empty(),
        };
        match self.wish() {
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
