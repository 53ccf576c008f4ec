//! When the proxy sheds load, and of what: resources, triggers, actions.

mod parse;

use std::num::NonZero;
use std::time::Duration;

/// All of something, in parts per million.
pub const ALL: u32 = 1_000_000;

/// Time between two looks at the resources where nothing is configured.
const REFRESH_INTERVAL: Duration = Duration::from_millis(250);

/// Share of the budget from which new connections are refused where only a budget is given. What connections that are
/// there do to the memory is known, what new ones will do is not: they go first.
const REJECT_CONNECTIONS_FROM: u32 = 900_000;

/// Share of the budget from which new requests are refused where only a budget is given: what is left is for answers under
/// way, which end by themselves and give their memory back.
const STOP_REQUESTS_FROM: u32 = 950_000;

/// When load is shed (`envoy.config.overload.v3.OverloadManager`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overload {
    /// Time between two looks at the resources, at most; near a trigger there are more. At least 10 ms; default 1 s where
    /// there is an overload manager, as in Envoy, else 250 ms.
    pub refresh_interval: Duration,
    /// Bytes of resident memory that are all there may be (`fixed_heap`); `None`: memory is no reason to shed.
    pub memory_bytes_max: Option<NonZero<u64>>,
    /// Downstream connections that the process holds at once (`global_downstream_max_connections`); `None`: as many as
    /// descriptors and memory allow.
    pub connections_max: Option<NonZero<u64>>,
    /// What happens to connections beyond that.
    pub beyond: Beyond,
    /// What is done when. The state of an action is the highest that any of its triggers gives it.
    pub triggers: Vec<Trigger>,
}

/// What happens to connections beyond the greatest number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Beyond {
    /// They wait in the backlog until another closes.
    #[default]
    Wait,
    /// They are closed, as Envoy does where the monitor is configured.
    Refuse,
}

/// What can run short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// Resident memory.
    Memory,
    /// Downstream connections.
    Connections,
}

impl Resource {
    /// A word for it, as in "short of memory".
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Connections => "connections",
        }
    }
}

/// What can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// New requests are answered 503 with flag OM; a scaled trigger does so to a share of them.
    StopRequests,
    /// New connections wait in the backlog. Not by shares: only when a trigger is saturated.
    StopConnections,
    /// New connections are closed; by a scaled trigger, a share of them.
    RejectConnections,
}

impl Action {
    /// Every action.
    pub const EVERY: [Self; 3] = [
        Self::StopRequests,
        Self::StopConnections,
        Self::RejectConnections,
    ];

    /// Envoy's name, without what all of them begin with.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StopRequests => "stop_accepting_requests",
            Self::StopConnections => "stop_accepting_connections",
            Self::RejectConnections => "reject_incoming_connections",
        }
    }
}

/// From which pressure on an action is taken. Shares are parts per million.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// What is done.
    pub action: Action,
    /// What runs short.
    pub resource: Resource,
    /// Above this share of the resource the action begins (`scaling_threshold`); not above [`Self::saturated_from`].
    pub scaled_above: u32,
    /// From this share on it is complete (`threshold.value`, `saturation_threshold`).
    pub saturated_from: u32,
}

impl Trigger {
    /// How much of the action a pressure asks for, up to [`ALL`].
    pub fn share(&self, pressure: u32) -> u32 {
        if pressure >= self.saturated_from {
            return ALL;
        }
        if pressure <= self.scaled_above || self.action == Action::StopConnections {
            return 0;
        }
        let (above, range) = (
            u64::from(pressure - self.scaled_above),
            u64::from(self.saturated_from - self.scaled_above),
        );
        u32::try_from(above * u64::from(ALL) / range).unwrap_or(ALL)
    }
}

impl Default for Overload {
    /// Nothing is shed.
    fn default() -> Self {
        Self {
            refresh_interval: REFRESH_INTERVAL,
            memory_bytes_max: None,
            connections_max: None,
            beyond: Beyond::Wait,
            triggers: Vec::new(),
        }
    }
}

impl Overload {
    /// The same with a budget of memory, or none. Where no trigger asks for memory, connections are closed from 90 % of it
    /// on and requests refused from 95 %.
    pub fn with_memory(mut self, bytes_max: Option<NonZero<u64>>) -> Self {
        self.memory_bytes_max = bytes_max;
        if bytes_max.is_some() && self.lowest(Resource::Memory).is_none() {
            let trigger = |action, from| Trigger {
                action,
                resource: Resource::Memory,
                scaled_above: from,
                saturated_from: from,
            };
            self.triggers.extend([
                trigger(Action::RejectConnections, REJECT_CONNECTIONS_FROM),
                trigger(Action::StopRequests, STOP_REQUESTS_FROM),
            ]);
        }
        self
    }

    /// The lowest pressure of `resource` from which anything is done.
    pub fn lowest(&self, resource: Resource) -> Option<u32> {
        let of = self.triggers.iter().filter(|it| it.resource == resource);
        of.map(|trigger| trigger.scaled_above).min()
    }
}

#[cfg(test)]
mod tests;
