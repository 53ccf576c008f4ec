//! Tokens of the HTTP API: whose they are and what may be done with them, without the secrets themselves.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{rfc_3339, secret};
use crate::store::{Store, StoreError};

/// Tokens that are known at once; those that can no longer be used are forgotten when there is need of room.
const TOKENS_MAX: usize = 1000;

/// The longest that a token can be used.
pub(super) const TTL_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// Bytes of a name.
const NAME_BYTES_MAX: usize = 63;

/// What each token begins with.
const PREFIX: &str = "weft-api-";

/// Their name in the store.
const NOTE: &str = "api-tokens";

/// What somebody may do; each role may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Ask.
    Read,
    /// Change the desired state.
    Write,
    /// Make and take back tokens.
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        })
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut all = [Self::Read, Self::Write, Self::Admin].into_iter();
        let found = all.find(|role| role.to_string() == text);
        found.ok_or_else(|| format!("must be read, write or admin, got {text:?}"))
    }
}

/// What is known of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiToken {
    /// Its id, which may be known.
    pub id: String,
    /// SHA-256 of the token in hexadecimal.
    hash: String,
    /// What people call it.
    pub name: String,
    /// What may be done with it.
    pub role: Role,
    /// When it was made.
    #[serde(with = "rfc_3339")]
    pub created: Timestamp,
    /// Until when it can be used.
    #[serde(with = "rfc_3339")]
    pub expires: Timestamp,
    /// Whether it was taken back.
    pub revoked: bool,
}

impl ApiToken {
    /// Whether it can be used.
    ///
    /// # Errors
    /// If not, and why.
    pub fn check(&self, now: Timestamp) -> Result<(), ApiTokenRefused> {
        if self.revoked {
            Err(ApiTokenRefused::Revoked)
        } else if now >= self.expires {
            Err(ApiTokenRefused::Expired)
        } else {
            Ok(())
        }
    }
}

/// Why a token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiTokenRefused {
    /// Nobody knows it.
    #[error("this is no token of this API")]
    Unknown,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// It was taken back.
    #[error("the token was revoked")]
    Revoked,
}

/// Why no token was made or taken back.
#[derive(Debug, thiserror::Error)]
pub enum ApiTokensError {
    /// A name that does not read well in a log.
    #[error(
        "a name has from 1 to {NAME_BYTES_MAX} letters, digits, '-', '_' and '.', got {name:?}"
    )]
    Name {
        /// What was given.
        name: String,
    },
    /// It would live too long, or not at all.
    #[error("the time to live must be above 0 s and at most {} s, got {} s", TTL_MAX.as_secs(), ttl.as_secs())]
    Ttl {
        /// What was asked for.
        ttl: Duration,
    },
    /// There are too many.
    #[error("there are {TOKENS_MAX} tokens that can be used: revoke some")]
    Full,
    /// The system gives no random bytes.
    #[error("the system has no random bytes")]
    NoRandom,
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

/// The tokens of the API of a control plane: in the store, as one note, before anybody learns of a change.
#[derive(Debug)]
pub(crate) struct ApiTokens {
    store: Arc<Store>,
    tokens: Mutex<Vec<ApiToken>>,
}

impl ApiTokens {
    /// Those that `store` has.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn load(store: Arc<Store>) -> Result<Self, StoreError> {
        let tokens = match store.note(NOTE)? {
            None => Vec::new(),
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| StoreError::Damaged {
                what: NOTE.to_owned(),
                why: error.to_string(),
            })?,
        };
        Ok(Self {
            store,
            tokens: Mutex::new(tokens),
        })
    }

    /// Each that is known, oldest first.
    pub(crate) fn list(&self) -> Vec<ApiToken> {
        self.lock().clone()
    }

    /// Whose a token is. It is found by its hash: how long that takes says nothing about a token.
    ///
    /// # Errors
    /// If it is not known, or can no longer be used.
    pub(crate) fn find(&self, token: &str, now: Timestamp) -> Result<ApiToken, ApiTokenRefused> {
        let hash = secret::hash(token);
        let tokens = self.lock();
        let found = tokens.iter().find(|it| it.hash == hash);
        let found = found.ok_or(ApiTokenRefused::Unknown)?;
        found.check(now)?;
        Ok(found.clone())
    }

    /// Makes one; gives what is known of it and the token itself, which cannot be had again.
    ///
    /// # Errors
    /// If a bound is not kept, there are too many, or it cannot be stored.
    pub(crate) fn create(
        &self,
        name: &str,
        role: Role,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<(ApiToken, String), ApiTokensError> {
        check_name(name)?;
        if ttl.is_zero() || ttl > TTL_MAX {
            return Err(ApiTokensError::Ttl { ttl });
        }
        let token = secret::make(PREFIX).ok_or(ApiTokensError::NoRandom)?;
        let made = ApiToken {
            id: secret::id().ok_or(ApiTokensError::NoRandom)?,
            hash: secret::hash(&token),
            name: name.to_owned(),
            role,
            created: now,
            expires: now.checked_add(ttl).unwrap_or(now),
            revoked: false,
        };
        self.change(|tokens| {
            if tokens.len() >= TOKENS_MAX {
                tokens.retain(|it| it.check(now).is_ok());
            }
            if tokens.len() >= TOKENS_MAX {
                return Err(ApiTokensError::Full);
            }
            tokens.push(made.clone());
            Ok(())
        })?;
        Ok((made, token))
    }

    /// Takes one back.
    ///
    /// # Errors
    /// If it is not there, or what became of it cannot be stored.
    pub(crate) fn revoke(&self, id: &str) -> Result<ApiToken, ApiTokensError> {
        self.change(|tokens| {
            let found = tokens.iter_mut().find(|it| it.id == id);
            let found = found.ok_or_else(|| ApiTokensError::NotFound { id: id.to_owned() })?;
            found.revoked = true;
            Ok(found.clone())
        })
    }

    /// Changes the tokens: what could not be stored has not happened.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut Vec<ApiToken>) -> Result<T, ApiTokensError>,
    ) -> Result<T, ApiTokensError> {
        let mut tokens = self.lock();
        let mut next = tokens.clone();
        let done = change(&mut next)?;
        let bytes = serde_json::to_vec(&next).unwrap_or_default(); // strings and times
        self.store.set_note(NOTE, &bytes)?;
        *tokens = next;
        Ok(done)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<ApiToken>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names stand in the audit log: nothing in them may look like another line or field.
fn check_name(name: &str) -> Result<(), ApiTokensError> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    match (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(good) {
        true => Ok(()),
        false => Err(ApiTokensError::Name {
            name: name.chars().take(100).collect(),
        }),
    }
}
