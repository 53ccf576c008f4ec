//! The pump of a run: as [`Worker`](crate::http::pump::Worker), task by task.

use std::time::Duration;

use super::link::Link;
use super::tunnel::Relay;
use super::world::{Connecting, World};
use crate::http::engine::{Action, ConnId};

impl World {
    fn find(&mut self, id: ConnId) -> Option<&mut Link> {
        let mut living = self
            .links
            .iter_mut()
            .filter(|link| !link.dropped && !link.switched);
        living.find(|link| link.id == id)
    }

    /// As the pump's task of one connection.
    pub(super) fn poll(&mut self, at: usize) {
        self.links[at].scheduled = false;
        let id = self.links[at].id;
        let mut worked = false;
        loop {
            let link = &mut self.links[at];
            if link.dropped || link.switched {
                return;
            }
            let writable = link.to_peer.len() < link.room || link.peer_reset || link.left;
            if link.blocked && writable {
                link.blocked = false;
                self.write(id);
                self.end_turn();
                continue;
            }
            if self.engine.is_paused(id) {
                if worked {
                    self.links[at].scheduled = true;
                    return;
                }
                worked = true;
                self.engine.go_on(id, self.now);
                self.end_turn();
                continue;
            }
            if !self.engine.wants_read(id) {
                return;
            }
            let mut input = self.engine.lend_input(id);
            let link = &mut self.links[at];
            let n = link.to_proxy.len().min(input.spare_mut().len());
            assert!(!input.spare_mut().is_empty(), "reads into a full buffer");
            if n > 0 {
                let whole = link.peer.is_whole() || self.rng.bool();
                let n = if whole { n } else { self.rng.usize(1..=n) };
                let bytes: Vec<u8> = link.to_proxy.drain(..n).collect();
                input.spare_mut()[..n].copy_from_slice(&bytes);
                input.filled_by(n);
                worked = true;
                self.engine.received(id, input, self.now);
            } else {
                let (reset, ended) = (link.peer_reset, link.peer_wrote_last);
                link.waits_to_read = !reset && !ended;
                self.engine.unread(id, input);
                match (reset, ended) {
                    (true, _) => self.engine.broken(id, self.now),
                    (_, true) => self.engine.ended(id, self.now),
                    _ => return,
                }
            }
            self.end_turn();
            // Other tasks may come first.
            if self.rng.u8(..4) == 0 {
                self.links[at].scheduled = true;
                return;
            }
        }
    }

    fn write(&mut self, id: ConnId) {
        loop {
            let mut rng = self.rng.fork();
            let bytes = self.engine.pending(id).to_vec();
            let Some(link) = self.find(id) else {
                return;
            };
            if bytes.is_empty() || link.blocked {
                return;
            }
            match link.write(&mut rng, &bytes) {
                Ok(Some(n)) => self.engine.written(id, n, self.now),
                Ok(None) => {
                    link.scheduled = true;
                    return;
                }
                Err(()) => return self.engine.broken(id, self.now),
            }
        }
    }

    /// As the pump's.
    pub(super) fn end_turn(&mut self) {
        loop {
            while let Some(id) = self.engine.next_dirty() {
                self.write(id);
            }
            let Some(action) = self.engine.next_action() else {
                break;
            };
            self.do_action(action);
        }
        while let Some(id) = self.engine.next_woken() {
            let open = self.engine.is_open(id);
            let abort = self.aborted.contains(&id);
            if let Some(link) = self.find(id) {
                match open {
                    true => link.scheduled = true,
                    false => link.drop_socket(abort),
                }
            }
        }
    }

    fn do_action(&mut self, action: Action) {
        match action {
            Action::Connect { attempt, dial, .. } => {
                let fails = !self.clean && self.rng.u8(..6) == 0;
                let after = match self.rng.u8(..3) {
                    0 if fails => dial.timeout,
                    _ if self.clean => Duration::ZERO,
                    _ => Duration::from_millis(self.rng.u64(..3) * 20),
                };
                self.connects.push(Connecting {
                    attempt,
                    at: self.now + after,
                    ok: !fails,
                });
            }
            Action::Shutdown(id) => {
                if let Some(link) = self.find(id) {
                    link.proxy_wrote_last = true;
                }
            }
            Action::Abort(id) => self.aborted.push(id),
            Action::Switch(switched) => {
                let place = |id| self.links.iter().position(|it| it.id == id && !it.dropped);
                let (down, up) = (place(switched.down), place(switched.up));
                let (down, up) = (down.unwrap(), up.unwrap());
                for at in [down, up] {
                    self.links[at].switched = true;
                }
                self.relays.push(Relay::new(down, up, switched));
            }
            Action::Name { .. } => panic!("{action:?}, where all names are known"),
            Action::Keys { .. } => panic!("{action:?}, where no tokens are judged"),
        }
    }
}
