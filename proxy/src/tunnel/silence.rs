//! How long a tunnel may be silent.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::ends::Close;

/// The silence of a tunnel, and what bounds it.
#[derive(Debug)]
pub(super) struct Silence {
    since: Instant,
    /// Zero never.
    bound: Duration,
    /// Once a side has closed.
    half_closed_bound: Duration,
    meets: Close,
    half_closed: bool,
}

impl Silence {
    pub(super) fn new(idle_timeout: Duration, half_closed_timeout: Duration) -> Self {
        Self {
            since: Instant::now(),
            bound: idle_timeout,
            half_closed_bound: half_closed_timeout,
            meets: Close::Idle,
            half_closed: false,
        }
    }

    /// Something moved.
    pub(super) fn broken(&mut self) {
        self.since = Instant::now();
    }

    /// A side has closed. May be said again.
    pub(super) fn half_closed(&mut self) {
        if std::mem::replace(&mut self.half_closed, true) {
            return;
        }
        self.since = Instant::now();
        if self.bound.is_zero() || self.half_closed_bound < self.bound {
            self.bound = self.half_closed_bound;
            self.meets = Close::HalfClosed;
        }
    }

    /// Ready once the silence has lasted too long.
    ///
    /// `timer` is not moved with every byte: when it fires, this looks at what happened since.
    pub(super) fn poll(
        &self,
        cx: &mut Context<'_>,
        mut timer: Pin<&mut Option<Sleep>>,
    ) -> Poll<Close> {
        if self.bound.is_zero() {
            return Poll::Pending;
        }
        let until = self.since + self.bound.min(TIMEOUT_MAX);
        loop {
            match timer.as_mut().as_pin_mut() {
                None => timer.set(Some(sleep_until(until))),
                Some(set) if set.deadline() > until => set.reset(until),
                Some(mut set) => {
                    if set.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    if until <= Instant::now() {
                        return Poll::Ready(self.meets);
                    }
                    set.reset(until);
                }
            }
        }
    }
}

/// A timer for longer than this is for ever.
const TIMEOUT_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
