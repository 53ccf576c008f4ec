//! Slots: what a handshake takes its certificate and its trust from, swapped while connections come and go.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tracing::{info, warn};
use weft_config::route::StringMatch;
use weft_config::secret::{DataSource, SanKind, SanMatch, TlsCertificate, pem_fault};
use weft_config::tls::SecretName;

use super::peer::PeerCertificate;
use crate::regular_file;
use crate::stamp::Stamp;

/// Why a secret cannot be used. No message repeats a byte of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// Its bytes cannot be had.
    #[error("{place}: {why}")]
    Unreadable {
        /// The file or variable.
        place: String,
        /// What the system said, or what is wrong with the bytes.
        why: String,
    },
    /// The key is not the certificate's.
    #[error("the private key is not that of the certificate")]
    Mismatch,
    /// The secret that is named has not been told.
    #[error("{0} has not been told yet")]
    Unknown(SecretName),
}

/// Largest file that is read: a machine's own roots are some 250 KiB.
const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What can lie in a slot.
pub(super) trait Material: Sized {
    /// What it is made from.
    type Config: PartialEq;

    /// Makes it.
    fn load(config: &Self::Config, provider: &CryptoProvider) -> Result<Self, LoadError>;

    /// Files that it was made from.
    fn files(config: &Self::Config) -> Vec<Arc<str>>;
}

/// One slot.
#[derive(Debug)]
pub(super) struct Slot<T: Material> {
    current: ArcSwapOption<T>,
    /// Rises with every swap.
    revision: AtomicU64,
    state: Mutex<State<T::Config>>,
}

#[derive(Debug)]
struct State<C> {
    config: Option<C>,
    /// The files as they were when they were read.
    seen: Vec<Option<Stamp>>,
    fault: Option<LoadError>,
}

impl<T: Material> Slot<T> {
    /// An empty slot, which is filled when its secret is told; `fault` says so until then.
    pub(super) fn empty(fault: Option<LoadError>) -> Self {
        Self {
            current: ArcSwapOption::empty(),
            revision: AtomicU64::new(0),
            state: Mutex::new(State {
                config: None,
                seen: Vec::new(),
                fault,
            }),
        }
    }

    /// What lies in it.
    pub(super) fn current(&self) -> Option<Arc<T>> {
        self.current.load_full()
    }

    /// How often it was swapped.
    pub(super) fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// Why it is empty, or why what lies in it is not the newest.
    pub(super) fn fault(&self) -> Option<LoadError> {
        self.lock().fault.clone()
    }

    /// Fills it anew. What cannot be made leaves what there was.
    pub(super) fn fill(&self, config: T::Config, provider: &CryptoProvider) {
        let mut state = self.lock();
        if state.fault.is_none() && state.config.as_ref() == Some(&config) {
            return;
        }
        self.load(&mut state, config, provider);
    }

    /// Looks whether its files have changed.
    pub(super) fn refresh(&self, provider: &CryptoProvider) {
        let mut state = self.lock();
        let Some(config) = state.config.take() else {
            return;
        };
        let files = T::files(&config);
        let stamps = stamps(&files);
        if files.is_empty() || stamps == state.seen {
            state.config = Some(config);
            return;
        }
        self.load(&mut state, config, provider);
    }

    fn load(&self, state: &mut State<T::Config>, config: T::Config, provider: &CryptoProvider) {
        // Before the reading: what changes meanwhile is read once more.
        state.seen = stamps(&T::files(&config));
        match T::load(&config, provider) {
            Ok(material) => {
                let renewed = self.current.swap(Some(Arc::new(material))).is_some();
                self.revision.fetch_add(1, Ordering::Release);
                state.fault = None;
                if renewed {
                    info!(files = ?T::files(&config), "TLS secret renewed");
                }
            }
            Err(error) => {
                warn!(%error, "TLS secret cannot be used; what was in force stays");
                state.fault = Some(error);
            }
        }
        state.config = Some(config);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State<T::Config>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stamps(files: &[Arc<str>]) -> Vec<Option<Stamp>> {
    let stamp = |path: &Arc<str>| Stamp::of(&**path).ok();
    files.iter().map(stamp).collect()
}

/// A certificate with its key, ready for handshakes.
#[derive(Debug)]
pub struct Certificate {
    pub(super) key: Arc<CertifiedKey>,
    /// What it says of us.
    pub facts: PeerCertificate,
}

impl Certificate {
    /// Whether it has the name that a client asks for.
    pub(super) fn is_for(&self, wanted: &str) -> bool {
        let exact = SanMatch {
            kind: Some(SanKind::Dns),
            value: StringMatch::Exact(wanted.into()),
        };
        let mut names = self.facts.dns_names();
        names.any(|name| exact.matches(SanKind::Dns, name))
    }
}

impl Material for Certificate {
    type Config = Arc<TlsCertificate>;

    fn load(config: &Self::Config, provider: &CryptoProvider) -> Result<Self, LoadError> {
        let place = config.chain.place();
        let chain = certificates(&config.chain)?;
        let key = bytes(&config.key)?;
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| LoadError::Unreadable {
            place: config.key.place(),
            why: "holds no private key in PEM".to_owned(),
        })?;
        let first = chain.first().and_then(PeerCertificate::read);
        let facts = first.ok_or_else(|| LoadError::Unreadable {
            place: place.clone(),
            why: "its certificate cannot be read".to_owned(),
        })?;
        let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => LoadError::Mismatch,
            error => LoadError::Unreadable {
                place,
                why: error.to_string(),
            },
        })?;
        Ok(Self {
            key: Arc::new(key),
            facts,
        })
    }

    fn files(config: &Self::Config) -> Vec<Arc<str>> {
        [&config.chain, &config.key]
            .into_iter()
            .filter_map(file)
            .collect()
    }
}

/// The file of a source, where it is one.
pub(super) fn file(source: &DataSource) -> Option<Arc<str>> {
    match source {
        DataSource::File(path) => Some(path.clone()),
        DataSource::Inline(_) | DataSource::Environment(_) => None,
    }
}

/// The bytes of a source.
pub(super) fn bytes(source: &DataSource) -> Result<Vec<u8>, LoadError> {
    let unreadable = |why: String| LoadError::Unreadable {
        place: source.place(),
        why,
    };
    match source {
        DataSource::Inline(bytes) => Ok(bytes.expose().to_vec()),
        DataSource::Environment(name) => std::env::var(&**name)
            .map(String::into_bytes)
            .map_err(|error| unreadable(error.to_string())),
        DataSource::File(path) => regular_file::read(&**path, FILE_BYTES_MAX).map_err(unreadable),
    }
}

/// The certificates of a source, at least one.
pub(super) fn certificates(source: &DataSource) -> Result<Vec<CertificateDer<'static>>, LoadError> {
    let unreadable = |why: String| LoadError::Unreadable {
        place: source.place(),
        why,
    };
    let bytes = bytes(source)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match read {
        Ok(read) if read.is_empty() => Err(unreadable("holds no certificate in PEM".to_owned())),
        Ok(read) => Ok(read),
        Err(error) => Err(unreadable(format!("is not PEM: {}", pem_fault(&error)))),
    }
}
