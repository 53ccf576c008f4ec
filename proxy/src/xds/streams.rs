//! The streams that are kept: that of ADS, and one for each secret that a server tells. Each is a task of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, spawn_local};
use tracing::debug;
use weft_config::tls::{SdsServer, SecretName};

use super::stream::{self, Outbox, SECRETS_BYTES_MAX, Said, Server, Service, Target};
use super::wire::{Protocol, Request};
use crate::balance::Cluster;
use crate::dns::Resolver;

/// What streams tell that the client has not taken yet; beyond, no stream is read.
const EVENTS_MAX: usize = 16;

/// All streams.
#[derive(Debug)]
pub struct Streams {
    /// The ADS server, until its stream is opened.
    ads: Option<Server>,
    resolver: Resolver,
    /// What they tell.
    pub(super) events: mpsc::Receiver<Said>,
    sender: mpsc::Sender<Said>,
    running: BTreeMap<Arc<SecretName>, AbortHandle>,
    /// Where requests go in; `None` is ADS.
    outgoing: BTreeMap<Option<Arc<SecretName>>, mpsc::Sender<Request>>,
}

impl Streams {
    /// None is open yet. `ads`: the ADS server, where there is one.
    pub fn new(ads: Option<Server>, resolver: Resolver) -> Self {
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        Self {
            ads,
            resolver,
            events,
            sender,
            running: BTreeMap::new(),
            outgoing: BTreeMap::new(),
        }
    }

    pub(super) fn open_ads(&mut self) {
        if let Some(server) = self.ads.take() {
            drop(self.spawn(None, server));
        }
    }

    pub(super) fn open(
        &mut self,
        secret: &Arc<SecretName>,
        server: &SdsServer,
        cluster: Arc<Cluster>,
    ) {
        let at = Server {
            service: Service::Secrets,
            target: Target::Clusters(vec![cluster]),
            protocol: match server.delta {
                true => Protocol::Delta,
                false => Protocol::Sotw,
            },
            security: None,
            message_bytes_max: SECRETS_BYTES_MAX,
        };
        let task = self.spawn(Some(secret), at);
        self.running.insert(secret.clone(), task);
    }

    fn spawn(&self, of: Option<&Arc<SecretName>>, server: Server) -> AbortHandle {
        let outbox = Outbox {
            of: of.cloned(),
            events: self.sender.clone(),
        };
        spawn_local(stream::run(server, self.resolver.clone(), outbox)).abort_handle()
    }

    pub(super) fn close(&mut self, secret: Arc<SecretName>) {
        if let Some(task) = self.running.remove(&secret) {
            task.abort();
        }
        self.outgoing.remove(&Some(secret));
    }

    /// A stream is up; requests go in at `sender`.
    pub(super) fn speak(&mut self, of: Option<&Arc<SecretName>>, sender: mpsc::Sender<Request>) {
        self.outgoing.insert(of.cloned(), sender);
    }

    /// A stream is gone.
    pub(super) fn fall_silent(&mut self, of: Option<&Arc<SecretName>>) {
        self.outgoing.remove(&of.cloned());
    }

    pub(super) fn send(&mut self, to: Option<Arc<SecretName>>, request: Request) {
        let sender = self.outgoing.get(&to);
        if sender.is_some_and(|sender| sender.try_send(request).is_err()) {
            // A server that reads nothing is as good as gone; dropping the requests ends the stream.
            debug!("server does not take requests");
            self.outgoing.remove(&to);
        }
    }
}
