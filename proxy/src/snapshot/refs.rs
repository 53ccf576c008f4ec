//! Who names whom: counts of references to a kind of resource, and which names came and went.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::views::Map;

/// Names that are referred to, with counts.
#[derive(Debug, Default)]
pub(super) struct RefCounts {
    counts: Map<Arc<str>, usize>,
    touched: BTreeSet<Arc<str>>,
    announced: BTreeSet<Arc<str>>,
}

/// Names that came into use and that went out of use since the last time of asking.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameChanges {
    /// Now referred to.
    pub added: Vec<Arc<str>>,
    /// Referred to no more.
    pub removed: Vec<Arc<str>>,
}

impl NameChanges {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}

impl RefCounts {
    pub(super) fn acquire<'a>(&mut self, names: impl IntoIterator<Item = &'a Arc<str>>) {
        for name in names {
            *self.counts.entry(name.clone()).or_insert(0) += 1;
            self.touched.insert(name.clone());
        }
    }

    pub(super) fn release<'a>(&mut self, names: impl IntoIterator<Item = &'a Arc<str>>) {
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

    pub(super) fn contains(&self, name: &str) -> bool {
        self.counts.contains_key(name)
    }

    /// What changed since the last call; a name that came and went in between is not mentioned.
    pub(super) fn take_changes(&mut self) -> NameChanges {
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
