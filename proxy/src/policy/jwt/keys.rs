//! The keys of one source: those in force, and who may ask for newer ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};
use weft_config::jwt::{KeySet, KeySetError};
use weft_config::policy::authn::KeySource;

/// The longest that a request waits for keys.
pub const KEYS_WAIT_MAX: Duration = Duration::from_secs(10);

/// Keys, shared by all workers.
#[derive(Debug)]
pub struct Keys {
    state: ArcSwap<State>,
    /// Attempts that ended, for those who wait.
    attempts: watch::Sender<u64>,
    asked: Arc<Notify>,
    remote: bool,
}

/// What is in force.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) set: Option<Arc<InForce>>,
    /// When the last attempt that ended had begun.
    pub(super) tried_at: Option<Instant>,
    /// How many have ended.
    pub(super) attempts: u64,
}

/// A set with a number that no other has had.
#[derive(Debug)]
pub(super) struct InForce {
    pub(super) number: u64,
    pub(super) set: Arc<KeySet>,
}

/// Why there are no newer keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file cannot be read.
    #[error("reading {path}")]
    File {
        /// The file.
        path: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// They could not be fetched.
    #[error("fetching keys from cluster {cluster}: {why}")]
    Fetch {
        /// The cluster.
        cluster: String,
        /// Why.
        why: String,
    },
    /// What came holds no keys.
    #[error("what came from {place} {source}")]
    Unusable {
        /// Where it came from.
        place: String,
        /// What is wrong with it.
        source: KeySetError,
    },
}

impl Keys {
    pub(super) fn new(source: &KeySource) -> Self {
        let state = State {
            set: match source {
                KeySource::Inline(set) => Some(in_force(set.clone())),
                KeySource::File(_) | KeySource::Remote(_) => None,
            },
            tried_at: None,
            attempts: 0,
        };
        Self {
            state: ArcSwap::from_pointee(state),
            attempts: watch::Sender::new(0),
            asked: Arc::new(Notify::new()),
            remote: matches!(source, KeySource::Remote(_)),
        }
    }

    pub(super) fn state(&self) -> arc_swap::Guard<Arc<State>> {
        self.state.load()
    }

    /// Whether they are fetched, so that newer ones can be asked for.
    pub fn is_remote(&self) -> bool {
        self.remote
    }

    /// How many keys are in force.
    pub fn len(&self) -> usize {
        self.state.load().set.as_ref().map_or(0, |it| it.set.len())
    }

    /// Whether there are none yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Somebody saw a token that newer keys may be for.
    pub(super) fn ask(&self) {
        self.asked.notify_one();
    }

    /// Told when somebody wants newer keys, or nobody wants any: these are gone then.
    pub fn asked(&self) -> Arc<Notify> {
        self.asked.clone()
    }

    /// An attempt that began at `began` has ended. The keys before stay where it brought none.
    pub fn tried(&self, began: Instant, brought: Option<Arc<KeySet>>) {
        let before = self.state.load();
        let same = before.set.as_ref().filter(|it| match &brought {
            Some(set) => *it.set == **set,
            None => true,
        });
        // Equal keys keep their number: what was judged by them stays judged.
        let set = same.cloned().or_else(|| brought.map(in_force));
        let attempts = before.attempts + 1;
        self.state.store(Arc::new(State {
            set,
            tried_at: Some(began),
            attempts,
        }));
        self.attempts.send_replace(attempts);
    }

    /// Returns when an attempt has ended that had not when `seen` had, or at `until`.
    pub async fn newer_than(&self, seen: u64, until: Instant) {
        let mut attempts = self.attempts.subscribe();
        let newer = attempts.wait_for(|count| *count != seen);
        // What comes of it is looked up by whoever waits.
        drop(timeout_at(until, newer).await);
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // Whoever keeps them finds them gone.
        self.asked.notify_one();
    }
}

fn in_force(set: Arc<KeySet>) -> Arc<InForce> {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    Arc::new(InForce { number, set })
}
