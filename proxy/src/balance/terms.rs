//! What a cluster is configured to be, and the TLS contexts that were made of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_config::cluster as config;
use weft_config::tls::UpstreamTls;

use crate::tls::{ClientContext, Secrets};

/// A configuration, and what was made of it.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) config: Arc<config::Cluster>,
    tls: Option<Arc<ClientContext>>,
    /// Of each of its socket matches.
    matched: Vec<Option<Arc<ClientContext>>>,
}

impl Terms {
    /// What is made of `config`; contexts that `before` has already go on, and their sessions with them.
    pub(super) fn new(
        config: Arc<config::Cluster>,
        secrets: &Secrets,
        before: Option<&Self>,
    ) -> Self {
        let mut known: Vec<Arc<ClientContext>> = Vec::new();
        for context in before.into_iter().flat_map(Self::contexts) {
            known.push(context.clone());
        }
        let mut context = |tls: &Option<Arc<UpstreamTls>>| {
            let tls = tls.as_ref()?;
            if tls.is_mesh() && !secrets.has_workload() {
                return None;
            }
            if let Some(same) = known.iter().find(|it| it.config == *tls) {
                return Some(same.clone());
            }
            let made = secrets.client(tls);
            known.push(made.clone());
            Some(made)
        };
        let tls = context(&config.tls);
        let matched = config.socket_matches.iter();
        let matched = matched.map(|it| context(&it.tls)).collect();
        Self {
            config,
            tls,
            matched,
        }
    }

    fn contexts(&self) -> impl Iterator<Item = &Arc<ClientContext>> {
        self.tls.iter().chain(self.matched.iter().flatten())
    }

    /// How an endpoint with these labels is encrypted.
    pub(super) fn tls_of(&self, labels: &BTreeMap<String, String>) -> Option<&Arc<ClientContext>> {
        let matches = self.config.socket_matches.iter().zip(&self.matched);
        let mut fitting = matches.filter(|(it, _)| it.fits(labels));
        match fitting.next() {
            Some((_, context)) => context.as_ref(),
            None => self.tls.as_ref(),
        }
    }
}
