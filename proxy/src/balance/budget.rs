//! The retry budget: how many of a cluster's attempts may be retries.
//!
//! What pays for retries is answers, not requests: while an upstream serves, a share of its attempts may be
//! retries; once it answers nobody, retries stop but for a few per second, so that a chain of proxies that all
//! retry does not multiply an outage.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use weft_config::cluster::RetryBudget as Limits;

/// Seconds that the budget looks back on.
const WINDOW_SECONDS: u64 = 10;

#[derive(Debug, Default)]
pub(super) struct RetryBudget {
    percent: AtomicU32,
    per_second_min: AtomicU32,
    seconds: [Second; WINDOW_SECONDS as usize],
}

/// One second of the window; reused every [`WINDOW_SECONDS`].
#[derive(Debug, Default)]
struct Second {
    /// Which second this is, counted from 1; 0 before its first use.
    number: AtomicU64,
    answered: AtomicU32,
    retried: AtomicU32,
}

impl RetryBudget {
    pub(super) fn new(limits: Limits) -> Self {
        let budget = Self::default();
        budget.set(limits);
        budget
    }

    pub(super) fn set(&self, limits: Limits) {
        self.percent
            .store(limits.percent.min(100), Ordering::Relaxed);
        self.per_second_min
            .store(limits.per_second_min, Ordering::Relaxed);
    }

    /// Whether there is a budget at all, or only a bound on how many retries run at once.
    pub(super) fn is_given(&self) -> bool {
        self.percent.load(Ordering::Relaxed) > 0 || self.per_second_min.load(Ordering::Relaxed) > 0
    }

    /// An attempt was answered well.
    pub(super) fn answered(&self, second: u64) {
        if let Some(slot) = self.slot(second) {
            slot.answered.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes one retry from the budget, if there is one.
    pub(super) fn try_retry(&self, second: u64) -> bool {
        let Some(slot) = self.slot(second) else {
            return true;
        };
        let oldest = (second + 1).saturating_sub(WINDOW_SECONDS - 1).max(1);
        let (mut answered, mut retried, mut used) = (0u64, 0u64, 0u64);
        for slot in &self.seconds {
            if slot.number.load(Ordering::Relaxed) >= oldest {
                answered += u64::from(slot.answered.load(Ordering::Relaxed));
                retried += u64::from(slot.retried.load(Ordering::Relaxed));
                used += 1;
            }
        }
        let percent = u64::from(self.percent.load(Ordering::Relaxed));
        let least = u64::from(self.per_second_min.load(Ordering::Relaxed)) * used;
        // retried ≤ least + answered × percent / (100 - percent): then `percent` of all attempts are retries.
        let allowed = percent >= 100
            || (retried + 1).saturating_sub(least) * (100 - percent) <= answered * percent;
        if allowed {
            slot.retried.fetch_add(1, Ordering::Relaxed);
        }
        allowed
    }

    /// The slot of a second, emptied if it was another's. Two threads that empty it at once may lose a count.
    fn slot(&self, second: u64) -> Option<&Second> {
        let slot = self
            .seconds
            .get(usize::try_from(second % WINDOW_SECONDS).ok()?)?;
        let was = slot.number.load(Ordering::Relaxed);
        if was != second + 1
            && slot
                .number
                .compare_exchange(was, second + 1, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            slot.answered.store(0, Ordering::Relaxed);
            slot.retried.store(0, Ordering::Relaxed);
        }
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(percent: u32, per_second_min: u32) -> RetryBudget {
        RetryBudget::new(Limits {
            percent,
            per_second_min,
        })
    }

    fn allowed(budget: &RetryBudget, second: u64, tries: u32) -> usize {
        (0..tries).filter(|_| budget.try_retry(second)).count()
    }

    #[test]
    fn without_answers_only_the_least_is_allowed() {
        let budget = budget(20, 3);
        assert_eq!(allowed(&budget, 0, 100), 3);
        for second in 1..60 {
            assert_eq!(allowed(&budget, second, 100), 3, "second {second}");
        }
    }

    #[test]
    fn a_fifth_of_all_attempts_may_be_retries() {
        let budget = budget(20, 0);
        for _ in 0..800 {
            budget.answered(5);
        }
        assert_eq!(allowed(&budget, 5, 1_000), 200);
    }

    #[test]
    fn what_is_older_than_the_window_pays_no_more() {
        let budget = budget(50, 0);
        for _ in 0..10 {
            budget.answered(0);
        }
        assert_eq!(allowed(&budget, 9, 3), 3);
        assert_eq!(allowed(&budget, 10, 3), 0);
    }

    #[test]
    fn a_hundred_percent_is_no_bound() {
        assert_eq!(allowed(&budget(100, 0), 0, 50), 50);
    }
}
