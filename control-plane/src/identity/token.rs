//! Join tokens: what a workload shows once to get its first certificate.
//!
//! A token is a random secret of 256 bits. It is shown once, when it is made; what is kept is its SHA-256. A secret that
//! long cannot be guessed, so a slow hash would gain nothing. The kept hash is found by comparing hashes: how long
//! that takes says something about the hash of what was sent at most, and nobody can choose a hash, so it tells nothing about a
//! token.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use weft_config::spiffe::{SpiffeFault, SpiffeId, TrustDomain};

use super::{rfc_3339, secret};

/// Tokens that are known at once; those that can no longer be used are forgotten when there is need of room.
pub const TOKENS_MAX: usize = 1000;

/// The longest that a token can be used.
pub(super) const TTL_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// How often a token can be used, at most.
pub(super) const USES_MAX: u32 = 10_000;

/// What each token begins with, so that people and scanners know one when they see it.
const PREFIX: &str = "weft-join-";

/// Whether it looks like a join token.
pub(super) fn is_join_token(token: &str) -> bool {
    token.starts_with(PREFIX)
}

/// What is known of a token. Its secret is not part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// Its name, which may be known.
    pub id: String,
    /// SHA-256 of the token in hexadecimal.
    hash: String,
    /// The namespace of whoever uses it.
    pub namespace: String,
    /// The service account.
    pub service_account: String,
    /// When it was made.
    #[serde(with = "rfc_3339")]
    pub created: Timestamp,
    /// Until when it can be used.
    #[serde(with = "rfc_3339")]
    pub expires: Timestamp,
    /// How often it still can be.
    pub uses_left: u32,
    /// Whether it was taken back.
    pub revoked: bool,
}

/// Why a token is not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateRefused {
    /// Names that make no identity.
    #[error(transparent)]
    Name(#[from] SpiffeFault),
    /// It would live too long, or not at all.
    #[error("the time to live must be above 0 s and at most {} s, got {} s", TTL_MAX.as_secs(), ttl.as_secs())]
    Ttl {
        /// What was asked for.
        ttl: Duration,
    },
    /// It could be used too often, or never.
    #[error("uses must be from 1 to {USES_MAX}, got {uses}")]
    Uses {
        /// What was asked for.
        uses: u32,
    },
    /// There are too many.
    #[error("there are {TOKENS_MAX} tokens that can be used: revoke some")]
    Full,
    /// The system gives no random bytes.
    #[error("the system has no random bytes")]
    NoRandom,
}

/// Why a token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefused {
    /// Nobody knows it.
    #[error("the token is not known")]
    Unknown,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// It was used as often as it could be.
    #[error("the token is used up")]
    UsedUp,
    /// It was taken back.
    #[error("the token was revoked")]
    Revoked,
}

/// All tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenBook(Vec<JoinToken>);

impl TokenBook {
    /// Each token that is known, oldest first.
    pub fn tokens(&self) -> &[JoinToken] {
        &self.0
    }

    /// Makes a token for a workload; gives what is known of it and the token itself, which cannot be had again.
    ///
    /// # Errors
    /// If the names make no identity, a bound is not kept, or there are too many tokens.
    pub fn create(
        &mut self,
        trust_domain: &TrustDomain,
        (namespace, service_account): (&str, &str),
        ttl: Duration,
        uses: u32,
        now: Timestamp,
    ) -> Result<(JoinToken, String), CreateRefused> {
        SpiffeId::workload(trust_domain, namespace, service_account)?;
        if ttl.is_zero() || ttl > TTL_MAX {
            return Err(CreateRefused::Ttl { ttl });
        }
        if uses == 0 || uses > USES_MAX {
            return Err(CreateRefused::Uses { uses });
        }
        self.make_room(now)?;
        let token = secret::make(PREFIX).ok_or(CreateRefused::NoRandom)?;
        let made = JoinToken {
            id: secret::id().ok_or(CreateRefused::NoRandom)?,
            hash: secret::hash(&token),
            namespace: namespace.to_owned(),
            service_account: service_account.to_owned(),
            created: now,
            expires: now.checked_add(ttl).unwrap_or(now),
            uses_left: uses,
            revoked: false,
        };
        self.0.push(made.clone());
        Ok((made, token))
    }

    /// Whose a token is, or was, without using it.
    ///
    /// # Errors
    /// If it is not known.
    pub fn look(&self, token: &str) -> Result<&JoinToken, TokenRefused> {
        let hash = secret::hash(token);
        let found = self.0.iter().find(|it| it.hash == hash);
        found.ok_or(TokenRefused::Unknown)
    }

    /// Uses a token once, and gives whose it is.
    ///
    /// # Errors
    /// If it is not known, or can no longer be used.
    pub fn redeem(&mut self, token: &str, now: Timestamp) -> Result<JoinToken, TokenRefused> {
        let hash = secret::hash(token);
        let found = self.0.iter_mut().find(|it| it.hash == hash);
        let found = found.ok_or(TokenRefused::Unknown)?;
        found.check(now)?;
        found.uses_left = found.uses_left.saturating_sub(1);
        Ok(found.clone())
    }

    /// Takes a token back, by its id; gives what is known of it, or nothing where there is none.
    pub fn revoke(&mut self, id: &str) -> Option<JoinToken> {
        let found = self.0.iter_mut().find(|it| it.id == id)?;
        found.revoked = true;
        Some(found.clone())
    }

    /// Forgets what can no longer be used where there is no room for another.
    fn make_room(&mut self, now: Timestamp) -> Result<(), CreateRefused> {
        if self.0.len() >= TOKENS_MAX {
            self.0.retain(|it| it.check(now).is_ok());
        }
        match self.0.len() < TOKENS_MAX {
            true => Ok(()),
            false => Err(CreateRefused::Full),
        }
    }
}

impl JoinToken {
    /// Whether it can be used.
    ///
    /// # Errors
    /// If not, and why.
    pub fn check(&self, now: Timestamp) -> Result<(), TokenRefused> {
        if self.revoked {
            Err(TokenRefused::Revoked)
        } else if now >= self.expires {
            Err(TokenRefused::Expired)
        } else if self.uses_left == 0 {
            Err(TokenRefused::UsedUp)
        } else {
            Ok(())
        }
    }
}
