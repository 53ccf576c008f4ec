//! The last good tables on disk: one file, replaced whole, checked before it is believed.
//!
//! Layout: magic (8 bytes), length of the body (8, little endian), FNV-1a of the body (8, little endian), body (protobuf).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use prost::Message;
use rustix::process::geteuid;
use weft_xds_proto::pb::envoy::service::discovery::v3::Resource;
use weft_xds_proto::pb::google::protobuf::Any;

use super::kind::Kind;

const MAGIC: [u8; 8] = *b"WEFTTBL1";
const FILE: &str = "tables";
/// A larger file was not written by us.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Where the tables of one proxy are kept.
#[derive(Clone, Debug)]
pub struct StateDir {
    dir: PathBuf,
    /// Whose tables they are: those of another workload are not served.
    owner: String,
}

/// What is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Saved {
    /// Accepted resources.
    pub resources: Vec<SavedResource>,
    /// Names in use on demand.
    pub names: Vec<String>,
    /// When it was written.
    pub at: SystemTime,
}

/// One accepted resource.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedResource {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The resource as it came.
    pub packed: Any,
}

/// Why the tables on disk are not believed, or could not be written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file cannot be read or written.
    #[error("{path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The file is not one of ours, or was cut or changed.
    #[error("{path} is damaged: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Somebody else may have written it.
    #[error(
        "{path} must belong to the user {want} and be written by nobody else, got user {got} and mode {mode:04o}"
    )]
    Writable {
        /// The file.
        path: PathBuf,
        /// Who runs this process.
        want: u32,
        /// Whose the file is.
        got: u32,
        /// Its mode.
        mode: u32,
    },
    /// The tables are of another workload.
    #[error("{path} holds the tables of {got}, not of {want}")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Whose they are.
        got: String,
        /// Who we are.
        want: String,
    },
}

impl StateError {
    /// The cause in words; empty where there is none.
    pub fn source_text(&self) -> String {
        std::error::Error::source(self)
            .map(ToString::to_string)
            .unwrap_or_default()
    }
}

#[derive(Clone, PartialEq, Message)]
struct Body {
    #[prost(string, tag = "1")]
    owner: String,
    #[prost(uint64, tag = "2")]
    unix_millis: u64,
    #[prost(string, repeated, tag = "3")]
    names: Vec<String>,
    #[prost(message, repeated, tag = "4")]
    resources: Vec<Resource>,
}

impl StateDir {
    /// Keeps the tables of `owner` in `dir`, which is made if need be.
    ///
    /// # Errors
    /// If the directory cannot be made.
    pub fn open(dir: &Path, owner: String) -> Result<Self, StateError> {
        fs::create_dir_all(dir).map_err(|source| StateError::Io {
            path: dir.to_owned(),
            source,
        })?;
        Ok(Self {
            dir: dir.to_owned(),
            owner,
        })
    }

    /// What was saved; `None`: nothing yet.
    ///
    /// # Errors
    /// If there is a file that cannot be believed.
    pub fn load(&self) -> Result<Option<Saved>, StateError> {
        let path = self.path();
        let failed = |source| StateError::Io {
            path: path.clone(),
            source,
        };
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(failed(source)),
        };
        // What tables say decides whom we trust and who may call.
        let (want, got) = (geteuid().as_raw(), metadata.uid());
        let mode = metadata.mode() & 0o7777;
        if got != want || mode & 0o022 != 0 {
            return Err(StateError::Writable {
                path,
                want,
                got,
                mode,
            });
        }
        let bytes = read(&path, metadata.len()).map_err(failed)?;
        let (owner, saved) = Saved::parse(&bytes).map_err(|what| StateError::Damaged {
            path: path.clone(),
            what,
        })?;
        if owner != self.owner {
            return Err(StateError::Foreign {
                path,
                got: owner,
                want: self.owner.clone(),
            });
        }
        Ok(Some(saved))
    }

    /// Replaces what was saved: whoever reads sees the old or the new, whole.
    ///
    /// # Errors
    /// If the disk does not take it; what was saved before stays.
    pub fn save(&self, saved: Saved) -> Result<(), StateError> {
        let path = self.path();
        let new = self.dir.join(format!("{FILE}.new"));
        let written = write(&new, &saved.into_bytes(&self.owner))
            .and_then(|()| fs::rename(&new, &path))
            .and_then(|()| File::open(&self.dir)?.sync_all());
        written.map_err(|source| StateError::Io { path, source })
    }

    fn path(&self) -> PathBuf {
        self.dir.join(FILE)
    }
}

impl Saved {
    /// How old it is at `now`.
    pub fn age(&self, now: SystemTime) -> Duration {
        now.duration_since(self.at).unwrap_or_default()
    }

    /// Reads what a file holds, and whose it is.
    ///
    /// # Errors
    /// If it is not one of ours, or was cut or changed: what is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<(String, Self), String> {
        let mut body = body(bytes)?;
        let owner = std::mem::take(&mut body.owner);
        Ok((owner, Self::from_body(body)))
    }

    /// What a file of `owner` holds.
    pub fn into_bytes(self, owner: &str) -> Vec<u8> {
        let since = self
            .at
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let resources = self.resources.into_iter().map(|it| Resource {
            name: it.name,
            version: it.version,
            resource: Some(it.packed),
            ..Default::default()
        });
        let body = Body {
            owner: owner.to_owned(),
            unix_millis: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            names: self.names,
            resources: resources.collect(),
        };
        let body = body.encode_to_vec();
        let length = u64::try_from(body.len()).unwrap_or(u64::MAX);
        let header = [MAGIC, length.to_le_bytes(), fnv1a(&body).to_le_bytes()];
        let mut bytes = header.concat();
        bytes.extend_from_slice(&body);
        bytes
    }

    fn from_body(body: Body) -> Self {
        let resources = body.resources.into_iter().filter_map(|it| {
            let packed = it.resource?;
            Some(SavedResource {
                kind: Kind::of(&packed.type_url)?,
                name: it.name,
                version: it.version,
                packed,
            })
        });
        Self {
            resources: resources.collect(),
            names: body.names,
            at: SystemTime::UNIX_EPOCH + Duration::from_millis(body.unix_millis),
        }
    }
}

fn read(path: &Path, length: u64) -> io::Result<Vec<u8>> {
    if length > FILE_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("must be at most {FILE_BYTES_MAX} bytes, got {length}"),
        ));
    }
    fs::read(path)
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // What others may not know of the configuration they do not learn here.
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn body(bytes: &[u8]) -> Result<Body, String> {
    let (header, body) = bytes
        .split_first_chunk::<24>()
        .ok_or("shorter than its header")?;
    let (magic, rest) = header
        .split_first_chunk::<8>()
        .ok_or("shorter than its header")?;
    let (length, sum) = rest
        .split_first_chunk::<8>()
        .ok_or("shorter than its header")?;
    if *magic != MAGIC {
        return Err("does not begin as such a file does".to_owned());
    }
    let length = u64::from_le_bytes(*length);
    if u64::try_from(body.len()) != Ok(length) {
        return Err(format!("should hold {length} bytes, holds {}", body.len()));
    }
    if sum != fnv1a(body).to_le_bytes() {
        return Err("its checksum does not fit".to_owned());
    }
    Body::decode(body).map_err(|error| error.to_string())
}

/// Tells damage, not malice: whoever may write here may as well write the configuration.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests;
