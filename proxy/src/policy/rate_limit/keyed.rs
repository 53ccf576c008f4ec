//! A bounded number of buckets, found by the hash of their key, without a lock.
//!
//! Slots stand in sets of at most eight, as in a processor's cache. A new key takes the slot whose bucket is the
//! fullest: one that is full loses nothing by being forgotten, and one that is empty, whose owner would gain by
//! being forgotten, goes last. So nobody frees himself from a limit by flooding it with other keys.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

const WAYS: usize = 8;

#[derive(Debug)]
pub(super) struct KeyedBuckets {
    sets: Box<[OnceLock<Box<[Slot]>>]>,
    ways: usize,
}

#[derive(Debug, Default)]
struct Slot {
    /// The hash of the key; 0 while nobody has it.
    key: AtomicU64,
    /// The bucket, see [`super::Rate`].
    full_at: AtomicU64,
}

impl KeyedBuckets {
    /// Room for about `keys_max` buckets, never for more; sets are made when first used.
    pub(super) fn new(keys_max: usize) -> Self {
        let ways = keys_max.clamp(1, WAYS);
        let sets = (keys_max / ways).max(1);
        Self {
            sets: (0..sets).map(|_| OnceLock::new()).collect(),
            ways,
        }
    }

    /// The bucket of `key`, a full one if it had none. `gave_up` is called when another's bucket that was not
    /// full had to be forgotten for it.
    ///
    /// Two threads that bring the same new key, or meet on one slot, may make a difference of a token.
    pub(super) fn bucket(&self, key: u64, now: u64, gave_up: impl FnOnce()) -> Option<&AtomicU64> {
        let key = key.max(1);
        let set = self.set(key);
        if let Some(slot) = set
            .iter()
            .find(|slot| slot.key.load(Ordering::Relaxed) == key)
        {
            return Some(&slot.full_at);
        }
        let fullness = |slot: &&Slot| slot.full_at.load(Ordering::Relaxed);
        let slot = set.iter().min_by_key(fullness)?;
        if slot.full_at.load(Ordering::Relaxed) > now {
            gave_up();
        }
        slot.key.store(key, Ordering::Relaxed);
        slot.full_at.store(now, Ordering::Relaxed); // full, and not the first to be taken by the next new key
        Some(&slot.full_at)
    }

    fn set(&self, key: u64) -> &[Slot] {
        let sets = u64::try_from(self.sets.len()).unwrap_or(u64::MAX);
        let index = usize::try_from((key >> 8) % sets).unwrap_or(0);
        match self.sets.get(index) {
            Some(set) => set.get_or_init(|| (0..self.ways).map(|_| Slot::default()).collect()),
            None => &[],
        }
    }
}
