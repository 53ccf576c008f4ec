//! The last good tables, from disk and to disk.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::Instant;
use tracing::info;
use weft_config::tls::{SecretName, SecretOrigin};

use super::Core;
use crate::xds::accepted::Raw;
use crate::xds::decode::decode;
use crate::xds::kind::Kind;
use crate::xds::lines::Lines;
use crate::xds::state_dir::{Saved, SavedResource};

impl Core {
    /// Puts in force what was in force before the restart, judged by the same rules as if it came from the server.
    ///
    /// Nothing waits here: what is not warm yet was good enough before.
    pub fn restore(&mut self, saved: Saved, now: Instant) {
        if let Some(demand) = &self.options.demand {
            let names: Vec<Arc<str>> = saved
                .names
                .iter()
                .map(|name| name.as_str().into())
                .collect();
            demand.preload(names.iter().cloned(), now);
            self.asked.extend(names.iter().cloned());
            self.ads.wire.wanted_mut(Kind::Listener).names.extend(names);
        }
        let age = saved.age(SystemTime::now());
        let mut count = 0_usize;
        let mut lines = Lines::default();
        for resource in saved.resources {
            count += usize::from(self.restore_one(resource, now, &mut lines));
        }
        lines.end();
        while self.follow_names(now) {}
        self.builder.commit_unready(now);
        while self.follow_names(now) {}
        self.forget_unnamed();
        self.answer_workers(now);
        if count > 0 {
            self.told.extend(Kind::ALL);
            self.status.restored(age);
            info!(
                resources = count,
                age_seconds = age.as_secs(),
                "serving last good tables from disk"
            );
        }
        self.note_ready();
        self.take_changes();
    }

    fn restore_one(&mut self, saved: SavedResource, now: Instant, lines: &mut Lines) -> bool {
        let SavedResource {
            kind,
            name,
            version,
            packed,
        } = saved;
        let secret = SecretName {
            origin: SecretOrigin::Ads,
            name: name.as_str().into(),
        };
        if kind == Kind::Secret && !self.is_roots(&secret) {
            return false;
        }
        let put = decode(kind, Some(&name), &packed, lines).and_then(|it| self.put(it, now));
        if let Err(refusal) = put {
            lines.refused_from_disk(kind, &refusal);
            return false;
        }
        let name: Arc<str> = name.into();
        self.ads.wire.holds(kind, name.clone(), version.clone());
        let raw = Raw {
            version,
            packed,
            since: SystemTime::now(),
            has_private_key: false,
        };
        match kind {
            Kind::Secret => self.accepted.lock().put_secret(secret, raw),
            _ => drop(self.accepted.lock().put(kind, name, raw)),
        }
        true
    }

    /// Drops what the disk held and nothing names.
    fn forget_unnamed(&mut self) {
        for kind in Kind::ALL {
            let wanted = self.ads.wire.wanted(kind);
            let unnamed: Vec<_> = self
                .accepted
                .lock()
                .of(kind)
                .keys()
                .filter(|name| !wanted.covers(name))
                .cloned()
                .collect();
            for name in unnamed {
                self.accepted.lock().remove(kind, &name);
                self.ads.wire.lost(kind, &name);
            }
        }
    }

    /// What is to be kept for the next start. Of secrets these are the roots of the mesh alone: keys are never written to disk.
    pub fn to_save(&self) -> Saved {
        let accepted = self.accepted.lock();
        let kinds = Kind::ALL.into_iter().flat_map(|kind| {
            let resources = accepted.of(kind).iter();
            resources.map(move |(name, raw)| (kind, name, raw))
        });
        let roots = accepted.secrets().iter();
        let roots = roots.filter_map(|(secret, raw)| match raw {
            Some(raw) if self.is_roots(secret) => Some((Kind::Secret, &secret.name, raw)),
            _ => None,
        });
        let resources = kinds
            .chain(roots)
            .filter(|(.., raw)| !raw.has_private_key)
            .map(|(kind, name, raw)| SavedResource {
                kind,
                name: name.to_string(),
                version: raw.version.clone(),
                packed: raw.packed.clone(),
            });
        let names = self.options.demand.iter().flat_map(|demand| demand.names());
        Saved {
            resources: resources.collect(),
            names: names.map(|name| name.to_string()).collect(),
            at: SystemTime::now(),
        }
    }
}
