//! Join tokens as they are kept: in the store, as one note, before anybody learns of a change.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use weft_config::spiffe::TrustDomain;

use super::token::{CreateRefused, JoinToken, TokenBook, TokenRefused};
use crate::store::{Store, StoreError};

/// Their name in the store.
const NOTE: &str = "join-tokens";

/// Uses that wait to be written down.
const USES_WAITING_MAX: usize = 1024;

/// Uses that are written down at once.
const BATCH_MAX: usize = 256;

/// The join tokens of a control plane.
#[derive(Debug)]
pub(crate) struct Tokens {
    store: Arc<Store>,
    trust_domain: TrustDomain,
    book: Mutex<TokenBook>,
    uses: mpsc::Sender<Use>,
}

/// A use of a token that is to be written down.
struct Use {
    token: String,
    now: Timestamp,
    answer: oneshot::Sender<Result<(), RedeemRefused>>,
}

/// Why no token was made or taken back.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// It is asked for in a way that cannot be.
    #[error(transparent)]
    Refused(#[from] CreateRefused),
    /// It is not there.
    #[error("there is no token {id}")]
    NotFound {
        /// Its id.
        id: String,
    },
    /// What became of it cannot be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a token was not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RedeemRefused {
    /// It does not do.
    #[error(transparent)]
    Token(TokenRefused),
    /// Too many are used at once.
    #[error("too many tokens are used at once: try again")]
    Busy,
    /// That it was used could not be stored; the log says why.
    #[error("the use of the token could not be stored")]
    NotStored,
}

impl Tokens {
    /// Those that `store` has; the future writes down their uses.
    ///
    /// # Errors
    /// If it cannot be read: a control plane that forgot its tokens would forget which are revoked.
    pub(crate) fn load(
        store: Arc<Store>,
        trust_domain: TrustDomain,
    ) -> Result<(Arc<Self>, impl Future<Output = ()> + Send + 'static), StoreError> {
        let book = match store.note(NOTE)? {
            None => TokenBook::default(),
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| StoreError::Damaged {
                what: NOTE.to_owned(),
                why: error.to_string(),
            })?,
        };
        let (uses, waiting) = mpsc::channel(USES_WAITING_MAX);
        let tokens = Arc::new(Self {
            store,
            trust_domain,
            book: Mutex::new(book),
            uses,
        });
        Ok((tokens.clone(), write_uses(tokens, waiting)))
    }

    /// Each that is known, oldest first.
    pub(crate) fn list(&self) -> Vec<JoinToken> {
        self.lock().tokens().to_vec()
    }

    /// Makes one for a workload; gives what is known of it and the token itself.
    ///
    /// # Errors
    /// If it cannot be made or not be stored.
    pub(crate) fn create(
        &self,
        names: (&str, &str),
        ttl: Duration,
        uses: u32,
        now: Timestamp,
    ) -> Result<(JoinToken, String), TokensError> {
        self.change(|book| {
            let made = book.create(&self.trust_domain, names, ttl, uses, now);
            made.map_err(TokensError::from)
        })
    }

    /// Takes one back.
    ///
    /// # Errors
    /// If it is not there, or what became of it cannot be stored.
    pub(crate) fn revoke(&self, id: &str) -> Result<JoinToken, TokensError> {
        self.change(|book| {
            let revoked = book.revoke(id);
            revoked.ok_or_else(|| TokensError::NotFound { id: id.to_owned() })
        })
    }

    /// Whose a token is, or was, without using it.
    ///
    /// # Errors
    /// If it is not known.
    pub(crate) fn look(&self, token: &str) -> Result<JoinToken, TokenRefused> {
        self.lock().look(token).cloned()
    }

    /// Uses a token once. It is used when this returns, whatever becomes of the process.
    ///
    /// # Errors
    /// If it can no longer be used, or it cannot be written down that it was.
    pub(crate) async fn redeem(&self, token: String, now: Timestamp) -> Result<(), RedeemRefused> {
        let (answer, answered) = oneshot::channel();
        let used = Use { token, now, answer };
        self.uses.try_send(used).map_err(|_| RedeemRefused::Busy)?;
        answered.await.unwrap_or(Err(RedeemRefused::NotStored))
    }

    /// Changes the tokens: what could not be stored has not happened.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut TokenBook) -> Result<T, TokensError>,
    ) -> Result<T, TokensError> {
        let mut book = self.lock();
        let mut next = book.clone();
        let done = change(&mut next)?;
        let bytes = serde_json::to_vec(&next).unwrap_or_default(); // strings, numbers and times
        self.store.set_note(NOTE, &bytes)?;
        *book = next;
        Ok(done)
    }

    /// Writes down several uses at once, and then answers.
    fn use_all(&self, uses: Vec<Use>) {
        let mut results = Vec::with_capacity(uses.len());
        let changed = self.change(|book| {
            let redeemed = uses.iter().map(|it| book.redeem(&it.token, it.now));
            results.extend(redeemed.map(|it| it.map(drop).map_err(RedeemRefused::Token)));
            Ok(())
        });
        if let Err(error) = changed {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "the use of join tokens could not be stored");
            results.iter_mut().for_each(|it| {
                *it = it.and(Err(RedeemRefused::NotStored));
            });
        }
        for (used, result) in uses.into_iter().zip(results) {
            let _gone = used.answer.send(result); // whoever asked may not wait any more
        }
    }

    fn lock(&self) -> MutexGuard<'_, TokenBook> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes down uses as they come: those that come while one batch is written are the next one.
async fn write_uses(tokens: Arc<Tokens>, mut waiting: mpsc::Receiver<Use>) {
    loop {
        let mut batch = Vec::new();
        if waiting.recv_many(&mut batch, BATCH_MAX).await == 0 {
            return;
        }
        let tokens = tokens.clone();
        if spawn_blocking(move || tokens.use_all(batch)).await.is_err() {
            return; // the runtime ends
        }
    }
}
