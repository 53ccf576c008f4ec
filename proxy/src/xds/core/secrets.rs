//! Secrets: who is asked for which, and what comes of what they tell.
//!
//! Whatever is in use by a listener or a cluster, in force or waiting, is asked of the one that it names. A server of secrets has a
//! stream for each secret, as Envoy opens them: servers end the whole stream where they may not tell one of its names, and some take no
//! second name. What was told stays in
//! force until something better is told: not even its removal takes it back, nor a time to live.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tracing::warn;
use weft_config::tls::{
    AdsServer, AwaitedSecret, SecretHolds, SecretName, SecretOrigin, WantedSecret,
};

use super::Core;
use super::conversation::{Conversation, Unanswered};
use crate::snapshot::NameChanges;
use crate::xds::kind::Kind;
use crate::xds::wire::{Protocol, Received, Request};

mod told;

pub(super) use told::Teller;

/// Secrets of servers, each with a stream of its own, beyond which nothing that names a further one is taken.
const STREAMS_MAX: usize = 1_000;

/// Who tells secrets, and what they are asked for.
#[derive(Debug, Default)]
pub(super) struct Tellers {
    /// What each secret in use must hold for those who name it.
    wanted: BTreeMap<SecretName, BTreeSet<SecretHolds>>,
    /// With servers of secrets, one for each secret.
    streams: BTreeMap<Arc<SecretName>, Conversation>,
    changes: Vec<TellerChange>,
}

/// A change in who is to be listened to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TellerChange {
    /// A stream to the server of this secret is to be kept.
    Open(Arc<SecretName>),
    /// No more.
    Close(Arc<SecretName>),
    /// This file is to be read, now and whenever it changes.
    Watch(Arc<str>),
    /// No more.
    Leave(Arc<str>),
}

impl Tellers {
    fn wants_file(&self, path: &Arc<str>) -> bool {
        let of = SecretOrigin::File(path.clone());
        self.wanted.keys().any(|name| name.origin == of)
    }
}

impl Core {
    /// Who is to be listened to from now on, and who no more, since the last call.
    pub fn take_teller_changes(&mut self) -> Vec<TellerChange> {
        std::mem::take(&mut self.tellers.changes)
    }

    /// A stream to a server of secrets is being opened.
    pub fn server_tried(&mut self, secret: &Arc<SecretName>, address: &str) {
        if self.tellers.streams.contains_key(secret) {
            self.status.server_tried(secret, address);
        }
    }

    /// A stream to a server of secrets is up.
    pub fn server_began(&mut self, secret: &Arc<SecretName>) {
        if let Some(conversation) = self.tellers.streams.get_mut(secret) {
            conversation.began();
            self.status.server_began(secret);
        }
    }

    /// A stream to a server of secrets broke, or could not be opened. What is in force stays so.
    pub fn server_ended(&mut self, secret: &Arc<SecretName>, why: &str) {
        if let Some(conversation) = self.tellers.streams.get_mut(secret) {
            conversation.ended();
            self.status.server_ended(secret, why);
        }
    }

    /// A response of a server of secrets came.
    pub fn receive_secrets(&mut self, secret: &Arc<SecretName>, received: Received) {
        let Some(conversation) = self.tellers.streams.get_mut(secret) else {
            return; // Nobody needs it any more.
        };
        self.status.server_answered(secret);
        if Kind::of(&received.type_url) != Some(Kind::Secret) {
            warn!(%secret, type_url = received.type_url, "response of a type that was not asked for refused");
            conversation.refuse(&received);
            return;
        }
        conversation.wire.received(Kind::Secret);
        self.status.metrics().of(Kind::Secret.metric()).updated();
        let (nonce, version) = (received.nonce.clone(), received.version.clone());
        let applied = self.apply_secrets(Teller::Stream(secret), received);
        if let Some(conversation) = self.tellers.streams.get_mut(secret) {
            conversation.owes(
                Kind::Secret,
                Unanswered {
                    nonce,
                    version,
                    error: applied.error(),
                    names: Vec::new(),
                },
            );
        }
    }

    /// A watched file with secrets was read.
    ///
    /// # Errors
    /// The faults of those of its secrets that are refused; the others are applied.
    pub fn receive_secret_file(
        &mut self,
        path: &Arc<str>,
        received: Received,
    ) -> Result<(), String> {
        let stats = self.status.metrics().of(Kind::Secret.metric());
        stats.updated();
        let applied = self.apply_secrets(Teller::File(path), received);
        let stats = self.status.metrics().of(Kind::Secret.metric());
        match applied.error() {
            None => {
                stats.acked();
                Ok(())
            }
            Some(error) => {
                stats.nacked();
                Err(error)
            }
        }
    }

