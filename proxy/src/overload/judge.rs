//! What is to be in force, decided from what was seen. No I/O and no clock.

use std::time::Duration;

use tokio::time::Instant;
use weft_config::bootstrap::overload::{ALL, Action, Resource, Trigger};

/// How long a pressure must have been lower before less is refused. A fall below the trigger alone does not count: refusing
/// is what made it fall, and letting all in at once would have it rise again with the next look. A gap between the pressures
/// of on and off would do too, but not for a proxy whose memory at rest lies in the gap: it would refuse for ever.
const CALM: Duration = Duration::from_secs(1);

/// Share of the memory from which what is kept for reuse is given back, if no trigger comes before.
const RELIEF_FROM: u32 = 800_000;

/// Time between two reliefs while nothing is refused: each costs some milliseconds, and what it gives back is soon taken again.
const RELIEF_PAUSE: Duration = Duration::from_secs(30);

/// The same while load is refused: how soon that ends hangs on it.
const RELIEF_PAUSE_SHORT: Duration = Duration::from_secs(2);

/// What there is of each resource, in parts per million of all that there may be; 0 where there is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pressure {
    pub(super) memory: u32,
    pub(super) connections: u32,
}

impl Pressure {
    fn of(self, resource: Resource) -> u32 {
        match resource {
            Resource::Memory => self.memory,
            Resource::Connections => self.connections,
        }
    }
}

/// A part of a whole, in parts per million; more than the whole is more than [`ALL`].
pub(super) fn pressure(part: u64, whole: u64) -> u32 {
    let share = u128::from(part) * u128::from(ALL) / u128::from(whole.max(1));
    u32::try_from(share).unwrap_or(u32::MAX)
}

/// The state of one action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) action: Action,
    /// How much of it is in force.
    pub(super) share: u32,
    /// The resource that asks for it.
    pub(super) short_of: Resource,
    /// Since when less would do.
    calm_since: Option<Instant>,
}

/// Keeps the state of every action.
#[derive(Debug)]
pub(super) struct Judge {
    triggers: Vec<Trigger>,
    standings: [Standing; Action::EVERY.len()],
    relief_from: u32,
    relieved_at: Option<Instant>,
}

impl Judge {
    pub(super) fn new(triggers: Vec<Trigger>) -> Self {
        let of_memory = triggers.iter().filter(|it| it.resource == Resource::Memory);
        let lowest = of_memory.map(|trigger| trigger.scaled_above).min();
        Self {
            standings: Action::EVERY.map(|action| Standing {
                action,
                share: 0,
                short_of: Resource::Memory,
                calm_since: None,
            }),
            relief_from: lowest.map_or(RELIEF_FROM, |lowest| lowest.min(RELIEF_FROM)),
            relieved_at: None,
            triggers,
        }
    }

    /// Takes what was seen into account and gives the actions whose state is another now, with how much of each was in
    /// force before.
    pub(super) fn judge(&mut self, seen: Pressure, now: Instant) -> Vec<(u32, Standing)> {
        let triggers = &self.triggers;
        let changed = self.standings.iter_mut().filter_map(|standing| {
            let before = standing.share;
            standing.judge(triggers, seen, now);
            (standing.share != before).then_some((before, *standing))
        });
        changed.collect()
    }

    /// Whether memory is to be given back now: from a little before anything is refused on, and not all the time.
    pub(super) fn wants_relief(&mut self, seen: Pressure, now: Instant) -> bool {
        let shedding = self.standings.iter().any(|standing| standing.share > 0);
        let pause = if shedding {
            RELIEF_PAUSE_SHORT
        } else {
            RELIEF_PAUSE
        };
        let rested = self.relieved_at.is_none_or(|at| now >= at + pause);
        let wants = rested && seen.memory >= self.relief_from;
        if wants {
            self.relieved_at = Some(now);
        }
        wants
    }
}

impl Standing {
    fn judge(&mut self, triggers: &[Trigger], seen: Pressure, now: Instant) {
        let ours = triggers.iter().filter(|it| it.action == self.action);
        let asked = ours.map(|it| (it.share(seen.of(it.resource)), it.resource));
        let (share, short_of) = asked
            .max_by_key(|(share, _)| *share)
            .unwrap_or((0, self.short_of));
        if share >= self.share {
            self.calm_since = None;
        } else if now < *self.calm_since.get_or_insert(now) + CALM {
            return;
        } else {
            self.calm_since = None;
        }
        self.share = share;
        self.short_of = short_of;
    }
}

