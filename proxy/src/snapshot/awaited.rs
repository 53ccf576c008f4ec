//! Secrets that a listener or a cluster waits for before it takes over, each with a bound of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use weft_config::tls::{AwaitedSecret, WantedSecret};

use crate::tls::Secrets;

/// What is waited for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Awaited(BTreeMap<WantedSecret, Option<Duration>>);

/// How far a wait has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// All has been told, or has been waited for long enough.
    Over,
    /// Something has not; when the wait for it is over, where there is a bound.
    Until(Option<Instant>),
}

impl Awaited {
    /// What these name; of several bounds on the wait for one secret the longest counts.
    pub(super) fn of<'a>(secrets: impl Iterator<Item = &'a AwaitedSecret>) -> Self {
        let mut awaited = Self::default();
        for secret in secrets {
            let bound = awaited
                .0
                .entry(secret.secret.clone())
                .or_insert(Some(Duration::ZERO));
            *bound = bound.zip(secret.fetch_timeout).map(|(a, b)| a.max(b));
        }
        awaited
    }

    /// The secrets.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &WantedSecret> {
        self.0.keys()
    }

    /// How far the wait has come that began at `since`. Nobody waits for what `in_force` names: it was told, or waited for, before.
    pub(super) fn wait(
        &self,
        in_force: &Self,
        secrets: &Secrets,
        since: Instant,
        now: Instant,
    ) -> Wait {
        let mut wait = Wait::Over;
        for (wanted, bound) in &self.0 {
            if in_force.0.contains_key(wanted) || secrets.is_told(wanted) {
                continue;
            }
            let end = bound.and_then(|bound| since.checked_add(bound));
            if end.is_some_and(|end| end <= now) {
                continue;
            }
            wait = match (wait, end) {
                (Wait::Until(Some(first)), Some(end)) => Wait::Until(Some(first.min(end))),
                (Wait::Until(first), end) => Wait::Until(first.or(end)),
                (Wait::Over, end) => Wait::Until(end),
            };
        }
        wait
    }
}

impl Wait {
    pub(super) fn is_over(self) -> bool {
        self == Self::Over
    }

    /// When it is over at the latest, though nothing is told.
    pub(super) fn end(self) -> Option<Instant> {
        match self {
            Self::Over => None,
            Self::Until(end) => end,
        }
    }
}
