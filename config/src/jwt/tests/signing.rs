//! Keys that sign, for tests.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaEncoding, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::jwt::{Algorithm, KeySet};

pub(super) struct Signer {
    pub(super) algorithm: Algorithm,
    key: Key,
}

enum Key {
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
    Ec(EcdsaKeyPair, usize),
    Ed(Ed25519KeyPair),
}

pub(super) fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(super) fn part(value: &Value) -> String {
    encoded(value.to_string().as_bytes())
}

pub(super) fn set(keys: &[Value]) -> KeySet {
    KeySet::read(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

impl Signer {
    pub(super) fn new(algorithm: Algorithm) -> Self {
        let rsa = |encoding: &'static dyn RsaEncoding| {
            Key::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap(), encoding)
        };
        let key = match algorithm {
            Algorithm::Rs256 => rsa(&signature::RSA_PKCS1_SHA256),
            Algorithm::Rs384 => rsa(&signature::RSA_PKCS1_SHA384),
            Algorithm::Rs512 => rsa(&signature::RSA_PKCS1_SHA512),
            Algorithm::Ps256 => rsa(&signature::RSA_PSS_SHA256),
            Algorithm::Ps384 => rsa(&signature::RSA_PSS_SHA384),
            Algorithm::Ps512 => rsa(&signature::RSA_PSS_SHA512),
            Algorithm::Es256 => Key::Ec(
                EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
                32,
            ),
            Algorithm::Es384 => Key::Ec(
                EcdsaKeyPair::generate(&signature::ECDSA_P384_SHA384_FIXED_SIGNING).unwrap(),
                48,
            ),
            Algorithm::EdDsa => Key::Ed(Ed25519KeyPair::generate().unwrap()),
        };
        Self { algorithm, key }
    }

    /// A token with `more` in its header.
    pub(super) fn token(&self, more: &Value, claims: &Value) -> String {
        let mut header = json!({ "alg": self.algorithm.name() });
        for (name, value) in more.as_object().unwrap() {
            header[name] = value.clone();
        }
        let signed = format!("{}.{}", part(&header), part(claims));
        format!("{signed}.{}", encoded(&self.sign(signed.as_bytes())))
    }

    fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.key {
            Key::Rsa(key, encoding) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(*encoding, &random, bytes, &mut signature).unwrap();
                signature
            }
            Key::Ec(key, _) => key.sign(&random, bytes).unwrap().as_ref().to_vec(),
            Key::Ed(key) => key.sign(bytes).as_ref().to_vec(),
        }
    }

    /// The public key, with `more` in it.
    pub(super) fn jwk(&self, more: Value) -> Value {
        let mut jwk = match &self.key {
            Key::Rsa(key, _) => {
                let key = key.public_key();
                let (n, e) = (key.modulus(), key.exponent());
                json!({ "kty": "RSA", "n": encoded(n.big_endian_without_leading_zero()), "e": encoded(e.big_endian_without_leading_zero()) })
            }
            Key::Ec(key, length) => {
                let point = &key.public_key().as_ref()[1..];
                let (x, y) = point.split_at(*length);
                let crv = if *length == 32 { "P-256" } else { "P-384" };
                json!({ "kty": "EC", "crv": crv, "x": encoded(x), "y": encoded(y) })
            }
            Key::Ed(key) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": encoded(key.public_key().as_ref()) })
            }
        };
        for (name, value) in more.as_object().unwrap() {
            jwk[name] = value.clone();
        }
        jwk
    }

    pub(super) fn is_rsa(&self) -> bool {
        matches!(self.key, Key::Rsa(..))
    }

    pub(super) fn same_key(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }

    /// Bytes that somebody may take for a secret.
    pub(super) fn public_forms(&self) -> Vec<Vec<u8>> {
        let Key::Rsa(key, _) = &self.key else {
            return Vec::new();
        };
        let key = key.public_key();
        let (der, jwk) = (key.as_ref().to_vec(), self.jwk(json!({})).to_string());
        let modulus = key.modulus().big_endian_without_leading_zero().to_vec();
        vec![der, jwk.into_bytes(), modulus]
    }
}
