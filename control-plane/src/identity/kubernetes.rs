//! Service-account tokens of Kubernetes, judged offline: by the public keys of the cluster, which lie in a file.
//!
//! Such a token is a JSON Web Token (RFC 7519) whose subject is `system:serviceaccount:NAMESPACE:NAME`. Signatures are RS256
//! or ES256, by a key of the file whose kind says which; what the token itself says of its algorithm has no say.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::Deserialize;
use tokio::task::spawn_blocking;
use weft_config::causes::with_causes;
use weft_config::spiffe::{SpiffeId, TrustDomain};

use super::followed::Followed;

/// For whom a token must be meant (`aud`).
pub const AUDIENCE: &str = "weft";

/// Bytes of the file of keys.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Keys in it.
const KEYS_MAX: usize = 64;

/// How far ahead the clock of a cluster may be, in seconds.
const SKEW: f64 = 60.0;

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
    /// It is something else.
    #[error("{} is no JSON Web Key Set (RFC 7517) of at most {FILE_BYTES_MAX} bytes and {KEYS_MAX} keys", path.display())]
    NotKeys {
        /// The file.
        path: PathBuf,
    },
    /// No key that a token may be signed with.
    #[error("{} has no key for RS256 or ES256", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
}

/// Why a token is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtRefused {
    /// It is something else.
    #[error("the token is no JSON Web Token")]
    NotAToken,
    /// An algorithm that is not taken, `none` among them.
    #[error("the token must be signed with RS256 or ES256, got {found:?}")]
    Algorithm {
        /// What it says.
        found: String,
    },
    /// A header that must be understood and is not.
    #[error("the token has critical headers, which are not known")]
    Critical,
    /// A key that is not in the file, or of another kind.
    #[error("the cluster has no key {key:?} for {algorithm}")]
    UnknownKey {
        /// Its name.
        key: String,
        /// What it would be for.
        algorithm: &'static str,
    },
    /// Somebody else signed it.
    #[error("the token is not signed with the key of the cluster")]
    Signature,
    /// A claim is missing, or is of another kind.
    #[error("the token must have iss, aud, exp and sub, and these must be texts and numbers")]
    Claims,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet")]
    NotYetValid,
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
    keys: Mutex<Arc<[Key]>>,
}

/// A public key.
#[derive(Debug)]
struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// What a token says, as far as it is looked at.
#[derive(Debug, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    exp: f64,
    nbf: Option<f64>,
    jti: Option<String>,
}

/// One or several (RFC 7519 §4.1.3).
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// The head of a token, read before anything is believed.
#[derive(Debug, Deserialize)]
struct Head {
    alg: String,
    kid: Option<String>,
    crit: Option<serde_json::Value>,
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
        let (algorithm, name, id) = head(token)?;
        let keys = self.lock().clone();
        let fits = |key: &&Key| key.algorithm == algorithm && (id.is_none() || key.id == id);
        let mut fitting = keys.iter().filter(fits);
        // Without a name, there must be no choice.
        let (Some(key), None) = (fitting.next(), fitting.next()) else {
            return Err(JwtRefused::UnknownKey {
                key: repeated(&id.unwrap_or_default()),
                algorithm: name,
            });
        };
        let claims = decode::<serde_json::Value>(token, &key.key, &signature_alone(algorithm));
        let claims = claims.map_err(|_| JwtRefused::Signature)?.claims;
        let claims: Claims = serde_json::from_value(claims).map_err(|_| JwtRefused::Claims)?;
        self.check(&claims, now)?;
        let identity = identity(&claims.sub, trust_domain);
        Ok(ServiceAccountToken {
            identity: identity.ok_or_else(|| JwtRefused::Subject {
                found: repeated(&claims.sub),
            })?,
            id: claims.jti.as_deref().map(repeated).unwrap_or_default(),
        })
    }

    fn check(&self, claims: &Claims, now: Timestamp) -> Result<(), JwtRefused> {
        let now = now.as_second() as f64;
        if claims.exp <= now {
            return Err(JwtRefused::Expired);
        }
        if claims.nbf.is_some_and(|from| from > now + SKEW) {
            return Err(JwtRefused::NotYetValid);
        }
        if claims.iss != self.issuer {
            return Err(JwtRefused::Issuer {
                found: repeated(&claims.iss),
                expected: self.issuer.clone(),
            });
        }
        let meant = match &claims.aud {
            Audience::One(one) => one == AUDIENCE,
            Audience::Several(several) => several.iter().any(|it| it == AUDIENCE),
        };
        match meant {
            true => Ok(()),
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

    fn lock(&self) -> MutexGuard<'_, Arc<[Key]>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Algorithm and key of a token, by its own word: nothing of it is believed yet.
fn head(token: &str) -> Result<(Algorithm, &'static str, Option<String>), JwtRefused> {
    let head = token.split('.').next().unwrap_or_default();
    let head = URL_SAFE_NO_PAD.decode(head).ok();
    let head = head.and_then(|json| serde_json::from_slice::<Head>(&json).ok());
    let head = head.ok_or(JwtRefused::NotAToken)?;
    if head.crit.is_some() {
        return Err(JwtRefused::Critical); // RFC 7515 §4.1.11
    }
    match head.alg.as_str() {
        "RS256" => Ok((Algorithm::RS256, "RS256", head.kid)),
        "ES256" => Ok((Algorithm::ES256, "ES256", head.kid)),
        found => Err(JwtRefused::Algorithm {
            found: repeated(found),
        }),
    }
}

/// Only the signature is left to the library; what the claims must be is said in one place, by our clock.
fn signature_alone(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation
}

fn identity(subject: &str, trust_domain: &TrustDomain) -> Option<SpiffeId> {
    let account = subject.strip_prefix("system:serviceaccount:")?;
    let (namespace, name) = account.split_once(':')?;
    // A further `:` is no character of a name.
    SpiffeId::workload(trust_domain, namespace, name).ok()
}

fn read(path: &Path) -> Result<Arc<[Key]>, JwksError> {
    let not_keys = || JwksError::NotKeys {
        path: path.to_owned(),
    };
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|it| it.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    read.map_err(|source| JwksError::Io {
        path: path.to_owned(),
        source,
    })?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(not_keys());
    }
    let set: JwkSet = serde_json::from_slice(&bytes).map_err(|_| not_keys())?;
    if set.keys.len() > KEYS_MAX {
        return Err(not_keys());
    }
    let keys: Arc<[Key]> = set.keys.iter().filter_map(key).collect();
    let passed_over = set.keys.len() - keys.len();
    if passed_over > 0 {
        tracing::warn!(file = %path.display(), passed_over, "keys that are not for RS256 or ES256 are not used");
    }
    match keys.is_empty() {
        true => Err(JwksError::NoKey {
            path: path.to_owned(),
        }),
        false => Ok(keys),
    }
}

/// A key for the one algorithm that its kind is for; `None`: it is of another kind.
fn key(jwk: &Jwk) -> Option<Key> {
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(it) if it.curve == EllipticCurve::P256 => {
            Algorithm::ES256
        }
        _ => return None,
    };
    let said = jwk.common.key_algorithm.map(|it| it.to_string());
    if said.is_some_and(|said| said != format!("{algorithm:?}")) {
        return None;
    }
    Some(Key {
        id: jwk.common.key_id.clone(),
        algorithm,
        key: DecodingKey::from_jwk(jwk).ok()?,
    })
}

/// What a token says, short, and nothing in it that is no plain character.
fn repeated(text: &str) -> String {
    let plain = text.chars().filter(|c| c.is_ascii_graphic());
    plain.take(REPEATED_MAX).collect()
}
