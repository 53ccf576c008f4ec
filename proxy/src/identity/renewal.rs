//! When a certificate is renewed.

use std::time::Duration;

/// How much earlier or later than half of its life, so that a fleet that was started at once does not come back at once.
const JITTER: f64 = 0.1;

/// From the issue of a certificate to its renewal: half of `lifetime`, a tenth of that more or less. `random` is from 0 to 1.
pub(super) fn after(lifetime: Duration, random: f64) -> Duration {
    lifetime
        .div_f64(2.0)
        .mul_f64(1.0 - JITTER + 2.0 * JITTER * random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_at_half_of_its_life_give_or_take_a_tenth() {
        let day = Duration::from_secs(24 * 3600);
        assert_eq!(after(day, 0.5), day / 2);
        for random in [0.0, 0.3, 1.0] {
            let share = after(day, random).div_duration_f64(day);
            assert!((0.449..=0.551).contains(&share), "{share}");
        }
    }
}
