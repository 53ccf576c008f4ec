//! A watched directory of manifests.
//!
//! What its files say is put into the store as revisions of their own, so that history and rollback cover them too. An
//! object that comes from the directory carries the annotation [`OWNER`]; it is changed in its file, and goes when it
//! leaves the directory. A file that cannot be read, has a fault, names an object that another file names too, or brings
//! about what proxies would refuse, is held back: what the store has of it stays, and what is wrong with it is logged and
//! told by the API. All other files count.

mod folder;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{mpsc, watch};
use weft_config::causes::with_causes;
use weft_config::diag::{Finding, Severity};
use weft_config::gateway_api::{Document, Object, ObjectKey};

pub(crate) use self::folder::is_manifest;
use self::folder::{Identity, Reading};
use crate::store::{ChangeSet, Store, StoreError};

/// The annotation of objects that come from the watched directory; its value names their file.
pub const OWNER: &str = "mesh.weft.dev/file";

/// Changes are gathered until the directory has been quiet for this long: editors write in several steps.
const QUIET: Duration = Duration::from_millis(50);

/// How often it is looked whether the directory is still the one that is watched.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why a directory cannot be watched.
#[derive(Debug, thiserror::Error)]
#[error("watching {}", folder.display())]
pub struct WatchError {
    folder: PathBuf,
    #[source]
    source: notify::Error,
}

/// The directory, from its first reading on.
pub struct FileSource {
    folder: PathBuf,
    store: Arc<Store>,
    findings: watch::Sender<Vec<Finding>>,
}

impl FileSource {
    /// A source that puts what `folder` holds into `store`, and what is wrong with it into `findings`.
    pub fn new(folder: PathBuf, store: Arc<Store>, findings: watch::Sender<Vec<Finding>>) -> Self {
        Self {
            folder,
            store,
            findings,
        }
    }

    /// Reads the directory. What it returns follows changes, from those made during the reading on, until it is dropped.
    ///
    /// # Errors
    /// If the directory cannot be watched.
    pub async fn start(self) -> Result<impl Future<Output = ()> + Send, WatchError> {
        let (changed, changes) = mpsc::channel(1);
        let watch = Watch::new(&self.folder, changed.clone())?;
        self.read().await;
        Ok(self.follow(watch, changed, changes))
    }

    async fn follow(
        self,
        mut watch: Watch,
        changed: mpsc::Sender<()>,
        mut changes: mpsc::Receiver<()>,
    ) {
        while let Some(woken) = next_change(&mut changes).await {
            if !watch.is_of(&self.folder) {
                match Watch::new(&self.folder, changed.clone()) {
                    Ok(new) => watch = new,
                    // It is gone for now. Where that is news its reading says so.
                    Err(_) if woken == Woken::Time => continue,
                    Err(_) => {}
                }
            } else if woken == Woken::Time {
                continue;
            }
            while tokio::time::timeout(QUIET, changes.recv())
                .await
                .is_ok_and(|more| more.is_some())
            {}
            self.read().await;
        }
    }

    /// Reads everything anew and stores what changed.
    async fn read(&self) {
        let folder = self.folder.clone();
        let reading = tokio::task::spawn_blocking(move || Reading::of(&folder)).await;
        let findings = match reading.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(reading) => self.take(reading),
            Err(why) => vec![fault(&self.folder.display().to_string(), why)],
        };
        for finding in findings
            .iter()
            .filter(|finding| finding.severity == Severity::Fault)
        {
            tracing::warn!(%finding, "watched directory: the last good objects stay");
        }
        self.findings.send_replace(findings);
    }

    /// Parses the files and stores the difference.
    fn take(&self, reading: Reading) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut files = Files::default();
        for (path, why) in reading.unread {
            findings.push(fault(&path.display().to_string(), why));
            files.held.insert(path);
        }
        for (file, text) in &reading.texts {
            let parsed = weft_config::gateway_api::parse(file, text);
            match parsed.has_faults() {
                true => drop(files.held.insert(file.into())),
                false => {
                    let objects = parsed.documents.iter().map(owned).collect();
                    files.good.insert(file.clone(), objects);
                }
            }
            findings.extend(parsed.findings);
        }
        findings.extend(files.hold_twice_named());
        findings.extend(self.store_difference(files));
        findings
    }

    /// Stores what `files` say; where not all of it can be in force, as much of it as can.
    fn store_difference(&self, mut files: Files) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut stored = self.store.apply(&self.change(&files));
        if stored.as_ref().is_err_and(StoreError::is_refusal) {
            let offered = files.hold_all();
            let names: Vec<&String> = offered.keys().collect();
            self.add_servable(&names, &offered, &mut files, &mut findings);
            stored = self.store.apply(&self.change(&files));
        }
        if let Err(error) = stored {
            let folder = self.folder.display().to_string();
            findings.push(fault(&folder, with_causes(&error)));
        }
        findings
    }

    /// Moves those of the `names` from the held files to the good ones that can be in force together with what is there
    /// already; halves of what is refused are tried for themselves, until each file that is to blame stands alone.
    fn add_servable(
        &self,
        names: &[&String],
        offered: &BTreeMap<String, Vec<Object>>,
        files: &mut Files,
        findings: &mut Vec<Finding>,
    ) {
        for name in names {
            files.admit(name, offered);
        }
        let Err(error) = self.store.preview(&self.change(files)) else {
            return;
        };
        for name in names {
            files.hold(name);
        }
        match names {
            [] => {}
            [name] => findings.push(fault(name, with_causes(&error))),
            _ => {
                let (first, second) = names.split_at(names.len() / 2);
                self.add_servable(first, offered, files, findings);
                self.add_servable(second, offered, files, findings);
            }
        }
    }

    /// What puts `files` in force: objects of good files are put, those of held files stay, all others of the directory go.
    fn change(&self, files: &Files) -> ChangeSet {
        let put: Vec<Object> = files.good.values().flatten().cloned().collect();
        let wanted: BTreeSet<ObjectKey> = put.iter().map(Object::key).collect();
        let current = self.store.current().resources;
        let delete = current
            .iter()
            .filter(|object| owner(object).is_some_and(|file| !files.is_held(file)))
            .map(|object| object.key())
            .filter(|key| !wanted.contains(key));
        ChangeSet {
            delete: delete.collect(),
            put,
            author: "watched directory".to_owned(),
            principal: String::new(),
            message: self.folder.display().to_string(),
        }
    }
}

