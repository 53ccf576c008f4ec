//! All slots of the process, by what they are made from.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use weft_config::secret::{SecretKind, TlsCertificate, Validation};
use weft_config::tls::{
    CertificateSource, DownstreamTls, SecretHolds, SecretName, UpstreamTls, ValidationSource,
    WantedSecret,
};

use super::context::{ClientContext, ServerContext};
use super::peer::PeerCertificate;
use super::slot::{Certificate, LoadError, Material, Slot};
use super::trust::Trust;

/// Makes TLS contexts and keeps what they are made from. One for the process; equal sources share a slot.
#[derive(Debug)]
pub struct Secrets {
    table: Mutex<Table>,
    /// Whether the workload is somebody in its mesh.
    has_workload: AtomicBool,
    provider: Arc<CryptoProvider>,
}

/// What is told under one name: a provider tells both.
#[derive(Debug, Default)]
struct Named {
    certificate: Option<Arc<TlsCertificate>>,
    validation: Option<Arc<Validation>>,
}

#[derive(Debug, Default)]
struct Table {
    named: HashMap<SecretName, Named>,
    certificates: Slots<CertificateSource, Certificate>,
    trusts: Slots<ValidationSource, Trust>,
}

/// Slots that somebody uses.
#[derive(Debug)]
struct Slots<S, T: Material>(Vec<(S, Weak<Slot<T>>)>);

impl<S, T: Material> Default for Slots<S, T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<S: PartialEq + Clone, T: Material> Slots<S, T> {
    /// The slot of `source`; `true`: it is new.
    fn get(&mut self, source: &S, name: Option<&SecretName>) -> (Arc<Slot<T>>, bool) {
        self.0.retain(|(_, slot)| slot.strong_count() > 0);
        let known = self.0.iter().find(|(known, _)| known == source);
        if let Some(slot) = known.and_then(|(_, slot)| slot.upgrade()) {
            return (slot, false);
        }
        let slot = Arc::new(Slot::empty(name.cloned().map(LoadError::Unknown)));
        self.0.push((source.clone(), Arc::downgrade(&slot)));
        (slot, true)
    }

    fn living(&self) -> Vec<(S, Arc<Slot<T>>)> {
        let living = |(source, slot): &(S, Weak<Slot<T>>)| Some((source.clone(), slot.upgrade()?));
        self.0.iter().filter_map(living).collect()
    }
}

impl Table {
    fn certificate(&self, source: &CertificateSource) -> Option<Arc<TlsCertificate>> {
        match source {
            CertificateSource::Inline(certificate) => Some(certificate.clone()),
            CertificateSource::Named(name) => self.named.get(name)?.certificate.clone(),
        }
    }

    fn validation(&self, source: &ValidationSource) -> Option<Arc<Validation>> {
        let told = |name: &SecretName| self.named.get(name)?.validation.clone();
        match source {
            ValidationSource::Inline(validation) => Some(validation.clone()),
            ValidationSource::Named(name) => told(name),
            ValidationSource::Combined(base, name) => Some(Arc::new(base.with(&*told(name)?))),
        }
    }
}

/// A secret in use, without what is secret of it.
#[derive(Clone, Debug)]
pub struct ShownSecret {
    /// The file or the name that it comes from.
    pub place: String,
    /// Whether it is ours to show, rather than one that others are judged by.
    pub own: bool,
    /// The certificate, or all that are trusted.
    pub certificates: Vec<PeerCertificate>,
}

