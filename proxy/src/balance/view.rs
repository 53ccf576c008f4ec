//! What a pick reads: the usable endpoints of this moment, arranged so that choosing needs no search.

use std::sync::Arc;

use weft_config::cluster::{Balancer, Cluster, Discovery, OutlierDetection};
use weft_config::endpoint::Health;

use super::endpoint::{EndpointId, EndpointState};
use super::load::{Census, shares};
use super::spread::Spread;
use super::table::{EndpointTable, Group, Row};

/// The endpoints of a cluster under one configuration, until something changes or an ejection is over.
#[derive(Debug)]
pub(super) struct View {
    pub(super) table: Arc<EndpointTable>,
    pub(super) outlier: Option<OutlierDetection>,
    /// When the first ejection is over and this view is old; `u64::MAX` without any.
    pub(super) expires: u64,
    balancer: Balancer,
    levels: Box<[Level]>,
    shares_total: u64,
}

/// Endpoints that share one part of the traffic: the healthy or the degraded ones of one priority.
#[derive(Debug)]
struct Level {
    /// Draws below this, and not below the previous one's, fall here.
    up_to: u64,
    panics: bool,
    localities: Box<[Members]>,
    spread: Spread,
}

/// Endpoints among which only weight decides.
#[derive(Debug)]
struct Members {
    endpoints: Box<[Arc<EndpointState>]>,
    weights: Box<[u32]>,
    spread: Spread,
}

/// An endpoint and how it was come by.
pub(super) struct Picked<'v> {
    pub(super) endpoint: &'v Arc<EndpointState>,
    pub(super) panicked: bool,
}

impl View {
    pub(super) fn build(table: Arc<EndpointTable>, config: &Cluster, now: u64, seed: u64) -> Self {
        let ejections = table.rows().map(|row| row.state.record.ejected_until());
        let expires = ejections
            .filter(|until| *until > now)
            .min()
            .unwrap_or(u64::MAX);
        let (levels, shares_total) = levels(&table, config, now, seed);
        let original_dst = matches!(config.discovery, Discovery::OriginalDst);
        Self {
            outlier: config.outlier_detection,
            balancer: if original_dst {
                Balancer::OriginalDst
            } else {
                config.balancer
            },
            table,
            expires,
            levels,
            shares_total,
        }
    }

    /// Whether endpoints are the addresses that downstreams dialled.
    pub(super) fn is_original_dst(&self) -> bool {
        self.balancer == Balancer::OriginalDst
    }

    /// Whether this request falls to the share that is to be dropped.
    pub(super) fn drops(&self, rng: &mut fastrand::Rng) -> bool {
        let share = self.table.drop_per_million;
        share > 0 && rng.u32(0..1_000_000) < share
    }

    /// Chooses by the cluster's balancer; endpoints in `avoid` only where there are no others.
    pub(super) fn pick(&self, rng: &mut fastrand::Rng, avoid: &[EndpointId]) -> Option<Picked<'_>> {
        let level = self.level(rng)?;
        let mut picked = self.pick_in(level, rng)?;
        if avoid.contains(&picked.id) {
            picked = self.another(level, avoid, rng).unwrap_or(picked);
        }
        Some(Picked {
            endpoint: picked,
            panicked: level.panics,
        })
    }

    fn level(&self, rng: &mut fastrand::Rng) -> Option<&Level> {
        if let [only] = &*self.levels {
            return Some(only);
        }
        let draw = rng.u64(0..self.shares_total.max(1));
        self.levels.iter().find(|level| draw < level.up_to)
    }

    fn pick_in<'v>(
        &self,
        level: &'v Level,
        rng: &mut fastrand::Rng,
    ) -> Option<&'v Arc<EndpointState>> {
        let members = match &*level.localities {
            [only] => only,
            several => several.get(level.spread.next(rng))?,
        };
        match self.balancer {
            Balancer::RoundRobin | Balancer::OriginalDst => {
                members.endpoints.get(members.spread.next(rng))
            }
            Balancer::Random => members.endpoints.get(members.spread.sample(rng)),
            Balancer::LeastRequest { choices } => members.least_loaded(choices, rng),
        }
    }

    /// An endpoint not to be avoided: by a few ordinary picks, then any.
    fn another<'v>(
        &'v self,
        level: &'v Level,
        avoid: &[EndpointId],
        rng: &mut fastrand::Rng,
    ) -> Option<&'v Arc<EndpointState>> {
        for _ in 0..PICKS_TO_AVOID {
            let picked = self.pick_in(level, rng)?;
            if !avoid.contains(&picked.id) {
                return Some(picked);
            }
        }
        let members = std::iter::once(level)
            .chain(&*self.levels)
            .flat_map(|level| &*level.localities);
        members.into_iter().find_map(|members| {
            let count = members.endpoints.len();
            let start = rng.usize(0..count.max(1));
            let from_start = members.endpoints.iter().cycle().skip(start).take(count);
            from_start
                .into_iter()
                .find(|endpoint| !avoid.contains(&endpoint.id))
        })
    }
}

/// How often chance is tried before the endpoints are searched for one that is not to be avoided.
const PICKS_TO_AVOID: usize = 4;

impl Members {
    fn new(rows: &[&Row], seed: u64) -> Self {
        let weights: Box<[u32]> = rows.iter().map(|row| row.weight).collect();
        Self {
            endpoints: rows.iter().map(|row| row.state.clone()).collect(),
            spread: Spread::new(&weights, seed),
            weights,
        }
    }

