//! Typed desired state in immutable revisions.
//!
//! The objects in force and the record of every revision lie in one embedded database. A change is one transaction: it
//! is on disk before anybody learns of it. The record of a revision holds what each object was and what it became, so
//! that any state that is still in the history can be had again; a rollback is a new revision.

mod database;
mod record;
mod revision;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use weft_config::gateway_api::{Object, ObjectKey, Resources};

use self::database::Database;
pub use self::database::StoreError;
pub use self::revision::{ObjectChange, Revision};

/// Revisions that are kept; older ones are forgotten, their objects stay.
pub const REVISIONS_MAX: usize = 1000;

/// Objects of one desired state.
pub const OBJECTS_MAX: usize = 100_000;

/// The desired state in force.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Its revision; 0 before the first change.
    pub revision: u64,
    /// Its objects.
    pub resources: Arc<Resources>,
}

/// A change: all of it becomes one revision, or none of it.
#[derive(Clone, Debug, Default)]
pub struct ChangeSet {
    /// Objects to create or replace.
    pub put: Vec<Object>,
    /// Objects to delete.
    pub delete: Vec<ObjectKey>,
    /// Who asks, as he says himself.
    pub author: String,
    /// Who asks, as the API knows him: the name of his token. Empty: it does not come over the API.
    pub principal: String,
    /// Why.
    pub message: String,
}

/// Says what is wrong with a state that is about to be stored; nothing where it can be served.
pub type Judge = Box<dyn Fn(&Resources) -> Vec<String> + Send + Sync>;

/// The store.
pub struct Store {
    database: Mutex<Database>,
    state: watch::Sender<State>,
    judge: Option<Judge>,
    writes: Mutex<Writes>,
}

