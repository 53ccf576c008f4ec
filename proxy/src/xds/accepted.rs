//! Resources as they were accepted: their bytes and versions, for recognising equal ones, for the disk and for people.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use weft_xds_proto::pb::google::protobuf::Any;

use super::kind::{Kind, PerKind};
use crate::snapshot::Map;

/// A resource as accepted.
#[derive(Clone, Debug, PartialEq)]
pub struct Raw {
    /// The version told with it.
    pub version: String,
    /// The resource.
    pub packed: Any,
    /// When it was accepted in this form.
    pub since: SystemTime,
}

/// All resources accepted and not gone.
#[derive(Clone, Debug, Default)]
pub struct Accepted(PerKind<Map<Arc<str>, Raw>>);

impl Accepted {
    /// The resource `name`.
    pub fn get(&self, kind: Kind, name: &str) -> Option<&Raw> {
        self.0.of(kind).get(name)
    }

    /// Notes a resource; whether its bytes are new.
    pub fn put(&mut self, kind: Kind, name: Arc<str>, raw: Raw) -> Novelty {
        let resources = self.0.of_mut(kind);
        match resources.get_mut(&name) {
            Some(held) if held.packed == raw.packed => {
                held.version = raw.version;
                Novelty::Same
            }
            _ => {
                resources.insert(name, raw);
                Novelty::New
            }
        }
    }

    /// Forgets a resource.
    pub fn remove(&mut self, kind: Kind, name: &str) -> Option<Raw> {
        self.0.of_mut(kind).remove(name)
    }

    /// The resources of one kind.
    pub fn of(&self, kind: Kind) -> &Map<Arc<str>, Raw> {
        self.0.of(kind)
    }
}

/// What is accepted, shared with the pages that show it. Whoever holds the lock computes nothing under it but a copy.
#[derive(Clone, Debug, Default)]
pub struct SharedAccepted(Arc<Mutex<Accepted>>);

impl SharedAccepted {
    /// The resources.
    pub fn lock(&self) -> MutexGuard<'_, Accepted> {
        // Every change is one statement of a map.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether something is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Novelty {
    /// It was there in the same form.
    Same,
    /// It was not there, or in another form.
    New,
}
