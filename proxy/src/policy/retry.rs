//! Whether a failed attempt is worth another, and when.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::time::Instant;
use weft_config::policy::{RetryOn, RetryPolicy};

use super::CallerTerms;
use crate::balance::{BreakerGuard, CircuitBreakers};

/// How an attempt failed, or what it was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// An answer: its HTTP status, its `grpc-status` where it is one, and its `Retry-After`.
    Status {
        /// HTTP status.
        status: u16,
        /// `grpc-status` of an answer without messages: of its head or of its trailers.
        grpc: Option<u8>,
        /// What the upstream asks us to wait.
        retry_after: Option<Duration>,
    },
    /// No connection could be opened.
    ConnectFailed,
    /// The upstream provably did not read the request (`REFUSED_STREAM`, beyond `GOAWAY`).
    NotBegun,
    /// The connection or stream broke before an answer.
    Reset {
        /// Whether any byte of the request was written.
        written: bool,
    },
    /// The attempt took longer than the per-try time-out.
    TryTimedOut,
}

/// What to do after an attempt.
#[derive(Debug)]
pub enum RetryVerdict {
    /// Another attempt after a pause; the guard is held until that attempt is over.
    Again {
        /// The pause, zero for at once.
        after: Duration,
        /// The place of this retry among those of the cluster, where it counts as one.
        guard: Option<BreakerGuard>,
    },
    /// Not a failure that the policy retries: what came goes downstream.
    No,
    /// It would be retried, but the attempts are used up (flag `URX`).
    Exhausted,
    /// It would be retried, but the cluster's retry budget is spent (flag `URX`).
    OverBudget,
}

/// The attempts of one request.
#[derive(Clone, Debug)]
pub struct RetryState {
    policy: Arc<RetryPolicy>,
    retries: u32,
    gave_up: Option<&'static str>,
}

/// What holds where a route says nothing: a request that reached nobody is tried once more elsewhere.
static DEFAULT: LazyLock<Arc<RetryPolicy>> = LazyLock::new(|| {
    Arc::new(RetryPolicy {
        on: RetryOn {
            connect_failure: true,
            refused_stream: true,
            ..RetryOn::default()
        },
        retries_max: 1,
        per_try_timeout: None,
        backoff_base: Duration::from_millis(25),
        backoff_max: Duration::from_millis(250),
        body_limit_bytes: 64 * 1024,
    })
});

impl RetryState {
    /// No attempt has failed yet.
    pub fn new(policy: Option<&Arc<RetryPolicy>>) -> Self {
        Self {
            policy: policy.unwrap_or(&*DEFAULT).clone(),
            retries: 0,
            gave_up: None,
        }
    }

    /// As [`Self::new`], by a policy changed as the caller asks.
    pub fn on_terms(policy: Option<&Arc<RetryPolicy>>, terms: Option<&CallerTerms>) -> Self {
        let mut state = Self::new(policy);
        if let Some(terms) = terms {
            terms.apply(Arc::make_mut(&mut state.policy));
        }
        state
    }

    /// Request body bytes worth keeping for another attempt; 0 once there will be none.
    pub fn body_limit_bytes(&self) -> usize {
        if self.retries < self.policy.retries_max && !self.policy.on.is_empty() {
            return self.policy.body_limit_bytes;
        }
        0
    }

    /// Whether a gRPC status can lead to another attempt.
    pub fn knows_grpc(&self) -> bool {
        !self.policy.on.grpc_codes.is_empty()
    }

    /// Whether there was a retry.
    pub fn has_retried(&self) -> bool {
        self.retries > 0
    }

    /// Why there was no other attempt although the failure asked for one, for people.
    pub fn gave_up(&self) -> Option<&'static str> {
        self.gave_up
    }

    /// An attempt ended in `failure` and the request can still be sent again: decides whether it is.
    pub fn next(
        &mut self,
        failure: Failure,
        breakers: &CircuitBreakers,
        now: Instant,
        rng: &mut fastrand::Rng,
    ) -> RetryVerdict {
        if !retries(&self.policy.on, failure) {
            return RetryVerdict::No;
        }
        if self.retries >= self.policy.retries_max {
            self.gave_up = Some("retries are used up");
            return RetryVerdict::Exhausted;
        }
        let asked = match failure {
            Failure::Status { retry_after, .. } => retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        if asked > self.policy.backoff_max {
            return RetryVerdict::No; // the caller gets the Retry-After and can wait better than we can
        }
        // What reached nobody costs the upstream nothing, so it is bounded by its attempts alone: a rolling restart
        // must not spend the budget.
        let reached = !matches!(failure, Failure::ConnectFailed | Failure::NotBegun);
        let guard = match reached.then(|| breakers.try_acquire_retry(now)) {
            Some(None) => {
                self.gave_up = Some("the cluster's retry budget is spent");
                return RetryVerdict::OverBudget;
            }
            Some(guard) => guard,
            None => None,
        };
        let at_once = !reached && self.retries == 0;
        self.retries += 1;
        let pause = if at_once {
            Duration::ZERO
        } else {
            self.backoff(rng)
        };
        RetryVerdict::Again {
            after: pause.max(asked),
            guard,
        }
    }

    /// A pause before the retry numbered `self.retries`: anything up to base × 2ⁿ⁻¹, and never above the longest.
    fn backoff(&self, rng: &mut fastrand::Rng) -> Duration {
        let doubled = 1u32
            .checked_shl(self.retries.saturating_sub(1))
            .unwrap_or(u32::MAX);
        let ceiling = self
            .policy
            .backoff_base
            .saturating_mul(doubled)
            .min(self.policy.backoff_max);
        ceiling.mul_f64(rng.f64())
    }
}

/// Whether a policy retries this failure; the conditions are Envoy's (`x-envoy-retry-on`, `x-envoy-retry-grpc-on`).
fn retries(on: &RetryOn, failure: Failure) -> bool {
    let any_reset = on.reset || on.gateway_error || on.any_5xx;
    match failure {
        Failure::Status { status, grpc, .. } => {
            on.status_codes.contains(&status)
                || (on.any_5xx && (500..600).contains(&status))
                || (on.gateway_error && (502..=504).contains(&status))
                || (on.retriable_4xx && status == 409)
                || grpc.is_some_and(|code| on.grpc_codes.contains(&code))
        }
        Failure::ConnectFailed => on.connect_failure || on.reset_before_request || any_reset,
        Failure::NotBegun => on.refused_stream || any_reset,
        Failure::Reset { written: false } => on.reset_before_request || any_reset,
        Failure::Reset { written: true } | Failure::TryTimedOut => any_reset,
    }
}

#[cfg(test)]
mod tests;
