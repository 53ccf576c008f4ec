//! The audit log: who got a certificate, who did not, and why. Lines of the log whose target is `weft::audit`.
//!
//! No token and no key is ever among what is said.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Lines of refusals that are written within [`WINDOW`]; anybody can bring them about, and nobody shall fill a disk.
const REFUSALS_MAX: u32 = 100;

/// The time in which refusals are counted.
const WINDOW: Duration = Duration::from_secs(10);

/// Bounds the lines that strangers can bring about.
#[derive(Debug, Default)]
pub(crate) struct Limiter(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    since: Option<Instant>,
    said: u32,
    unsaid: u64,
}

impl Limiter {
    /// Whether one more line may be written; those that could not be before are told of then.
    pub(crate) fn may_say(&self) -> bool {
        let now = Instant::now();
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if window.since.is_none_or(|since| now >= since + WINDOW) {
            let unsaid = window.unsaid;
            *window = Window {
                since: Some(now),
                ..Window::default()
            };
            if unsaid > 0 {
                tracing::warn!(target: TARGET, lines = unsaid, "refusals were too many to be written");
            }
        }
        match window.said < REFUSALS_MAX {
            true => window.said += 1,
            false => window.unsaid += 1,
        }
        window.unsaid == 0
    }
}

/// What the lines are found by.
pub(crate) const TARGET: &str = "weft::audit";

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn refusals_without_end_do_not_fill_the_log() {
        let limiter = Limiter::default();
        let said = |lines: u32| (0..lines).filter(|_| limiter.may_say()).count();
        assert_eq!(said(1000), 100);
        tokio::time::advance(WINDOW).await;
        assert_eq!(said(7), 7);
    }
}