    /// Requests to the servers of secrets.
    pub(super) fn take_server_requests(&mut self) -> Vec<(Arc<SecretName>, Request)> {
        let stats = self.status.metrics().of(Kind::Secret.metric());
        let node = &self.options.node;
        let mut requests = Vec::new();
        for (secret, conversation) in &mut self.tellers.streams {
            conversation.answer(Kind::Secret, |_| false, |answered| answered.count(stats));
            let due = conversation.take_requests(node).into_iter();
            requests.extend(due.map(|request| (secret.clone(), request)));
        }
        requests
    }

    /// Whether those can be asked who tell these secrets.
    pub(super) fn check_tellers<'a>(
        &self,
        mut secrets: impl Iterator<Item = &'a AwaitedSecret>,
    ) -> Result<(), String> {
        let ads = match self.options.has_ads {
            true => AdsServer::Some,
            false => AdsServer::None,
        };
        let clusters = &self.static_clusters;
        secrets.try_for_each(|awaited| {
            let name = &awaited.secret.name;
            let mut checked = name.origin.check(clusters.iter().map(|it| &**it), ads);
            if matches!(name.origin, SecretOrigin::Server(_))
                && self.tellers.streams.len() >= STREAMS_MAX
                && !self.tellers.streams.contains_key(name)
            {
                checked = Err(format!(
                    "servers tell {STREAMS_MAX} secrets already, the most that there may be"
                ));
            }
            checked.map_err(|rule| format!("transport_socket: {name}: {rule}"))
        })
    }

    /// Asks for secrets that came into use, and lets go of those that went out of use.
    pub(super) fn follow_secrets(&mut self, changes: NameChanges<WantedSecret>) {
        for wanted in changes.added {
            let known = self.tellers.wanted.entry(wanted.name.clone()).or_default();
            let is_new = known.is_empty();
            known.insert(wanted.holds);
            self.accepted.lock().want_secret(&wanted.name);
            self.ask_for(&wanted.name, is_new);
        }
        for wanted in changes.removed {
            let Some(known) = self.tellers.wanted.get_mut(&wanted.name) else {
                continue;
            };
            known.remove(&wanted.holds);
            if known.is_empty() {
                self.tellers.wanted.remove(&wanted.name);
                self.let_secret_go(&wanted.name);
            }
        }
    }

    fn ask_for(&mut self, secret: &SecretName, is_new: bool) {
        let name = secret.name.clone();
        match &secret.origin {
            SecretOrigin::Bootstrap | SecretOrigin::Provider => {}
            SecretOrigin::Ads => {
                let wanted = self.ads.wire.wanted_mut(Kind::Secret);
                wanted.names.insert(name);
            }
            SecretOrigin::Server(server) if is_new => {
                let mut conversation = Conversation::new(match server.delta {
                    true => Protocol::Delta,
                    false => Protocol::Sotw,
                });
                let wanted = conversation.wire.wanted_mut(Kind::Secret);
                wanted.names.insert(name);
                let secret = Arc::new(secret.clone());
                self.status.server_wanted(&secret);
                let open = TellerChange::Open(secret.clone());
                self.tellers.changes.push(open);
                self.tellers.streams.insert(secret, conversation);
            }
            // Also where it is watched: what it held of this secret was left aside.
            SecretOrigin::File(path) if is_new => {
                let watch = TellerChange::Watch(path.clone());
                self.tellers.changes.push(watch);
            }
            SecretOrigin::Server(_) | SecretOrigin::File(_) => {}
        }
    }

    fn let_secret_go(&mut self, secret: &SecretName) {
        if self.is_roots(secret) {
            return;
        }
        self.builder.secrets().forget(secret);
        self.accepted.lock().forget_secret(secret);
        self.count_secrets();
        self.status
            .forgotten(Kind::Secret, &secret.to_string().into());
        match &secret.origin {
            SecretOrigin::Bootstrap | SecretOrigin::Provider => {}
            SecretOrigin::Ads => {
                let wanted = self.ads.wire.wanted_mut(Kind::Secret);
                wanted.names.remove(&secret.name);
                self.ads.wire.lost(Kind::Secret, &secret.name);
            }
            SecretOrigin::Server(_) => {
                if let Some((secret, _)) = self.tellers.streams.remove_entry(secret) {
                    self.status.server_left(&secret);
                    let close = TellerChange::Close(secret);
                    self.tellers.changes.push(close);
                }
            }
            SecretOrigin::File(path) => {
                if !self.tellers.wants_file(path) {
                    let leave = TellerChange::Leave(path.clone());
                    self.tellers.changes.push(leave);
                }
            }
        }
    }
}
