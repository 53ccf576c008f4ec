//! How traffic is shared among priorities as they lose health. Pure arithmetic, in parts per million.

/// The whole.
pub(super) const ALL: u64 = 1_000_000;

/// How many endpoints of one priority are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Census {
    pub(super) healthy: u64,
    pub(super) degraded: u64,
    pub(super) total: u64,
}

/// What one priority gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    /// For its healthy endpoints, or for all of them where it panics.
    pub(super) healthy: u64,
    /// For its degraded endpoints.
    pub(super) degraded: u64,
    /// Health is disregarded: too few would bear too much.
    pub(super) panics: bool,
}

/// Shares of all priorities, which add up to [`ALL`], or to nothing where no endpoint may be used.
///
/// As Envoy does it (architecture overview: priority levels, degraded endpoints, panic threshold): a priority is
/// as available as its healthy share times the overprovisioning factor, and the first ones take what they can.
pub(super) fn shares(
    census: &[Census],
    overprovisioning_percent: u32,
    panic_percent: u8,
) -> Vec<Share> {
    let available = |part: u64, total: u64| {
        let scaled = part
            .saturating_mul(u64::from(overprovisioning_percent))
            .saturating_mul(ALL / 100);
        scaled.checked_div(total).unwrap_or(0).min(ALL)
    };
    let healthy: Vec<u64> = census
        .iter()
        .map(|c| available(c.healthy, c.total))
        .collect();
    let degraded: Vec<u64> = census
        .iter()
        .map(|c| available(c.degraded, c.total))
        .collect();
    let sum = healthy.iter().chain(&degraded).sum::<u64>().min(ALL);
    let short = sum < ALL;
    let panics = |c: &Census| {
        short && c.total > 0 && (c.healthy + c.degraded) * 100 < c.total * u64::from(panic_percent)
    };

    let mut shares: Vec<Share> = census
        .iter()
        .map(|c| Share {
            panics: panics(c),
            ..Share::default()
        })
        .collect();
    if sum == 0 || census.iter().all(|c| c.total == 0 || panics(c)) {
        if panic_percent > 0 {
            by_number(census, &mut shares);
        }
        return shares;
    }
    let mut left = ALL;
    for (share, part) in shares.iter_mut().zip(&healthy) {
        share.healthy = (part * ALL / sum).min(left);
        left -= share.healthy;
    }
    for (share, part) in shares.iter_mut().zip(&degraded) {
        share.degraded = (part * ALL / sum).min(left);
        left -= share.degraded;
    }
    // What rounding left goes where most goes already.
    if let Some(most) = shares
        .iter_mut()
        .max_by_key(|share| share.healthy.max(share.degraded))
    {
        if most.healthy >= most.degraded {
            most.healthy += left
        } else {
            most.degraded += left
        }
    }
    shares
}

/// Everybody panics: each priority by the number of its endpoints.
fn by_number(census: &[Census], shares: &mut [Share]) {
    let total: u64 = census.iter().map(|c| c.total).sum();
    let mut left = ALL;
    for (share, c) in shares.iter_mut().zip(census) {
        share.panics = c.total > 0;
        share.healthy = (c.total * ALL).checked_div(total).unwrap_or(0);
        left -= share.healthy;
    }
    if let Some(first) = shares.iter_mut().find(|share| share.healthy > 0) {
        first.healthy += left;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn census(healthy: u64, degraded: u64, total: u64) -> Census {
        Census {
            healthy,
            degraded,
            total,
        }
    }

    fn percents(census: &[Census], panic: u8) -> Vec<(u64, u64, bool)> {
        let shares = shares(census, 140, panic);
        shares
            .iter()
            .map(|s| {
                (
                    (s.healthy + 5_000) / 10_000,
                    (s.degraded + 5_000) / 10_000,
                    s.panics,
                )
            })
            .collect()
    }

    #[test]
    fn the_first_priority_keeps_all_until_it_is_below_five_sevenths() {
        assert_eq!(
            percents(&[census(8, 0, 10), census(10, 0, 10)], 50),
            [(100, 0, false), (0, 0, false)]
        );
        assert_eq!(
            percents(&[census(5, 0, 10), census(10, 0, 10)], 50),
            [(70, 0, false), (30, 0, false)]
        );
        assert_eq!(
            percents(&[census(0, 0, 10), census(10, 0, 10)], 50),
            [(0, 0, false), (100, 0, false)]
        );
    }

    #[test]
    fn shares_are_stretched_when_all_together_are_too_few() {
        // 35 % and 35 % available: half each, and both panic.
        assert_eq!(
            percents(&[census(1, 0, 4), census(1, 0, 4)], 50),
            [(50, 0, true), (50, 0, true)]
        );
        assert_eq!(
            percents(&[census(1, 0, 4), census(1, 0, 4)], 0),
            [(50, 0, false), (50, 0, false)]
        );
    }

    #[test]
    fn degraded_endpoints_take_what_healthy_ones_cannot() {
        assert_eq!(percents(&[census(5, 5, 10)], 50), [(70, 30, false)]);
        assert_eq!(percents(&[census(0, 10, 10)], 50), [(0, 100, false)]);
    }

    #[test]
    fn without_health_all_are_used_by_number_or_none_where_panic_is_off() {
        assert_eq!(
            percents(&[census(0, 0, 3), census(0, 0, 1)], 50),
            [(75, 0, true), (25, 0, true)]
        );
        assert_eq!(percents(&[census(0, 0, 3)], 0), [(0, 0, false)]);
        assert_eq!(percents(&[], 50), []);
    }

    proptest! {
        #[test]
        fn shares_add_up_and_go_where_somebody_is(
            parts in prop::collection::vec((0u64..50, 0u64..50, 0u64..50), 1..6), panic in 0u8..=100,
        ) {
            let census: Vec<_> = parts.iter().map(|(h, d, u)| census(*h, *d, h + d + u)).collect();
            let shares = shares(&census, 140, panic);
            let sum: u64 = shares.iter().map(|s| s.healthy + s.degraded).sum();
            let usable = census.iter().any(|c| c.healthy + c.degraded > 0 || (panic > 0 && c.total > 0));
            prop_assert_eq!(sum, if usable { ALL } else { 0 });
            for (share, c) in shares.iter().zip(&census) {
                prop_assert!(share.healthy == 0 || c.healthy > 0 || (share.panics && c.total > 0));
                prop_assert!(share.degraded == 0 || c.degraded > 0);
            }
        }
    }
}
