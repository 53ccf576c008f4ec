//! The task that looks at memory and connections.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};
use weft_config::bootstrap::overload::{self as config, ALL, Resource};
use weft_xds_proto::memory::give_back_unused;

use super::Overload;
use super::judge::{Judge, Pressure, Standing, pressure};
use super::resident::Resident;
use crate::listener::Admission;

/// From which part of the memory on it is looked at how many times as often: the nearer the bound, the less may come in
/// between. A look takes some microseconds, but wakes a thread that would rest.
const LOOKS: [(u32, u32); 2] = [(ALL / 10 * 8, 25), (ALL / 2, 5)];

/// Time between two looks in any case.
const INTERVAL_MIN: Duration = Duration::from_millis(10);

/// Looks at memory and connections, and has [`Overload`] say what follows.
pub(crate) struct Watcher {
    overload: Arc<Overload>,
    config: config::Overload,
    admission: Arc<Admission>,
    resident: Option<Resident>,
    judge: Judge,
    /// Workers have been asked to give back what they keep for reuse; by the next look they have.
    relief_under_way: bool,
}

impl Watcher {
    /// A watcher where there is something to watch for.
    pub(crate) fn new(
        overload: Arc<Overload>,
        config: config::Overload,
        admission: Arc<Admission>,
    ) -> Option<Self> {
        let stats = &overload.stats;
        stats.set_connections_max(admission.max());
        stats.set_memory_max(config.memory_bytes_max);
        let resident = config.memory_bytes_max.and_then(|bytes_max| {
            let opened = Resident::open();
            match &opened {
                Ok(_) => info!(bytes_max, "memory has a budget"),
                Err(error) => warn!(%error, "memory cannot be looked at: it has no budget"),
            }
            opened.ok()
        });
        let mut triggers = config.triggers.clone();
        // Of what cannot be seen, nothing can be said to run short.
        triggers.retain(|it| it.resource != Resource::Memory || resident.is_some());
        if triggers.is_empty() {
            return None;
        }
        Some(Self {
            judge: Judge::new(triggers),
            overload,
            config,
            admission,
            resident,
            relief_under_way: false,
        })
    }

    /// Looks again and again. Never returns.
    pub(crate) async fn run(mut self) {
        loop {
            let seen = self.look();
            sleep_until(Instant::now() + self.pause(seen)).await;
        }
    }

    fn look(&mut self) -> Seen {
        let seen = self.see();
        let now = Instant::now();
        for (before, standing) in self.judge.judge(seen.pressure, now) {
            self.put_in_force(before, standing, seen);
        }
        if std::mem::take(&mut self.relief_under_way) {
            give_back_unused();
        } else if self.judge.wants_relief(seen.pressure, now) {
            self.overload.ask_for_relief();
            self.relief_under_way = true;
        }
        seen
    }

    fn see(&self) -> Seen {
        // One that cannot be read for once is no reason to change anything: 0 asks for nothing for a while only.
        let memory_bytes = self
            .resident
            .as_ref()
            .map_or(0, |it| it.bytes().unwrap_or(0));
        let connections = self.admission.open() as u64;
        let bytes_max = self.config.memory_bytes_max;
        Seen {
            memory_bytes,
            connections,
            pressure: Pressure {
                memory: bytes_max.map_or(0, |max| pressure(memory_bytes, max.get())),
                connections: pressure(connections, self.admission.max() as u64),
            },
        }
    }

    fn pause(&self, seen: Seen) -> Duration {
        let reached = |(from, _): &&(u32, u32)| seen.pressure.memory >= *from;
        let looks = LOOKS.iter().find(reached).map_or(1, |(_, looks)| *looks);
        (self.config.refresh_interval / looks).max(INTERVAL_MIN)
    }

    fn put_in_force(&self, before: u32, standing: Standing, seen: Seen) {
        let Standing {
            action,
            share,
            short_of,
            ..
        } = standing;
        self.overload.set(action, share, short_of);
        let action = action.as_str();
        let Seen {
            memory_bytes,
            connections,
            ..
        } = seen;
        let memory_bytes_max = self.config.memory_bytes_max.map_or(0, |max| max.get());
        let connections_max = self.admission.max();
        if before == 0 {
            let short_of = short_of.as_str();
            warn!(
                action,
                short_of,
                memory_bytes,
                memory_bytes_max,
                connections,
                connections_max,
                "load is shed"
            );
        } else if share == 0 {
            info!(
                action,
                memory_bytes,
                memory_bytes_max,
                connections,
                connections_max,
                "load is no longer shed"
            );
        }
    }
}

/// What a look has found.
#[derive(Clone, Copy)]
struct Seen {
    memory_bytes: u64,
    connections: u64,
    pressure: Pressure,
}
