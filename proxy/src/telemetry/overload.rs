//! What is known of shedding load.

use std::num::NonZero;

use weft_config::bootstrap::overload::Action;

use super::counter::Gauge;

/// Bounds of the process, and how far its actions are in force.
#[derive(Debug, Default)]
pub struct OverloadStats {
    memory_max: Gauge,
    connections_max: Gauge,
    /// Beside [`Action::EVERY`].
    active: [Gauge; Action::EVERY.len()],
}

impl OverloadStats {
    pub(crate) fn set_memory_max(&self, bytes: Option<NonZero<u64>>) {
        let bytes = bytes.map_or(0, NonZero::get);
        self.memory_max
            .set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    pub(crate) fn set_connections_max(&self, connections: usize) {
        let connections = i64::try_from(connections).unwrap_or(i64::MAX);
        self.connections_max.set(connections);
    }

    /// Says how much of `action` is in force, in parts per million.
    pub(crate) fn set_active(&self, action: Action, share: u32) {
        for (_, gauge) in self.actions().filter(|(it, _)| *it == action) {
            gauge.set(i64::from(share));
        }
    }

    pub(super) fn memory_max(&self) -> i64 {
        self.memory_max.get()
    }

    pub(super) fn connections_max(&self) -> i64 {
        self.connections_max.get()
    }

    /// How much of each action is in force, in parts per million.
    pub(super) fn actions(&self) -> impl Iterator<Item = (Action, &Gauge)> {
        Action::EVERY.into_iter().zip(&self.active)
    }
}
