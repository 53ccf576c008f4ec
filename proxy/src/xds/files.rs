//! Watched files that hold a `DiscoveryResponse` (`path_config_source`).

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use weft_config::diag::Diagnostics;
use weft_config::document::Document;
use weft_xds_proto::pb::envoy::service::discovery::v3::DiscoveryResponse;

use super::kind::Kind;
use super::wire::Received;

/// A file that is looked at from time to time. Replacing it by a rename is safe; writing it in place may be read half-way,
/// which is then refused and read again when it changes once more.
#[derive(Debug)]
pub struct WatchedFile {
    path: PathBuf,
    kind: Kind,
    seen: Option<Stamp>,
}

/// What changes when a file is replaced or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

/// What a look found.
#[derive(Debug)]
pub enum Look {
    /// Nothing new.
    Same,
    /// New content.
    New(Box<Received>),
    /// New content that cannot be read, or no file any more; the faults.
    Bad(String),
}

impl WatchedFile {
    /// Watches `path`, which holds resources of `kind`.
    pub fn new(path: &Arc<str>, kind: Kind) -> Self {
        Self {
            path: PathBuf::from(&**path),
            kind,
            seen: None,
        }
    }

    /// The file.
    pub fn path(&self) -> &PathBuf {
        &self.path
    }

    /// Reads the file if it changed since the last look.
    pub fn look(&mut self) -> Look {
        let stamp = match std::fs::metadata(&self.path) {
            Ok(metadata) => Stamp {
                device: metadata.dev(),
                inode: metadata.ino(),
                size: metadata.size(),
                modified: (metadata.mtime(), metadata.mtime_nsec()),
            },
            // Gone for the moment between two steps of a replacement, or for good: what is in force stays.
            Err(_) if self.seen.is_some() => return Look::Same,
            Err(error) => {
                return Look::Bad(format!("{}: {error}", self.path.display()));
            }
        };
        if self.seen == Some(stamp) {
            return Look::Same;
        }
        self.seen = Some(stamp);
        match std::fs::read_to_string(&self.path) {
            Ok(text) => self.read(&text),
            Err(error) => Look::Bad(format!("{}: {error}", self.path.display())),
        }
    }

    fn read(&self, text: &str) -> Look {
        let file = self.path.display().to_string();
        let mut diag = Diagnostics::new();
        match Document::<DiscoveryResponse>::parse(text, &file, &mut diag) {
            Some(document) if !diag.has_faults() => {
                let mut received = Received::from_sotw(document.message);
                if received.type_url.is_empty() {
                    self.kind.type_url().clone_into(&mut received.type_url);
                }
                if received.type_url != self.kind.type_url() {
                    let fault = format!(
                        "{file}: type_url: must be {:?}, got {:?}",
                        self.kind.type_url(),
                        received.type_url
                    );
                    return Look::Bad(fault);
                }
                received.is_full_state = true;
                Look::New(Box::new(received))
            }
            _ => {
                let findings: Vec<_> = diag.findings().iter().map(ToString::to_string).collect();
                Look::Bad(format!("{file}: {}", findings.join("; ")))
            }
        }
    }
}
