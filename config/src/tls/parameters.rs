//! Versions, cipher suites and groups of a TLS context, by the names that OpenSSL and BoringSSL have for them.

use weft_xds_proto::pb::envoy::extensions::transport_sockets::tls::v3 as pb;

use crate::diag::{Diagnostics, FieldPath};

/// `TlsParameters`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsParameters {
    /// Lowest version spoken. Default TLS 1.2.
    pub version_min: TlsVersion,
    /// Highest version spoken. Default TLS 1.3.
    pub version_max: TlsVersion,
    /// Suites of TLS 1.2, by preference; empty: all that are known. Those of TLS 1.3 are not up for choice.
    pub cipher_suites: Vec<CipherSuite>,
    /// Groups for the key exchange, by preference. Default: hybrid `X25519MLKEM768`, then `X25519`, `P-256`, `P-384`.
    pub key_exchange: Vec<KeyExchange>,
}

impl Default for TlsParameters {
    fn default() -> Self {
        Self {
            version_min: TlsVersion::Tls12,
            version_max: TlsVersion::Tls13,
            cipher_suites: Vec::new(),
            key_exchange: vec![
                KeyExchange::X25519MlKem768,
                KeyExchange::X25519,
                KeyExchange::P256,
                KeyExchange::P384,
            ],
        }
    }
}

/// Versions of TLS that are spoken. Older ones are not (RFC 8996).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// Cipher suites of TLS 1.2, all with forward secrecy and AEAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CipherSuite {
    /// `ECDHE-ECDSA-AES128-GCM-SHA256`.
    EcdsaAes128,
    /// `ECDHE-ECDSA-AES256-GCM-SHA384`.
    EcdsaAes256,
    /// `ECDHE-ECDSA-CHACHA20-POLY1305`.
    EcdsaChaCha20,
    /// `ECDHE-RSA-AES128-GCM-SHA256`.
    RsaAes128,
    /// `ECDHE-RSA-AES256-GCM-SHA384`.
    RsaAes256,
    /// `ECDHE-RSA-CHACHA20-POLY1305`.
    RsaChaCha20,
}

/// Groups for the key exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyExchange {
    /// `X25519MLKEM768`: holds against a quantum computer as well.
    X25519MlKem768,
    /// `X25519`.
    X25519,
    /// `P-256`.
    P256,
    /// `P-384`.
    P384,
}

const CIPHER_SUITES: [(&str, CipherSuite); 6] = [
    ("ECDHE-ECDSA-AES128-GCM-SHA256", CipherSuite::EcdsaAes128),
    ("ECDHE-ECDSA-AES256-GCM-SHA384", CipherSuite::EcdsaAes256),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", CipherSuite::EcdsaChaCha20),
    ("ECDHE-RSA-AES128-GCM-SHA256", CipherSuite::RsaAes128),
    ("ECDHE-RSA-AES256-GCM-SHA384", CipherSuite::RsaAes256),
    ("ECDHE-RSA-CHACHA20-POLY1305", CipherSuite::RsaChaCha20),
];

const GROUPS: [(&str, KeyExchange); 4] = [
    ("X25519MLKEM768", KeyExchange::X25519MlKem768),
    ("X25519", KeyExchange::X25519),
    ("P-256", KeyExchange::P256),
    ("P-384", KeyExchange::P384),
];

impl TlsParameters {
    pub(super) fn parse(proto: &pb::TlsParameters, at: &FieldPath, diag: &mut Diagnostics) -> Self {
        let default = Self::default();
        let mut version = |name: &str, given: i32, default| {
            let version = diag.keep(at.field(name), version(given));
            version.flatten().unwrap_or(default)
        };
        let min = proto.tls_minimum_protocol_version;
        let max = proto.tls_maximum_protocol_version;
        let version_min = version("tls_minimum_protocol_version", min, default.version_min);
        let version_max = version("tls_maximum_protocol_version", max, default.version_max);
        if version_min > version_max {
            let rule = "must not be above tls_maximum_protocol_version";
            diag.fault(at.field("tls_minimum_protocol_version"), rule);
        }
        if !proto.signature_algorithms.is_empty() {
            diag.fault(at.field("signature_algorithms"), "is not supported yet");
        }
        if !proto.compliance_policies.is_empty() {
            diag.fault(at.field("compliance_policies"), "is not supported yet");
        }
        let groups = named(&proto.ecdh_curves, &GROUPS, "ecdh_curves", at, diag);
        Self {
            version_min,
            version_max,
            cipher_suites: named(
                &proto.cipher_suites,
                &CIPHER_SUITES,
                "cipher_suites",
                at,
                diag,
            ),
            key_exchange: match groups.is_empty() {
                true => default.key_exchange,
                false => groups,
            },
        }
    }
}

/// `None`: the default.
fn version(given: i32) -> Result<Option<TlsVersion>, String> {
    use pb::tls_parameters::TlsProtocol;
    match TlsProtocol::try_from(given) {
        Ok(TlsProtocol::TlsAuto) => Ok(None),
        Ok(TlsProtocol::TlSv12) => Ok(Some(TlsVersion::Tls12)),
        Ok(TlsProtocol::TlSv13) => Ok(Some(TlsVersion::Tls13)),
        Ok(TlsProtocol::TlSv10 | TlsProtocol::TlSv11) => {
            Err("TLS 1.0 and 1.1 are not spoken (RFC 8996)".to_owned())
        }
        Err(_) => Err(format!("has no version {given}")),
    }
}

/// Looks names up. `[A|B]`, names that BoringSSL gives equal preference, are taken in their order.
fn named<T: Copy>(
    given: &[String],
    known: &[(&str, T)],
    name: &str,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> Vec<T> {
    let mut found = Vec::new();
    for (index, text) in given.iter().enumerate() {
        let group = text.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        for text in group.unwrap_or(text).split('|') {
            match known.iter().find(|(name, _)| *name == text) {
                Some((_, value)) => found.push(*value),
                None => {
                    let all: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
                    let rule = format!("must be one of {}, got {text:?}", all.join(", "));
                    diag.fault(at.field(name).index(index), rule);
                }
            }
        }
    }
    found
}
