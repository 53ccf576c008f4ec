//! Reading the files that `-f` names.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::ensure;
use clap::Args;

use crate::api::model::SourceFile;

/// Bytes of one file; a manifest that is longer is a mistake.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// `-f`, as often as needed.
#[derive(Debug, Args)]
pub(super) struct Files {
    /// A file, a folder (its *.yaml, *.yml and *.json, subfolders too, hidden ones not), or `-` for standard input.
    #[arg(
        short = 'f',
        long = "filename",
        required = true,
        value_name = "FILE|DIR|-"
    )]
    files: Vec<PathBuf>,
}

impl Files {
    /// Those that an argument of another name lists.
    pub(super) fn of(files: Vec<PathBuf>) -> Self {
        Self { files }
    }

    /// Reads all of them, in the order given, those of a folder by name.
    ///
    /// # Errors
    /// If any cannot be read, is too long or is not UTF-8, or a folder holds none; all of these are named.
    pub(super) fn read(&self) -> anyhow::Result<Vec<SourceFile>> {
        let (files, faults) = self.read_what_can_be();
        ensure!(faults.is_empty(), "{}", faults.join("\n"));
        Ok(files)
    }

    /// Reads what can be read, and says what cannot and why.
    pub(super) fn read_what_can_be(&self) -> (Vec<SourceFile>, Vec<String>) {
        let mut files = Vec::new();
        let mut faults = Vec::new();
        for path in &self.files {
            let read = if path.as_os_str() == "-" {
                read_text(std::io::stdin().lock()).map(|text| {
                    let name = "<stdin>".to_owned();
                    files.push(SourceFile { name, text });
                })
            } else if path.is_dir() {
                read_folder_of(path, &mut files, &mut faults)
            } else {
                read_file(path).map(|file| files.push(file))
            };
            faults.extend(read.err().map(|why| match path.as_os_str() == "-" {
                true => format!("<stdin>: {why}"),
                false => format!("{}: {why}", path.display()),
            }));
        }
        (files, faults)
    }
}

fn read_folder_of(
    folder: &Path,
    files: &mut Vec<SourceFile>,
    faults: &mut Vec<String>,
) -> Result<(), String> {
    let before = files.len() + faults.len();
    read_folder(folder, files, faults)?;
    match files.len() + faults.len() > before {
        true => Ok(()),
        false => Err("holds no *.yaml, *.yml or *.json".to_owned()),
    }
}

/// Names that begin with a dot are passed over, as the watched directory does; links are not followed into folders: no loops.
fn read_folder(
    folder: &Path,
    files: &mut Vec<SourceFile>,
    faults: &mut Vec<String>,
) -> Result<(), String> {
    let entries = fs::read_dir(folder).map_err(|why| why.to_string())?;
    let mut entries = entries
        .collect::<Result<Vec<_>, _>>()
        .map_err(|why| why.to_string())?;
    entries.retain(|entry| !entry.file_name().to_string_lossy().starts_with('.'));
    entries.sort_by_key(fs::DirEntry::path);
    for entry in entries {
        let path = entry.path();
        let read = if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            read_folder(&path, files, faults)
        } else if is_manifest(&path) {
            regular(&path)
                .and_then(|()| read_file(&path))
                .map(|file| files.push(file))
        } else {
            continue;
        };
        faults.extend(read.err().map(|why| format!("{}: {why}", path.display())));
    }
    Ok(())
}

fn is_manifest(path: &Path) -> bool {
    path.extension()
        .is_some_and(|it| it == "yaml" || it == "yml" || it == "json")
}

/// Nobody named what is found in a folder: a pipe there would be waited for without end.
fn regular(path: &Path) -> Result<(), String> {
    match fs::metadata(path) {
        Ok(what) if what.is_file() => Ok(()),
        Ok(_) => Err("is not a file that can be read to its end".to_owned()),
        Err(why) => Err(why.to_string()),
    }
}

fn read_file(path: &Path) -> Result<SourceFile, String> {
    let file = fs::File::open(path).map_err(|why| why.to_string())?;
    let name = path.display().to_string();
    let text = read_text(file)?;
    Ok(SourceFile { name, text })
}

fn read_text(from: impl Read) -> Result<String, String> {
    let mut bytes = Vec::new();
    from.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|why| why.to_string())?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!(
            "is longer than the {FILE_BYTES_MAX} bytes that are allowed"
        ));
    }
    String::from_utf8(bytes).map_err(|why| {
        let good = why.utf8_error().valid_up_to();
        let line = 1 + why
            .as_bytes()
            .iter()
            .take(good)
            .filter(|b| **b == b'\n')
            .count();
        format!("is not UTF-8, from line {line} on")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_cannot_be_read_is_named_beside_what_can() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("sub")).unwrap();
        fs::create_dir(at(".hidden")).unwrap();
        for name in ["b.yaml", "sub/c.yml", ".hidden/d.yaml", "notes.txt"] {
            fs::write(at(name), "a: 1").unwrap();
        }
        fs::write(at("a.yaml"), b"a: 1\nb: \xff").unwrap();
        std::os::unix::net::UnixListener::bind(at("socket.yaml")).unwrap();
        std::os::unix::fs::symlink("nowhere", at("gone.json")).unwrap();
        let files = vec![folder.path().to_owned(), at("none")];
        let (read, faults) = Files { files }.read_what_can_be();
        let read: Vec<&str> = read.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(
            read,
            [
                at("b.yaml").to_str().unwrap(),
                at("sub/c.yml").to_str().unwrap()
            ]
        );
        let expected = [
            "a.yaml: is not UTF-8, from line 2 on",
            "gone.json: No such file",
            "socket.yaml: is not a file",
            "none: No such file",
        ];
        assert_eq!(faults.len(), expected.len(), "{faults:#?}");
        for (fault, part) in faults.iter().zip(expected) {
            assert!(fault.contains(part), "{part:?} is not in {fault}");
        }
    }

    #[test]
    fn a_text_that_is_too_long_is_refused_and_not_cut() {
        assert!(read_text(std::io::repeat(b'#').take(FILE_BYTES_MAX)).is_ok());
        assert!(read_text(std::io::repeat(b'#').take(FILE_BYTES_MAX + 1)).is_err());
    }
}
