//! Resources as they were accepted: their bytes and versions, for recognising equal ones, for the disk and for people.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use weft_config::tls::SecretName;
use weft_xds_proto::pb::google::protobuf::Any;

use super::kind::{Kind, PerKind};
use crate::snapshot::Map;

/// A resource as accepted.
#[derive(Clone, PartialEq)]
pub struct Raw {
    /// The version told with it.
    pub version: String,
    /// The resource.
    pub packed: Any,
    /// When it was accepted in this form.
    pub since: SystemTime,
    /// Whether a private key stands in it: such a one is never written to disk.
    pub has_private_key: bool,
}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A key may stand in it.
        write!(f, "({} bytes of {})", self.packed.value.len(), self.version)
    }
}

/// All resources accepted and not gone.
#[derive(Clone, Debug, Default)]
pub struct Accepted {
    kinds: PerKind<Map<Arc<str>, Raw>>,
    /// Secrets in use, whoever tells them; `None`: not told yet.
    secrets: BTreeMap<SecretName, Option<Raw>>,
}

impl Accepted {
    /// The resource `name`.
    pub fn get(&self, kind: Kind, name: &str) -> Option<&Raw> {
        self.kinds.of(kind).get(name)
    }

    /// Notes a resource; whether its bytes are new.
    pub fn put(&mut self, kind: Kind, name: Arc<str>, raw: Raw) -> Novelty {
        let resources = self.kinds.of_mut(kind);
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
        self.kinds.of_mut(kind).remove(name)
    }

    /// Secrets in use, by who tells them and name; `None`: not told yet.
    pub fn secrets(&self) -> &BTreeMap<SecretName, Option<Raw>> {
        &self.secrets
    }

    /// How many secrets have been told.
    pub fn secrets_told(&self) -> usize {
        self.secrets.values().flatten().count()
    }

    /// A secret is in use, which is told later.
    pub fn want_secret(&mut self, name: &SecretName) {
        if !self.secrets.contains_key(name) {
            self.secrets.insert(name.clone(), None);
        }
    }

    /// Whether the secret `name` was told with the same bytes.
    pub fn has_secret(&self, name: &SecretName, raw: &Raw) -> bool {
        let held = self.secrets.get(name).and_then(Option::as_ref);
        held.is_some_and(|held| held.packed == raw.packed)
    }

    /// Notes a secret.
    pub fn put_secret(&mut self, name: SecretName, raw: Raw) {
        match self.secrets.get_mut(&name) {
            Some(Some(held)) if held.packed == raw.packed => held.version = raw.version,
            _ => drop(self.secrets.insert(name, Some(raw))),
        }
    }

    /// Nobody uses a secret any more.
    pub fn forget_secret(&mut self, name: &SecretName) {
        self.secrets.remove(name);
    }

    /// The resources of one kind, but for secrets.
    pub fn of(&self, kind: Kind) -> &Map<Arc<str>, Raw> {
        self.kinds.of(kind)
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
