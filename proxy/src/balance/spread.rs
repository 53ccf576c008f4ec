//! Choosing one of several by weight: in turn, or at random. Built once, then read by all workers at no more than
//! one atomic addition.

use std::sync::atomic::{AtomicU64, Ordering};

/// Several things with weights.
#[derive(Debug)]
pub(super) struct Spread {
    len: u64,
    weighted: Option<Weighted>,
    turn: AtomicU64,
}

/// What is needed where weights differ.
#[derive(Debug)]
struct Weighted {
    /// Weights scaled so that the largest is [`STRIDE`]; empty where the largest is too far above the mean, which
    /// would make turns long.
    strides: Box<[u16]>,
    /// Walker's alias method: stay at a place drawn evenly with this chance (of 2³²), or go to the other.
    aliases: Box<[(u64, u32)]>,
}

const STRIDE: u16 = u16::MAX;

/// A turn looks at about this many places at most; beyond, places are drawn at random.
const RATIO_MAX: u128 = 8;

impl Spread {
    /// Weights of zero count as one. `seed` is where turns begin, so that not everybody begins with the first.
    pub(super) fn new(weights: &[u32], seed: u64) -> Self {
        let weights: Vec<u64> = weights
            .iter()
            .map(|weight| u64::from(*weight).max(1))
            .collect();
        let equal = weights
            .windows(2)
            .all(|pair| matches!(pair, [a, b] if a == b));
        Self {
            len: u64::try_from(weights.len()).unwrap_or(u64::MAX),
            weighted: (!equal).then(|| Weighted::new(&weights)),
            turn: AtomicU64::new(seed >> 1), // half of the range is left before it wraps
        }
    }

    /// The next in turn, each as often as its weight says.
    pub(super) fn next(&self, rng: &mut fastrand::Rng) -> usize {
        let Some(weighted) = &self.weighted else {
            return index(
                self.turn
                    .fetch_add(1, Ordering::Relaxed)
                    .checked_rem(self.len),
            );
        };
        if weighted.strides.is_empty() {
            return weighted.sample(self.len, rng);
        }
        loop {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            let place = index(turn.checked_rem(self.len));
            if weighted.is_up(place, turn / self.len.max(1)) {
                return place;
            }
        }
    }

    /// Any, as often as its weight says.
    pub(super) fn sample(&self, rng: &mut fastrand::Rng) -> usize {
        match &self.weighted {
            None => index(Some(rng.u64(0..self.len.max(1)))),
            Some(weighted) => weighted.sample(self.len, rng),
        }
    }
}

fn index(place: Option<u64>) -> usize {
    usize::try_from(place.unwrap_or(0)).unwrap_or(0)
}

impl Weighted {
    fn new(weights: &[u64]) -> Self {
        let max = u128::from(weights.iter().copied().max().unwrap_or(1));
        let sum: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
        let count = u128::try_from(weights.len()).unwrap_or(u128::MAX);
        let even_enough = max * count <= sum * RATIO_MAX;
        let stride = |weight: &u64| {
            let scaled = (u128::from(*weight) * u128::from(STRIDE)).div_ceil(max);
            u16::try_from(scaled).unwrap_or(STRIDE)
        };
        Self {
            strides: if even_enough {
                weights.iter().map(stride).collect()
            } else {
                Box::default()
            },
            aliases: aliases(weights, sum),
        }
    }

    /// Whether a place is served in this round: in `stride` of every [`STRIDE`] rounds, spread evenly, and
    /// beginning elsewhere for neighbours.
    fn is_up(&self, place: usize, round: u64) -> bool {
        let Some(stride) = self.strides.get(place).copied().map(u64::from) else {
            return true;
        };
        let all = u64::from(STRIDE);
        let offset = u64::try_from(place).unwrap_or(0).wrapping_mul(all / 2);
        let phase = (stride * (round % all)).wrapping_add(offset) % all;
        phase >= all - stride
    }

