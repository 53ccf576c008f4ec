//! Shedding load: refusing what is new so that what runs can end.
//!
//! A task of the control thread looks at resident memory and open connections, decides by `judge` and tells what is in
//! force through [`Overload`], which workers ask with one relaxed load per request and connection. Before anything is
//! refused memory is given back where that is possible. Room invariant: nothing that is under way is ever cut.

mod judge;
mod resident;
mod watcher;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use tokio::sync::futures::Notified;
use tokio::sync::{Notify, watch};
use weft_config::bootstrap::overload::{ALL, Action, Resource};

use crate::telemetry::{Metrics, OverloadStats};

pub(crate) use watcher::Watcher;

/// What of new load is refused now. Shared by the process.
#[derive(Debug)]
pub struct Overload {
    doors: [Door; Action::EVERY.len()],
    changed: Notify,
    relief: watch::Sender<u64>,
    stats: Arc<OverloadStats>,
}

/// How far one action is in force. Alone on its line of cache with its like: all of them are hardly ever written.
#[derive(Debug, Default)]
struct Door {
    /// The share that is refused, in parts per million.
    share: AtomicU32,
    /// Of what there is too little; for people.
    short_of: AtomicU8,
}

impl Overload {
    /// Nothing is refused.
    pub fn new(metrics: &Metrics) -> Arc<Self> {
        Arc::new(Self {
            doors: Default::default(),
            changed: Notify::new(),
            relief: watch::Sender::new(0),
            stats: metrics.overload.clone(),
        })
    }

    /// Whether a new request is to be refused, and of what the process is short.
    pub(crate) fn refuses_request(&self, rng: &mut fastrand::Rng) -> Option<Resource> {
        self.door(Action::StopRequests).refuses(rng)
    }

    /// Whether a connection that was accepted is to be closed.
    pub(crate) fn refuses_connection(&self, rng: &mut fastrand::Rng) -> bool {
        self.door(Action::RejectConnections).refuses(rng).is_some()
    }

    /// Whether connections are closed now, all or some.
    pub(crate) fn rejects_connections(&self) -> bool {
        self.door(Action::RejectConnections).share() > 0
    }

    /// Whether new connections are left in the backlog.
    pub(crate) fn holds_connections(&self) -> bool {
        self.door(Action::StopConnections).share() > 0
    }

    /// Resolves when something else is in force than when this was called.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Changes whenever memory that is only kept for reuse is to be given back.
    pub(crate) fn relief(&self) -> watch::Receiver<u64> {
        self.relief.subscribe()
    }

    fn ask_for_relief(&self) {
        self.relief.send_modify(|times| *times += 1);
    }

    /// Puts a share of an action in force.
    pub(crate) fn set(&self, action: Action, share: u32, short_of: Resource) {
        let door = self.door(action);
        door.short_of.store(short_of as u8, Ordering::Relaxed);
        door.share.store(share, Ordering::Relaxed);
        self.stats.set_active(action, share);
        self.changed.notify_waiters();
    }

    fn door(&self, action: Action) -> &Door {
        let [requests, held, rejected] = &self.doors;
        match action {
            Action::StopRequests => requests,
            Action::StopConnections => held,
            Action::RejectConnections => rejected,
        }
    }
}

impl Door {
    fn share(&self) -> u32 {
        self.share.load(Ordering::Relaxed)
    }

    fn refuses(&self, rng: &mut fastrand::Rng) -> Option<Resource> {
        let share = self.share();
        // Drawn only where it decides: mostly nothing is refused, and else mostly all.
        if share == 0 || (share < ALL && rng.u32(..ALL) >= share) {
            return None;
        }
        let memory = self.short_of.load(Ordering::Relaxed) == Resource::Memory as u8;
        Some(if memory {
            Resource::Memory
        } else {
            Resource::Connections
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_a_share_or_all_is_refused() {
        let overload = Overload::new(&Metrics::new());
        let mut rng = fastrand::Rng::with_seed(1);
        let mut refused = |share| {
            overload.set(Action::StopRequests, share, Resource::Connections);
            let asked = (0..10_000).filter_map(|_| overload.refuses_request(&mut rng));
            asked
                .inspect(|of| assert_eq!(*of, Resource::Connections))
                .count()
        };
        assert_eq!(refused(0), 0);
        let quarter = refused(ALL / 4);
        assert!((2_250..2_750).contains(&quarter), "{quarter}");
        assert_eq!(refused(ALL), 10_000);
        assert!(!overload.rejects_connections() && !overload.holds_connections());
    }
}
