//! When a drain goes on to its next phase. Pure: time and counts are arguments.

use std::time::Duration;

use tokio::time::Instant;

/// How far an orderly stop has come. Phases only go forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Serving.
    Running,
    /// Not ready any more, so that callers go elsewhere; HTTP/1 answers say `Connection: close`, idle connections
    /// are closed. New connections are still accepted, for those who have not heard yet.
    Draining,
    /// Listening sockets are closed. What was accepted lives on until [`DrainTimes::total`] is over.
    Closed,
    /// Nothing is left, or the time is over: the process may exit.
    Done,
}

/// How long a drain takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainTimes {
    /// From the first word of a drain until listening sockets close, for callers that have not heard yet.
    pub grace: Duration,
    /// From the first word of a drain until connections that are left are cut (`--drain-time`).
    pub total: Duration,
}

impl Default for DrainTimes {
    fn default() -> Self {
        Self {
            grace: Duration::from_millis(500),
            total: Duration::from_secs(45),
        }
    }
}

/// What set off a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// SIGTERM or `POST /quitquitquit`: drain, then exit.
    Quit,
    /// `POST /drain_listeners`: stop taking connections, but stay.
    Listeners,
}

/// The state of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainState {
    times: DrainTimes,
    phase: Phase,
    /// When the drain began, and whether it ends in exit.
    began: Option<(Instant, Trigger)>,
}

impl DrainState {
    /// Serving, with `times` for the drain to come.
    pub fn new(times: DrainTimes) -> Self {
        Self {
            times,
            phase: Phase::Running,
            began: None,
        }
    }

    /// The phase reached.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Begins a drain at `now`. A later `Quit` makes a drain of listeners end in exit, counted from its own time; a second word
    /// of the same kind changes nothing.
    pub fn begin(&mut self, trigger: Trigger, now: Instant) {
        match (self.began, trigger) {
            (None, _) | (Some((_, Trigger::Listeners)), Trigger::Quit) => {
                self.began = Some((now, trigger))
            }
            (Some(_), _) => {}
        }
        self.phase = self.phase.max(Phase::Draining);
    }

    /// Goes as far as time and the number of open connections allow.
    pub fn advance(&mut self, now: Instant, open: usize) -> Phase {
        let Some((since, trigger)) = self.began else {
            return self.phase;
        };
        let elapsed = now.saturating_duration_since(since);
        if elapsed >= self.times.grace.min(self.times.total) {
            self.phase = self.phase.max(Phase::Closed);
        }
        let over = elapsed >= self.times.total || (open == 0 && self.phase >= Phase::Closed);
        if trigger == Trigger::Quit && over {
            self.phase = Phase::Done;
        }
        self.phase
    }

    /// When [`Self::advance`] has something to do although no connection closes.
    pub fn deadline(&self) -> Option<Instant> {
        let (since, trigger) = self.began?;
        match (self.phase, trigger) {
            (Phase::Running | Phase::Draining, _) => {
                Some(since + self.times.grace.min(self.times.total))
            }
            (Phase::Closed, Trigger::Quit) => Some(since + self.times.total),
            (Phase::Closed, Trigger::Listeners) | (Phase::Done, _) => None,
        }
    }
}