impl Secrets {
    /// Nothing told yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            table: Mutex::default(),
            has_workload: AtomicBool::new(false),
            provider: Arc::new(aws_lc_rs::default_provider()),
        })
    }

    /// Whether the workload is somebody in its mesh, or is about to be. Who is nobody speaks to sidecars in plain.
    pub fn has_workload(&self) -> bool {
        self.has_workload.load(Ordering::Relaxed)
    }

    /// A secret is told, new or changed. Handshakes from now on take it.
    pub fn put(&self, name: &SecretName, kind: &SecretKind) {
        if *name == SecretName::of_workload() {
            self.has_workload.store(true, Ordering::Relaxed);
        }
        let mut table = self.lock();
        let named = table.named.entry(name.clone()).or_default();
        match kind {
            SecretKind::Certificate(certificate) => named.certificate = Some(certificate.clone()),
            SecretKind::Validation(validation) => named.validation = Some(validation.clone()),
        }
        for (source, slot) in table.certificates.living() {
            if source.named() == Some(name)
                && let Some(config) = table.certificate(&source)
            {
                slot.fill(config, &self.provider);
            }
        }
        for (source, slot) in table.trusts.living() {
            if source.named() == Some(name)
                && let Some(config) = table.validation(&source)
            {
                slot.fill(config, &self.provider);
            }
        }
    }

    /// Whether a secret can be used, as far as that can be known before it is in force: that a key fits its certificate.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn check(&self, kind: &SecretKind) -> Result<(), LoadError> {
        match kind {
            SecretKind::Certificate(it) => Certificate::load(it, &self.provider).map(drop),
            SecretKind::Validation(it) => Trust::load(it, &self.provider).map(drop),
        }
    }

    /// Whether a secret has been told, with what is wanted of it.
    pub fn is_told(&self, wanted: &WantedSecret) -> bool {
        let table = self.lock();
        let named = table.named.get(&wanted.name);
        named.is_some_and(|named| match wanted.holds {
            SecretHolds::Certificate => named.certificate.is_some(),
            SecretHolds::Validation => named.validation.is_some(),
        })
    }

    /// Nobody names a secret any longer: whoever does so later waits for it to be told again. What runs goes on with it.
    pub fn forget(&self, name: &SecretName) {
        self.lock().named.remove(name);
    }

    /// Looks whether files have changed that secrets were read from. Reads them: for a thread that may wait.
    pub fn refresh(&self) {
        let (certificates, trusts) = {
            let table = self.lock();
            (table.certificates.living(), table.trusts.living())
        };
        for (_, slot) in certificates {
            slot.refresh(&self.provider);
        }
        for (_, slot) in trusts {
            slot.refresh(&self.provider);
        }
    }

    /// What keeps secrets that are in use from being used.
    pub fn faults(&self) -> Vec<LoadError> {
        let table = self.lock();
        let certificates = table.certificates.living();
        let trusts = table.trusts.living();
        let certificates = certificates.iter().filter_map(|(_, slot)| slot.fault());
        let trusts = trusts.iter().filter_map(|(_, slot)| slot.fault());
        certificates.chain(trusts).collect()
    }

    /// Every certificate in use: our own and those that are trusted, by where they come from.
    pub fn shown(&self) -> Vec<ShownSecret> {
        let (certificates, trusts) = {
            let table = self.lock();
            (table.certificates.living(), table.trusts.living())
        };
        let own = certificates.into_iter().filter_map(|(source, slot)| {
            let place = match &source {
                CertificateSource::Inline(certificate) => certificate.chain.place(),
                CertificateSource::Named(name) => name.to_string(),
            };
            let facts = slot.current()?.facts.clone();
            Some(ShownSecret {
                place,
                own: true,
                certificates: vec![facts],
            })
        });
        let trusted = trusts.into_iter().filter_map(|(source, slot)| {
            let place = match &source {
                ValidationSource::Inline(validation) => validation.place(),
                ValidationSource::Named(name) | ValidationSource::Combined(_, name) => {
                    name.to_string()
                }
            };
            let certificates = slot.current()?.roots.clone();
            Some(ShownSecret {
                place,
                own: false,
                certificates,
            })
        });
        own.chain(trusted).collect()
    }

    /// The context of a listener's filter chain.
    pub fn server(&self, config: &Arc<DownstreamTls>) -> Arc<ServerContext> {
        let common = &config.common;
        let certificates = self.certificates(&common.certificates);
        let trust = common.validation.as_ref().map(|it| self.trust(it));
        ServerContext::new(config.clone(), certificates, trust)
    }

    /// The context of a cluster.
    pub fn client(&self, config: &Arc<UpstreamTls>) -> Arc<ClientContext> {
        let common = &config.common;
        let certificates = self.certificates(&common.certificates);
        let trust = common.validation.as_ref().map(|it| self.trust(it));
        ClientContext::new(config.clone(), certificates, trust)
    }

    fn certificates(&self, sources: &[CertificateSource]) -> Vec<Arc<Slot<Certificate>>> {
        let mut table = self.lock();
        let mut slots = Vec::with_capacity(sources.len());
        for source in sources {
            let (slot, new) = table.certificates.get(source, source.named());
            if new && let Some(config) = table.certificate(source) {
                slot.fill(config, &self.provider);
            }
            slots.push(slot);
        }
        slots
    }

    fn trust(&self, source: &ValidationSource) -> Arc<Slot<Trust>> {
        let mut table = self.lock();
        let (slot, new) = table.trusts.get(source, source.named());
        if new && let Some(config) = table.validation(source) {
            slot.fill(config, &self.provider);
        }
        slot
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
