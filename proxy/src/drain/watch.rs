//! The state of the drain as the rooms see it: a watched phase, and guards that count connections.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use super::state::{DrainState, DrainTimes, Phase, Trigger};

/// The one drain of a process; cheap to clone.
#[derive(Clone, Debug)]
pub struct Drain(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<DrainState>,
    phase: watch::Sender<Phase>,
    open: AtomicUsize,
    /// Told when a drain begins and, while it runs, when the last connection closes.
    news: Notify,
}

impl Drain {
    /// Serving; a drain to come takes `times`.
    pub fn new(times: DrainTimes) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(DrainState::new(times)),
            phase: watch::Sender::new(Phase::Running),
            open: AtomicUsize::new(0),
            news: Notify::new(),
        }))
    }

    /// Begins an orderly stop: SIGTERM, `POST /quitquitquit`.
    pub fn quit(&self) {
        self.begin(Trigger::Quit);
    }

    /// Stops taking connections without exiting: `POST /drain_listeners`.
    pub fn drain_listeners(&self) {
        self.begin(Trigger::Listeners);
    }

    /// The phase reached. `/ready` answers 200 in [`Phase::Running`] only.
    pub fn phase(&self) -> Phase {
        *self.0.phase.borrow()
    }

    /// A view of the phase for those who wait on it.
    pub fn watch(&self) -> DrainWatch {
        DrainWatch(self.0.phase.subscribe())
    }

    /// Counts a connection until the guard is dropped.
    pub fn connection(&self) -> OpenConnection {
        self.0.open.fetch_add(1, Ordering::Relaxed);
        OpenConnection(self.0.clone())
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.0.open.load(Ordering::Relaxed)
    }

    /// Drives the phases; returns when [`Phase::Done`] is reached. One task of the control thread runs this.
    pub async fn run(&self) {
        loop {
            let deadline = {
                let mut state = self.lock();
                let phase = state.advance(Instant::now(), self.open());
                self.announce(phase);
                if phase == Phase::Done {
                    return;
                }
                state.deadline()
            };
            let news = self.0.news.notified();
            match deadline {
                // Either way the state is looked at again.
                Some(at) => drop(timeout_at(at, news).await),
                None => news.await,
            }
        }
    }

    fn begin(&self, trigger: Trigger) {
        let phase = {
            let mut state = self.lock();
            state.begin(trigger, Instant::now());
            state.phase()
        };
        self.announce(phase);
        self.0.news.notify_one();
    }

    fn announce(&self, phase: Phase) {
        self.0.phase.send_if_modified(|held| {
            let forward = phase > *held;
            *held = phase.max(*held);
            forward
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, DrainState> {
        // The state is plain values, consistent after every statement.
        self.0
            .state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A view of the drain's phase.
#[derive(Clone, Debug)]
pub struct DrainWatch(watch::Receiver<Phase>);

impl DrainWatch {
    /// The phase reached.
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Returns once `phase` or a later one is reached.
    pub async fn reached(&mut self, phase: Phase) {
        // The sender is gone only when the process is being torn down: as good as done.
        drop(self.0.wait_for(|held| *held >= phase).await);
    }
}

/// An open connection in the drain's count, until dropped.
#[derive(Debug)]
pub struct OpenConnection(Arc<Shared>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let last = self.0.open.fetch_sub(1, Ordering::AcqRel) == 1;
        if last && *self.0.phase.borrow() > Phase::Running {
            self.0.news.notify_one();
        }
    }
}
