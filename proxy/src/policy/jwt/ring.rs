//! All keys of the process, by where they come from: equal sources share them.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Notify;
use weft_config::policy::authn::KeySource;

use super::Keys;

/// Keys in use, and those that nobody keeps up to date yet.
#[derive(Debug, Default)]
pub struct KeyRing {
    table: Mutex<Table>,
    added: Notify,
}

#[derive(Debug, Default)]
struct Table {
    known: Vec<(KeySource, Weak<Keys>)>,
    new: Vec<(KeySource, Weak<Keys>)>,
}

impl KeyRing {
    /// No keys yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The keys of `source`.
    pub fn keys(&self, source: &KeySource) -> Arc<Keys> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.known.retain(|(_, keys)| keys.strong_count() > 0);
        let known = table.known.iter().find(|(known, _)| known == source);
        if let Some(keys) = known.and_then(|(_, keys)| keys.upgrade()) {
            return keys;
        }
        let keys = Arc::new(Keys::new(source));
        let entry = (source.clone(), Arc::downgrade(&keys));
        if !matches!(source, KeySource::Inline(_)) {
            table.new.retain(|(_, keys)| keys.strong_count() > 0);
            table.new.push(entry.clone());
            self.added.notify_one();
        }
        table.known.push(entry);
        keys
    }

    /// Those that came since the last call and are to be kept up to date. Waits for some.
    pub async fn added(&self) -> Vec<(KeySource, Weak<Keys>)> {
        loop {
            let new = {
                let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
                std::mem::take(&mut table.new)
            };
            if !new.is_empty() {
                return new;
            }
            self.added.notified().await;
        }
    }
}
