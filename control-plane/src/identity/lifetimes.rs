//! How long certificates live.

use std::time::Duration;

/// The longest that [`Lifetimes::max`] may be: what lives longer should be revocable, and nothing here is.
pub const LIFETIME_MAX: Duration = Duration::from_secs(90 * 24 * 3600);

/// How long certificates live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Where nothing is asked for. Default 24 h.
    pub default: Duration,
    /// At most; who asks for more gets this, for a workload that renews in time is as well off with less. Default 90 days.
    pub max: Duration,
    /// How long before it was issued a certificate is valid already, for clocks that are behind. Default 60 s.
    pub clock_skew: Duration,
}

/// Lifetimes that certificates cannot have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LifetimesFault {
    /// The longest is none, or too long.
    #[error("the longest lifetime must be above 0 s and at most {LIFETIME_MAX:?}, got {max:?}")]
    Max {
        /// What was given.
        max: Duration,
    },
    /// The usual one is none, or above the longest.
    #[error("the lifetime must be above 0 s and at most the longest, {max:?}, got {default:?}")]
    Default {
        /// What was given.
        default: Duration,
        /// The longest.
        max: Duration,
    },
    /// Clocks that are further behind than clocks are.
    #[error("the clock skew must be at most {CLOCK_SKEW_MAX:?}, got {skew:?}")]
    ClockSkew {
        /// What was given.
        skew: Duration,
    },
}

/// The most that [`Lifetimes::clock_skew`] may be.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(3600);

impl Lifetimes {
    /// Whether certificates can have them.
    ///
    /// # Errors
    /// If not, and why.
    pub fn check(&self) -> Result<(), LifetimesFault> {
        let Self {
            default,
            max,
            clock_skew,
        } = *self;
        if max.is_zero() || max > LIFETIME_MAX {
            return Err(LifetimesFault::Max { max });
        }
        if default.is_zero() || default > max {
            return Err(LifetimesFault::Default { default, max });
        }
        match clock_skew > CLOCK_SKEW_MAX {
            true => Err(LifetimesFault::ClockSkew { skew: clock_skew }),
            false => Ok(()),
        }
    }
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            default: Duration::from_secs(24 * 3600),
            max: LIFETIME_MAX,
            clock_skew: Duration::from_secs(60),
        }
    }
}
