//! Files that are followed: when what they hold is to be read again.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How often they are looked at. What has changed is taken once two looks have seen the same, for files are not
/// written at once, nor all of several.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How often what cannot be used is tried again, and complained of.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// Several files that belong together.
pub(super) struct Followed {
    paths: Vec<PathBuf>,
    /// As they were when they were read last.
    taken: Stamp,
    /// As they were at the last look.
    seen: Stamp,
    /// When what could not be used is tried again.
    again: Option<Instant>,
}

impl Followed {
    /// They count as read: the caller reads them after this, so that what changes meanwhile is read again.
    pub(super) fn new(paths: Vec<PathBuf>) -> Self {
        let stamp = Stamp::of(&paths);
        Self {
            paths,
            taken: stamp.clone(),
            seen: stamp,
            again: None,
        }
    }

    /// Waits until they are to be read.
    pub(super) async fn due(&mut self) {
        loop {
            sleep_until(Instant::now() + LOOK_EVERY).await;
            let now = Stamp::of(&self.paths);
            let settled = now == self.seen;
            self.seen = now;
            let changed = self.seen != self.taken;
            let again = self.again.is_some_and(|at| Instant::now() >= at);
            if settled && (changed || again) {
                return;
            }
        }
    }

    /// Takes note that they were read since. Whether that counts: where they have changed meanwhile they are read again.
    pub(super) fn were_read(&mut self) -> bool {
        if Stamp::of(&self.paths) != self.seen {
            return false;
        }
        self.taken = self.seen.clone();
        self.again = None;
        true
    }

    /// What was read cannot be used: it is tried again, later.
    pub(super) fn cannot_be_used(&mut self) {
        self.again = Some(Instant::now() + COMPLAIN_EVERY);
    }
}

/// Device, inode, size and times of several files.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp(Vec<Option<[i64; 7]>>);

impl Stamp {
    fn of(paths: &[PathBuf]) -> Self {
        Self(paths.iter().map(|path| of_file(path)).collect())
    }
}

/// A change of owner or mode changes the time of the inode; a link is followed.
fn of_file(path: &Path) -> Option<[i64; 7]> {
    let it = fs::metadata(path).ok()?;
    Some([
        it.dev().cast_signed(),
        it.ino().cast_signed(),
        it.len().cast_signed(),
        it.mtime(),
        it.mtime_nsec(),
        it.ctime(),
        it.ctime_nsec(),
    ])
}
