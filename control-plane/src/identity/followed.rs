//! What tells whether files have changed, without reading them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often followed files are looked at. What has changed is taken once two looks have seen the same, for files are not
/// written at once, nor all of several.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How often what cannot be used is tried again, and complained of.
pub(super) const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// Inode, size and times of several files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp(Vec<Option<[i64; 7]>>);

impl Stamp {
    pub(super) fn of(paths: &[PathBuf]) -> Self {
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
