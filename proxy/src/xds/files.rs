//! Watched files that hold a `DiscoveryResponse` (`path_config_source`).

use std::path::Path;
use std::sync::Arc;

use weft_config::diag::{Diagnostics, Finding};
use weft_config::document::{Document, TEXT_BYTES_MAX};
use weft_xds_proto::pb::envoy::service::discovery::v3::DiscoveryResponse;

use super::kind::Kind;
use super::wire::Received;
use crate::regular_file;
use crate::stamp::Stamp;

/// A file that is looked at from time to time. Replacing it by a rename is safe; writing it in place may be read half-way,
/// which is then refused and read again when it changes once more.
#[derive(Debug)]
pub struct WatchedFile {
    path: Arc<str>,
    kind: Kind,
    seen: Option<Stamp>,
    /// Whether it was said that there is no such file; once is enough.
    missed: bool,
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
            path: path.clone(),
            kind,
            seen: None,
            missed: false,
        }
    }

    /// The file.
    pub fn path(&self) -> &Arc<str> {
        &self.path
    }

    /// What it holds.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Reads the file if it changed since the last look.
    pub fn look(&mut self) -> Look {
        let stamp = match Stamp::of(&*self.path) {
            Ok(stamp) => stamp,
            // Gone for the moment between two steps of a replacement, or for good: what is in force stays.
            Err(_) if self.seen.is_some() || self.missed => return Look::Same,
            Err(error) => {
                self.missed = true;
                return Look::Bad(format!("{}: {error}", self.path));
            }
        };
        if self.seen == Some(stamp) {
            return Look::Same;
        }
        self.seen = Some(stamp);
        match read_file(Path::new(&*self.path)) {
            Ok(text) => self.read(&text),
            Err(why) => Look::Bad(format!("{}: {why}", self.path)),
        }
    }

    fn read(&self, text: &str) -> Look {
        let file = self.path.to_string();
        let mut diag = Diagnostics::new();
        match Document::<DiscoveryResponse>::parse(text, &file, &mut diag) {
            Some(document) if !diag.has_faults() => {
                let mut received = Received::from_sotw(document.message);
                if received.type_url.is_empty() {
                    self.kind.type_url().clone_into(&mut received.type_url);
                }
                if received.type_url != self.kind.type_url() && self.kind == Kind::Secret {
                    return Look::Bad(format!("{file}: type_url: is not that of secrets"));
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
                let findings: Vec<_> = diag.findings().iter().map(|it| self.shown(it)).collect();
                Look::Bad(format!("{file}: {}", findings.join("; ")))
            }
        }
    }
}

impl WatchedFile {
    /// A finding in words. Those about secrets would repeat what stands there, which may be a key in the wrong place.
    fn shown(&self, finding: &Finding) -> String {
        match (self.kind, &finding.location) {
            (Kind::Secret, Some(location)) => {
                format!("{location}: does not belong into a DiscoveryResponse of secrets")
            }
            (Kind::Secret, None) => "is no DiscoveryResponse of secrets".to_owned(),
            _ => finding.to_string(),
        }
    }
}

fn read_file(path: &Path) -> Result<String, String> {
    let bytes = regular_file::read(path, TEXT_BYTES_MAX)?;
    String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::Duration;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    /// What a look at `path` finds, if it comes back.
    fn look(path: &Path) -> Look {
        let path: Arc<str> = path.to_str().unwrap().into();
        let (send, found) = std::sync::mpsc::channel();
        std::thread::spawn(move || send.send(WatchedFile::new(&path, Kind::Cluster).look()));
        let found = found.recv_timeout(Duration::from_secs(10));
        found.expect("it does not wait")
    }

    #[track_caller]
    fn is_refused(path: &Path, why: &str) {
        match look(path) {
            Look::Bad(fault) => assert!(fault.contains(why), "{fault}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_no_regular_file_is_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let mode = Mode::RUSR | Mode::WUSR;
        mknodat(CWD, &pipe, FileType::Fifo, mode, 0).unwrap();
        is_refused(&pipe, "is not a regular file");
        is_refused(Path::new("/dev/null"), "is not a regular file");
        is_refused(folder.path(), "is not a regular file");
    }

    #[test]
    fn a_file_of_more_than_its_bound_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clusters.yaml");
        let file = File::create(&path).unwrap();
        file.set_len((16 << 20) + 1).unwrap(); // takes no space on disk
        is_refused(&path, "must have at most 16777216 bytes, got 16777217");
        std::fs::write(&path, "{resources: []}").unwrap();
        assert!(matches!(look(&path), Look::New(_)));
    }

    #[test]
    fn what_is_wrong_with_a_file_of_secrets_is_said_without_a_word_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets.yaml");
        let name: Arc<str> = path.to_str().unwrap().into();
        for text in [
            "hunter2",
            "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n",
            "{resources: hunter2}",
            "{resources: [hunter2",
            "hunter2: [hunter2]",
            "resources:\n- '@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret\n  \
             tls_certificate: {private_key: hunter2}",
            "resources:\n- {'@type': hunter2}",
            "{type_url: hunter2}",
        ] {
            std::fs::write(&path, text).unwrap();
            let mut file = WatchedFile::new(&name, Kind::Secret);
            let Look::Bad(fault) = file.look() else {
                panic!("{text}")
            };
            assert!(fault.starts_with(&*name), "{fault}");
            assert!(!fault.contains("hunter2"), "{fault}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_yet_is_missed_once_and_read_when_it_comes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clusters.yaml");
        let mut file = WatchedFile::new(&path.to_str().unwrap().into(), Kind::Cluster);
        assert!(matches!(file.look(), Look::Bad(_)));
        assert!(matches!(file.look(), Look::Same));
        std::fs::write(&path, "{resources: []}").unwrap();
        assert!(matches!(file.look(), Look::New(_)));
    }
}
