//! A watched directory of manifests.
//!
//! What its files say is put into the store as revisions of their own, so that history and rollback cover them too. An
//! object that comes from the directory carries the annotation [`OWNER`]; it is changed in its file, and goes when it
//! leaves the directory. A file with a fault changes nothing: its last good objects stay, and what is wrong with it is
//! logged and told by the API.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{mpsc, watch};
use weft_config::diag::{Finding, Severity};
use weft_config::gateway_api::{Document, Object, ObjectKey};

use crate::store::{ChangeSet, Store};

/// The annotation of objects that come from the watched directory; its value names their file.
pub const OWNER: &str = "mesh.weft.dev/file";

/// Changes are gathered until the directory has been quiet for this long: editors write in several steps.
const QUIET: Duration = Duration::from_millis(50);

/// Bytes of one file.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Files of a directory.
const FILES_MAX: usize = 10_000;

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
    /// The last good objects of each file.
    good: BTreeMap<String, Vec<Object>>,
}

impl FileSource {
    /// A source that puts what `folder` holds into `store`, and what is wrong with it into `findings`.
    pub fn new(folder: PathBuf, store: Arc<Store>, findings: watch::Sender<Vec<Finding>>) -> Self {
        Self {
            folder,
            store,
            findings,
            good: BTreeMap::new(),
        }
    }

    /// Reads the directory. What it returns follows changes, from those made during the reading on, until it is dropped.
    ///
    /// # Errors
    /// If the directory cannot be watched.
    pub async fn start(mut self) -> Result<impl Future<Output = ()> + Send, WatchError> {
        let (changed, mut changes) = mpsc::channel(1);
        let watcher = self.watch(changed)?;
        self.read().await;
        Ok(async move {
            let _watcher = watcher;
            while changes.recv().await.is_some() {
                while tokio::time::timeout(QUIET, changes.recv())
                    .await
                    .is_ok_and(|more| more.is_some())
                {}
                self.read().await;
            }
        })
    }

    fn watch(&self, changed: mpsc::Sender<()>) -> Result<RecommendedWatcher, WatchError> {
        let failed = |source| WatchError {
            folder: self.folder.clone(),
            source,
        };
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                if event.is_ok_and(|event| event.kind.is_access()) {
                    return; // our own reading
                }
                // A full channel holds the news already.
                let _ = changed.try_send(());
            })
            .map_err(failed)?;
        watcher
            .watch(&self.folder, RecursiveMode::Recursive)
            .map_err(failed)?;
        Ok(watcher)
    }

    /// Reads everything anew and stores what changed.
    async fn read(&mut self) {
        let folder = self.folder.clone();
        let texts = tokio::task::spawn_blocking(move || read_folder(&folder)).await;
        let findings = match texts.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(texts) => self.take(texts),
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
    fn take(&mut self, texts: BTreeMap<String, Result<String, String>>) -> Vec<Finding> {
        let mut findings = Vec::new();
        self.good.retain(|file, _| texts.contains_key(file));
        for (file, text) in texts {
            let text = match text {
                Ok(text) => text,
                Err(why) => {
                    findings.push(fault(&file, why));
                    continue;
                }
            };
            let parsed = weft_config::gateway_api::parse(&file, &text);
            if !parsed.has_faults() {
                self.good
                    .insert(file, parsed.documents.iter().map(owned).collect());
            }
            findings.extend(parsed.findings);
        }
        findings.extend(self.store_difference());
        findings
    }

    fn store_difference(&self) -> Option<Finding> {
        let mut wanted: BTreeMap<ObjectKey, Object> = BTreeMap::new();
        for (file, objects) in &self.good {
            for object in objects {
                if let Some(other) = wanted.insert(object.key(), object.clone()) {
                    let first = other
                        .metadata
                        .annotations
                        .get(OWNER)
                        .cloned()
                        .unwrap_or_default();
                    return Some(fault(
                        file,
                        format!(
                            "{} stands in {first} too: nothing was changed",
                            object.key()
                        ),
                    ));
                }
            }
        }
        let current = self.store.current().resources;
        let owned: BTreeSet<ObjectKey> = current
            .iter()
            .filter(|object| is_owned(object))
            .map(|o| o.key())
            .collect();
        let change = ChangeSet {
            delete: owned
                .iter()
                .filter(|key| !wanted.contains_key(key))
                .cloned()
                .collect(),
            put: wanted.into_values().collect(),
            author: "watched directory".to_owned(),
            message: self.folder.display().to_string(),
        };
        match self.store.apply(&change) {
            Ok(_) => None,
            Err(error) => Some(fault(&self.folder.display().to_string(), error.to_string())),
        }
    }
}

