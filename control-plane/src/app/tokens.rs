//! Join tokens as they are kept: in the store, as one note, before anybody learns of a change.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use weft_config::spiffe::TrustDomain;

use crate::identity::{CreateRefused, JoinToken, TokenBook};
use crate::store::{Store, StoreError};

/// Their name in the store.
const NOTE: &str = "join-tokens";

/// The join tokens of a control plane.
pub(crate) struct Tokens {
    store: Arc<Store>,
    trust_domain: TrustDomain,
    book: Mutex<TokenBook>,
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

impl Tokens {
    /// Those that `store` has.
    ///
    /// # Errors
    /// If it cannot be read: a control plane that forgot its tokens would forget which are revoked.
    pub(super) fn load(store: Arc<Store>, trust_domain: TrustDomain) -> Result<Self, StoreError> {
        let book = match store.note(NOTE)? {
            None => TokenBook::default(),
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| StoreError::Damaged {
                what: NOTE.to_owned(),
                why: error.to_string(),
            })?,
        };
        Ok(Self {
            store,
            trust_domain,
            book: Mutex::new(book),
        })
    }

    /// Each that is known, oldest first.
    pub(crate) fn list(&self) -> Vec<JoinToken> {
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.tokens().to_vec()
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
        let (made, token) = self.change(|book| {
            let made = book.create(&self.trust_domain, names, ttl, uses, now);
            made.map_err(TokensError::from)
        })?;
        let JoinToken {
            id,
            namespace,
            service_account,
            expires,
            ..
        } = &made;
        tracing::info!(id, namespace, service_account, %expires, uses, "join token made");
        Ok((made, token))
    }

    /// Takes one back.
    ///
    /// # Errors
    /// If it is not there, or what became of it cannot be stored.
    pub(crate) fn revoke(&self, id: &str) -> Result<JoinToken, TokensError> {
        let revoked = self.change(|book| {
            let revoked = book.revoke(id);
            revoked.ok_or_else(|| TokensError::NotFound { id: id.to_owned() })
        })?;
        tracing::info!(id = revoked.id, "join token revoked");
        Ok(revoked)
    }

    /// Changes the tokens: what could not be stored has not happened.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut TokenBook) -> Result<T, TokensError>,
    ) -> Result<T, TokensError> {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = book.clone();
        let done = change(&mut next)?;
        let bytes = serde_json::to_vec(&next).unwrap_or_default(); // strings, numbers and times
        self.store.set_note(NOTE, &bytes)?;
        *book = next;
        Ok(done)
    }
}
