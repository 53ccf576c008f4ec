//! Sets of public keys (JWKS, RFC 7517), and whether one of them signed a token.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::signature::{ParsedPublicKey, RsaPublicKeyComponents};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

use super::{Algorithm, Refused, Token};

/// Bytes of a set.
pub const JWKS_BYTES_MAX: usize = 1024 * 1024;
/// Keys in a set.
pub const KEYS_MAX: usize = 100;
/// Keys that are tried for one token: each costs a look at a signature, and whoever sends the token pays nothing.
const TRIES_MAX: usize = 16;
/// Bits of an RSA key, at least and at most.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Public keys that tokens are judged by.
#[derive(Clone, Debug, PartialEq)]
pub struct KeySet {
    keys: Box<[Key]>,
    passed_over: Box<[PassedOver]>,
}

/// A key of a set that is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver {
    /// Where it stands.
    pub index: usize,
    /// Why.
    pub why: String,
}

/// Why a set cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Too many bytes.
    #[error("is more than {JWKS_BYTES_MAX} bytes of JWKS")]
    TooLarge,
    /// It is something else.
    #[error("is no JSON Web Key Set (RFC 7517)")]
    NotKeys,
    /// Too many keys.
    #[error("has {0} keys, more than {KEYS_MAX}")]
    TooMany(usize),
    /// No key that a token may be signed with.
    #[error("has no key that tokens may be signed with{}", first(.0))]
    NoKey(Option<PassedOver>),
}

fn first(of: &Option<PassedOver>) -> String {
    of.as_ref().map_or(String::new(), |it| format!(": {it}"))
}

/// A public key, ready for each algorithm that it may be used with.
#[derive(Clone)]
struct Key {
    id: Option<Arc<str>>,
    verifiers: Box<[(Algorithm, ParsedPublicKey)]>,
}

/// A key as it is written; what is not listed says nothing that would keep a key from being used.
#[derive(Deserialize)]
struct Written {
    kty: String,
    alg: Option<String>,
    kid: Option<String>,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

#[derive(Deserialize)]
struct WrittenSet {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads a set. Keys that cannot be used are passed over, as RFC 7517 §5 wants; [`Self::passed_over`] tells.
    ///
    /// # Errors
    /// If no key is left.
    pub fn read(bytes: &[u8]) -> Result<Self, KeySetError> {
        if bytes.len() > JWKS_BYTES_MAX {
            return Err(KeySetError::TooLarge);
        }
        let set: WrittenSet = serde_json::from_slice(bytes).map_err(|_| KeySetError::NotKeys)?;
        if set.keys.len() > KEYS_MAX {
            return Err(KeySetError::TooMany(set.keys.len()));
        }
        let (mut keys, mut passed_over) = (Vec::new(), Vec::new());
        for (index, value) in set.keys.into_iter().enumerate() {
            match Key::read(value) {
                Ok(key) => keys.push(key),
                Err(why) => passed_over.push(PassedOver { index, why }),
            }
        }
        if keys.is_empty() {
            return Err(KeySetError::NoKey(passed_over.into_iter().next()));
        }
        Ok(Self {
            keys: keys.into(),
            passed_over: passed_over.into(),
        })
    }

    /// The keys that are not used.
    pub fn passed_over(&self) -> &[PassedOver] {
        &self.passed_over
    }

    /// How many keys are used.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none, which never is.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether one of the keys signed the token.
    ///
    /// The token's word for the algorithm only chooses among what the kinds of the keys allow. A named key is looked for by
    /// its name; keys without a name, and all keys where the token names none, are tried one after the other.
    ///
    /// # Errors
    /// If none did.
    pub fn verify(&self, token: &Token<'_>) -> Result<(), Refused> {
        let fitting = self.keys.iter().filter(|key| key.is_called(&token.key_id));
        let verifiers = fitting.filter_map(|key| key.verifier(token.algorithm));
        let mut tried = false;
        for verifier in verifiers.take(TRIES_MAX) {
            tried = true;
            if verifier.verify_sig(token.signed, &token.signature).is_ok() {
                return Ok(());
            }
        }
        Err(match tried {
            true => Refused::Signature,
            false => Refused::NoKey,
        })
    }
}

impl Key {
    fn read(value: Value) -> Result<Self, String> {
        let written: Written =
            serde_json::from_value(value).map_err(|_| "is no key (RFC 7517 §4)".to_owned())?;
        if written.r#use.as_deref().is_some_and(|it| it != "sig") {
            return Err("is not for signatures (use)".to_owned());
        }
        let verifies = |ops: &Vec<String>| ops.iter().any(|it| it == "verify");
        if written.key_ops.as_ref().is_some_and(|ops| !verifies(ops)) {
            return Err("is not for verifying (key_ops)".to_owned());
        }
        let mut verifiers = match written.kty.as_str() {
            "RSA" => written.rsa()?,
            "EC" | "OKP" => vec![written.curve()?],
            "oct" => {
                return Err(
                    "is a shared secret (oct): whoever could verify could sign as well".to_owned(),
                );
            }
            kind => return Err(format!("is of an unknown kind {kind:?}")),
        };
        if let Some(said) = &written.alg {
            verifiers.retain(|(algorithm, _)| algorithm.name() == said);
            if verifiers.is_empty() {
                return Err(format!("says alg {said:?}, which its kind does not allow"));
            }
        }
        Ok(Self {
            id: written.kid.filter(|id| !id.is_empty()).map(Arc::from),
            verifiers: verifiers.into(),
        })
    }

