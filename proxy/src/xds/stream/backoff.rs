//! Pauses between attempts: doubled each time, with jitter, so that a fleet does not come back in step.

use std::time::Duration;

/// The pauses of one loss.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    next: Duration,
}

/// The first pause is about this long.
const FIRST: Duration = Duration::from_millis(100);
/// No pause is longer, but for the jitter.
const LONGEST: Duration = Duration::from_secs(10);

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// Begins anew after a stream that answered and lived for so long, where that is longer than any pause: a server that
    /// answers and then breaks the stream, each time, is left alone like one that is away.
    pub fn lived(&mut self, lived: Duration) {
        if lived > LONGEST {
            *self = Self::default();
        }
    }

    /// The next pause: from half to one and a half of its nominal length.
    pub fn next(&mut self, rng: &mut fastrand::Rng) -> Duration {
        let pause = self.next.mul_f64(0.5 + rng.f64());
        self.next = (self.next * 2).min(LONGEST);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_stream_that_lasted_begins_anew() {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut backoff = Backoff::default();
        for _ in 0..8 {
            backoff.next(&mut rng);
            backoff.lived(Duration::from_secs(1));
        }
        assert!(backoff.next(&mut rng) >= LONGEST / 2);
        backoff.lived(Duration::from_secs(60));
        assert!(backoff.next(&mut rng) < 2 * FIRST);
    }

    #[test]
    fn pauses_double_up_to_ten_seconds_give_or_take_half() {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut backoff = Backoff::default();
        for nominal_ms in [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000] {
            let nominal = Duration::from_millis(nominal_ms);
            let pause = backoff.next(&mut rng);
            assert!(
                pause >= nominal / 2 && pause <= nominal * 3 / 2,
                "{pause:?} for {nominal:?}"
            );
        }
    }
}