#[cfg(test)]
mod tests {
    use weft_config::bootstrap::overload::Overload;

    use super::*;

    fn memory(memory: u32) -> Pressure {
        Pressure {
            memory,
            connections: 0,
        }
    }

    /// The triggers that come with a budget.
    fn judge_of_a_budget() -> Judge {
        let overload = Overload::default().with_memory(std::num::NonZero::new(1));
        Judge::new(overload.triggers)
    }

    /// How much of each action that changed is in force.
    fn shares(changed: &[(u32, Standing)]) -> Vec<(Action, u32)> {
        let share = |(_, standing): &(u32, Standing)| (standing.action, standing.share);
        changed.iter().map(share).collect()
    }

    #[test]
    fn connections_are_refused_before_requests_and_each_change_is_told_once() {
        let (mut judge, now) = (judge_of_a_budget(), Instant::now());
        for (seen, changed) in [
            (899_999, vec![]),
            (900_000, vec![(Action::RejectConnections, ALL)]),
            (949_999, vec![]),
            (950_000, vec![(Action::StopRequests, ALL)]),
            (2_000_000, vec![]),
        ] {
            assert_eq!(shares(&judge.judge(memory(seen), now)), changed, "{seen}");
        }
    }

    #[test]
    fn what_is_in_force_stays_until_the_pressure_was_lower_for_a_while() {
        let (mut judge, now) = (judge_of_a_budget(), Instant::now());
        judge.judge(memory(940_000), now);
        assert_eq!(judge.judge(memory(0), now), []);
        let almost = now + CALM - Duration::from_millis(1);
        assert_eq!(judge.judge(memory(0), almost), []);
        // It came back for a moment: the time begins anew.
        assert_eq!(judge.judge(memory(900_000), almost), []);
        let later = now + CALM;
        assert_eq!(judge.judge(memory(0), later), []);
        let changed = judge.judge(memory(899_999), later + CALM);
        assert_eq!(shares(&changed), [(Action::RejectConnections, 0)]);
        assert_eq!(changed.first().map(|(before, _)| *before), Some(ALL));
    }

    #[test]
    fn a_share_rises_at_once_and_falls_after_a_while() {
        let trigger = Trigger {
            action: Action::StopRequests,
            resource: Resource::Connections,
            scaled_above: 500_000,
            saturated_from: ALL,
        };
        let (mut judge, now) = (Judge::new(vec![trigger]), Instant::now());
        let seen = |connections| Pressure {
            memory: ALL,
            connections,
        };
        let share = |share| vec![(Action::StopRequests, share)];
        assert_eq!(shares(&judge.judge(seen(600_000), now)), share(200_000));
        assert_eq!(shares(&judge.judge(seen(800_000), now)), share(600_000));
        assert_eq!(judge.judge(seen(600_000), now), []);
        let changed = judge.judge(seen(600_000), now + CALM);
        assert_eq!(shares(&changed), share(200_000));
        let short_of = changed.first().map(|(_, standing)| standing.short_of);
        assert_eq!(short_of, Some(Resource::Connections));
    }

    #[test]
    fn memory_is_given_back_before_anything_is_refused_and_not_all_the_time() {
        let (mut judge, now) = (judge_of_a_budget(), Instant::now());
        assert!(!judge.wants_relief(memory(799_999), now));
        assert!(judge.wants_relief(memory(800_000), now));
        assert!(!judge.wants_relief(memory(899_999), now + RELIEF_PAUSE_SHORT));
        judge.judge(memory(900_000), now + RELIEF_PAUSE_SHORT);
        assert!(judge.wants_relief(memory(900_000), now + RELIEF_PAUSE_SHORT));
        assert!(!judge.wants_relief(memory(900_000), now + RELIEF_PAUSE_SHORT));
    }

    #[test]
    fn pressure_has_no_overflow_and_no_division_by_zero() {
        assert_eq!(pressure(1, 4), ALL / 4);
        assert_eq!(pressure(5, 4), ALL + ALL / 4);
        assert_eq!(pressure(u64::MAX, u64::MAX), ALL);
        assert_eq!(pressure(u64::MAX, 1), u32::MAX);
        assert_eq!(pressure(0, 0), 0);
    }
}
