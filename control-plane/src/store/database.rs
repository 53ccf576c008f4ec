//! The embedded database: one table of objects in force, one of revisions.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{ReadableDatabase, ReadableTable, TableDefinition};
use weft_config::gateway_api::{Object, ObjectKey, Resources};

use super::record::decode;
use super::revision::Revision;
use super::{OBJECTS_MAX, REVISIONS_MAX, State};

/// Objects in force: `KIND/NAMESPACE/NAME` to canonical JSON.
const OBJECTS: TableDefinition<&str, &[u8]> = TableDefinition::new("objects");

/// Revisions by number, as JSON.
const REVISIONS: TableDefinition<u64, &[u8]> = TableDefinition::new("revisions");

/// What is remembered beside the objects, by name.
const NOTES: TableDefinition<&str, &[u8]> = TableDefinition::new("notes");

/// What is only ever added to, by name and number.
const LOGS: TableDefinition<(&str, u64), &[u8]> = TableDefinition::new("logs");

/// Facts about the file itself.
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");

/// The form of the file; one that is newer is refused.
const FORMAT: u64 = 1;

/// Why the store refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder of the file cannot be made.
    #[error("making the folder {}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// Another process has the file.
    #[error("the store {} is in use by another process: stop that, or give another by --store", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be opened: not permitted, cut short or not a store.
    #[error("opening the store {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the database says.
        #[source]
        source: redb::Error,
    },
    /// The database failed while it was read or written.
    #[error("reading or writing the store")]
    Database(#[source] Box<redb::Error>),
    /// The file was written by a newer version.
    #[error("the store has format {found}, this version reads format {FORMAT}")]
    Format {
        /// The format found.
        found: u64,
    },
    /// What is stored cannot be understood.
    #[error("the store holds {what} that cannot be read: {why}")]
    Damaged {
        /// Which entry.
        what: String,
        /// Why.
        why: String,
    },
    /// An object to delete is not there.
    #[error("there is no {key}")]
    UnknownObject {
        /// Which.
        key: ObjectKey,
    },
    /// One change names an object twice.
    #[error("{key} is named twice in one change")]
    NamedTwice {
        /// Which.
        key: ObjectKey,
    },
    /// More objects than a store takes.
    #[error("{count} objects are more than the {OBJECTS_MAX} that are allowed")]
    TooManyObjects {
        /// How many there would be.
        count: usize,
    },
    /// What would come of a change is nothing that proxies take.
    #[error("proxies would refuse what comes of it, nothing was changed: {}", faults.join("; "))]
    Unservable {
        /// Each resource with the objects that bring it about, and what is wrong with it.
        faults: Vec<String>,
    },
    /// A revision that is not in the history.
    #[error("revision {number} is not known; the history reaches from {oldest} to {newest}")]
    UnknownRevision {
        /// The revision asked for.
        number: u64,
        /// The oldest state that can be had.
        oldest: u64,
        /// The newest.
        newest: u64,
    },
}

impl StoreError {
    /// Whether the change was refused for what it says, and not because storing it failed.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::UnknownObject { .. }
            | Self::NamedTwice { .. }
            | Self::TooManyObjects { .. }
            | Self::Unservable { .. }
            | Self::UnknownRevision { .. } => true,
            Self::Folder { .. }
            | Self::InUse { .. }
            | Self::Open { .. }
            | Self::Database(_)
            | Self::Format { .. }
            | Self::Damaged { .. } => false,
        }
    }
}

/// The database. One whose writing failed is closed, for it takes no more; it is opened again before it is used next.
pub(super) struct Database {
    open: Option<redb::Database>,
    /// Its file; `None`: it is in memory, where there is nothing to open again.
    path: Option<PathBuf>,
}

