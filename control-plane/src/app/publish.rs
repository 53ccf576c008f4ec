//! From what changed to what is served: changes are gathered, translated, and published as one snapshot.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use weft_config::gateway_api::Resources;

use super::{Config, remembered};
use crate::identity::TrustBundle;
use crate::snapshot::{Resource, Snapshot, SnapshotStore, root_ca};
use crate::source::dns::Answers;
use crate::source::workloads::{Registry, RegistryEvent};
use crate::store::{State, Store};
use crate::translate::{Discovered, Index, Translator};

/// The task that publishes.
pub(super) struct Publisher {
    store: Arc<Store>,
    registry: Arc<Registry>,
    snapshots: Arc<SnapshotStore>,
    translator: Arc<Mutex<Translator>>,
    domain: Arc<str>,
    bundle: watch::Receiver<TrustBundle>,
    view: watch::Sender<View>,
    quiet: Duration,
    longest: Duration,
}

/// What is in force, as people ask for it.
#[derive(Clone, Default)]
pub(super) struct View {
    /// The state that was translated.
    pub(super) state: State,
    /// The snapshot that it became.
    pub(super) serial: u64,
    /// The objects, indexed.
    pub(super) index: Arc<Index>,
    /// What was found out besides.
    pub(super) discovered: Arc<Discovered>,
    /// Resources that are not served, because proxies would refuse them.
    pub(super) refused: Arc<[String]>,
    /// What translating has cost since the start.
    pub(super) translations: Translations,
}

/// What translating has cost.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Translations {
    /// How often.
    pub(super) count: u64,
    /// How long all of it took.
    pub(super) time: Duration,
    /// Services made anew.
    pub(super) services: u64,
}

impl Publisher {
    pub(super) fn new(
        config: &Config,
        store: Arc<Store>,
        registry: Arc<Registry>,
        snapshots: Arc<SnapshotStore>,
        translator: Arc<Mutex<Translator>>,
        bundle: watch::Receiver<TrustBundle>,
    ) -> Self {
        let domain: Arc<str> = config.domain.as_str().into();
        Self {
            store,
            registry,
            snapshots,
            translator,
            domain,
            bundle,
            view: watch::Sender::new(View::default()),
            quiet: config.push_quiet,
            longest: config.push_max,
        }
    }

    /// Follows what is in force.
    pub(super) fn view(&self) -> watch::Receiver<View> {
        self.view.subscribe()
    }

    /// Publishes until the future is dropped.
    pub(super) async fn run(self, mut answers: watch::Receiver<Answers>) {
        let mut states = self.store.watch();
        let mut workloads = self.registry.changes();
        let mut bundle = self.bundle.clone();
        loop {
            let state = states.borrow_and_update().clone();
            let registered = *workloads.borrow_and_update();
            let answers_now = answers.borrow_and_update().clone();
            let root_ca = root_ca(bundle.borrow_and_update().pem());
            let next_sweep = self.registry.sweep(Instant::now());
            let before = self.view.borrow().discovered.clone();
            self.publish(state, registered, &answers_now, root_ca);
            self.remember(&before).await;

            let mut changes = Changes {
                states: &mut states,
                workloads: &mut workloads,
                answers: &mut answers,
                bundle: &mut bundle,
            };
            tokio::select! {
                gone = changes.next() => if gone.is_err() { return },
                () = at(next_sweep) => continue,
            }
            changes.gather(self.quiet, self.longest).await;
        }
    }

    /// Stores what was found out where it has changed.
    async fn remember(&self, before: &Discovered) {
        let discovered = self.view.borrow().discovered.clone();
        if *discovered == *before {
            return;
        }
        let store = self.store.clone();
        let saved = spawn_blocking(move || remembered::save(&store, &discovered)).await;
        if let Ok(Err(error)) = saved {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "registered workloads are not remembered");
        }
    }

    fn publish(
        &self,
        state: State,
        registered: RegistryEvent,
        answers: &Answers,
        root_ca: Resource,
    ) {
        let discovered = Discovered {
            workloads: self.registry.workloads(),
            dns: Arc::clone(answers),
        };
        let started = Instant::now();
        let (translated, index) = {
            let mut translator = self
                .translator
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if self.view.borrow().state.revision != state.revision {
                translator.set_resources(Resources::clone(&state.resources));
            }
            let translated = translator.translate(&discovered);
            (translated, translator.index().clone())
        };
        let refused: Arc<[String]> = translated.refused.iter().map(ToString::to_string).collect();
        for why in &*refused {
            tracing::error!(why, "not served: the last good form stays");
        }
        let mut translations = self.view.borrow().translations;
        translations.count += 1;
        translations.time += started.elapsed();
        translations.services += translated.rebuilt as u64;
        let serial = self.snapshots.current().serial + 1;
        let (revision, domain) = (state.revision, self.domain.clone());
        let (units, inbound) = (translated.units, translated.inbound);
        let mut snapshot = Snapshot::new(revision, serial, domain, units, inbound);
        snapshot.registered = registered;
        snapshot.root_ca = Some(root_ca.into());
        self.snapshots.publish(snapshot);
        self.view.send_replace(View {
            state,
            serial,
            index,
            discovered: Arc::new(discovered),
            refused,
            translations,
        });
    }
}

/// Everything that can change.
struct Changes<'a> {
    states: &'a mut watch::Receiver<State>,
    workloads: &'a mut watch::Receiver<u64>,
    answers: &'a mut watch::Receiver<Answers>,
    bundle: &'a mut watch::Receiver<TrustBundle>,
}

impl Changes<'_> {
    /// Returns at the next change; fails once a source is gone.
    async fn next(&mut self) -> Result<(), watch::error::RecvError> {
        tokio::select! {
            changed = self.states.changed() => changed,
            changed = self.workloads.changed() => changed,
            changed = self.bundle.changed() => changed,
            // A resolver that cannot be used ends; everything else goes on.
            Ok(()) = self.answers.changed() => Ok(()),
        }
    }

    /// Returns when nothing has changed for `quiet`, at the latest after `longest`.
    async fn gather(&mut self, quiet: Duration, longest: Duration) {
        let end = Instant::now() + longest;
        while let Ok(Ok(())) =
            tokio::time::timeout_at(end.min(Instant::now() + quiet), self.next()).await
        {
            if Instant::now() >= end {
                return;
            }
        }
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
