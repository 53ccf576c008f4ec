//! Service-account tokens of Kubernetes, judged offline: by the public keys of the cluster, which lie in a file.
//!
//! Such a token is a JSON Web Token (RFC 7519) whose subject is `system:serviceaccount:NAMESPACE:NAME`. What a token is, and which
//! keys judge it, `weft_config::jwt` says.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::task::spawn_blocking;
use weft_config::causes::with_causes;
use weft_config::jwt::{JWKS_BYTES_MAX, KeySet, KeySetError, Refused, Registered, Token};
use weft_config::spiffe::{SpiffeId, TrustDomain};

use super::followed::Followed;

/// For whom a token must be meant (`aud`).
pub const AUDIENCE: &str = "weft";

/// How far ahead the clock of a cluster may be, in seconds.
const SKEW: u64 = 60;

/// Characters of what a token says that are repeated in a reason.
const REPEATED_MAX: usize = 200;

/// Why the keys of a cluster cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    /// The file cannot be read.
    #[error("reading {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// It holds no keys that can be used.
    #[error("{}", path.display())]
    NoKeys {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: KeySetError,
    },
}

/// Why a token is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtRefused {
    /// It is none, is not signed by the cluster, or says what it may not.
    #[error(transparent)]
    Token(#[from] Refused),
    /// A claim is missing.
    #[error("the token must have iss, aud, exp and sub")]
    Claims,
    /// Of another cluster.
    #[error("the token is of the issuer {found:?}, not of {expected:?}")]
    Issuer {
        /// What it says.
        found: String,
        /// What it should.
        expected: String,
    },
    /// Meant for somebody else.
    #[error("the token is not meant for the audience {AUDIENCE:?}")]
    Audience,
    /// Of no service account.
    #[error("the token is of {found:?}, and must be of system:serviceaccount:NAMESPACE:NAME")]
    Subject {
        /// What it says.
        found: String,
    },
}

/// Whose a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceAccountToken {
    /// The workload.
    pub(crate) identity: SpiffeId,
    /// The name of the token (`jti`); empty where it has none.
    pub(crate) id: String,
}

/// Judges tokens of one cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    issuer: String,
    keys: Mutex<Arc<KeySet>>,
}

impl Cluster {
    /// The cluster whose tokens are of `issuer`, signed with a key of `file`; the future follows the file.
    ///
    /// # Errors
    /// If it cannot be read, or has no key that can be used.
    pub(crate) fn open(
        issuer: &str,
        file: PathBuf,
    ) -> Result<(Arc<Self>, impl Future<Output = ()> + Send + 'static), JwksError> {
        let followed = Followed::new(vec![file.clone()]);
        let cluster = Arc::new(Self {
            issuer: issuer.to_owned(),
            keys: Mutex::new(read(&file)?),
        });
        Ok((cluster.clone(), cluster.follow(file, followed)))
    }

    /// Whose a token is.
    ///
    /// # Errors
    /// If it is not to be believed.
    pub(crate) fn judge(
        &self,
        token: &str,
        trust_domain: &TrustDomain,
        now: Timestamp,
    ) -> Result<ServiceAccountToken, JwtRefused> {
        let token = Token::read(token.as_bytes())?;
        let keys = self.lock().clone();
        keys.verify(&token)?;
        let claims = token.claims;
        let subject = self.check(&claims, now)?;
        let identity = identity(subject, trust_domain);
        Ok(ServiceAccountToken {
            identity: identity.ok_or_else(|| JwtRefused::Subject {
                found: repeated(subject),
            })?,
            id: claims.id.as_deref().map(repeated).unwrap_or_default(),
        })
    }

    /// Whom it speaks of.
    fn check<'c>(&self, claims: &'c Registered, now: Timestamp) -> Result<&'c str, JwtRefused> {
        let now = u64::try_from(now.as_second()).unwrap_or(0);
        let said = (&claims.issuer, &claims.subject, claims.expires);
        let (Some(issuer), Some(subject), Some(expires)) = said else {
            return Err(JwtRefused::Claims);
        };
        // Not a second longer: a token that was taken back in the cluster is believed until it expires.
        if expires <= now {
            return Err(Refused::Expired.into());
        }
        if claims.not_before.is_some_and(|from| from > now + SKEW) {
            return Err(Refused::NotYetValid.into());
        }
        if **issuer != *self.issuer {
            return Err(JwtRefused::Issuer {
                found: repeated(issuer),
                expected: self.issuer.clone(),
            });
        }
        match claims.audiences.iter().any(|it| **it == *AUDIENCE) {
            true => Ok(subject),
            false => Err(JwtRefused::Audience),
        }
    }

    /// Takes over keys that are replaced; those that cannot be used change nothing.
    async fn follow(self: Arc<Self>, file: PathBuf, mut followed: Followed) {
        loop {
            followed.due().await;
            let path = file.clone();
            let Ok(keys) = spawn_blocking(move || read(&path)).await else {
                return; // the runtime ends
            };
            if !followed.were_read() {
                continue;
            }
            match keys {
                Ok(keys) => {
                    let count = keys.len();
                    *self.lock() = keys;
                    tracing::info!(file = %file.display(), count, "keys of the cluster replaced");
                }
                Err(error) => {
                    followed.cannot_be_used();
                    let why = with_causes(&error);
                    tracing::error!(
                        why,
                        "the keys of the cluster cannot be used: those before stay"
                    );
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Arc<KeySet>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn identity(subject: &str, trust_domain: &TrustDomain) -> Option<SpiffeId> {
    let account = subject.strip_prefix("system:serviceaccount:")?;
    let (namespace, name) = account.split_once(':')?;
    // A further `:` is no character of a name.
    SpiffeId::workload(trust_domain, namespace, name).ok()
}

fn read(path: &Path) -> Result<Arc<KeySet>, JwksError> {
    let mut bytes = Vec::new();
    let limit = JWKS_BYTES_MAX as u64 + 1;
    let read = File::open(path).and_then(|it| it.take(limit).read_to_end(&mut bytes));
    read.map_err(|source| JwksError::Io {
        path: path.to_owned(),
        source,
    })?;
    let set = KeySet::read(&bytes).map_err(|source| JwksError::NoKeys {
        path: path.to_owned(),
        source,
    })?;
    for key in set.passed_over() {
        tracing::warn!(file = %path.display(), %key, "a key is not used");
    }
    Ok(Arc::new(set))
}

/// What a token says, short, and nothing in it that is no plain character.
fn repeated(text: &str) -> String {
    let plain = text.chars().filter(|c| c.is_ascii_graphic());
    plain.take(REPEATED_MAX).collect()
}
