//! Good tokens that a worker remembers: a signature costs more than everything else that is done with a request.
//!
//! Only what a signature has held for is remembered, by the token's bytes, its provider and the very keys: other keys, and all is
//! judged anew. What a token says of its time is looked at each time. So nobody can fill the memory who has no good tokens.

use std::sync::Arc;

use super::Good;
use crate::snapshot::Map;

/// Providers that a worker remembers tokens of; more have come and gone with changes of the configuration.
const ISSUERS_MAX: usize = 256;

/// Good tokens by provider.
#[derive(Debug, Default)]
pub struct TokenCache {
    issuers: Map<u64, Remembered>,
}

/// Two halves: what is used moves to the younger one, and when that is full the older one goes.
#[derive(Debug, Default)]
struct Remembered {
    keys: u64,
    young: Map<Box<[u8]>, Arc<Good>>,
    old: Map<Box<[u8]>, Arc<Good>>,
}

impl TokenCache {
    /// The token, if its signature has held for the keys `keys`. Allocates nothing where it was used lately.
    pub(super) fn get(
        &mut self,
        issuer: u64,
        keys: u64,
        token: &[u8],
        tokens_max: usize,
    ) -> Option<Arc<Good>> {
        let remembered = self.issuers.get_mut(&issuer)?;
        if remembered.keys != keys {
            self.issuers.remove(&issuer);
            return None;
        }
        if let Some(good) = remembered.young.get(token) {
            return Some(good.clone());
        }
        let (token, good) = remembered.old.remove_entry(token)?;
        remembered.insert(token, good.clone(), tokens_max);
        Some(good)
    }

    /// The signature of the token has held for the keys `keys`.
    pub(super) fn insert(
        &mut self,
        issuer: u64,
        keys: u64,
        token: &[u8],
        good: &Arc<Good>,
        tokens_max: usize,
    ) {
        if self.issuers.len() >= ISSUERS_MAX && !self.issuers.contains_key(&issuer) {
            self.issuers.clear();
        }
        let remembered = self.issuers.entry(issuer).or_default();
        if remembered.keys != keys {
            *remembered = Remembered::default();
            remembered.keys = keys;
        }
        remembered.insert(token.into(), good.clone(), tokens_max);
    }
}

impl Remembered {
    fn insert(&mut self, token: Box<[u8]>, good: Arc<Good>, tokens_max: usize) {
        if self.young.len() >= (tokens_max / 2).max(1) {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(token, good);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Arc<Good> {
        Arc::default()
    }

    #[test]
    fn a_token_is_remembered_for_the_keys_that_it_was_judged_by() {
        let mut cache = TokenCache::default();
        cache.insert(1, 7, b"a", &good(), 10);
        assert!(cache.get(1, 7, b"a", 10).is_some());
        assert!(cache.get(1, 7, b"b", 10).is_none());
        assert!(cache.get(2, 7, b"a", 10).is_none());
        assert!(cache.get(1, 8, b"a", 10).is_none());
        // Keys do not come back.
        assert!(cache.get(1, 7, b"a", 10).is_none());
    }

    #[test]
    fn what_is_used_stays_and_the_number_has_a_bound() {
        let mut cache = TokenCache::default();
        for number in 0_u32..1000 {
            cache.insert(1, 7, &number.to_be_bytes(), &good(), 10);
            assert!(
                cache.get(1, 7, &0_u32.to_be_bytes(), 10).is_some(),
                "{number}"
            );
        }
        let remembered = cache
            .issuers
            .get(&1)
            .map_or(0, |it| it.young.len() + it.old.len());
        assert!(remembered <= 10, "{remembered}");
    }

    #[test]
    fn providers_that_came_and_went_are_forgotten() {
        let mut cache = TokenCache::default();
        for issuer in 0..1000 {
            cache.insert(issuer, 7, b"a", &good(), 10);
            assert!(cache.issuers.len() <= ISSUERS_MAX);
        }
    }
}