/// Whether an object comes from the watched directory.
pub fn is_owned(object: &Object) -> bool {
    object.metadata.annotations.contains_key(OWNER)
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

/// The texts of all manifests below `folder`, by file name; hidden ones are passed over, links are not followed into
/// folders (Kubernetes mounts its `ConfigMap`s as links to files in a hidden folder).
fn read_folder(folder: &Path) -> Result<BTreeMap<String, Result<String, String>>, String> {
    let mut texts = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries =
            std::fs::read_dir(&folder).map_err(|e| format!("reading {}: {e}", folder.display()))?;
        for entry in entries {
            let entry = entry.map_err(|e| format!("reading {}: {e}", folder.display()))?;
            let path = entry.path();
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|e| e == "yaml" || e == "yml" || e == "json")
            {
                texts.insert(path.display().to_string(), read_file(&path));
            }
            if texts.len() > FILES_MAX {
                return Err(format!("more than {FILES_MAX} files"));
            }
        }
    }
    Ok(texts)
}

fn read_file(path: &Path) -> Result<String, String> {
    let length = std::fs::metadata(path).map_err(|e| e.to_string())?.len();
    if length > FILE_BYTES_MAX {
        return Err(format!(
            "has {length} bytes, more than the {FILE_BYTES_MAX} that are allowed"
        ));
    }
    std::fs::read_to_string(path).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, port: u16) -> String {
        format!(
            "---\napiVersion: mesh.weft.dev/v1alpha1\nkind: MeshService\nmetadata: {{name: {name}}}\nspec:\n  ports: \
             [{{port: {port}}}]\n  discovery: {{workloads: {{selector: {{app: {name}}}}}}}\n"
        )
    }

    fn source() -> (FileSource, watch::Receiver<Vec<Finding>>) {
        let (findings, seen) = watch::channel(Vec::new());
        (
            FileSource::new(
                "dir".into(),
                Arc::new(Store::in_memory().unwrap()),
                findings,
            ),
            seen,
        )
    }

    fn files(files: &[(&str, &str)]) -> BTreeMap<String, Result<String, String>> {
        files
            .iter()
            .map(|(name, text)| ((*name).to_owned(), Ok((*text).to_owned())))
            .collect()
    }

    fn names(source: &FileSource) -> Vec<String> {
        source
            .store
            .current()
            .resources
            .iter()
            .map(|object| object.metadata.name.clone())
            .collect()
    }

    #[test]
    fn a_broken_file_keeps_its_last_good_objects() {
        let (mut source, _) = source();
        assert!(
            source
                .take(files(&[
                    ("a.yaml", &service("a", 80)),
                    ("b.yaml", &service("b", 80))
                ]))
                .is_empty()
        );
        let findings = source.take(files(&[("a.yaml", "kind: [")]));
        assert!(!findings.is_empty());
        assert_eq!(
            names(&source),
            ["a"],
            "b left the directory, a is only broken"
        );
    }

    #[test]
    fn objects_of_the_api_are_left_alone() {
        let (mut source, _) = source();
        let text = service("api", 80);
        let mut parsed = weft_config::gateway_api::parse("api", &text);
        let put = vec![Object::clone(&parsed.documents.pop().unwrap().object)];
        source
            .store
            .apply(&ChangeSet {
                put,
                ..ChangeSet::default()
            })
            .unwrap();
        source.take(files(&[("a.yaml", &service("a", 80))]));
        source.take(files(&[]));
        assert_eq!(names(&source), ["api"]);
    }

    #[test]
    fn an_object_in_two_files_is_a_fault_and_changes_nothing() {
        let (mut source, _) = source();
        let findings = source.take(files(&[
            ("a.yaml", &service("a", 80)),
            ("b.yaml", &service("a", 81)),
        ]));
        assert!(
            findings
                .iter()
                .any(|finding| finding.message.contains("stands in a.yaml too")),
            "{findings:?}"
        );
        assert!(names(&source).is_empty());
    }

    #[tokio::test]
    async fn a_change_on_disk_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.yaml"), service("a", 80)).unwrap();
        let store = Arc::new(Store::in_memory().unwrap());
        let (findings, _seen) = watch::channel(Vec::new());
        let source = FileSource::new(folder.path().to_owned(), store.clone(), findings);
        let task = tokio::spawn(source.start().await.unwrap());
        let mut state = store.watch();
        let limit = Duration::from_secs(10);
        assert_eq!(
            state.borrow().resources.len(),
            1,
            "read before it is followed"
        );
        std::fs::write(folder.path().join("b.yaml"), service("b", 80)).unwrap();
        tokio::time::timeout(limit, state.wait_for(|state| state.resources.len() == 2))
            .await
            .unwrap()
            .unwrap();
        task.abort();
    }
}