/// What writing revisions has cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Writes {
    /// Revisions written.
    pub done: u64,
    /// Those that could not be.
    pub failed: u64,
    /// How long all of it took.
    pub time: Duration,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Store {
    /// A store in memory, for tests and demonstrations.
    ///
    /// # Errors
    /// If the database cannot be made.
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::over(Database::in_memory()?)
    }

    /// The store in the file at `path`, made where there is none, together with its folder.
    ///
    /// # Errors
    /// If it cannot be read or made, is damaged, is in use by another process, or holds an object that this version
    /// does not understand.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::over(Database::open(path)?)
    }

    fn over(database: Database) -> Result<Self, StoreError> {
        let (state, _) = watch::channel(database.load()?);
        Ok(Self {
            database: Mutex::new(database),
            state,
            judge: None,
            writes: Mutex::default(),
        })
    }

    /// From now on takes only changes in which `judge` finds no fault, whoever makes them.
    pub fn judged_by(self, judge: Judge) -> Self {
        Self {
            judge: Some(judge),
            ..self
        }
    }

    /// The state in force.
    pub fn current(&self) -> State {
        self.state.borrow().clone()
    }

    /// Follows the state in force.
    pub fn watch(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// What a change would do to each object concerned, in the order of their keys; unchanged ones are listed too.
    ///
    /// # Errors
    /// If an object to delete is not there, one is named twice, there would be too many, or what comes of it could not be
    /// served.
    pub fn preview(
        &self,
        change: &ChangeSet,
    ) -> Result<(Resources, Vec<ObjectChange>), StoreError> {
        self.plan(&self.current().resources, change)
    }

    fn plan(
        &self,
        before: &Resources,
        change: &ChangeSet,
    ) -> Result<(Resources, Vec<ObjectChange>), StoreError> {
        let planned = revision::plan(before, change, jiff::Timestamp::now())?;
        let faults = self
            .judge
            .as_ref()
            .map_or_else(Vec::new, |judge| judge(&planned.0));
        match faults.is_empty() {
            true => Ok(planned),
            false => Err(StoreError::Unservable { faults }),
        }
    }

    /// Stores a change and puts it in force. One that changes nothing makes no revision.
    ///
    /// # Errors
    /// As [`Self::preview`], or if it cannot be written.
    pub fn apply(&self, change: &ChangeSet) -> Result<Revision, StoreError> {
        let mut database = self.database()?;
        let before = self.current();
        let (resources, changes) = self.plan(&before.resources, change)?;
        let unchanged = changes.iter().all(|change| change.before == change.after);
        let record = Revision {
            number: if unchanged {
                before.revision
            } else {
                before.revision + 1
            },
            time: jiff::Timestamp::now(),
            author: change.author.clone(),
            principal: change.principal.clone(),
            message: change.message.clone(),
            changes,
        };
        if !unchanged {
            let started = Instant::now();
            let written = database.write(&record);
            self.count_write(started.elapsed(), written.is_ok());
            written?;
            self.state.send_replace(State {
                revision: record.number,
                resources: Arc::new(resources),
            });
        }
        Ok(record)
    }

    /// The database, opened again where writing had failed; what it then turns out to hold is what is in force.
    fn database(&self) -> Result<MutexGuard<'_, Database>, StoreError> {
        let mut database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        if database.reopen()? {
            let found = database.load()?;
            self.state.send_if_modified(|state| {
                let differs = state.revision != found.revision;
                if differs {
                    *state = found;
                }
                differs
            });
            tracing::info!("the store is open again");
        }
        Ok(database)
    }

    /// What writing revisions has cost since the start.
    pub fn writes(&self) -> Writes {
        *self.writes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_write(&self, took: Duration, done: bool) {
        let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        writes.time += took;
        match done {
            true => writes.done += 1,
            false => writes.failed += 1,
        }
    }

    /// What is remembered under `name` beside the objects; it is in no revision.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn note(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.database()?.note(name)
    }

    /// Remembers `bytes` under `name`.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub fn set_note(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.database()?.set_note(name, bytes)
    }

    /// All entries of the log `name` with their numbers, oldest first.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn log(&self, name: &str) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        self.database()?.log(name)
    }

    /// Adds `entries` to the log `name`, numbered from `first` on, and forgets all of it but the newest `keep`.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub fn append_log(
        &self,
        name: &str,
        first: u64,
        entries: &[Vec<u8>],
        keep: usize,
    ) -> Result<(), StoreError> {
        self.database()?.append_log(name, first, entries, keep)
    }

    /// The newest `limit` revisions, newest first.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn history(&self, limit: usize) -> Result<Vec<Revision>, StoreError> {
        self.database()?.history(limit)
    }

    /// The objects as they were at revision `number`.
    ///
    /// # Errors
    /// If it is not in the history, or the database cannot be read.
    pub fn at(&self, number: u64) -> Result<Resources, StoreError> {
        let database = self.database()?;
        let current = self.current();
        let history = database.history(REVISIONS_MAX)?;
        let oldest = history
            .last()
            .map_or(current.revision, |oldest| oldest.number.saturating_sub(1));
        if number > current.revision || number < oldest {
            return Err(StoreError::UnknownRevision {
                number,
                oldest,
                newest: current.revision,
            });
        }
        let mut resources = Resources::clone(&current.resources);
        for revision in history
            .iter()
            .take_while(|revision| revision.number > number)
        {
            revision.undo(&mut resources);
        }
        Ok(resources)
    }

    /// The change that puts the objects as they were at revision `number` in force again.
    ///
    /// # Errors
    /// As [`Self::at`].
    pub fn rollback_change(&self, number: u64, author: &str) -> Result<ChangeSet, StoreError> {
        let target = self.at(number)?;
        let current = self.current().resources;
        let put = target
            .iter()
            .filter(|object| current.get(&object.key()) != Some(*object));
        let delete = current
            .iter()
            .map(|object| object.key())
            .filter(|key| !target.contains(key));
        Ok(ChangeSet {
            put: put.map(|object| Object::clone(object)).collect(),
            delete: delete.collect(),
            author: author.to_owned(),
            principal: String::new(),
            message: format!("rollback to revision {number}"),
        })
    }
}
