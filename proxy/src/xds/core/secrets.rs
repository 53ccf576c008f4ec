//! Secrets: who is asked for which, and what comes of what they tell.
//!
//! Whatever is in use by a listener or a cluster, in force or waiting, is asked of the one that it names. What was told stays in
//! force until something better is told: not even its removal takes it back, nor a time to live.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tracing::warn;
use weft_config::tls::{
    AdsServer, AwaitedSecret, SdsServer, SecretHolds, SecretName, SecretOrigin, WantedSecret,
};

use super::Core;
use super::conversation::{Conversation, Unanswered};
use crate::snapshot::NameChanges;
use crate::xds::kind::Kind;
use crate::xds::wire::{Protocol, Received, Request};

mod told;

/// Who tells secrets, and what they are asked for.
#[derive(Debug, Default)]
pub(super) struct Tellers {
    /// What each secret in use must hold for those who name it.
    wanted: BTreeMap<SecretName, BTreeSet<SecretHolds>>,
    servers: BTreeMap<Arc<SdsServer>, Conversation>,
    changes: Vec<TellerChange>,
}

/// A change in who is to be listened to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TellerChange {
    /// A stream to this server is to be kept.
    Open(Arc<SdsServer>),
    /// No more.
    Close(Arc<SdsServer>),
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
    pub fn server_tried(&mut self, server: &Arc<SdsServer>, address: &str) {
        if self.tellers.servers.contains_key(server) {
            self.status.server_tried(server, address);
        }
    }

    /// A stream to a server of secrets is up.
    pub fn server_began(&mut self, server: &Arc<SdsServer>) {
        if let Some(conversation) = self.tellers.servers.get_mut(server) {
            conversation.began();
            self.status.server_began(server);
        }
    }

    /// A stream to a server of secrets broke, or could not be opened. What is in force stays so.
    pub fn server_ended(&mut self, server: &Arc<SdsServer>, why: &str) {
        if let Some(conversation) = self.tellers.servers.get_mut(server) {
            conversation.ended();
            self.status.server_ended(server, why);
        }
    }

    /// A response of a server of secrets came.
    pub fn receive_secrets(&mut self, server: &Arc<SdsServer>, received: Received) {
        let Some(conversation) = self.tellers.servers.get_mut(server) else {
            return; // Nobody needs it any more.
        };
        self.status.server_answered(server);
        if Kind::of(&received.type_url) != Some(Kind::Secret) {
            warn!(%server, type_url = received.type_url, "response of a type that was not asked for refused");
            conversation.refuse(&received);
            return;
        }
        conversation.wire.received(Kind::Secret);
        self.status.metrics().of(Kind::Secret.metric()).updated();
        let (nonce, version) = (received.nonce.clone(), received.version.clone());
        let applied = self.apply_secrets(&SecretOrigin::Server(server.clone()), received);
        if let Some(conversation) = self.tellers.servers.get_mut(server) {
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
        let applied = self.apply_secrets(&SecretOrigin::File(path.clone()), received);
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
    pub(super) fn take_server_requests(&mut self) -> Vec<(Arc<SdsServer>, Request)> {
        let stats = self.status.metrics().of(Kind::Secret.metric());
        let node = &self.options.node;
        let mut requests = Vec::new();
        for (server, conversation) in &mut self.tellers.servers {
            conversation.answer(Kind::Secret, |_| false, |answered| answered.count(stats));
            let due = conversation.take_requests(node).into_iter();
            requests.extend(due.map(|request| (server.clone(), request)));
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
            let checked = name.origin.check(clusters.iter().map(|it| &**it), ads);
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
            SecretOrigin::Server(server) => {
                let servers = &mut self.tellers.servers;
                let conversation = servers.entry(server.clone()).or_insert_with(|| {
                    let open = TellerChange::Open(server.clone());
                    self.tellers.changes.push(open);
                    self.status.server_wanted(server);
                    Conversation::new(match server.delta {
                        true => Protocol::Delta,
                        false => Protocol::Sotw,
                    })
                });
                let wanted = conversation.wire.wanted_mut(Kind::Secret);
                wanted.names.insert(name);
            }
            // Also where it is watched: what it held of this secret was left aside.
            SecretOrigin::File(path) if is_new => {
                let watch = TellerChange::Watch(path.clone());
                self.tellers.changes.push(watch);
            }
            SecretOrigin::File(_) => {}
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
            SecretOrigin::Server(server) => {
                let Some(conversation) = self.tellers.servers.get_mut(server) else {
                    return;
                };
                let wanted = conversation.wire.wanted_mut(Kind::Secret);
                wanted.names.remove(&secret.name);
                let is_needed = !wanted.is_empty();
                conversation.wire.lost(Kind::Secret, &secret.name);
                if !is_needed {
                    self.tellers.servers.remove(server);
                    let close = TellerChange::Close(server.clone());
                    self.tellers.changes.push(close);
                    self.status.server_left(server);
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