impl Database {
    pub(super) fn in_memory() -> Result<Self, StoreError> {
        let backend = redb::backends::InMemoryBackend::new();
        let database = redb::Builder::new()
            .create_with_backend(backend)
            .map_err(failed)?;
        Ok(Self {
            open: Some(prepare(database)?),
            path: None,
        })
    }

    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|source| StoreError::Folder {
                folder: folder.to_owned(),
                source,
            })?;
        }
        Ok(Self {
            open: Some(open_or_create(path)?),
            path: Some(path.to_owned()),
        })
    }

    /// Opens the database again if it was closed, and says whether it was.
    ///
    /// What it holds then may be more than is known: a write that failed at its very end may be on the disk.
    pub(super) fn reopen(&mut self) -> Result<bool, StoreError> {
        match (&self.open, &self.path) {
            (None, Some(path)) => {
                self.open = Some(create(path)?);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn redb(&self) -> Result<&redb::Database, StoreError> {
        let closed = || failed(redb::Error::PreviousIo);
        self.open.as_ref().ok_or_else(closed)
    }

    /// Runs one write transaction.
    fn transact(
        &mut self,
        write: impl FnOnce(&redb::Database) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let written = write(self.redb()?);
        if written.is_err() && self.path.is_some() {
            self.open = None;
        }
        written
    }

    /// The note of this name.
    pub(super) fn note(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let read = self.redb()?.begin_read().map_err(failed)?;
        let notes = read.open_table(NOTES).map_err(failed)?;
        let note = notes.get(name).map_err(failed)?;
        Ok(note.map(|bytes| bytes.value().to_vec()))
    }

    /// Replaces the note of this name.
    pub(super) fn set_note(&mut self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.transact(|database| {
            let write = database.begin_write().map_err(failed)?;
            {
                let mut notes = write.open_table(NOTES).map_err(failed)?;
                notes.insert(name, bytes).map_err(failed)?;
            }
            write.commit().map_err(failed)
        })
    }

    /// All entries of the log of this name, oldest first.
    pub(super) fn log(&self, name: &str) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let read = self.redb()?.begin_read().map_err(failed)?;
        let logs = read.open_table(LOGS).map_err(failed)?;
        let entries = logs.range((name, 0)..=(name, u64::MAX)).map_err(failed)?;
        entries
            .map(|entry| {
                let (key, bytes) = entry.map_err(failed)?;
                Ok((key.value().1, bytes.value().to_vec()))
            })
            .collect()
    }

    /// Adds entries to the log of this name, from number `first` on, and forgets all but the newest `keep`.
    pub(super) fn append_log(
        &mut self,
        name: &str,
        first: u64,
        entries: &[Vec<u8>],
        keep: usize,
    ) -> Result<(), StoreError> {
        self.transact(|database| {
            let write = database.begin_write().map_err(failed)?;
            {
                let mut logs = write.open_table(LOGS).map_err(failed)?;
                for (number, bytes) in (first..).zip(entries) {
                    logs.insert((name, number), bytes.as_slice())
                        .map_err(failed)?;
                }
                let end = first + entries.len() as u64;
                let oldest = end.saturating_sub(keep as u64);
                logs.retain_in((name, 0)..(name, oldest), |_, _| false)
                    .map_err(failed)?;
            }
            write.commit().map_err(failed)
        })
    }

    /// The state in force.
    pub(super) fn load(&self) -> Result<State, StoreError> {
        let read = self.redb()?.begin_read().map_err(failed)?;
        let mut resources = Resources::new();
        for entry in read
            .open_table(OBJECTS)
            .map_err(failed)?
            .iter()
            .map_err(failed)?
        {
            let (key, value) = entry.map_err(failed)?;
            resources.insert(decode(key.value(), value.value())?);
        }
        let revisions = read.open_table(REVISIONS).map_err(failed)?;
        let revision = revisions
            .last()
            .map_err(failed)?
            .map_or(0, |(number, _)| number.value());
        Ok(State {
            revision,
            resources: Arc::new(resources),
        })
    }

    /// Writes a revision and what it did to the objects, in one transaction.
    pub(super) fn write(&mut self, revision: &Revision) -> Result<(), StoreError> {
        self.transact(|database| write_revision(database, revision))
    }

    /// The newest `limit` revisions, newest first.
    pub(super) fn history(&self, limit: usize) -> Result<Vec<Revision>, StoreError> {
        let read = self.redb()?.begin_read().map_err(failed)?;
        let revisions = read.open_table(REVISIONS).map_err(failed)?;
        let newest = revisions.iter().map_err(failed)?.rev().take(limit);
        newest
            .map(|entry| {
                let (number, record) = entry.map_err(failed)?;
                Revision::parse_record(number.value(), record.value())
            })
            .collect()
    }
}

/// Opens the file, or makes one. It is made beside and put in its place when it is whole: who is killed in the middle can begin again.
fn open_or_create(path: &Path) -> Result<redb::Database, StoreError> {
    if path.exists() {
        return prepare(create(path)?);
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".unfinished");
    let beside = PathBuf::from(beside);
    let made = match create(&beside) {
        // Of somebody who was killed.
        Err(StoreError::Open { .. }) => {
            let removed = std::fs::remove_file(&beside);
            removed.map_err(|source| StoreError::Open {
                path: beside.clone(),
                source: redb::Error::Io(source),
            })?;
            create(&beside)
        }
        made => made,
    };
    drop(prepare(made?)?);
    let placed = std::fs::rename(&beside, path).and_then(|()| match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    });
    placed.map_err(|source| StoreError::Open {
        path: path.to_owned(),
        source: redb::Error::Io(source),
    })?;
    prepare(create(path)?)
}