/// What becomes of the files of a reading.
#[derive(Debug, Default)]
struct Files {
    /// Their objects are put in force.
    good: BTreeMap<String, Vec<Object>>,
    /// What the store has of these files, or of files in these folders, stays.
    held: BTreeSet<PathBuf>,
}

impl Files {
    fn is_held(&self, file: &str) -> bool {
        Path::new(file)
            .ancestors()
            .any(|path| self.held.contains(path))
    }

    fn hold(&mut self, file: &str) {
        self.good.remove(file);
        self.held.insert(file.into());
    }

    /// Holds all files back; gives what those say that were good.
    fn hold_all(&mut self) -> BTreeMap<String, Vec<Object>> {
        let good = std::mem::take(&mut self.good);
        self.held.extend(good.keys().map(PathBuf::from));
        good
    }

    fn admit(&mut self, file: &str, offered: &BTreeMap<String, Vec<Object>>) {
        if let Some(objects) = offered.get(file) {
            self.good.insert(file.to_owned(), objects.clone());
            self.held.remove(Path::new(file));
        }
    }

    /// Holds back the files that name the same object.
    fn hold_twice_named(&mut self) -> Vec<Finding> {
        let mut first_in: BTreeMap<ObjectKey, &String> = BTreeMap::new();
        let mut findings = Vec::new();
        let mut held = BTreeSet::new();
        for (file, objects) in &self.good {
            for object in objects {
                let Some(first) = first_in.insert(object.key(), file) else {
                    continue;
                };
                held.extend([first.clone(), file.clone()]);
                let what = format!(
                    "{} stands in {first} too: neither file was taken",
                    object.key()
                );
                findings.push(fault(file, what));
            }
        }
        for file in held {
            self.hold(&file);
        }
        findings
    }
}

/// The directory as the system watches it. The system follows it wherever it is moved, and not its name.
struct Watch {
    _watcher: RecommendedWatcher,
    identity: Option<Identity>,
}

impl Watch {
    fn new(folder: &Path, changed: mpsc::Sender<()>) -> Result<Self, WatchError> {
        let failed = |source| WatchError {
            folder: folder.to_owned(),
            source,
        };
        // Looked at first: a folder that takes its place meanwhile is another one.
        let identity = Identity::of(folder);
        let told = move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| event.kind.is_access()) {
                return; // our own reading
            }
            // A full channel holds the news already.
            let _ = changed.try_send(());
        };
        // A link to a folder is not read, and may lead anywhere: to `/`, or back to where it stands.
        let config = notify::Config::default().with_follow_symlinks(false);
        let mut watcher = RecommendedWatcher::new(told, config).map_err(failed)?;
        let real = std::fs::canonicalize(folder).map_err(|error| failed(error.into()))?;
        watcher
            .watch(&real, RecursiveMode::Recursive)
            .map_err(failed)?;
        Ok(Self {
            _watcher: watcher,
            identity,
        })
    }

    /// Whether this watches what is now called `folder`.
    fn is_of(&self, folder: &Path) -> bool {
        self.identity.is_some() && self.identity == Identity::of(folder)
    }
}

/// What ends a wait for changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Woken {
    /// Something changed.
    Change,
    /// It is time to look at the directory itself.
    Time,
}

async fn next_change(changes: &mut mpsc::Receiver<()>) -> Option<Woken> {
    match tokio::time::timeout(LOOK_EVERY, changes.recv()).await {
        Ok(change) => change.map(|()| Woken::Change),
        Err(_) => Some(Woken::Time),
    }
}

/// Whether an object comes from the watched directory.
pub fn is_owned(object: &Object) -> bool {
    owner(object).is_some()
}

/// `object` as one that comes from no file: what the API is given may have been read from a mesh that has such files.
pub fn without_owner(mut object: Object) -> Object {
    object.metadata.annotations.remove(OWNER);
    object
}

/// The file that an object comes from.
pub(crate) fn owner(object: &Object) -> Option<&str> {
    object.metadata.annotations.get(OWNER).map(String::as_str)
}

fn owned(document: &Document) -> Object {
    let mut object = Object::clone(&document.object);
    object
        .metadata
        .annotations
        .insert(OWNER.to_owned(), document.source.file.to_string());
    object
}

fn fault(file: &str, message: String) -> Finding {
    let location = weft_config::diag::Location {
        file: file.to_owned(),
        line: 1,
        column: 1,
    };
    Finding {
        severity: Severity::Fault,
        path: Default::default(),
        location: Some(location),
        message,
    }
}
