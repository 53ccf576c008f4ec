//! Slots that are used again, under names that are not: a key of something gone finds nothing.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

/// The name of a `T` in an [`Arena`].
pub(crate) struct Key<T> {
    slot: u32,
    life: u32,
    of: PhantomData<fn() -> T>,
}

impl<T> Key<T> {
    /// The slot, which a later life shares.
    pub(crate) fn slot(self) -> u32 {
        self.slot
    }
}

#[cfg(test)]
impl<T> Key<T> {
    /// The key of whatever lived first in `slot`.
    pub(super) fn first_of(slot: u32) -> Self {
        Self {
            slot,
            life: 0,
            of: PhantomData,
        }
    }
}

impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Key<T> {}
impl<T> PartialEq for Key<T> {
    fn eq(&self, other: &Self) -> bool {
        self.slot == other.slot && self.life == other.life
    }
}
impl<T> Eq for Key<T> {}
impl<T> Hash for Key<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (u64::from(self.slot) << 32 | u64::from(self.life)).hash(state);
    }
}
impl<T> fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.life)
    }
}

/// Values under keys. Freed slots are used again last in, first out, so that they are warm.
pub(crate) struct Arena<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    /// Memory of values that are gone, for those that come.
    spares: Vec<Box<Option<T>>>,
}

/// Spares kept at most.
const SPARE_MAX: usize = 256;

struct Slot<T> {
    life: u32,
    /// The inner `None` is that of a spare alone.
    value: Option<Box<Option<T>>>,
}

impl<T> Slot<T> {
    fn get(&self) -> Option<&T> {
        self.value.as_deref()?.as_ref()
    }

    fn get_mut(&mut self) -> Option<&mut T> {
        self.value.as_deref_mut()?.as_mut()
    }
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            spares: Vec::new(),
        }
    }
}

impl<T> Arena<T> {
    /// Puts `value` in.
    pub(crate) fn insert(&mut self, value: T) -> Key<T> {
        let value = match self.spares.pop() {
            Some(mut spare) => {
                *spare = Some(value);
                spare
            }
            None => Box::new(Some(value)),
        };
        if let Some(slot) = self.free.pop()
            && let Some(place) = self.slots.get_mut(slot as usize)
        {
            place.value = Some(value);
            let life = place.life;
            return Key {
                slot,
                life,
                of: PhantomData,
            };
        }
        let slot =
            u32::try_from(self.slots.len()).expect("fewer than 2^32 connections fit in memory");
        self.slots.push(Slot {
            life: 0,
            value: Some(value),
        });
        Key {
            slot,
            life: 0,
            of: PhantomData,
        }
    }

    /// What `key` names, while it lives.
    pub(crate) fn get(&self, key: Key<T>) -> Option<&T> {
        let slot = self.slots.get(key.slot as usize)?;
        slot.get().filter(|_| slot.life == key.life)
    }

    /// What `key` names, while it lives.
    pub(crate) fn get_mut(&mut self, key: Key<T>) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        if slot.life != key.life {
            return None;
        }
        slot.get_mut()
    }

    /// Takes out what `key` names.
    pub(crate) fn remove(&mut self, key: Key<T>) -> Option<T> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        if slot.life != key.life {
            return None;
        }
        let mut spare = slot.value.take()?;
        slot.life = slot.life.wrapping_add(1);
        self.free.push(key.slot);
        let value = spare.take();
        if self.spares.len() < SPARE_MAX {
            self.spares.push(spare);
        }
        value
    }

    /// The key of what lives in `slot` now.
    pub(crate) fn key_at(&self, slot: u32) -> Option<Key<T>> {
        let place = self.slots.get(slot as usize)?;
        place.get()?;
        Some(Key {
            slot,
            life: place.life,
            of: PhantomData,
        })
    }

    /// Frees the memory that is kept for reuse.
    pub(crate) fn give_back_spares(&mut self) {
        self.spares = Vec::new();
    }

    /// How many live.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The keys of all that live.
    pub(crate) fn keys(&self) -> Vec<Key<T>> {
        (0..self.slots.len())
            .filter_map(|slot| self.key_at(u32::try_from(slot).ok()?))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_does_not_find_the_next_life_of_its_slot() {
        let mut arena = Arena::default();
        let first = arena.insert("first");
        assert_eq!(arena.remove(first), Some("first"));
        let second = arena.insert("second");
        assert_eq!(first.slot(), second.slot());
        assert_eq!(arena.get(first), None);
        assert_eq!(arena.get(second), Some(&"second"));
        assert_eq!(arena.remove(first), None);
        assert_eq!(arena.len(), 1);
    }
}
