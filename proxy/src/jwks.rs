//! Keeps the keys that tokens are judged by: fetches them, or reads their files, before they are too old.
//!
//! A task of the control thread for each source in use; requests never fetch. One that sees a token of an unknown key asks for
//! newer ones, which makes the next fetch earlier, but no more often than once in [`ASKED_EVERY`]: whoever sends tokens that
//! nobody signed has nobody asked for each.

mod fetch;

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::task::{spawn_blocking, spawn_local};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};
use weft_config::causes::with_causes;
use weft_config::jwt::{JWKS_BYTES_MAX, KeySet};
use weft_config::policy::authn::{KeySource, RemoteKeys};

use crate::policy::jwt::KeysError;
use crate::policy::{KeyRing, Keys};
use crate::snapshot::SnapshotStore;
use crate::stamp::Stamp;
use crate::telemetry::{KeysStats, Metrics};

/// How often keys may be fetched because somebody saw a token of a key that is not known.
pub const ASKED_EVERY: Duration = Duration::from_secs(5);

/// How often files are looked at.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(1);

/// Keeps all keys of `ring`. Never returns.
pub async fn keep(ring: Arc<KeyRing>, store: Arc<SnapshotStore>, metrics: Arc<Metrics>) {
    loop {
        for (source, keys) in ring.added().await {
            let stats = |place: &str| metrics.keys(&place.into());
            match source {
                KeySource::Remote(remote) => {
                    let stats = stats(&remote.cluster);
                    drop(spawn_local(keep_remote(keys, remote, store.clone(), stats)));
                }
                KeySource::File(path) => {
                    drop(spawn_local(keep_file(keys, path.clone(), stats(&path))))
                }
                KeySource::Inline(_) => {}
            }
        }
    }
}

async fn keep_remote(
    keys: Weak<Keys>,
    remote: RemoteKeys,
    store: Arc<SnapshotStore>,
    stats: Arc<KeysStats>,
) {
    let mut rng = fastrand::Rng::new();
    let mut failing = false;
    loop {
        let began = Instant::now();
        let got = fetch_patiently(&remote, &store, &mut rng).await;
        let Some(keys) = keys.upgrade() else {
            return;
        };
        count(&stats, &got);
        tell(&remote.cluster, &got, &mut failing);
        let pause = match &got {
            Ok(_) => before_the_end(remote.cache_duration, &mut rng),
            Err(_) => remote.failed_pause,
        };
        keys.tried(began, got.ok());
        let asked = keys.asked();
        drop(keys);
        let due = Instant::now() + pause;
        tokio::select! {
            () = sleep_until(due) => {}
            () = asked.notified() => sleep_until(due.min(began + ASKED_EVERY)).await,
        }
    }
}

/// When keys are fetched again that are good for `duration`: somewhat before, and not with all others who fetched them.
fn before_the_end(duration: Duration, rng: &mut fastrand::Rng) -> Duration {
    duration.mul_f64(0.8 + 0.1 * rng.f64())
}

async fn fetch_patiently(
    remote: &RemoteKeys,
    store: &SnapshotStore,
    rng: &mut fastrand::Rng,
) -> Result<Arc<KeySet>, KeysError> {
    let mut pause = remote.backoff_base;
    let mut left = remote.retries_max;
    loop {
        let why = match fetch::fetch(remote, store, rng).await {
            Ok(body) => return usable(&remote.cluster, &body),
            Err(why) => why,
        };
        if left == 0 {
            return Err(KeysError::Fetch {
                cluster: remote.cluster.to_string(),
                why: with_causes(&why),
            });
        }
        left -= 1;
        sleep_until(Instant::now() + pause.mul_f64(0.5 + 0.5 * rng.f64())).await;
        pause = pause.saturating_mul(2).min(remote.backoff_max);
    }
}

fn usable(place: &str, bytes: &[u8]) -> Result<Arc<KeySet>, KeysError> {
    let set = KeySet::read(bytes).map_err(|source| KeysError::Unusable {
        place: place.to_owned(),
        source,
    })?;
    Ok(Arc::new(set))
}

async fn keep_file(keys: Weak<Keys>, path: Arc<str>, stats: Arc<KeysStats>) {
    let mut taken = None;
    let mut failing = false;
    loop {
        let began = Instant::now();
        let look = path.clone();
        // Reading may wait, for a disk or for a file system of another machine.
        let Ok((stamp, got)) = spawn_blocking(move || read(&look, taken)).await else {
            return; // the runtime ends
        };
        let Some(keys) = keys.upgrade() else {
            return;
        };
        if let Some(got) = got {
            taken = stamp.filter(|_| got.is_ok());
            count(&stats, &got);
            tell(&path, &got, &mut failing);
            keys.tried(began, got.ok());
        }
        drop(keys);
        sleep_until(began + LOOKED_AT_EVERY).await;
    }
}

/// The keys of a file that is not as it was taken; `None`: it is.
fn read(
    path: &Arc<str>,
    taken: Option<Stamp>,
) -> (Option<Stamp>, Option<Result<Arc<KeySet>, KeysError>>) {
    use std::io::Read;
    let stamp = Stamp::of(&**path).ok();
    if taken.is_some() && stamp == taken {
        return (stamp, None);
    }
    let mut bytes = Vec::new();
    let limit = JWKS_BYTES_MAX as u64 + 1;
    let opened = std::fs::File::open(&**path);
    let done = opened.and_then(|file| file.take(limit).read_to_end(&mut bytes));
    let got = done.map_err(|source| KeysError::File {
        path: path.to_string(),
        source,
    });
    (stamp, Some(got.and_then(|_| usable(path, &bytes))))
}

fn count(stats: &KeysStats, got: &Result<Arc<KeySet>, KeysError>) {
    match got {
        Ok(_) => stats.fetched.inc(),
        Err(KeysError::Unusable { .. }) => stats.unusable.inc(),
        Err(KeysError::File { .. } | KeysError::Fetch { .. }) => stats.failed.inc(),
    }
}

/// Says it once when it begins to fail, and once when it works again.
fn tell(place: &str, got: &Result<Arc<KeySet>, KeysError>, failing: &mut bool) {
    match got {
        Ok(set) if *failing => info!(place, keys = set.len(), "keys for tokens are there again"),
        Err(error) if !*failing => {
            let why = with_causes(error);
            warn!(
                place,
                why, "keys for tokens cannot be had: those before stay"
            );
        }
        _ => {}
    }
    *failing = got.is_err();
}

#[cfg(test)]
mod tests;
