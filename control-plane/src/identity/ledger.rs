//! Which certificates were issued: the newest, in memory and in the store.
//!
//! The store is written to once in a while with all that came meanwhile: no signature waits for a disk. What a crash takes
//! is in the audit log.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use super::rfc_3339;
use crate::store::{Store, StoreError};

/// Certificates that are remembered.
pub const ISSUED_MAX: usize = 10_000;

/// How long what was issued waits at most before it is written.
const WRITE_EVERY: Duration = Duration::from_secs(1);

/// Its name in the store.
const LOG: &str = "issued-certificates";

/// A certificate that was issued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedRecord {
    /// Its serial number in hexadecimal.
    pub serial: String,
    /// Whom it names.
    pub identity: String,
    /// When it was issued.
    #[serde(with = "rfc_3339")]
    pub issued: Timestamp,
    /// Until when it is valid.
    #[serde(with = "rfc_3339")]
    pub expires: Timestamp,
    /// What was proved with.
    pub proof: String,
    /// Where it was asked from; empty where that is not known.
    pub peer: String,
}

/// All that are remembered.
#[derive(Debug)]
pub(crate) struct Ledger {
    store: Arc<Store>,
    state: Mutex<State>,
    grown: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Oldest first.
    records: VecDeque<IssuedRecord>,
    /// How many there ever were.
    count: u64,
    /// How many of them are written.
    written: u64,
}

impl Ledger {
    /// What the store has.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn load(store: Arc<Store>) -> Result<Self, StoreError> {
        let mut state = State::default();
        for (number, bytes) in store.log(LOG)? {
            let record = serde_json::from_slice(&bytes).map_err(|error| StoreError::Damaged {
                what: format!("{LOG} {number}"),
                why: error.to_string(),
            })?;
            state.records.push_back(record);
            state.count = number + 1;
        }
        state.written = state.count;
        Ok(Self {
            store,
            state: Mutex::new(state),
            grown: Notify::new(),
        })
    }

    /// Remembers one more.
    pub(crate) fn add(&self, record: IssuedRecord) {
        let mut state = self.lock();
        state.records.push_back(record);
        state.count += 1;
        if state.records.len() > ISSUED_MAX {
            state.records.pop_front();
        }
        drop(state);
        self.grown.notify_one();
    }

    /// The newest `limit`, newest first.
    pub(crate) fn newest(&self, limit: usize) -> Vec<IssuedRecord> {
        let state = self.lock();
        state.records.iter().rev().take(limit).cloned().collect()
    }

    /// Writes what came, again and again.
    pub(crate) async fn follow(self: Arc<Self>) {
        loop {
            self.grown.notified().await;
            sleep_until(Instant::now() + WRITE_EVERY).await;
            let ledger = self.clone();
            let written = spawn_blocking(move || ledger.write()).await;
            if let Ok(Err(error)) = written {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "issued certificates are not written to the store");
                self.grown.notify_one(); // again, in a while
            }
        }
    }

    /// Writes what is not written yet.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub(crate) fn write(&self) -> Result<(), StoreError> {
        let (first, entries) = self.unwritten();
        if entries.is_empty() {
            return Ok(());
        }
        let count = first + entries.len() as u64;
        self.store.append_log(LOG, first, &entries, ISSUED_MAX)?;
        let mut state = self.lock();
        state.written = state.written.max(count);
        Ok(())
    }

    /// The number of the first entry that is to be written, and all from there on. Those that no longer are remembered are
    /// passed over.
    fn unwritten(&self) -> (u64, Vec<Vec<u8>>) {
        let state = self.lock();
        let oldest = state.count - state.records.len() as u64;
        let first = state.written.max(oldest);
        let skipped = usize::try_from(first - oldest).unwrap_or(usize::MAX);
        let entries = state.records.iter().skip(skipped);
        let entries = entries.map(|it| serde_json::to_vec(it).unwrap_or_default()); // texts alone
        (first, entries.collect())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