fn create(path: &Path) -> Result<redb::Database, StoreError> {
    redb::Database::create(path).map_err(|source| match source {
        redb::DatabaseError::DatabaseAlreadyOpen => StoreError::InUse {
            path: path.to_owned(),
        },
        source => StoreError::Open {
            path: path.to_owned(),
            source: source.into(),
        },
    })
}

/// Makes the tables where they are missing, and refuses a form that is newer than ours.
fn prepare(database: redb::Database) -> Result<redb::Database, StoreError> {
    let write = database.begin_write().map_err(failed)?;
    {
        let mut meta = write.open_table(META).map_err(failed)?;
        let found = meta
            .get("format")
            .map_err(failed)?
            .map(|format| format.value());
        match found {
            None => drop(meta.insert("format", FORMAT).map_err(failed)?),
            Some(FORMAT) => {}
            Some(found) => return Err(StoreError::Format { found }),
        }
        write.open_table(OBJECTS).map_err(failed)?;
        write.open_table(REVISIONS).map_err(failed)?;
        write.open_table(NOTES).map_err(failed)?;
        write.open_table(LOGS).map_err(failed)?;
    }
    write.commit().map_err(failed)?;
    Ok(database)
}

fn write_revision(database: &redb::Database, revision: &Revision) -> Result<(), StoreError> {
    let write = database.begin_write().map_err(failed)?;
    {
        let mut objects = write.open_table(OBJECTS).map_err(failed)?;
        for change in &revision.changes {
            let key = row_key(&change.key);
            match &change.after {
                Some(object) => drop(
                    objects
                        .insert(key.as_str(), encode(object).as_slice())
                        .map_err(failed)?,
                ),
                None => drop(objects.remove(key.as_str()).map_err(failed)?),
            }
        }
        let mut revisions = write.open_table(REVISIONS).map_err(failed)?;
        revisions
            .insert(revision.number, revision.to_record().as_slice())
            .map_err(failed)?;
        let oldest = revision.number.saturating_sub(REVISIONS_MAX as u64);
        revisions
            .retain_in(..=oldest, |_, _| false)
            .map_err(failed)?;
    }
    write.commit().map_err(failed)
}

fn failed(error: impl Into<redb::Error>) -> StoreError {
    StoreError::Database(Box::new(error.into()))
}

fn row_key(key: &ObjectKey) -> String {
    format!("{}/{}/{}", key.kind, key.namespace, key.name)
}

fn encode(object: &Object) -> Vec<u8> {
    object.to_json().to_string().into_bytes()
}
