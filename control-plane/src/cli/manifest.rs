//! Reading the files that `-f` names.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::Args;

use crate::api::model::SourceFile;

/// Bytes of one file; a manifest that is longer is a mistake.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// `-f`, as often as needed.
#[derive(Debug, Args)]
pub(super) struct Files {
    /// A file, a folder (its *.yaml, *.yml and *.json, subfolders too), or `-` for standard input.
    #[arg(
        short = 'f',
        long = "filename",
        required = true,
        value_name = "FILE|DIR|-"
    )]
    files: Vec<PathBuf>,
}

impl Files {
    /// Reads all of them, in the order given, those of a folder by name.
    ///
    /// # Errors
    /// If one cannot be read, is too long or is not UTF-8, or a folder holds none.
    pub(super) fn read(&self) -> anyhow::Result<Vec<SourceFile>> {
        let mut files = Vec::new();
        for path in &self.files {
            if path.as_os_str() == "-" {
                files.push(read_input()?);
            } else if path.is_dir() {
                let before = files.len();
                read_folder(path, &mut files)?;
                ensure!(
                    files.len() > before,
                    "{} holds no *.yaml, *.yml or *.json",
                    path.display()
                );
            } else {
                files.push(read_file(path)?);
            }
        }
        Ok(files)
    }
}

fn read_input() -> anyhow::Result<SourceFile> {
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .take(FILE_BYTES_MAX)
        .read_to_string(&mut text)
        .context("reading standard input")?;
    Ok(SourceFile {
        name: "<stdin>".to_owned(),
        text,
    })
}

fn read_file(path: &Path) -> anyhow::Result<SourceFile> {
    let name = path.display().to_string();
    let length = fs::metadata(path)
        .with_context(|| format!("reading {name}"))?
        .len();
    if length > FILE_BYTES_MAX {
        bail!("{name} has {length} bytes, more than the {FILE_BYTES_MAX} that are allowed");
    }
    let text = fs::read_to_string(path).with_context(|| format!("reading {name}"))?;
    Ok(SourceFile { name, text })
}

fn read_folder(folder: &Path, files: &mut Vec<SourceFile>) -> anyhow::Result<()> {
    let reading = || format!("reading {}", folder.display());
    let mut entries = fs::read_dir(folder)
        .with_context(reading)?
        .collect::<Result<Vec<_>, _>>()
        .with_context(reading)?;
    entries.sort_by_key(fs::DirEntry::path);
    for entry in entries {
        let path = entry.path();
        let kind = entry.file_type().with_context(reading)?; // links are not followed: no loops
        if kind.is_dir() {
            read_folder(&path, files)?;
        } else if path
            .extension()
            .is_some_and(|e| e == "yaml" || e == "yml" || e == "json")
        {
            files.push(read_file(&path)?);
        }
    }
    Ok(())
}
