//! One revision: what each object was, and what it became.

use std::sync::Arc;

use jiff::Timestamp;
use weft_config::gateway_api::{Object, ObjectKey, Resources};

use super::{ChangeSet, OBJECTS_MAX, StoreError};

/// A revision of the desired state.
#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    /// Its number, from 1, without gaps.
    pub number: u64,
    /// When it was stored.
    pub time: Timestamp,
    /// Who asked for it, as he said himself.
    pub author: String,
    /// Who asked for it, as the API knew him: the name of his token. Empty: it did not come over the API, or nobody noted that then.
    pub principal: String,
    /// Why.
    pub message: String,
    /// What it did to each object concerned, in the order of their keys.
    pub changes: Vec<ObjectChange>,
}

/// What a revision did to one object.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectChange {
    /// Which object.
    pub key: ObjectKey,
    /// What it was; `None`: not there.
    pub before: Option<Arc<Object>>,
    /// What it became; `None`: gone.
    pub after: Option<Arc<Object>>,
}

impl Revision {
    /// Takes it back out of the state that it led to.
    pub(super) fn undo(&self, resources: &mut Resources) {
        for change in &self.changes {
            match &change.before {
                Some(object) => resources.insert(object.clone()),
                None => resources.remove(&change.key),
            };
        }
    }
}

/// The state after `change`, made `now`, and what happens to each object.
pub(super) fn plan(
    before: &Resources,
    change: &ChangeSet,
    now: Timestamp,
) -> Result<(Resources, Vec<ObjectChange>), StoreError> {
    let mut after = before.clone();
    let mut changes = Vec::with_capacity(change.put.len() + change.delete.len());
    for object in &change.put {
        let key = object.key();
        let object = Arc::new(stamped(object, before.get(&key).map(|old| &**old), now));
        after.insert(object.clone());
        changes.push(ObjectChange {
            before: before.get(&key).cloned(),
            after: Some(object),
            key,
        });
    }
    for key in &change.delete {
        let gone = after
            .remove(key)
            .ok_or_else(|| StoreError::UnknownObject { key: key.clone() })?;
        changes.push(ObjectChange {
            key: key.clone(),
            before: Some(gone),
            after: None,
        });
    }
    changes.sort_by(|a, b| a.key.cmp(&b.key));
    if let Some([first, _]) = changes.windows(2).find_map(|pair| {
        <&[_; 2]>::try_from(pair)
            .ok()
            .filter(|[a, b]| a.key == b.key)
    }) {
        return Err(StoreError::NamedTwice {
            key: first.key.clone(),
        });
    }
    if after.len() > OBJECTS_MAX {
        return Err(StoreError::TooManyObjects { count: after.len() });
    }
    Ok((after, changes))
}

/// The object with what the store says of it: since when it is there, by which the older of two in conflict wins, and how often
/// its spec has changed.
fn stamped(object: &Object, old: Option<&Object>, now: Timestamp) -> Object {
    let mut object = object.clone();
    let meta = &mut object.metadata;
    let now = || {
        let whole = Timestamp::from_second(now.as_second()).unwrap_or(now);
        whole.to_string()
    };
    let since = old.and_then(|old| old.metadata.creation_timestamp.clone());
    meta.creation_timestamp = since
        .or_else(|| meta.creation_timestamp.take())
        .or_else(|| Some(now()));
    let before = old.and_then(|old| old.metadata.generation).unwrap_or(0);
    let same = old.is_some_and(|old| old.spec == object.spec);
    object.metadata.generation = Some(if same { before.max(1) } else { before + 1 });
    object
}