    /// The one with the least load for its weight among `choices` different ones drawn by weight.
    fn least_loaded(&self, choices: u32, rng: &mut fastrand::Rng) -> Option<&Arc<EndpointState>> {
        let count = self.endpoints.len();
        let mut best = self.spread.sample(rng);
        let mut before = best;
        for _ in 1..choices.max(2) {
            let mut other = self.spread.sample(rng);
            if other == before {
                other = (other + 1 + rng.usize(0..count.saturating_sub(1).max(1)))
                    .checked_rem(count)?;
            }
            if self.load(other)? < self.load(best)? {
                best = other;
            }
            before = other;
        }
        self.endpoints.get(best)
    }

    /// Requests it would then have, by weight.
    fn load(&self, place: usize) -> Option<u64> {
        let active = u64::from(self.endpoints.get(place)?.active()) + 1;
        (active << 24).checked_div(u64::from(*self.weights.get(place)?))
    }
}

fn levels(table: &EndpointTable, config: &Cluster, now: u64, seed: u64) -> (Box<[Level]>, u64) {
    let mut priorities: Vec<u32> = table.groups.iter().map(|group| group.priority).collect();
    priorities.sort_unstable();
    priorities.dedup();
    let census: Vec<Census> = priorities
        .iter()
        .map(|priority| census(table, *priority, now))
        .collect();
    let shares = shares(
        &census,
        table.overprovisioning_percent,
        config.panic_threshold_percent,
    );

    let mut levels = Vec::new();
    let mut up_to = 0;
    for (priority, share) in priorities.iter().zip(&shares) {
        let groups: Vec<&Group> = table
            .groups
            .iter()
            .filter(|group| group.priority == *priority)
            .collect();
        let healthy: &dyn Fn(&Row) -> bool = if share.panics {
            &|row| row.health != Health::Draining
        } else {
            &|row| row.is_healthy(now)
        };
        let degraded = |row: &Row| row.is_degraded(now);
        let parts = [
            (share.healthy, share.panics, healthy),
            (share.degraded, false, &degraded),
        ];
        for (part, panics, usable) in parts {
            if part == 0 {
                continue;
            }
            up_to += part;
            let localities = localities(
                &groups,
                usable,
                panics,
                table.overprovisioning_percent,
                seed,
            );
            levels.push(localities.into_level(up_to, panics, seed));
        }
    }
    (levels.into_boxed_slice(), up_to)
}

fn census(table: &EndpointTable, priority: u32, now: u64) -> Census {
    let groups = table
        .groups
        .iter()
        .filter(|group| group.priority == priority);
    let mut census = Census::default();
    for row in groups.flat_map(|group| &group.rows) {
        census.total += 1;
        census.healthy += u64::from(row.is_healthy(now));
        census.degraded += u64::from(row.is_degraded(now));
    }
    census
}

/// The localities of a level with the weights that traffic is shared by.
#[derive(Default)]
struct Localities {
    members: Vec<Members>,
    weights: Vec<u64>,
}

impl Localities {
    fn into_level(self, up_to: u64, panics: bool, seed: u64) -> Level {
        let heaviest = self.weights.iter().copied().max().unwrap_or(1);
        let too_wide = u64::BITS
            .saturating_sub(heaviest.leading_zeros())
            .saturating_sub(u32::BITS);
        let narrow = |weight: &u64| u32::try_from(weight >> too_wide).unwrap_or(u32::MAX);
        let weights: Vec<u32> = self.weights.iter().map(narrow).collect();
        Level {
            up_to,
            panics,
            spread: Spread::new(&weights, seed.rotate_left(17)),
            localities: self.members.into_boxed_slice(),
        }
    }
}

/// The usable endpoints of one priority. Where no locality has a weight of its own they stand side by side, so that
/// a small zone gets a small share; where they have, each locality gets its share as far as it has health for it.
fn localities(
    groups: &[&Group],
    usable: &dyn Fn(&Row) -> bool,
    panics: bool,
    overprovisioning_percent: u32,
    seed: u64,
) -> Localities {
    let chosen = |group: &Group, usable: &dyn Fn(&Row) -> bool| {
        group.rows.iter().filter(|row| usable(row)).count()
    };
    // Draining ones are the last resort of a priority that panics.
    let everybody = |_: &Row| true;
    let none = panics && groups.iter().all(|group| chosen(group, usable) == 0);
    let usable: &dyn Fn(&Row) -> bool = if none { &everybody } else { usable };

    let mut localities = Localities::default();
    if groups.iter().all(|group| group.weight <= 1) {
        let rows: Vec<&Row> = groups
            .iter()
            .flat_map(|group| &group.rows)
            .filter(|row| usable(row))
            .collect();
        localities.members.push(Members::new(&rows, seed));
        localities.weights.push(1);
        return localities;
    }
    let usable_groups = groups.iter().filter(|group| group.weight > 0);
    for (number, group) in (1u32..).zip(usable_groups) {
        let rows: Vec<&Row> = group.rows.iter().filter(|row| usable(row)).collect();
        if rows.is_empty() {
            continue;
        }
        let total = u64::try_from(group.rows.len()).unwrap_or(u64::MAX).max(1);
        let here = u64::try_from(rows.len()).unwrap_or(u64::MAX);
        let available = (here * u64::from(overprovisioning_percent) * 10 / total).min(1_000);
        localities
            .members
            .push(Members::new(&rows, seed.rotate_left(number)));
        localities
            .weights
            .push((u64::from(group.weight) * available).max(1));
    }
    localities
}
