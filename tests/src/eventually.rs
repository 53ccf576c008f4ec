//! Polling for a fact that comes true by itself.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

/// Time between two looks.
const STEP: Duration = Duration::from_millis(5);

/// After this the fact is taken not to come true.
const DEADLINE: Duration = Duration::from_secs(10);

/// Looks every 5 ms, for at most 10 s, until `look` gives a value.
///
/// # Panics
/// At the deadline, with what was seen last.
pub async fn eventually<T, E, F>(what: &str, look: impl FnMut() -> F) -> T
where
    E: Display,
    F: Future<Output = Result<T, E>>,
{
    eventually_within(DEADLINE, what, look).await
}

/// As [`eventually`], with another deadline.
///
/// # Panics
/// At the deadline, with what was seen last.
pub async fn eventually_within<T, E, F>(
    deadline: Duration,
    what: &str,
    mut look: impl FnMut() -> F,
) -> T
where
    E: Display,
    F: Future<Output = Result<T, E>>,
{
    let end = Instant::now() + deadline;
    let mut steps = tokio::time::interval(STEP);
    steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        steps.tick().await;
        match look().await {
            Ok(value) => return value,
            Err(seen) if Instant::now() >= end => {
                panic!("not within {deadline:?}: {what}; last seen: {seen}")
            }
            Err(_) => {}
        }
    }
}
