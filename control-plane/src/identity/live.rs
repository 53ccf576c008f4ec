//! The authority in force: one pointer, which follows its folder.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};
use weft_config::causes::with_causes;
use weft_config::spiffe::TrustDomain;

use super::authority::Authority;
use super::bundle::TrustBundle;
use super::folder::{self, FolderError};
use super::generate::GenerateError;
use super::lifetimes::Lifetimes;
use super::material::{CERTIFICATE, CHAIN, KEY, ROOT};
use super::stamp::{COMPLAIN_EVERY, LOOK_EVERY, Stamp};

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
        let taken = stamp(&folder); // before it is read: what changes meanwhile is read again
        let authority = folder::reopen(&folder, trust_domain, lifetimes, now)?;
        let live = Arc::new(Self::new(authority));
        let follower = Follower {
            live: live.clone(),
            folder,
            taken,
        };
        Ok((live, follower.run()))
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

/// Looks at a folder again and again.
struct Follower {
    live: Arc<LiveAuthority>,
    folder: PathBuf,
    /// What the files were when they were read last.
    taken: Stamp,
}

impl Follower {
    async fn run(mut self) {
        let mut seen = self.taken.clone();
        let mut complain: Option<Instant> = None;
        loop {
            sleep_until(Instant::now() + LOOK_EVERY).await;
            let now = stamp(&self.folder);
            let settled = now == seen;
            seen = now;
            let changed = seen != self.taken;
            let again = complain.is_some_and(|at| Instant::now() >= at);
            if !settled || !(changed || again) {
                continue;
            }
            let refused = self.take(&seen).await;
            complain = refused.map(|()| Instant::now() + COMPLAIN_EVERY);
        }
    }

    /// Puts what is in the folder in force; something where it cannot be used.
    async fn take(&mut self, seen: &Stamp) -> Option<()> {
        let current = self.live.current();
        let (domain, lifetimes) = (current.trust_domain().clone(), current.lifetimes());
        let folder = self.folder.clone();
        let read = spawn_blocking(move || {
            let read = folder::reopen(&folder, domain, lifetimes, Timestamp::now());
            (read, stamp(&folder))
        });
        let Ok((read, after)) = read.await else {
            return Some(()); // the runtime ends
        };
        if after != *seen {
            return None; // changed while it was read: the next looks will see
        }
        self.taken = after;
        match read {
            Ok(next) => {
                let (not_after, roots) = (next.not_after(), next.roots().len());
                self.live.replace(next);
                tracing::info!(folder = %self.folder.display(), %not_after, roots, "certificate authority replaced");
                None
            }
            Err(error) => {
                let why = with_causes(&error);
                tracing::error!(
                    why,
                    "the certificate authority in its folder cannot be used: the one before stays"
                );
                Some(())
            }
        }
    }
}

/// The folder, and what of it is read.
fn stamp(folder: &Path) -> Stamp {
    let files = [ROOT, CERTIFICATE, KEY, CHAIN].map(|name| folder.join(name));
    let all: Vec<_> = std::iter::once(folder.to_owned()).chain(files).collect();
    Stamp::of(&all)
}
