//! Reading a token in its compact form (RFC 7515 §7.1), before anything of it is believed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::json::object;
use super::{Algorithm, Refused, Registered};

/// The longest token that is looked at.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// A token as it was read; nothing of it is believed until [`KeySet::verify`](super::KeySet::verify) has.
#[derive(Clone, Debug, PartialEq)]
pub struct Token<'t> {
    /// How it says that it is signed.
    pub algorithm: Algorithm,
    /// The name of the key, where it has one.
    pub key_id: Option<String>,
    /// Its header.
    pub header: Map<String, Value>,
    /// Its payload.
    pub payload: Map<String, Value>,
    /// Its payload, as it was sent.
    pub payload_text: &'t str,
    /// The claims that decide whether it holds.
    pub claims: Registered,
    pub(super) signed: &'t [u8],
    pub(super) signature: Vec<u8>,
}

impl<'t> Token<'t> {
    /// Reads a token.
    ///
    /// # Errors
    /// If it is none.
    pub fn read(text: &'t [u8]) -> Result<Self, Refused> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(Refused::TooLarge);
        }
        // Base64url and dots are ASCII: what is something else is none of the three parts.
        let text = std::str::from_utf8(text).map_err(|_| Refused::Form)?;
        let (signed, signature) = text.rsplit_once('.').ok_or(Refused::Form)?;
        let (header, payload_text) = signed.split_once('.').ok_or(Refused::Form)?;
        if payload_text.contains('.') || payload_text.is_empty() || header.is_empty() {
            return Err(Refused::Form);
        }
        let header = decoded(header).ok_or(Refused::HeaderBase64)?;
        let header = object(&header).ok_or(Refused::HeaderJson)?;
        let Some(Value::String(algorithm)) = header.get("alg") else {
            return Err(Refused::NoAlgorithm);
        };
        let algorithm = Algorithm::of_name(algorithm).ok_or(Refused::Algorithm)?;
        let key_id = match header.get("kid") {
            None => None,
            Some(Value::String(id)) => Some(id.clone()).filter(|id| !id.is_empty()),
            Some(_) => return Err(Refused::KeyId),
        };
        if header.contains_key("crit") {
            return Err(Refused::Critical);
        }
        let payload = decoded(payload_text).ok_or(Refused::PayloadBase64)?;
        let payload = object(&payload).ok_or(Refused::PayloadJson)?;
        let claims = Registered::of(&payload)?;
        let signature = decoded(signature).ok_or(Refused::SignatureBase64)?;
        Ok(Self {
            algorithm,
            key_id,
            header,
            payload,
            payload_text,
            claims,
            signed: signed.as_bytes(),
            signature,
        })
    }
}

fn decoded(part: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part).ok()
}
