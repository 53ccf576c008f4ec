//! Where an authority lies: a folder with files named as in Istio's `cacerts`.
//!
//! A new one is written into a folder beside, made durable, and put in its place by one renaming: after a crash there is
//! either all of it or nothing. What is there is never written to.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{Mode as FileMode, OFlags};
use weft_config::spiffe::TrustDomain;

use super::authority::Authority;
use super::generate::{GenerateError, generate};
use super::lifetimes::Lifetimes;
use super::material::{CERTIFICATE, CHAIN, KEY, Material, ROOT, ROOT_KEY, Unusable};

/// Bytes of one file.
const BYTES_MAX: u64 = 256 * 1024;

/// Who else may read a key: nobody.
const KEY_MODE: u32 = 0o600;

/// The same, as people are told.
const KEY_RULE: &str = "others than its owner must neither read nor write a key (chmod 0600)";

/// Everybody may read a certificate.
const CERTIFICATE_MODE: u32 = 0o644;

/// Why the authority of a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A part is not there.
    #[error("the certificate authority in {} has no {file}: it needs {ROOT}, {CERTIFICATE}, {KEY} and {CHAIN}, or an empty folder, where one is made", folder.display())]
    Missing {
        /// The folder.
        folder: PathBuf,
        /// What is missing.
        file: &'static str,
    },
    /// Something cannot be read or written.
    #[error("{what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A file that is not of a size that it can have.
    #[error("{} has more than {BYTES_MAX} bytes or is no UTF-8 text", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// Somebody else owns it and could change it.
    #[error("{} belongs to user {owner}: it must belong to user {own}, who runs this process", path.display())]
    Owner {
        /// The file or folder.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Us.
        own: u32,
    },
    /// Others may do with it what they must not.
    #[error("{} has mode {mode:04o}: {rule}", path.display())]
    Mode {
        /// The file or folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// What holds for it.
        rule: &'static str,
    },
    /// Its parts do not belong together, or are no longer valid.
    #[error("the certificate authority in {} cannot be used", folder.display())]
    Unusable {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: Unusable,
    },
    /// A new one cannot be made.
    #[error("making a certificate authority")]
    Generate(#[from] GenerateError),
}

/// The authority that lies in `folder`, made anew where that is missing or empty.
///
/// # Errors
/// If a part is missing, others may read its key or write any of it, parts do not belong together, or one is not valid
/// `now`.
pub fn open(
    folder: &Path,
    trust_domain: TrustDomain,
    lifetimes: Lifetimes,
    now: Timestamp,
) -> Result<Authority, FolderError> {
    prepare(folder, &trust_domain, now)?;
    reopen(folder, trust_domain, lifetimes, now)
}

/// Makes an authority where `folder` is missing or empty.
///
/// # Errors
/// If it cannot be made or not be written.
pub(super) fn prepare(
    folder: &Path,
    trust_domain: &TrustDomain,
    now: Timestamp,
) -> Result<(), FolderError> {
    if is_vacant(folder)? {
        write(folder, &generate(trust_domain, now)?)?;
        tracing::info!(folder = %folder.display(), %trust_domain, "certificate authority made");
    }
    Ok(())
}

/// The authority that lies in `folder`; none is made.
///
/// # Errors
/// As [`open`].
pub(super) fn reopen(
    folder: &Path,
    trust_domain: TrustDomain,
    lifetimes: Lifetimes,
    now: Timestamp,
) -> Result<Authority, FolderError> {
    let material = read(folder)?;
    Authority::build(&material, trust_domain, lifetimes, now).map_err(|source| {
        FolderError::Unusable {
            folder: folder.to_owned(),
            source,
        }
    })
}

fn is_vacant(folder: &Path) -> Result<bool, FolderError> {
    match fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(source) => Err(failed("reading", folder)(source)),
    }
}

fn read(folder: &Path) -> Result<Material, FolderError> {
    let opened = File::open(folder).map_err(failed("opening", folder))?;
    let rule = "others than its owner must not write to it (chmod go-w)";
    check(&opened, folder, 0o022, rule)?;
    check_root_key(folder)?;
    Ok(Material {
        root: read_certificates(folder, ROOT)?,
        certificate: read_certificates(folder, CERTIFICATE)?,
        chain: read_certificates(folder, CHAIN)?,
        key: read_file(folder, KEY, 0o077, KEY_RULE)?,
        root_key: None, // signing leaves does not need it
    })
}

