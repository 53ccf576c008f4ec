//! Failures in a row, and the ejections they lead to. Nothing is timed here: an ejection is a moment at which it is over.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use weft_config::cluster::OutlierDetection;

use super::endpoint::Outcome;

/// What is remembered of one endpoint.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// 5xx answers and local failures in a row.
    any: AtomicU32,
    /// 502, 503, 504 and local failures in a row.
    gateway: AtomicU32,
    /// Local failures in a row.
    local: AtomicU32,
    /// Nanoseconds since the cluster's epoch at which the (last) ejection is over; 0 for never ejected.
    ejected_until: AtomicU64,
    /// How many times the base time the last ejection lasted.
    times: AtomicU32,
}

impl Record {
    /// Notes how an attempt ended; whether that is one failure too many.
    pub(super) fn note(&self, outcome: Outcome, limits: &OutlierDetection) -> bool {
        let (gateway, local) = match outcome {
            good if good.is_good() => {
                self.forget();
                return false;
            }
            Outcome::Status(status) => ((502..=504).contains(&status), false),
            _ => (true, true),
        };
        let any = count(&self.any, true, limits.consecutive_5xx);
        let gateway = count(&self.gateway, gateway, limits.consecutive_gateway_failure);
        let local = count(&self.local, local, limits.consecutive_local_origin_failure);
        any || gateway || local
    }

    /// Whether it is ejected at `now`.
    pub(super) fn is_ejected(&self, now: u64) -> bool {
        self.ejected_until() > now
    }

    /// When its ejection is over; in the past (or 0) when it is not ejected.
    pub(super) fn ejected_until(&self) -> u64 {
        self.ejected_until.load(Ordering::Relaxed)
    }

    /// Ejects it: each time for longer, and each sweep interval in service takes one step back.
    pub(super) fn eject(&self, now: u64, limits: &OutlierDetection) {
        let served = now.saturating_sub(self.ejected_until());
        let steps_back = served.checked_div(nanos(limits.interval)).unwrap_or(0);
        let before = u64::from(self.times.load(Ordering::Relaxed));
        let times = u32::try_from(before.saturating_sub(steps_back))
            .unwrap_or(u32::MAX)
            .saturating_add(1);
        let longest = limits.ejection_max.max(limits.ejection_base);
        let lasts = limits.ejection_base.saturating_mul(times).min(longest);
        self.times.store(times, Ordering::Relaxed);
        self.ejected_until
            .store(now.saturating_add(nanos(lasts).max(1)), Ordering::Relaxed);
        self.forget();
    }

    fn forget(&self) {
        for counter in [&self.any, &self.gateway, &self.local] {
            if counter.load(Ordering::Relaxed) != 0 {
                counter.store(0, Ordering::Relaxed);
            }
        }
    }
}

/// Counts one more in a row, or ends the row; whether `limit` (0 for none) is reached.
fn count(row: &AtomicU32, goes_on: bool, limit: u32) -> bool {
    if !goes_on {
        row.store(0, Ordering::Relaxed);
        return false;
    }
    let length = row.fetch_add(1, Ordering::Relaxed).saturating_add(1);
    limit > 0 && length >= limit
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn limits() -> OutlierDetection {
        OutlierDetection {
            consecutive_5xx: 3,
            consecutive_gateway_failure: 2,
            consecutive_local_origin_failure: 0,
            ..OutlierDetection::default()
        }
    }

    #[test]
    fn one_good_answer_ends_the_row() {
        let record = Record::default();
        for outcome in [
            Outcome::Status(500),
            Outcome::Status(500),
            Outcome::Status(404),
        ] {
            assert!(!record.note(outcome, &limits()));
        }
        assert!(!record.note(Outcome::Status(500), &limits()));
        assert!(!record.note(Outcome::Status(500), &limits()));
        assert!(record.note(Outcome::Status(500), &limits()));
    }

    #[test]
    fn a_500_ends_a_row_of_gateway_failures_but_not_of_5xx() {
        let record = Record::default();
        assert!(!record.note(Outcome::Status(503), &limits()));
        assert!(!record.note(Outcome::Status(500), &limits()));
        assert!(
            record.note(Outcome::Status(503), &limits()),
            "three 5xx in a row"
        );
    }

    #[test]
    fn local_failures_count_as_gateway_failures() {
        let record = Record::default();
        assert!(!record.note(Outcome::ConnectFailed, &limits()));
        assert!(record.note(Outcome::Reset, &limits()));
    }

    #[test]
    fn each_ejection_lasts_longer_up_to_the_longest_and_service_takes_it_back() {
        let limits = OutlierDetection {
            ejection_max: Duration::from_secs(70),
            ..limits()
        };
        let record = Record::default();
        let mut now = 100 * SECOND;
        for lasts in [30, 60, 70] {
            record.eject(now, &limits);
            assert!(record.is_ejected(now + lasts * SECOND - 1));
            assert!(!record.is_ejected(now + lasts * SECOND));
            now += lasts * SECOND;
        }
        now += 60 * SECOND;
        record.eject(now, &limits);
        assert_eq!(record.ejected_until(), now + 30 * SECOND);
    }
}