    fn is_called(&self, wanted: &Option<String>) -> bool {
        match (&self.id, wanted) {
            (Some(id), Some(wanted)) => **id == **wanted,
            _ => true,
        }
    }

    fn verifier(&self, wanted: Algorithm) -> Option<&ParsedPublicKey> {
        let mut all = self.verifiers.iter();
        all.find(|(algorithm, _)| *algorithm == wanted)
            .map(|(_, key)| key)
    }
}

impl Written {
    fn rsa(&self) -> Result<Vec<(Algorithm, ParsedPublicKey)>, String> {
        let (n, e) = (number(&self.n, "n")?, number(&self.e, "e")?);
        let bits = n.len() * 8 - n.first().map_or(0, |it| it.leading_zeros() as usize);
        if !RSA_BITS.contains(&bits) {
            return Err(format!("is RSA of {bits} bits, and 2048 to 8192 are taken"));
        }
        let components = RsaPublicKeyComponents { n: &n, e: &e };
        let ready = |algorithm: Algorithm| {
            let key = components.to_parsed_public_key(algorithm.rsa()?);
            Some(key.map(|key| (algorithm, key)))
        };
        let ready = Algorithm::ALL.into_iter().filter_map(ready);
        ready
            .collect::<Result<_, _>>()
            .map_err(|_| "is no RSA key".to_owned())
    }

    fn curve(&self) -> Result<(Algorithm, ParsedPublicKey), String> {
        let name = self.crv.as_deref().unwrap_or_default();
        let known = Algorithm::of_curve(name);
        let (algorithm, length, verifier) = known
            .filter(|(algorithm, ..)| (self.kty == "OKP") == (*algorithm == Algorithm::EdDsa))
            .ok_or_else(|| format!("has an unknown curve {name:?}"))?;
        let mut point = Vec::with_capacity(1 + 2 * length);
        let coordinate = |text: &Option<String>, name: &str| {
            let bytes = bytes(text, name)?;
            match bytes.len() == length {
                true => Ok(bytes),
                false => Err(format!(
                    "{name} must have {length} bytes, got {}",
                    bytes.len()
                )),
            }
        };
        if self.kty == "EC" {
            point.push(4); // both coordinates, uncompressed (SEC 1 §2.3.3)
            point.extend(coordinate(&self.x, "x")?);
            point.extend(coordinate(&self.y, "y")?);
        } else {
            point.extend(coordinate(&self.x, "x")?);
        }
        match ParsedPublicKey::new(verifier, &point) {
            Ok(key) => Ok((algorithm, key)),
            Err(_) => Err(format!("is no point of {name}")),
        }
    }
}

fn bytes(text: &Option<String>, name: &str) -> Result<Vec<u8>, String> {
    let text = text.as_deref().ok_or_else(|| format!("has no {name}"))?;
    let decoded = URL_SAFE_NO_PAD.decode(text.trim_end_matches('='));
    decoded.map_err(|_| format!("{name} is no Base64url"))
}

/// A positive number without leading zeros.
fn number(text: &Option<String>, name: &str) -> Result<Vec<u8>, String> {
    let mut bytes = bytes(text, name)?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.drain(..zeros);
    match bytes.is_empty() {
        true => Err(format!("{name} is zero")),
        false => Ok(bytes),
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        let bytes = |key: &Self| {
            let all = key.verifiers.iter();
            all.map(|(algorithm, key)| (*algorithm, key.as_ref().to_vec()))
                .collect::<Vec<_>>()
        };
        self.id == other.id && bytes(self) == bytes(other)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithms: Vec<_> = self.verifiers.iter().map(|(it, _)| it.name()).collect();
        write!(f, "Key({:?} for {})", self.id, algorithms.join(", "))
    }
}

impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "keys[{}] {}", self.index, self.why)
    }
}