/// Checks who may read the key of the root, where it lies there: it is not read, but whoever reads it is the authority.
fn check_root_key(folder: &Path) -> Result<(), FolderError> {
    let path = folder.join(ROOT_KEY);
    match rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, FileMode::empty()) {
        Ok(opened) => check(&File::from(opened), &path, 0o077, KEY_RULE),
        Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(failed("opening", &path)(error.into())),
    }
}

fn read_certificates(folder: &Path, name: &'static str) -> Result<String, FolderError> {
    let rule = "others than its owner must not write to it (chmod go-w)";
    read_file(folder, name, 0o022, rule)
}

/// Reads a file of whose mode no bit of `forbidden` may be set.
fn read_file(
    folder: &Path,
    name: &'static str,
    forbidden: u32,
    rule: &'static str,
) -> Result<String, FolderError> {
    let path = folder.join(name);
    let file = File::open(&path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => FolderError::Missing {
            folder: folder.to_owned(),
            file: name,
        },
        _ => failed("opening", &path)(source),
    })?;
    check(&file, &path, forbidden, rule)?;
    let mut bytes = Vec::new();
    let read = file.take(BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(failed("reading", &path))?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(FolderError::NotText { path });
    }
    String::from_utf8(bytes).map_err(|_| FolderError::NotText { path })
}

/// Checks owner and mode of what was opened, so that nobody can exchange it in between.
fn check(
    opened: &File,
    path: &Path,
    forbidden: u32,
    rule: &'static str,
) -> Result<(), FolderError> {
    let metadata = opened.metadata().map_err(failed("looking at", path))?;
    let own = rustix::process::geteuid().as_raw();
    let mode = metadata.mode() & 0o7777;
    if metadata.uid() != own {
        return Err(FolderError::Owner {
            path: path.to_owned(),
            owner: metadata.uid(),
            own,
        });
    }
    match mode & forbidden {
        0 => Ok(()),
        _ => Err(FolderError::Mode {
            path: path.to_owned(),
            mode,
            rule,
        }),
    }
}

/// Puts a new authority where there is none.
fn write(folder: &Path, material: &Material) -> Result<(), FolderError> {
    let parent = match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(parent).map_err(failed("making the folder", parent))?;
    let mut name = folder.file_name().unwrap_or_default().to_owned();
    name.push(".unfinished");
    let beside = folder.with_file_name(name);
    match fs::remove_dir_all(&beside) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(failed("removing what an earlier start left in", &beside)(
                source,
            ));
        }
        _ => {}
    }
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
        .create(&beside)
        .map_err(failed("making the folder", &beside))?;
    if let Some(key) = &material.root_key {
        write_file(&beside.join(ROOT_KEY), key, KEY_MODE)?;
    }
    write_file(&beside.join(ROOT), &material.root, CERTIFICATE_MODE)?;
    write_file(
        &beside.join(CERTIFICATE),
        &material.certificate,
        CERTIFICATE_MODE,
    )?;
    write_file(&beside.join(CHAIN), &material.chain, CERTIFICATE_MODE)?;
    write_file(&beside.join(KEY), &material.key, KEY_MODE)?;
    sync(&beside)?;
    // Replaces an empty folder and nothing else.
    fs::rename(&beside, folder).map_err(failed(
        "putting a new certificate authority (not possible where a disk is mounted: give a folder in it) into",
        folder,
    ))?;
    sync(parent)
}

fn write_file(path: &Path, text: &str, mode: u32) -> Result<(), FolderError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let mut file = options.open(path).map_err(failed("making", path))?;
    let written = file.write_all(text.as_bytes());
    written
        .and_then(|()| file.sync_all())
        .map_err(failed("writing", path))
}

/// Makes it durable that the entries of a folder are there.
fn sync(folder: &Path) -> Result<(), FolderError> {
    let synced = File::open(folder).and_then(|it| it.sync_all());
    synced.map_err(failed("writing the folder", folder))
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FolderError + use<> {
    let path = path.to_owned();
    move |source| FolderError::Io { what, path, source }
}
