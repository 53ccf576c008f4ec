//! Who names whom: counts of references to a kind of resource, and which names came and went.

use std::collections::BTreeSet;
use std::hash::Hash;
use std::sync::Arc;

use super::views::Map;

/// Names that are referred to, with counts.
#[derive(Debug)]
pub(super) struct RefCounts<K = Arc<str>> {
    counts: Map<K, usize>,
    touched: BTreeSet<K>,
    announced: BTreeSet<K>,
}

/// Names that came into use and that went out of use since the last time of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameChanges<K = Arc<str>> {
    /// Now referred to.
    pub added: Vec<K>,
    /// Referred to no more.
    pub removed: Vec<K>,
}

impl<K> Default for NameChanges<K> {
    fn default() -> Self {
        Self {
            added: Vec::new(),
            removed: Vec::new(),
        }
    }
}

impl<K> Default for RefCounts<K> {
    fn default() -> Self {
        Self {
            counts: Map::default(),
            touched: BTreeSet::new(),
            announced: BTreeSet::new(),
        }
    }
}

impl<K> NameChanges<K> {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}

impl<K: Clone + Ord + Hash> RefCounts<K> {
    pub(super) fn acquire<'a>(&mut self, names: impl IntoIterator<Item = &'a K>)
    where
        K: 'a,
    {
        for name in names {
            *self.counts.entry(name.clone()).or_insert(0) += 1;
            self.touched.insert(name.clone());
        }
    }

    pub(super) fn release<'a>(&mut self, names: impl IntoIterator<Item = &'a K>)
    where
        K: 'a,
    {
        for name in names {
            let Some(count) = self.counts.get_mut(name) else {
                continue;
            };
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.counts.remove(name);
            }
            self.touched.insert(name.clone());
        }
    }

    pub(super) fn contains(&self, name: &K) -> bool {
        self.counts.contains_key(name)
    }

    /// What changed since the last call; a name that came and went in between is not mentioned.
    pub(super) fn take_changes(&mut self) -> NameChanges<K> {
        let mut changes = NameChanges::default();
        for name in std::mem::take(&mut self.touched) {
            match (
                self.counts.contains_key(&name),
                self.announced.contains(&name),
            ) {
                (true, false) => {
                    self.announced.insert(name.clone());
                    changes.added.push(name);
                }
                (false, true) => {
                    self.announced.remove(&name);
                    changes.removed.push(name);
                }
                _ => {}
            }
        }
        changes
    }
}
