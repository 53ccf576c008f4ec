//! What a folder of manifests holds, read within bounds.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Bytes of one file.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Files of a directory.
const FILES_MAX: usize = 10_000;

/// One reading of a folder.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// The texts of all manifests, by file name.
    pub(super) texts: BTreeMap<String, String>,
    /// Files, and folders below the one that is read, that could not be read, each with the reason.
    pub(super) unread: Vec<(PathBuf, String)>,
}

impl Reading {
    /// Reads all manifests below `folder`; hidden ones are passed over, links are not followed into folders (Kubernetes
    /// mounts its `ConfigMap`s as links to files in a hidden folder).
    ///
    /// # Errors
    /// If `folder` itself cannot be read, or holds too many files: then nothing is known of what it holds.
    pub(super) fn of(folder: &Path) -> Result<Self, String> {
        let mut reading = Self::default();
        let mut folders = Vec::new();
        reading
            .add_folder(folder, &mut folders)
            .map_err(|error| format!("reading {}: {error}", folder.display()))?;
        while let Some(folder) = folders.pop() {
            if let Err(error) = reading.add_folder(&folder, &mut folders) {
                reading.unread.push((folder, error.to_string()));
            }
            if reading.texts.len() + reading.unread.len() > FILES_MAX {
                return Err(format!("more than {FILES_MAX} files"));
            }
        }
        Ok(reading)
    }

    fn add_folder(&mut self, folder: &Path, folders: &mut Vec<PathBuf>) -> std::io::Result<()> {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            } else if is_manifest(&path) {
                self.add_file(path);
            }
            if self.texts.len() + self.unread.len() > FILES_MAX {
                return Ok(()); // the caller refuses it
            }
        }
        Ok(())
    }

    fn add_file(&mut self, path: PathBuf) {
        match read_file(&path) {
            Ok(text) => drop(self.texts.insert(path.display().to_string(), text)),
            Err(why) => self.unread.push((path, why)),
        }
    }
}

/// Whether a file is read, by its name.
pub(crate) fn is_manifest(path: &Path) -> bool {
    path.extension()
        .is_some_and(|e| e == "yaml" || e == "yml" || e == "json")
}

/// Reads a regular file: a pipe would be waited for, and a device has no end.
fn read_file(path: &Path) -> Result<String, String> {
    let metadata = std::fs::metadata(path).map_err(|e| e.to_string())?;
    if !metadata.is_file() {
        return Err("is not a regular file".to_owned());
    }
    check_length(metadata.len())?;
    let mut text = String::new();
    let file = File::open(path).map_err(|e| e.to_string())?;
    let read = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
    read.map_err(|e| e.to_string())?;
    check_length(text.len() as u64)?; // it may have grown meanwhile
    Ok(text)
}

fn check_length(bytes: u64) -> Result<(), String> {
    match bytes > FILE_BYTES_MAX {
        true => Err(format!(
            "has {bytes} bytes, more than the {FILE_BYTES_MAX} that are allowed"
        )),
        false => Ok(()),
    }
}

/// Tells a folder from another one of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    /// A number that became free is given again, the time of birth is not.
    created: Option<SystemTime>,
}

impl Identity {
    /// That of the folder which now has this name; `None`: there is none.
    pub(super) fn of(folder: &Path) -> Option<Self> {
        let of = |metadata: Metadata| Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            created: metadata.created().ok(),
        };
        std::fs::metadata(folder).ok().map(of)
    }
}
