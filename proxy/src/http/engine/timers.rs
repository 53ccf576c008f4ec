//! Deadlines of everything a worker holds: one heap, one entry per slot.
//!
//! A deadline that moves back costs nothing: the old entry stays, and when it comes up the engine looks at what is due
//! and arms the slot again. A connection that carries a thousand requests a second so pushes one entry per time-out and
//! not one per request. Time is counted in milliseconds, rounded up: nothing fires early.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use tokio::time::Instant;

/// What a deadline belongs to, by slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    /// A connection.
    Connection(u32),
    /// An exchange.
    Exchange(u32),
    /// The worker: pools are compared with what is in force.
    Sweep,
}

/// The deadlines of one worker.
pub(crate) struct Timers {
    epoch: Instant,
    heap: BinaryHeap<Reverse<(u64, Owner)>>,
    connections: Vec<u64>,
    exchanges: Vec<u64>,
    sweep: u64,
}

const UNARMED: u64 = u64::MAX;

impl Timers {
    /// No deadlines; `now` is where time begins.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            epoch: now,
            heap: BinaryHeap::new(),
            connections: Vec::new(),
            exchanges: Vec::new(),
            sweep: UNARMED,
        }
    }

    /// Makes sure that `owner` comes up at `at` or before.
    pub(crate) fn arm(&mut self, owner: Owner, at: Instant) {
        let since = at.saturating_duration_since(self.epoch);
        let tick = u64::try_from(since.as_nanos().div_ceil(1_000_000)).unwrap_or(UNARMED - 1);
        let armed = self.armed(owner);
        if *armed <= tick {
            return;
        }
        *armed = tick;
        self.heap.push(Reverse((tick, owner)));
    }

    /// An owner whose entry came up by `now`; whoever asks looks at what is due and arms it again.
    pub(crate) fn next_due(&mut self, now: Instant) -> Option<Owner> {
        let now = now.saturating_duration_since(self.epoch).as_millis();
        loop {
            let &Reverse((tick, owner)) = self.heap.peek()?;
            if u128::from(tick) > now {
                return None;
            }
            self.heap.pop();
            let armed = self.armed(owner);
            if *armed == tick {
                *armed = UNARMED;
                return Some(owner);
            }
        }
    }

    /// When [`Self::next_due`] has something again.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        let Reverse((tick, _)) = self.heap.peek()?;
        self.epoch.checked_add(Duration::from_millis(*tick))
    }

    fn armed(&mut self, owner: Owner) -> &mut u64 {
        let (list, slot) = match owner {
            Owner::Connection(slot) => (&mut self.connections, slot as usize),
            Owner::Exchange(slot) => (&mut self.exchanges, slot as usize),
            Owner::Sweep => return &mut self.sweep,
        };
        if list.len() <= slot {
            list.resize(slot + 1, UNARMED);
        }
        list.get_mut(slot).expect("just made long enough")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_that_moves_back_pushes_no_entry_and_one_that_moves_up_fires_once() {
        let start = Instant::now();
        let mut timers = Timers::new(start);
        let owner = Owner::Exchange(3);
        for ms in 20..1000 {
            timers.arm(owner, start + Duration::from_millis(ms));
        }
        assert_eq!(timers.heap.len(), 1);
        timers.arm(owner, start + Duration::from_millis(10));
        assert_eq!(timers.next_at(), Some(start + Duration::from_millis(10)));
        assert_eq!(timers.next_due(start + Duration::from_millis(9)), None);
        assert_eq!(
            timers.next_due(start + Duration::from_millis(10)),
            Some(owner)
        );
        assert_eq!(timers.next_due(start + Duration::from_secs(2)), None);
    }

    #[test]
    fn nothing_fires_before_its_time() {
        let start = Instant::now();
        let mut timers = Timers::new(start);
        timers.arm(
            Owner::Connection(0),
            start + Duration::from_nanos(1_000_001),
        );
        assert_eq!(timers.next_due(start + Duration::from_micros(1999)), None);
        assert!(timers.next_due(start + Duration::from_millis(2)).is_some());
    }
}
