//! What passes behind an upgrade or a `CONNECT`, and the pump's tunnel for it where both sides are HTTP/1.

use fastrand::Rng;
use tokio::time::Instant;

use super::link::Link;
use super::plan::{self, Answer, Request};
use crate::http::engine::Switched;
use crate::tunnel::{Close, Ends};

/// What a client says in the tunnel that it asked for.
pub(super) fn upward(request: &Request) -> Vec<u8> {
    let mut bytes = format!("T:{}\n", request.id).into_bytes();
    bytes.extend(plan::body(request.id, request.body));
    bytes
}

/// What an origin says in a tunnel.
pub(super) fn downward(id: usize, attempt: usize, answer: &Answer) -> Vec<u8> {
    let mut bytes = format!("A:{id}.{attempt}\n").into_bytes();
    bytes.extend(plan::body(Answer::salt(id, attempt), answer.body));
    bytes
}

/// What came out of a tunnel is what an origin put in; all of it, where it ended in order.
pub(super) fn check_downward(request: &Request, got: &[u8], complete: bool) {
    let Some(end) = got.iter().position(|byte| *byte == b'\n') else {
        assert!(!complete, "a cut tunnel looks complete: {got:?}");
        return;
    };
    let line = std::str::from_utf8(&got[..end]).unwrap();
    let (id, attempt) = line.strip_prefix("A:").unwrap().split_once('.').unwrap();
    assert_eq!(id, request.id.to_string(), "another's tunnel");
    let attempt = attempt.parse().unwrap();
    let told = downward(request.id, attempt, request.answer(attempt));
    assert!(told.starts_with(got), "other bytes");
    assert!(
        !complete || told.len() == got.len(),
        "a cut tunnel looks complete"
    );
}

/// Two sockets that left the engine.
pub(super) struct Relay {
    pub(super) down: usize,
    pub(super) up: usize,
    switched: Box<Switched>,
    to_up: Vec<u8>,
    to_down: Vec<u8>,
    ended: (bool, bool),
}

impl Relay {
    pub(super) fn new(down: usize, up: usize, mut switched: Box<Switched>) -> Self {
        let preread = std::mem::take(&mut switched.preread);
        Self {
            down,
            up,
            switched,
            to_up: preread.from_downstream,
            to_down: preread.from_upstream,
            ended: (false, false),
        }
    }

    /// Moves something. Whether there was anything to move.
    pub(super) fn act(&mut self, rng: &mut Rng, links: &mut [Link]) -> bool {
        let Ok([down, up]) = links.get_disjoint_mut([self.down, self.up]) else {
            return false;
        };
        if down.dropped {
            return false;
        }
        if down.peer_reset || up.peer_reset {
            down.drop_socket(true);
            up.drop_socket(true);
            return true;
        }
        let moved = pass(rng, &mut self.to_up, down, up, &mut self.ended.0)
            || pass(rng, &mut self.to_down, up, down, &mut self.ended.1);
        if !moved && self.ended == (true, true) {
            down.drop_socket(false);
            up.drop_socket(false);
            return true;
        }
        moved
    }

    /// Whether both sockets are gone.
    pub(super) fn is_over(&self, links: &[Link]) -> bool {
        links[self.down].dropped
    }

    pub(super) fn end(self, now: Instant) {
        let ends = Ends {
            to_upstream: 0,
            to_downstream: 0,
            close: Close::Orderly,
        };
        self.switched.ended(&ends, None, now);
    }
}

fn pass(
    rng: &mut Rng,
    held: &mut Vec<u8>,
    from: &mut Link,
    to: &mut Link,
    ended: &mut bool,
) -> bool {
    held.extend(from.to_proxy.drain(..));
    if !held.is_empty() {
        return match to.write(rng, held) {
            Ok(Some(n)) => {
                held.drain(..n);
                true
            }
            Ok(None) | Err(()) => false,
        };
    }
    if from.peer_wrote_last && !*ended {
        *ended = true;
        to.proxy_wrote_last = true;
        return true;
    }
    false
}
