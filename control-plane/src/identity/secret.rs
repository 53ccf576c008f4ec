//! Secrets that are shown once: random, and kept as a hash.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A new secret of 256 bits behind a prefix by which people and scanners know one; `None`: the system has no random bytes.
pub(super) fn make(prefix: &str) -> Option<String> {
    Some(format!(
        "{prefix}{}",
        URL_SAFE_NO_PAD.encode(random::<32>()?)
    ))
}

/// A name for one, which may be known.
pub(super) fn id() -> Option<String> {
    Some(hex(&random::<8>()?))
}

/// What is kept of it: SHA-256 in hexadecimal, which is enough for what cannot be guessed.
pub(super) fn hash(secret: &str) -> String {
    hex(digest(&SHA256, secret.as_bytes()).as_ref())
}

fn random<const BYTES: usize>() -> Option<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    rand::fill(&mut bytes).ok()?;
    Some(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
