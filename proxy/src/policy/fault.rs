//! Injected faults: a share of requests is held back, or answered here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use weft_config::policy::{Fault, FaultAbort};

use crate::telemetry::{FaultStats, Metrics};

/// Injects one configured fault.
#[derive(Debug)]
pub struct FaultInjector {
    config: Arc<Fault>,
    active: AtomicU32,
    stats: Arc<FaultStats>,
}

/// What to do with one request; the default is nothing.
#[derive(Debug, Default)]
pub struct FaultDecision {
    /// Hold it back for this long first (flag `DI`).
    pub delay: Option<Duration>,
    /// Then answer so instead of forwarding (flag `FI`).
    pub abort: Option<FaultAbort>,
    /// To be held until the delay is over and the answer is made: it counts against the greatest number of faults.
    pub guard: Option<FaultGuard>,
}

/// One fault under way; over when dropped.
#[derive(Debug)]
pub struct FaultGuard(Arc<FaultInjector>);

impl Drop for FaultGuard {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

impl FaultInjector {
    /// An injector for this configuration.
    pub fn new(config: Arc<Fault>, metrics: &Metrics) -> Self {
        Self {
            config,
            active: AtomicU32::new(0),
            stats: metrics.faults.clone(),
        }
    }

    /// What it was made for; an equal configuration can keep this injector.
    pub fn config(&self) -> &Arc<Fault> {
        &self.config
    }

    /// Decides on one request. Delay and abort are drawn apart, as in Envoy.
    pub fn decide(self: &Arc<Self>, rng: &mut fastrand::Rng) -> FaultDecision {
        let delay = self
            .config
            .delay
            .filter(|delay| falls(rng, delay.per_million));
        let abort = self
            .config
            .abort
            .filter(|abort| falls(rng, abort.per_million));
        if delay.is_none() && abort.is_none() {
            return FaultDecision::default();
        }
        let Some(guard) = self.begin() else {
            self.stats.overflow.inc();
            return FaultDecision::default();
        };
        if delay.is_some() {
            self.stats.delayed.inc();
        }
        if abort.is_some() {
            self.stats.aborted.inc();
        }
        FaultDecision {
            delay: delay.map(|delay| delay.duration),
            abort,
            guard: Some(guard),
        }
    }

    fn begin(self: &Arc<Self>) -> Option<FaultGuard> {
        let before = self.active.fetch_add(1, Ordering::Relaxed);
        let guard = FaultGuard(self.clone()); // from here on a refusal gives back what it took
        match self.config.active_max {
            Some(max) if before >= max => None,
            _ => Some(guard),
        }
    }
}

/// Whether a draw falls into a share given in parts per million.
pub(super) fn falls(rng: &mut fastrand::Rng, per_million: u32) -> bool {
    match per_million {
        0 => false,
        1_000_000.. => true,
        share => rng.u32(0..1_000_000) < share,
    }
}

#[cfg(test)]
mod tests {
    use weft_config::policy::FaultDelay;

    use super::*;

    fn injector(delay: u32, abort: u32, active_max: Option<u32>) -> Arc<FaultInjector> {
        let config = Fault {
            delay: Some(FaultDelay {
                duration: Duration::from_secs(1),
                per_million: delay,
            }),
            abort: Some(FaultAbort {
                http_status: 503,
                grpc_status: None,
                per_million: abort,
            }),
            active_max,
        };
        Arc::new(FaultInjector::new(Arc::new(config), &Metrics::new()))
    }

    #[test]
    fn shares_of_nothing_and_of_everything_are_exact() {
        let mut rng = fastrand::Rng::with_seed(1);
        let injector = injector(1_000_000, 0, None);
        for _ in 0..1_000 {
            let decision = injector.decide(&mut rng);
            assert!(decision.delay.is_some() && decision.abort.is_none());
        }
    }

    #[test]
    fn a_share_is_met_within_a_percent() {
        let mut rng = fastrand::Rng::with_seed(2);
        let injector = injector(0, 250_000, None);
        let aborted = (0..100_000)
            .filter(|_| injector.decide(&mut rng).abort.is_some())
            .count();
        assert!((24_000..26_000).contains(&aborted), "{aborted}");
    }

    #[test]
    fn no_more_faults_than_the_bound_are_under_way_and_each_gives_its_place_back() {
        let mut rng = fastrand::Rng::with_seed(3);
        let injector = injector(1_000_000, 0, Some(2));
        let held: Vec<_> = (0..5).map(|_| injector.decide(&mut rng)).collect();
        assert_eq!(
            held.iter()
                .filter(|decision| decision.delay.is_some())
                .count(),
            2
        );
        assert_eq!(injector.stats.overflow.get(), 3);
        drop(held);
        assert_eq!(injector.active.load(Ordering::Relaxed), 0);
        assert!(injector.decide(&mut rng).delay.is_some());
    }
}
