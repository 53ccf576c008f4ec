//! When certificates in use expire.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Of each secret the first moment at which one of its certificates has expired, in Unix seconds.
#[derive(Debug, Default)]
pub struct CertificateExpiries(Mutex<BTreeMap<String, i64>>);

/// Secrets that are told one by one; they are of the configuration, and there are few.
const SECRETS_MAX: usize = 100;

impl CertificateExpiries {
    /// These are in use now, and no others.
    pub fn set(&self, expiries: impl IntoIterator<Item = (String, i64)>) {
        let mut first: BTreeMap<String, i64> = BTreeMap::new();
        for (secret, at) in expiries {
            if first.len() < SECRETS_MAX || first.contains_key(&secret) {
                let earliest = first.entry(secret).or_insert(at);
                *earliest = at.min(*earliest);
            }
        }
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = first;
    }

    /// All of them.
    pub(super) fn all(&self) -> BTreeMap<String, i64> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
