//! Access log files: lines gather in memory and are written by the control thread.
//!
//! A worker never waits for a disk. What a file does not take in time is dropped and counted.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::limits::{Limit, LimitStats};

/// Bytes that may wait for one file.
const WAITING_BYTES_MAX: usize = 1024 * 1024;
/// So many waiting bytes are written without waiting for the next turn.
const WAITING_BYTES_WRITTEN: usize = 64 * 1024;
/// Lines wait for this long at most.
const WRITE_INTERVAL: Duration = Duration::from_millis(500);

/// Every file that an access log names.
#[derive(Debug)]
pub struct LogFiles {
    files: Mutex<BTreeMap<Arc<str>, Arc<LogFile>>>,
    enough: Arc<Notify>,
    limits: Arc<LimitStats>,
}

impl LogFiles {
    pub(super) fn new(limits: Arc<LimitStats>) -> Self {
        Self {
            files: Mutex::default(),
            enough: Arc::default(),
            limits,
        }
    }

    /// The file at `path`, opened when something is first written.
    pub(super) fn file(&self, path: &Arc<str>) -> Arc<LogFile> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let file = files.entry(path.clone()).or_insert_with(|| {
            Arc::new(LogFile {
                path: path.clone(),
                waiting: Mutex::default(),
                open: Mutex::default(),
                enough: self.enough.clone(),
                limits: self.limits.clone(),
            })
        });
        file.clone()
    }

    /// Writes what waits, and forgets files that no access log names any more. Blocks on disks.
    pub fn flush(&self) {
        let all: Vec<_> = {
            let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
            let all = files.values().cloned().collect();
            files.retain(|_, file| Arc::strong_count(file) > 2);
            all
        };
        for file in all {
            file.flush();
        }
    }

    /// Writes what waits and opens each file anew, as who has moved them away asks. Blocks on disks.
    pub fn reopen(&self) {
        self.flush();
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let all: Vec<_> = files.values().cloned().collect();
        drop(files);
        for file in all {
            file.reopen();
        }
    }

    /// Writes for ever, on a thread that may block; the owner aborts it and calls [`Self::flush`] at the end.
    pub async fn run(self: Arc<Self>) {
        let mut turn = tokio::time::interval(WRITE_INTERVAL);
        turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = turn.tick() => {}
                () = self.enough.notified() => {}
            }
            let files = self.clone();
            if tokio::task::spawn_blocking(move || files.flush())
                .await
                .is_err()
            {
                tracing::error!("writing access logs panicked");
            }
        }
    }
}

/// One file.
#[derive(Debug)]
pub(super) struct LogFile {
    path: Arc<str>,
    waiting: Mutex<Vec<u8>>,
    open: Mutex<Option<File>>,
    enough: Arc<Notify>,
    limits: Arc<LimitStats>,
}

impl LogFile {
    /// Lines that wait are joined by this one, or it is dropped.
    pub(super) fn write(&self, line: &[u8]) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() + line.len() > WAITING_BYTES_MAX {
            drop(waiting);
            self.limits.hit(Limit::AccessLogBuffer);
            return;
        }
        let before = waiting.len();
        waiting.extend_from_slice(line);
        let now = waiting.len();
        drop(waiting);
        if before < WAITING_BYTES_WRITTEN && now >= WAITING_BYTES_WRITTEN {
            self.enough.notify_one();
        }
    }

    fn flush(&self) {
        let lines =
            std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        if lines.is_empty() {
            return;
        }
        if let Err(error) = self.put(&lines) {
            self.limits.hit(Limit::AccessLogBuffer);
            tracing::warn!(path = %self.path, %error, bytes = lines.len(), "access log lines are lost");
        }
    }

    fn put(&self, lines: &[u8]) -> std::io::Result<()> {
        match &*self.path {
            "/dev/stdout" => return std::io::stdout().lock().write_all(lines),
            "/dev/stderr" => return std::io::stderr().lock().write_all(lines),
            _ => {}
        }
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.as_ref().is_some_and(|file| self.was_rotated(file)) {
            *open = None;
        }
        let file = match &mut *open {
            Some(file) => file,
            none => none.insert(self.open()?),
        };
        file.write_all(lines)
    }

    fn reopen(&self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.take().is_none() {
            return;
        }
        match self.open() {
            Ok(file) => *open = Some(file),
            Err(error) => tracing::warn!(path = %self.path, %error, "an access log is not there"),
        }
    }

    fn open(&self) -> std::io::Result<File> {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&*self.path)
    }

    /// Whether another file, or none, now stands where ours was opened.
    fn was_rotated(&self, file: &File) -> bool {
        match (file.metadata(), std::fs::metadata(&*self.path)) {
            (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) != (there.dev(), there.ino()),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotated_file_is_opened_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let files = LogFiles::new(Arc::default());
        let file = files.file(&path.to_str().unwrap().into());
        file.write(b"one\n");
        files.flush();
        std::fs::rename(&path, folder.path().join("access.log.1")).unwrap();
        file.write(b"two\n");
        files.flush();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");
        assert_eq!(
            std::fs::read_to_string(folder.path().join("access.log.1")).unwrap(),
            "one\n"
        );
    }

    #[test]
    fn a_file_that_was_moved_is_there_again_when_that_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let files = LogFiles::new(Arc::default());
        let file = files.file(&path.to_str().unwrap().into());
        files.reopen();
        assert!(!path.exists(), "nothing was ever written");
        file.write(b"one\n");
        files.flush();
        std::fs::rename(&path, folder.path().join("access.log.1")).unwrap();
        files.reopen();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let limits: Arc<LimitStats> = Arc::default();
        let files = LogFiles::new(limits.clone());
        let file = files.file(&"/nowhere/at/all".into());
        let line = vec![b'x'; WAITING_BYTES_MAX];
        file.write(&line);
        file.write(b"more\n");
        assert_eq!(limits.get(Limit::AccessLogBuffer), 1);
    }
}