    fn sample(&self, len: u64, rng: &mut fastrand::Rng) -> usize {
        let place = index(Some(rng.u64(0..len.max(1))));
        match self.aliases.get(place) {
            Some((stay, other)) if u64::from(rng.u32(..)) >= *stay => {
                index(Some(u64::from(*other)))
            }
            _ => place,
        }
    }
}

/// Vose's way of building the alias table, in time proportional to the number of weights.
fn aliases(weights: &[u64], sum: u128) -> Box<[(u64, u32)]> {
    let count = u128::try_from(weights.len()).unwrap_or(u128::MAX);
    // Each weight times the number of places; a place is full at `sum`.
    let mut shares: Vec<u128> = weights
        .iter()
        .map(|weight| u128::from(*weight) * count)
        .collect();
    let mut table = vec![(1u64 << 32, 0u32); weights.len()].into_boxed_slice();
    let (mut small, mut large): (Vec<usize>, Vec<usize>) =
        (0..weights.len()).partition(|place| shares.get(*place).is_some_and(|share| *share < sum));
    while let (Some(poor), Some(rich)) = (small.pop(), large.last().copied()) {
        let (Some(has), Some(entry)) = (shares.get(poor).copied(), table.get_mut(poor)) else {
            continue;
        };
        let stay = (has << 32) / sum.max(1);
        *entry = (
            u64::try_from(stay).unwrap_or(1 << 32),
            u32::try_from(rich).unwrap_or(0),
        );
        if let Some(share) = shares.get_mut(rich) {
            *share -= sum - has;
            if *share < sum {
                large.pop();
                small.push(rich);
            }
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counts(spread: &Spread, weights: &[u32], draws: u32, in_turn: bool) -> Vec<u32> {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut counts = vec![0; weights.len()];
        for _ in 0..draws {
            let place = if in_turn {
                spread.next(&mut rng)
            } else {
                spread.sample(&mut rng)
            };
            counts[place] += 1;
        }
        counts
    }

    fn assert_shares(counts: &[u32], weights: &[u32], draws: u32, tolerance: f64) {
        let sum: f64 = weights.iter().map(|w| f64::from(*w)).sum();
        for (count, weight) in counts.iter().zip(weights) {
            let want = f64::from(draws) * f64::from(*weight) / sum;
            let slack = tolerance * f64::from(draws);
            assert!(
                (f64::from(*count) - want).abs() <= slack,
                "{counts:?} for {weights:?}"
            );
        }
    }

    #[test]
    fn equal_weights_are_served_strictly_in_turn() {
        let spread = Spread::new(&[3, 3, 3], 0);
        let mut rng = fastrand::Rng::with_seed(1);
        let served: Vec<_> = (0..6).map(|_| spread.next(&mut rng)).collect();
        assert_eq!(served, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn a_heavy_place_is_not_served_in_a_burst() {
        let weights = [5, 1, 1];
        let spread = Spread::new(&weights, 0);
        let mut rng = fastrand::Rng::with_seed(1);
        let served: Vec<_> = (0..70).map(|_| spread.next(&mut rng)).collect();
        let longest = served
            .split(|place| *place != 0)
            .map(<[_]>::len)
            .max()
            .unwrap();
        assert!(longest <= 6, "{served:?}");
    }

    #[test]
    fn nothing_to_choose_from_is_place_zero() {
        let spread = Spread::new(&[], 0);
        let mut rng = fastrand::Rng::with_seed(1);
        assert_eq!((spread.next(&mut rng), spread.sample(&mut rng)), (0, 0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn turns_keep_to_the_weights(weights in prop::collection::vec(1u32..200, 1..20), seed: u64) {
            let spread = Spread::new(&weights, seed);
            let counts = counts(&spread, &weights, 20_000, true);
            assert_shares(&counts, &weights, 20_000, 0.012);
        }

        #[test]
        fn draws_keep_to_the_weights(weights in prop::collection::vec(1u32..100_000, 1..20)) {
            let spread = Spread::new(&weights, 0);
            let counts = counts(&spread, &weights, 40_000, false);
            assert_shares(&counts, &weights, 40_000, 0.015);
        }
    }
}
