//! The authority in force: one pointer, which follows its folder.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use weft_config::causes::with_causes;
use weft_config::spiffe::TrustDomain;

use super::authority::Authority;
use super::bundle::TrustBundle;
use super::folder::{self, FolderError};
use super::followed::Followed;
use super::generate::GenerateError;
use super::lifetimes::Lifetimes;
use super::material::{CERTIFICATE, CHAIN, KEY, ROOT};

/// The authority in force. Each certificate is signed by one authority, whole: whoever asks holds it to the end.
pub struct LiveAuthority {
    current: watch::Sender<Arc<Authority>>,
    bundle: watch::Sender<TrustBundle>,
}

impl LiveAuthority {
    /// One that is replaced by nobody, for tests and demonstrations.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn in_memory(
        trust_domain: TrustDomain,
        lifetimes: Lifetimes,
    ) -> Result<Arc<Self>, GenerateError> {
        let authority = Authority::in_memory(trust_domain, lifetimes, Timestamp::now())?;
        Ok(Arc::new(Self::new(authority)))
    }

    /// The one of a folder, made anew where that is missing or empty; the future follows the folder.
    ///
    /// # Errors
    /// As [`folder::open`].
    pub fn open(
        folder: PathBuf,
        trust_domain: TrustDomain,
        lifetimes: Lifetimes,
    ) -> Result<(Arc<Self>, impl Future<Output = ()> + Send + 'static), FolderError> {
        let now = Timestamp::now();
        folder::prepare(&folder, &trust_domain, now)?;
        let followed = Followed::new(files(&folder));
        let authority = folder::reopen(&folder, trust_domain, lifetimes, now)?;
        let live = Arc::new(Self::new(authority));
        Ok((live.clone(), follow(live, folder, followed)))
    }

    fn new(authority: Authority) -> Self {
        Self {
            bundle: watch::Sender::new(TrustBundle::of(&authority)),
            current: watch::Sender::new(Arc::new(authority)),
        }
    }

    /// The authority that signs now.
    pub fn current(&self) -> Arc<Authority> {
        self.current.borrow().clone()
    }

    /// Follows it.
    pub fn watch(&self) -> watch::Receiver<Arc<Authority>> {
        self.current.subscribe()
    }

    /// Follows the roots that are trusted.
    pub fn bundle(&self) -> watch::Receiver<TrustBundle> {
        self.bundle.subscribe()
    }

    /// Puts `next` in force: what is trusted first, so that nobody is shown what he does not trust yet.
    pub(super) fn replace(&self, next: Authority) {
        let bundle = TrustBundle::of(&next);
        self.bundle.send_if_modified(|it| {
            let differs = *it != bundle;
            *it = bundle;
            differs
        });
        self.current.send_replace(Arc::new(next));
    }
}

impl fmt::Debug for LiveAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.current().fmt(f)
    }
}

/// Takes over what comes into a folder; what cannot be used changes nothing.
async fn follow(live: Arc<LiveAuthority>, folder: PathBuf, mut followed: Followed) {
    loop {
        followed.due().await;
        let current = live.current();
        let (domain, lifetimes) = (current.trust_domain().clone(), current.lifetimes());
        let path = folder.clone();
        let read =
            spawn_blocking(move || folder::reopen(&path, domain, lifetimes, Timestamp::now()));
        let Ok(read) = read.await else {
            return; // the runtime ends
        };
        if !followed.were_read() {
            continue;
        }
        match read {
            Ok(next) => {
                let (not_after, roots) = (next.not_after(), next.roots().len());
                live.replace(next);
                tracing::info!(folder = %folder.display(), %not_after, roots, "certificate authority replaced");
            }
            Err(error) => {
                followed.cannot_be_used();
                let why = with_causes(&error);
                tracing::error!(
                    why,
                    "the certificate authority in its folder cannot be used: the one before stays"
                );
            }
        }
    }
}

/// The folder, and what of it is read.
fn files(folder: &Path) -> Vec<PathBuf> {
    let files = [ROOT, CERTIFICATE, KEY, CHAIN].map(|name| folder.join(name));
    std::iter::once(folder.to_owned()).chain(files).collect()
}
